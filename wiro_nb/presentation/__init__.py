"""Text and HTML about runs, shared by the command line and the notebook. Knows no IPython."""
