"""Media files without a service: MP4 and PNG structure, content types, posters and frames."""
