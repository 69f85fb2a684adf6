"""Executes the tutorials with nbval, which checks their outputs and keeps what it saw."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from tests.conftest import QUICK_IMPORTS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
SANITIZE = Path(__file__).with_name("nbval_sanitize.cfg")
CELL_TIMEOUT_S = 120
OUTCOMES = ("FAILED", "PASSED")


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


def point_kernels_at(data: Path, patch: pytest.MonkeyPatch) -> None:
    """Has every kernel find the sandbox of a data folder, and no account."""
    for name in [name for name in os.environ if name.startswith(("WIRO_", "JPY_"))]:
        patch.delenv(name)
    patch.setenv("WIRO_DATA_DIR", str(data))
    patch.setenv("WIRO_SERVICE", "sandbox")
    patch.setenv("IPYTHONDIR", str(data / "ipython"))
    patch.setenv("JUPYTER_RUNTIME_DIR", str(data / "runtime"))
    patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")


def run_nbval(folder: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Executes notebooks with nbval, which writes the outputs it saw back into them; see `nbval_outputs`."""
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, f"--rootdir={folder}", "-q", "-rA"]
    command += ["-p", "nbval.plugin", "-p", "tests.notebook.nbval_outputs", "-p", "no:cacheprovider"]
    command += ["--nbval-lax", f"--nbval-sanitize-with={SANITIZE}", f"--nbval-cell-timeout={CELL_TIMEOUT_S}"]
    return subprocess.run(
        [*command, *map(str, paths)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), QUICK_IMPORTS]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def execute_tutorials(
    names: Sequence[str], folder: Path, *others: Path, failing: Sequence[str] = ()
) -> dict[str, Executed]:
    """Executes tutorials, each in a folder of its own, and other notebooks, with one call of nbval.

    A cell that fails or shows something else is an error, and so is one of `failing` that does not.
    """
    copies = {name: folder / name.removesuffix(".ipynb") / name for name in names}
    for name, path in copies.items():
        path.parent.mkdir()
        shutil.copy(NOTEBOOKS / name, path)
    answer = run_nbval(folder, *copies.values(), *others)
    told = answer.stdout[-5000:] + answer.stderr[-2000:]
    failed, passed = (re.findall(rf"^{word} (?:\S*/)?(\S+::Cell \d+)", answer.stdout, re.M) for word in OUTCOMES)
    assert failed == list(failing), told
    books = [nbformat.read(path, as_version=4) for path in (*copies.values(), *others)]
    assert len(passed) + len(failed) == sum(cell.cell_type == "code" for book in books for cell in book.cells), (
        told
    )
    return {name: read_executed(path) for name, path in copies.items()}
