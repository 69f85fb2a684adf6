"""Comparing and reproducing runs in a notebook."""
