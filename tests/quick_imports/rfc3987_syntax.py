"""Stands for a package whose import takes 2.4 s of CPU in every process that imports jsonschema.

Without it jsonschema does not check the format "iri", which no schema here uses. `tests/conftest.py` puts this
folder on the path of the suite's processes.
"""

raise ImportError(__doc__)
