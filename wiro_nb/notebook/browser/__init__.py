"""The model browser."""
