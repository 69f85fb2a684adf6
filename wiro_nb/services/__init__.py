"""Which service is used: credentials, connections, the sandbox process, the model catalogue."""
