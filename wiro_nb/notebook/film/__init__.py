"""Films in a notebook: joining clips, films of several shots, and their view."""
