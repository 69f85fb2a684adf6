"""Executes the tutorials with papermill, each once for all tests that look at the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from tests.notebook.kernels import execute_with_papermill

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CELL_TIMEOUT_S = 120


@dataclass(frozen=True)
class Executed:
    """An executed tutorial: the notebook, and the folder its kernel worked in."""

    notebook: Any
    folder: Path

    @property
    def outputs(self) -> list[Any]:
        return [output for cell in self.notebook.cells for output in cell.get("outputs", ())]

    @property
    def records(self) -> list[dict[str, Any]]:
        """Records in the outputs' metadata, in the notebook's order; a sweep holds those of all its runs."""
        found: list[dict[str, Any]] = []
        for output in self.outputs:
            mark = output.get("metadata", {}).get("wiro")
            if mark is not None and "compared" not in mark:
                found += list(mark["runs"].values()) if "sweep_id" in mark else [mark]
        return found

    def output_of(self, cell_id: str) -> Any:
        """The last output of a cell."""
        return next(cell.outputs[-1] for cell in self.notebook.cells if cell["id"] == cell_id)


def tutorial_names() -> list[str]:
    return sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))


def read_tutorial(name: str) -> Any:
    return nbformat.read(NOTEBOOKS / name, as_version=4)


def read_executed(path: Path) -> Executed:
    """Reads an executed notebook; what a cell printed is one output, in how many pieces a kernel ever sent it."""
    notebook, one_stream = nbformat.read(path, as_version=4), CoalesceStreamsPreprocessor()
    for cell in notebook.cells:
        one_stream.preprocess_cell(cell, {}, 0)
    return Executed(notebook, path.parent)


def make_executor(folder: Path) -> Callable[[str], Executed]:
    """Returns a function that gives an executed tutorial, and executes it when it is asked for first."""

    @cache
    def executed(name: str) -> Executed:
        home = folder / name.removesuffix(".ipynb")
        home.mkdir()
        options = {"kernel_name": "python3", "execution_timeout": CELL_TIMEOUT_S}
        execute_with_papermill(NOTEBOOKS / name, home / name, cwd=home, **options)
        return read_executed(home / name)

    return executed
