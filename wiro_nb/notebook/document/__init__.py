"""The open notebook document: its metadata and saved outputs."""
