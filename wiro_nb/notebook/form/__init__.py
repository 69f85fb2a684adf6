"""The form of a model."""
