"""Which file a relative path means: the one beside the notebook, else the one where the process stands."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.manager_tools import VACE
from wiro_nb.execution.requests import Origin
from wiro_nb.session.manager import Manager


def test_a_relative_path_is_one_beside_the_notebook_where_that_exists(
    manager: Manager, tmp_path: Path, own_folders: Path
) -> None:
    origin = Origin(notebook=str(tmp_path / "book" / "a.ipynb"))
    (tmp_path / "book").mkdir()
    for path in (tmp_path / "book" / "both.png", own_folders / "both.png", own_folders / "here.png"):
        Image.new("RGB", (64, 64)).save(path)

    def found(name: str) -> Path | None:
        prepared = manager.prepare(VACE, {"prompt": "a fox", "inputImage": name}, origin=origin)
        (file,) = prepared.files["inputImage"]
        return file.path

    assert found("both.png") == tmp_path / "book" / "both.png"
    assert found("here.png") == Path("here.png")
