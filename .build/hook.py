"""Puts the tutorials into the wheel as they are before they are run.

In the repository they hold outputs, for those who read them where nothing runs; who installs the wheel runs
them. The source archive keeps both, and builds the same wheel.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EDITABLE = "editable"


class TutorialsHook(BuildHookInterface):
    """Adds `wiro_nb/tutorials/*.ipynb`, without outputs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by the builder before it gathers files; an editable install finds them in the repository."""
        if version == EDITABLE:
            return
        self._folder = tempfile.TemporaryDirectory()
        for source in sorted(Path(self.root, "notebooks").glob("*.ipynb")):
            target = Path(self._folder.name, source.name)
            target.write_text(without_outputs(source.read_text("utf-8")), "utf-8")
            build_data["force_include"][str(target)] = f"wiro_nb/tutorials/{source.name}"

    def finalize(self, version: str, _build_data: dict[str, Any], _artifact_path: str) -> None:
        """Called when the wheel is written."""
        if version != EDITABLE:
            self._folder.cleanup()


def without_outputs(text: str) -> str:
    """Returns a notebook's JSON without outputs and execution numbers."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
