"""Starting, showing and resuming a run in a notebook."""
