"""Sweeps in a notebook: the grid and its static form."""
