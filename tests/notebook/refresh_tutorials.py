"""Writes fresh outputs into the tutorials, for those who read them where nothing runs.

    python -m tests.notebook.refresh_tutorials [01 05 ...]

Each notebook is executed with a painting sandbox, a ledger and a cache of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat

from tests.notebook.committed import for_readers
from tests.notebook.kernels import execute_with_papermill
from tests.notebook.tutorials import NOTEBOOKS, read_executed, tutorial_names


def refresh(name: str) -> None:
    """Executes one tutorial where nothing was run before, and writes it back."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ.update(WIRO_DATA_DIR=f"{folder}/data", WIRO_SERVICE="sandbox", IPYTHONDIR=f"{folder}/ipython")
        Path(folder, "ipython").mkdir()
        target = Path(folder, name)
        execute_with_papermill(NOTEBOOKS / name, target, cwd=folder, kernel_name="python3", execution_timeout=120)
        notebook = read_executed(target).notebook
    nbformat.write(for_readers(notebook), NOTEBOOKS / name)
    print(f"{name}: {(NOTEBOOKS / name).stat().st_size // 1000} kB")


def main(chosen: list[str]) -> None:
    for name in [name for name in os.environ if name.startswith(("WIRO_", "JPY_"))]:
        del os.environ[name]
    for name in tutorial_names():
        if not chosen or name[:2] in chosen:
            refresh(name)


if __name__ == "__main__":
    main(sys.argv[1:])
