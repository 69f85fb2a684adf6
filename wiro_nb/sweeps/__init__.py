"""Sweeps: axes, the plan, the handle, totals."""
