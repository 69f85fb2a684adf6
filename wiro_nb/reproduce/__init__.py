"""Reruns runs from their records, compares them, and verifies their files."""
