"""Writes fresh outputs into the tutorials, for those who read them where nothing runs.

    python -m tests.notebook.refresh_tutorials [01 05 ...]

Each notebook is executed on a painting sandbox of its own. Posters, tables and records stay; widgets, which
show nothing without a kernel, and whatever names this machine do not.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from tests.notebook.tutorials import NOTEBOOKS, make_executor, tutorial_names

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def tidy(notebook: Any) -> Any:
    """Takes out of an executed notebook what belongs to the kernel that ran it."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET_VIEW, None)
                output.get("metadata", {}).pop("wiro_view", None)
    return notebook


def main(chosen: list[str]) -> None:
    for name in [name for name in os.environ if name.startswith(("WIRO_", "JPY_"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(WIRO_DATA_DIR=f"{folder}/data", WIRO_SERVICE="sandbox", IPYTHONDIR=f"{folder}/ipython")
        Path(folder, "ipython").mkdir()
        execute = make_executor(Path(folder))
        for name in tutorial_names():
            if not chosen or name[:2] in chosen:
                notebook = tidy(execute(name).notebook)
                nbformat.write(notebook, NOTEBOOKS / name)
                print(f"{name}: {(NOTEBOOKS / name).stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
