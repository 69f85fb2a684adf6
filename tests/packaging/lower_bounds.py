"""Prints pip constraints that pin each dependency of the project to the lowest version it allows.

`python tests/packaging/lower_bounds.py > bounds.txt && python -m pip install -c bounds.txt ".[test]"`
"""

from __future__ import annotations

import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
EXTRAS = ("sandbox", "lab", "test")


def lower_bounds() -> list[str]:
    """Returns a line `NAME==VERSION` for each dependency and each of the extras that the tests install."""
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in EXTRAS)]
    return [item.replace(">=", "==") for group in groups for item in group if ">=" in item]


if __name__ == "__main__":
    print("\n".join(lower_bounds()))
