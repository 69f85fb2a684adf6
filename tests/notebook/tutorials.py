"""Executes the tutorials with nbval, which checks their outputs and keeps what it saw."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
SANITIZE = Path(__file__).with_name("nbval_sanitize.cfg")
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


def run_nbval(*paths: Path) -> subprocess.CompletedProcess[str]:
    """Executes notebooks with nbval, which writes the outputs it saw back into them; see `nbval_outputs`."""
    options = ["-c", os.devnull, f"--rootdir={paths[0].parent}", "-q", "-rA"]
    options += ["-p", "nbval.plugin", "-p", "tests.notebook.nbval_outputs"]
    nbval = ["--nbval-lax", f"--nbval-sanitize-with={SANITIZE}", f"--nbval-cell-timeout={CELL_TIMEOUT_S}"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        *options,
        "-p",
        "tests.notebook.nbval_outputs",
        *nbval,
        *map(str, paths),
    ]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def execute_tutorial(name: str, folder: Path) -> Executed:
    """Executes a tutorial in a folder of its own; a cell that fails or shows something else is an error."""
    home = folder / name.removesuffix(".ipynb")
    home.mkdir()
    path = Path(shutil.copy(NOTEBOOKS / name, home))
    answer = run_nbval(path)
    assert answer.returncode == 0, answer.stdout[-5000:] + answer.stderr[-2000:]
    code_cells = sum(cell.cell_type == "code" for cell in read_tutorial(name).cells)
    assert f"{code_cells} passed" in answer.stdout
    return read_executed(path)
