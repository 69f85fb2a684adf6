"""Benchmarks: figures and ratios for people. No test depends on them; see `python -m tests.bench --help`."""
