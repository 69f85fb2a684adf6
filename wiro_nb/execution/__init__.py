"""Executes runs: submits each once, follows its task, downloads the outputs, and finalizes the record."""
