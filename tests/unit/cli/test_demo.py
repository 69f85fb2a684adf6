"""`wiro-nb demo` succeeds only when its clips can be shown, and replaces no notebook."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from wiro_nb.cli import main
from wiro_nb.cli import tutorials as demo_module


@pytest.mark.parametrize("has_poster", [True, False])
def test_the_demo_fails_when_a_clip_has_no_poster(
    has_poster: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fox.mp4").write_bytes(b"clip")
    if has_poster:
        (tmp_path / "fox.poster.jpg").write_bytes(b"picture")
    record = {"format": 1, "run_id": "01JD", "status": "succeeded", "outputs": [{"path": "fox.mp4"}]}
    metadata = {"wiro": {"runs": {"01JD": record}}}
    notebook = nbformat.v4.new_notebook(metadata=metadata)
    monkeypatch.setattr(demo_module, "execute_notebook", lambda source, target: (notebook, ""))
    code = main(["demo", "--out", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (code, "clip " in out) == ((0, True) if has_poster else (1, False))
    assert ("made no poster of fox.mp4" in err) is not has_poster


def test_the_demo_keeps_a_notebook_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / demo_module.QUICKSTART
    mine.write_text("my own changes")
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert "it is kept" in capsys.readouterr().err
    assert mine.read_text() == "my own changes"
