"""Run generative-video models of the Wiro service from a notebook."""
