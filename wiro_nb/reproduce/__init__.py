"""Runs made again from their records, compared with each other, and verified."""
