"""Replaying, comparing and verifying runs."""
