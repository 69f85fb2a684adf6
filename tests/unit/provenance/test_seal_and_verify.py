"""Sealing closed notebooks, and telling true, moved, altered and leaking artefacts apart."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from tests.unit.provenance.clips import make_clip
from tests.unit.provenance.test_record import make_record
from wiro_nb.errors import BadRecord, InputError
from wiro_nb.files import hash_file
from wiro_nb.provenance.embed import embed_record, hash_media
from wiro_nb.provenance.record import write_sidecar
from wiro_nb.redaction import register_secret
from wiro_nb.reproduce.seal import seal_notebook
from wiro_nb.reproduce.verify import scan_text, verify_paths


def make_notebook(path: Path, record: dict[str, Any] | None) -> Path:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    output = nbformat.v4.new_output(
        "display_data", {"text/plain": "clip é"}, metadata={"wiro": record} if record else {}
    )
    notebook.cells = [nbformat.v4.new_code_cell("%%wiro x\na $ {} 'quoted'", outputs=[output])]
    nbformat.write(notebook, path)
    return path


def make_run_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A folder as a finished run leaves it: a tagged clip and its sidecar."""
    folder.mkdir(parents=True)
    clip = make_clip(folder / "0.mp4")
    output = {
        "name": "0.mp4",
        "content_type": "video/mp4",
        "sha256": hash_file(clip),
        "media_sha256": hash_media(clip),
        "path": f"wiro_outputs/{folder.name}/0.mp4",
    }
    record = make_record(outputs=[output])
    assert embed_record(clip, record).problem == ""
    write_sidecar(folder, record)
    return clip, record


def kinds(paths: list[Path], level: str, **options: Any) -> list[str]:
    return [item.kind for item in verify_paths(paths, **options) if item.level == level]


def test_sealing_a_link_seals_the_notebook_behind_it(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path, link = make_notebook(tmp_path / "elsewhere" / "a.ipynb", make_record()), tmp_path / "link.ipynb"
    link.symlink_to(path)
    assert seal_notebook(link).changed
    assert link.is_symlink()
    assert "wiro" in json.loads(path.read_text("utf-8"))["metadata"]


def test_sealing_keeps_everything_else(tmp_path: Path) -> None:
    record = make_record()
    path = make_notebook(tmp_path / "a.ipynb", record)
    before = json.loads(path.read_text("utf-8"))
    done = seal_notebook(path)
    after = json.loads(path.read_text("utf-8"))
    assert done.added == (record["run_id"],)
    assert after["metadata"].pop("wiro")["runs"] == {record["run_id"]: record}
    assert after == before
    assert list(after["cells"][0]) == list(before["cells"][0])
    assert not seal_notebook(path).changed


def test_sealed_records_survive_nbstripout_style_clearing(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "a.ipynb", make_record())
    seal_notebook(path)
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--clear-output", "--inplace", str(path), "--log-level=ERROR"],
        check=True,
    )
    assert kinds([path], "ok").count("record") == 1


@pytest.mark.parametrize("runs", [None, 5, [1]])
def test_damaged_metadata_is_left_alone_where_there_is_nothing_to_seal(tmp_path: Path, runs: object) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(
        json.dumps({"cells": [], "metadata": {"wiro": {"runs": runs}}, "nbformat": 4, "nbformat_minor": 5})
    )
    assert seal_notebook(path).run_ids == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}', '{"cells": [], "nbformat": "x"}'])
def test_what_is_no_notebook_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.ipynb"
    path.write_text(content)
    with pytest.raises(BadRecord):
        seal_notebook(path)
    assert path.read_text() == content


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": []}, {"metadata": None}, {"metadata": {"x": "\ud800"}}, {"nbformat_minor": "x"},
        {"nbformat_minor": None}, {"cells": None}, {"cells": [3]},
        {"cells": [{"cell_type": "code", "id": "a", "metadata": {}, "outputs": [], "source": [1]}]},
    ],
)  # fmt: skip
def test_a_notebook_of_an_odd_shape_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any]) -> None:
    path = make_notebook(tmp_path / "a.ipynb", make_record())
    content = json.loads(path.read_text())
    metadata = change.get("metadata")
    change = {**change, "metadata": {**content["metadata"], **metadata, "wiro": {}}} if metadata else change
    path.write_text(json.dumps(content | change))
    before = path.read_bytes()
    with pytest.raises(BadRecord, match=r"not a notebook|no saved notebook can have"):
        seal_notebook(path)
    assert path.read_bytes() == before


def test_a_notebook_saved_while_the_ledger_is_read_is_left_alone(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "a.ipynb", make_record())
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].metadata["papermill"] = {"start_time": "2026-11-21T09:00", "end_time": "2026-11-21T09:01"}
    nbformat.write(notebook, path)

    def save_meanwhile(**_: Any) -> tuple[()]:
        path.write_text(path.read_text("utf-8") + " ", "utf-8")
        return ()

    manager: Any = SimpleNamespace(ledger=SimpleNamespace(list=save_meanwhile))
    with pytest.raises(InputError, match="changed while"):
        seal_notebook(path, manager)
    assert "wiro" not in json.loads(path.read_text("utf-8"))["metadata"]


def test_a_time_before_the_calendar_is_no_time_of_an_execution(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "a.ipynb", make_record())
    notebook = nbformat.read(path, as_version=4)
    times = {"start_time": "0001-01-01T00:00:00+14:00", "end_time": "9999-12-31T23:59:59-14:00"}
    notebook.cells[0].metadata["papermill"] = times
    nbformat.write(notebook, path)
    nobody: Any = SimpleNamespace(ledger=None)
    assert seal_notebook(path, nobody).changed


def test_a_whole_run_folder_is_found_true(tmp_path: Path) -> None:
    _, record = make_run_folder(tmp_path / "wiro_outputs" / "x")
    findings = verify_paths([tmp_path], read_ledger=lambda run_id: record)
    assert [item.kind for item in findings if item.level != "ok"] == []
    assert {item.kind for item in findings} == {"record", "file", "ledger"}


def test_a_clip_alone_vouches_for_itself(tmp_path: Path) -> None:
    clip, _ = make_run_folder(tmp_path / "x")
    alone = tmp_path / "elsewhere" / "renamed.mp4"
    alone.parent.mkdir()
    clip.rename(alone)
    assert kinds([alone], "problem") == []
    assert kinds([alone], "ok").count("file") == 1


def test_a_moved_file_is_found_by_its_content(tmp_path: Path) -> None:
    clip, _ = make_run_folder(tmp_path / "x")
    clip.rename(tmp_path / "x" / "renamed.mp4")
    assert "file" in kinds([tmp_path], "note")
    assert kinds([tmp_path], "problem") == []


def test_altered_and_missing_files_are_problems(tmp_path: Path) -> None:
    clip, record = make_run_folder(tmp_path / "x")
    make_clip(clip, shade=3)
    embed_record(clip, record)
    assert kinds([tmp_path], "problem") == ["file"]
    clip.unlink()
    assert kinds([tmp_path], "problem") == ["file"]


def test_an_altered_record_and_a_disagreeing_ledger_are_problems(tmp_path: Path) -> None:
    make_run_folder(tmp_path / "x")
    assert kinds([tmp_path], "problem", read_ledger=lambda run_id: {"record_sha256": "0" * 64}) == ["ledger"]
    sidecar = tmp_path / "x" / "run.json"
    sidecar.write_text(sidecar.read_text("utf-8").replace("a lighthouse", "a windmill"), "utf-8")
    assert kinds([tmp_path], "problem") == ["record"]


def test_secrets_and_private_paths_are_problems() -> None:
    register_secret("sk-very-secret-999")
    for text in (
        "key sk-very-secret-999 here",
        '{"socketaccesstoken": "abcdefgh12345"}',
        "https://someone:password@host/file",
        '"path": "/home/someone/clip.mp4"',
        r'"C:\Users\someone\clip.mp4"',
    ):
        found = list(scan_text(text))
        assert found, text
        assert not any("sk-very" in message or "password" in message for message, _ in found)
        assert any(is_problem for _, is_problem in found)
    assert list(scan_text('"path": "wiro_outputs/x/0.mp4", "prompt": "at home / in var"')) == []


def test_an_empty_folder_says_there_is_nothing(tmp_path: Path) -> None:
    assert kinds([tmp_path], "problem") == ["file"]


def test_a_path_in_a_record_is_a_problem_and_in_somebodys_code_a_note(tmp_path: Path) -> None:
    make_notebook(tmp_path / "theirs.ipynb", make_record(outputs=[]))
    notebook = json.loads((tmp_path / "theirs.ipynb").read_text("utf-8"))
    notebook["cells"][0]["source"] = ["open('/ho", "me/someone/a.png')"]
    (tmp_path / "theirs.ipynb").write_text(json.dumps(notebook), "utf-8")
    assert "secret" in kinds([tmp_path / "theirs.ipynb"], "note")
    assert kinds([tmp_path / "theirs.ipynb"], "problem") == []
    leaking = make_record(outputs=[], parameters={"prompt": "file:///home/someone/a.png"})
    assert kinds([make_notebook(tmp_path / "ours.ipynb", leaking)], "problem") == ["secret"]
    prose = make_record(outputs=[], parameters={"prompt": "there is no place like /home/sweet/home"})
    assert kinds([make_notebook(tmp_path / "prose.ipynb", prose)], "problem") == []
    assert "secret" in kinds([tmp_path / "prose.ipynb"], "note")


def test_pictures_that_look_like_mp4_are_no_damaged_clips(tmp_path: Path) -> None:
    for name, brand in (("a.avif", b"avif"), ("a.heic", b"heic")):
        path = tmp_path / name
        path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1miaf" + b"\0\0\0\x08mdat")
        assert kinds([path], "problem") == []
        assert embed_record(path, make_record(outputs=[])).problem == "files of this type carry no record"


def test_a_token_of_the_ledger_is_found_beside_a_mask(tmp_path: Path) -> None:
    """A masked secret elsewhere in the file must not hide one that is not masked."""
    record = make_record(outputs=[], parameters={"prompt": "[redacted] tok-en_123456"})
    path = make_notebook(tmp_path / "a.ipynb", record)
    assert kinds([path], "problem") == []
    assert kinds([path], "problem", secrets={"tok-en_123456"}) == ["secret"]


def test_the_record_inside_a_clip_must_be_the_one_beside_it(tmp_path: Path) -> None:
    clip, record = make_run_folder(tmp_path / "x")
    embed_record(clip, make_record(outputs=record["outputs"], run_id="01JD7Z5Q4M8K3T9V2W6X0Y1ABD"))
    assert kinds([tmp_path], "problem") == ["record"]


def test_a_later_record_of_the_same_files_is_only_noted(tmp_path: Path) -> None:
    _, record = make_run_folder(tmp_path / "x")
    later = make_record(outputs=record["outputs"], price={"estimated_usd": None, "cost_usd": "0.5"})
    assert kinds([tmp_path], "problem", read_ledger=lambda run_id: later) == []
    assert "ledger" in kinds([tmp_path], "note", read_ledger=lambda run_id: later)


def test_a_missing_path_says_so_and_nothing_above_it_is_searched(tmp_path: Path) -> None:
    findings = verify_paths([tmp_path / "none.mp4"])
    assert [(item.level, item.message) for item in findings] == [("problem", "there is no such file")]


@pytest.mark.parametrize(
    "wiro", ["words", ["a"], {"runs": ["a"], "format": 1}, {"runs": {"x": 3}, "omitted": "b"}]
)
def test_sealing_makes_strange_metadata_good(tmp_path: Path, wiro: Any) -> None:
    record = make_record()
    path = make_notebook(tmp_path / "a.ipynb", record)
    notebook = json.loads(path.read_text("utf-8"))
    notebook["metadata"]["wiro"] = wiro
    path.write_text(json.dumps(notebook), "utf-8")
    assert seal_notebook(path).added == (record["run_id"],)
    assert json.loads(path.read_text("utf-8"))["metadata"]["wiro"]["runs"] == {record["run_id"]: record}


def test_a_sealed_notebook_is_laid_out_as_jupyter_saves_it(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "a.ipynb", make_record())
    seal_notebook(path)
    text = path.read_text("utf-8")
    assert text == nbformat.writes(nbformat.reads(text, as_version=4)) + "\n"


def test_a_number_that_is_none_is_not_written_into_a_notebook(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "a.ipynb", make_record())
    raw = path.read_text("utf-8").replace('"kernelspec": {', '"big": 1e999, "kernelspec": {', 1)
    path.write_text(raw, "utf-8")
    with pytest.raises(BadRecord, match="NaN, infinity"):
        seal_notebook(path)
    assert path.read_text("utf-8") == raw


def test_a_notebook_of_an_old_format_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "old.ipynb"
    path.write_text('{"metadata": {}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": []}]}', "utf-8")
    with pytest.raises(BadRecord, match="format 4 or later") as caught:
        seal_notebook(path)
    assert "Jupyter" in caught.value.hint


def test_outputs_of_the_wrong_shape_do_not_stop_a_check(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "a.ipynb", make_record())
    notebook = json.loads(path.read_text("utf-8"))
    notebook["cells"] += [{"cell_type": "code", "outputs": 5}, 7]
    path.write_text(json.dumps(notebook), "utf-8")
    assert "record" in kinds([path], "ok")


def test_a_damaged_copy_is_not_vouched_for_by_the_clip_it_was_made_from(tmp_path: Path) -> None:
    clip, _ = make_run_folder(tmp_path / "wiro_outputs" / "a")
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    assert kinds([copy], "problem") == []
    raw = bytearray(clip.read_bytes())
    raw[raw.index(b"mdat") + 40] ^= 1
    copy.write_bytes(raw)
    assert kinds([copy], "problem") == ["file"]
    beside = clip.with_name("cut.mp4")
    beside.write_bytes(clip.read_bytes()[:100])
    assert kinds([beside], "problem") == ["file"]


def test_one_altered_record_does_not_keep_the_others_from_being_checked(tmp_path: Path) -> None:
    _, record = make_run_folder(tmp_path / "wiro_outputs" / "a")
    path = make_notebook(tmp_path / "a.ipynb", record)
    seal_notebook(path)
    notebook = json.loads(path.read_text("utf-8"))
    notebook["metadata"]["wiro"]["runs"]["X"] = {
        **record,
        "run_id": "01JD7Z5Q4M8K3T9V2W6X0Y1XYZ",
        "status": "failed",
    }
    path.write_text(json.dumps(notebook), "utf-8")
    assert kinds([path], "problem") == ["record"]
    assert kinds([path], "ok") == ["record", "file"]


def test_a_notebook_that_cannot_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    # Its name leaves no room for that of the new file beside it.
    path = make_notebook(tmp_path / f"{'a' * 240}.ipynb", make_record())
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        seal_notebook(path)
    assert path.read_bytes() == before
