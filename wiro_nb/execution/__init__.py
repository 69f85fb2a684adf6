"""Driving a run: submit once, follow, download, finalize."""
