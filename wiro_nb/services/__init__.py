"""Services: selection, credentials, connections, the sandbox process, and the model catalogue."""
