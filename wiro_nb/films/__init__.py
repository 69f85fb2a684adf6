"""Longer films from clips: extend a clip, join clips into one file, and films of several shots."""
