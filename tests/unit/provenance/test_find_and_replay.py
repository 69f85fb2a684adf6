"""From what is left of a run back to its record, and from a record back to a request."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.provenance.clips import make_clip
from tests.unit.provenance.test_record import make_record
from wiro_nb.errors import BadRecord, UnknownRun
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.media import mp4
from wiro_nb.provenance.embed import embed_record, write_texts
from wiro_nb.provenance.find import Source, find_records, merge_runs, records_in_notebook
from wiro_nb.provenance.record import write_sidecar
from wiro_nb.redaction import MASK
from wiro_nb.reproduce import find_source
from wiro_nb.reproduce.compare import compare_clips, compare_settings, compare_sources
from wiro_nb.reproduce.replay import Replay, check_prepared, plan_replay
from wiro_nb.reproduce.seal import seal_notebook
from wiro_nb.reproduce.verify import verify_paths
from wiro_nb.schema.types import ModelSchema, Option, Parameter
from wiro_nb.schema.values import NO_SEED_NOTE, prepare

OTHER_ID = "01JD7Z5Q4M8K3T9V2W6X0Y1ABD"
SCHEMA = ModelSchema(
    slug="wiro/animate-diff",
    run_path="wiro/animate-diff",
    title="animate-diff",
    parameters=(
        Parameter("prompt", "textarea", "Prompt", default="x"),
        Parameter("steps", "number", "Steps", default="16"),
        Parameter("scale", "float", "Scale", default="5.0"),
        Parameter("inputImage", "combinefileinput", "Image", multiple=True),
    ),
)


def plan(record: dict[str, Any], schema: ModelSchema, **options: Any) -> Replay:
    return plan_replay(Source(record, "a run", "sidecar"), schema, **options)


def missing_files(planned: Replay) -> list[str]:
    return [item.parameter for item in planned.drift if item.kind == "file missing"]


def write_notebook(path: Path, *records: dict, cleared: bool = False) -> Path:
    outputs = [{"output_type": "display_data", "data": {}, "metadata": {"wiro": item}} for item in records]
    metadata = {"wiro": merge_runs(None, {item["run_id"]: item for item in records})} if cleared else {}
    cells = [{"cell_type": "code", "outputs": [] if cleared else outputs, "source": ""}]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}))
    return path


def test_every_kind_of_remains_gives_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    record = make_record()
    clip = make_clip(tmp_path / "a.mp4")
    embed_record(clip, record)
    write_sidecar(tmp_path, record)
    sources = [
        clip,
        tmp_path / "run.json",
        tmp_path,
        write_notebook(tmp_path / "full.ipynb", record),
        write_notebook(tmp_path / "cleared.ipynb", record, cleared=True),
        f"{tmp_path / 'full.ipynb'}#1abc",
        "~/a.mp4",
        "~/full.ipynb#1abc",
    ]
    for source in sources:
        assert [item.record for item in find_records(source)] == [record]
    with pytest.raises(BadRecord, match="does not exist"):
        find_records("~nosuch/a.mp4")


def test_a_folder_of_runs_gives_the_records_of_all(tmp_path: Path) -> None:
    for number, run_id in enumerate((make_record()["run_id"], OTHER_ID)):
        (tmp_path / str(number)).mkdir()
        write_sidecar(tmp_path / str(number), make_record(run_id=run_id))
    assert [item.record["run_id"] for item in find_records(tmp_path)] == [make_record()["run_id"], OTHER_ID]


def test_a_file_may_have_a_hash_sign_in_its_name(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "take#2.mp4")
    embed_record(clip, make_record())
    assert find_records(clip)[0].kind == "clip"


def test_a_clip_that_lost_its_tag_is_known_by_its_sidecar(tmp_path: Path) -> None:
    write_sidecar(tmp_path, make_record())
    clip = make_clip(tmp_path / "a.mp4")
    assert find_records(clip)[0].kind == "sidecar"


def test_what_holds_no_record_says_so(tmp_path: Path) -> None:
    (tmp_path / "broken.ipynb").write_text("{")
    sources = [
        tmp_path / "missing.mp4",
        make_clip(tmp_path / "plain.mp4"),
        tmp_path / "broken.ipynb",
        write_notebook(tmp_path / "empty.ipynb"),
        tmp_path,
    ]
    for source in sources:
        with pytest.raises(BadRecord) as caught:
            find_records(source)
        assert caught.value.hint


def test_a_notebook_from_another_machine_knows_its_runs(tmp_path: Path) -> None:
    record = make_record()
    notebook = str(write_notebook(tmp_path / "from-a-friend.ipynb", record, cleared=True))
    name = record["run_id"][-5:].lower()
    with contextlib.closing(Ledger(tmp_path / "ledger.sqlite3")) as ledger:
        manager: Any = SimpleNamespace(ledger=ledger)
        found = find_source(manager, name, notebook=notebook)
        with pytest.raises(UnknownRun, match="No run 'zzzzz' in the ledger"):
            find_source(manager, "zzzzz", notebook=notebook)
        again = write_notebook(
            tmp_path / "again.ipynb", make_record(run_id=OTHER_ID, parent={"run_id": found.run_id})
        )
        (compared,) = compare_sources(manager, [str(again)], notebook=notebook)
        assert compared.left.label == name
    assert (found.run_id, found.name, found.kind) == (record["run_id"], name, "notebook")


def test_an_unclear_run_of_a_notebook_is_named(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path / "a.ipynb", make_record(), make_record(run_id=OTHER_ID))
    assert len(find_records(notebook)) == 2
    for wanted in ("01JD", "zzzz"):
        with pytest.raises(UnknownRun) as caught:
            find_records(f"{notebook}#{wanted}")
    assert caught.value.query == "zzzz"


def test_notebook_metadata_keeps_the_latest_runs_and_counts_the_rest() -> None:
    ids = [
        f"01JD7Z5Q4M8K3T9V2W6X0Y1A{first}{second}" for first in "0123456789ABCDEFGHJK" for second in "0123456789"
    ]
    records = {run_id: {"run_id": run_id, "format": 1, "status": "succeeded"} for run_id in [*ids, OTHER_ID]}
    merged = merge_runs({"budget": "5"}, records)
    assert len(merged["runs"]) == 200
    assert merged["omitted"] == 1
    assert merged["budget"] == "5"
    assert merge_runs(merged, {}) == merged
    assert ids[0] not in merged["runs"]


def test_a_finished_record_is_not_replaced_by_an_older_state() -> None:
    done = make_record()
    early = {**done, "status": "submitted"}
    merged = merge_runs(merge_runs(None, {done["run_id"]: done}), {done["run_id"]: early})
    assert merged["runs"][done["run_id"]]["status"] == "succeeded"
    notebook = {"metadata": {"wiro": merged}, "cells": [{"outputs": [{"metadata": {"wiro": early}}]}]}
    assert records_in_notebook(notebook)[done["run_id"]]["status"] == "succeeded"


def store_picture(folder: Path) -> tuple[Path, str]:
    """A picture in a store of inputs, and its hash."""
    data = b"\x89PNG\r\n\x1a\n" + b"pixels"
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}.png"
    path.write_bytes(data)
    return path, digest


def image_record(
    name: str = "a.png", sha256: str | None = None, url: str | None = None, **changes: Any
) -> dict[str, Any]:
    files = {"inputImage": [{"name": name, "sha256": sha256, "size_bytes": 1, "url": url}]}
    return make_record(files=files, **changes)


def test_a_replay_sends_what_was_sent(tmp_path: Path) -> None:
    stored, digest = store_picture(tmp_path)
    planned = plan(image_record(sha256=digest), SCHEMA, find_file={digest: stored}.get, service="sandbox")
    (image,) = planned.values["inputImage"]  # type: ignore[misc]
    assert (image.name, image.path, image.sha256) == ("a.png", stored, digest)
    assert {**planned.values, "inputImage": None} == {
        "prompt": "a lighthouse",
        "steps": 16,
        "scale": 5,
        "inputImage": None,
    }
    assert planned.is_ready
    assert [item.kind for item in planned.drift] == ["inputs changed"]
    same = {"model": {"slug": SCHEMA.slug, "run_path": SCHEMA.run_path, "schema_sha256": SCHEMA.sha256}}
    assert plan(image_record(url="https://a.example/b.png", **same), SCHEMA).drift == ()


def test_a_stored_input_whose_content_changed_is_asked_for(tmp_path: Path) -> None:
    stored, digest = store_picture(tmp_path)
    stored.write_bytes(stored.read_bytes() + b"!")
    planned = plan(image_record(sha256=digest), SCHEMA, find_file={digest: stored}.get)
    assert missing_files(planned) == ["inputImage"]
    assert digest[:8] in planned.lines[0]


@pytest.mark.parametrize(
    "place", ["../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "run:01JD", "~/.netrc"]
)
def test_a_foreign_path_is_never_opened(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a file's name, as its address, and as a setting of that name: each is asked for, none is read."""
    bait = tmp_path / "etc" / "passwd"
    bait.parent.mkdir()
    bait.write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    records = [
        image_record(name=place, sha256="d" * 64),
        image_record(url=place),
        make_record(files={}, parameters={"prompt": "x", "inputImage": place}),
        make_record(files={}, parameters={"prompt": "x", "inputImageUrl": place}),
    ]
    for record in records:
        planned = plan(record, SCHEMA)
        assert "inputImage" not in planned.values
        assert "inputImageUrl" not in planned.values
        assert missing_files(planned) == ["inputImage"]
        assert "/" not in next(item.message for item in planned.drift if item.blocks)
        assert not planned.is_ready
        assert plan(record, SCHEMA, overrides={"inputImage": "mine.png"}).is_ready


def test_an_address_of_an_input_is_sent_as_it_was() -> None:
    address = "https://a.example/b.png"
    for record in (image_record(url=address), make_record(files={}, parameters={"inputImageUrl": address})):
        planned = plan(record, SCHEMA)
        (image,) = planned.values["inputImage"]  # type: ignore[misc]
        assert (image.url, image.path) == (address, None)
        assert f"inputImage: the service fetches {address}" in planned.notes


def test_an_address_without_its_query_is_asked_for() -> None:
    """A record holds no query that gives access to a file, so what is left of such an address opens nothing."""
    planned = plan(image_record(url=f"https://a.example/b.png?{MASK}"), SCHEMA)
    assert missing_files(planned) == ["inputImage"]


def test_drift_is_named_before_anything_is_sent() -> None:
    record = make_record(
        parameters={"prompt": "x", "mood": "blue", "size": "big"},
        files={},
        service={"name": "cloud", "base_url": "https://a/v1"},
    )
    now = replace(
        SCHEMA,
        parameters=(
            Parameter("prompt", "textarea", "Prompt", default="new default"),
            Parameter("size", "select", "Size", default="small", options=(Option("small", "Small"),)),
            Parameter("fps", "number", "Rate", default="16"),
            Parameter("voice", "text", "Voice", required=True),
        ),
    )
    then = replace(SCHEMA, parameters=(Parameter("prompt", "textarea", "Prompt", default="old default"),))
    planned = plan(record, now, service="sandbox", old_schema=then)
    assert {(item.parameter, item.kind, item.blocks) for item in planned.drift} == {
        ("mood", "gone", True),
        ("size", "option gone", True),
        ("fps", "new", False),
        ("voice", "new", True),
        ("prompt", "default changed", False),
    }
    assert not planned.is_ready
    assert planned.notes == ("made on cloud; this would go to sandbox",)
    assert planned.values == {"prompt": "x"}
    settled = plan(record, now, overrides={"mood": "", "size": "small", "voice": "low"}, old_schema=then)
    assert settled.is_ready
    assert settled.values == {"prompt": "x", "size": "small", "voice": "low"}


def test_a_record_cannot_set_what_belongs_to_the_service(tmp_path: Path) -> None:
    reserved = [
        "callbackUrl",
        "projectid",
        "tasktoken",
        "socketaccesstoken",
        "previousTaskToken",
        "messages",
        "session_id",
    ]
    settings = dict.fromkeys(reserved, "https://evil.example")
    record = make_record(parameters={"prompt": "x", **settings})
    planned = plan(record, replace(SCHEMA, parameters=(), free_form=True))
    assert {*planned.values} & {"prompt", *reserved} == {"prompt"}
    assert [note.split()[0] for note in planned.notes] == reserved


def test_a_value_that_would_be_sent_differently_is_named() -> None:
    now = replace(SCHEMA, parameters=(Parameter("prompt", "textarea", "Prompt", default="a new default"),))
    record = make_record(parameters={"prompt": ""}, files={})
    planned = plan(record, now)
    checked = check_prepared(planned, prepare(now, planned.values))
    assert [(item.parameter, item.kind) for item in checked.drift if item.parameter] == [
        ("prompt", "value changed")
    ]
    assert checked.lines.count(NO_SEED_NOTE) == 1


def test_a_recorded_seed_is_sent_again_also_when_it_was_drawn() -> None:
    schema = replace(SCHEMA, parameters=(Parameter("seed", "text", "Seed", help="0 for random"),))
    drawn = prepare(schema, {"seed": "0"})
    assert drawn.seed is not None
    assert not drawn.seed.pinned
    seed = {"parameter": "seed", "value": drawn.seed.value, "pinned": False}
    record = make_record(parameters=drawn.parameters, files={}, seed=seed)
    again = prepare(schema, plan(record, schema).values)
    assert again.parameters == drawn.parameters
    assert again.seed is not None
    assert again.seed.pinned
    unknown = make_record(parameters={"seed": "0"}, files={}, seed=None)
    planned = plan(unknown, schema)
    assert any("another" in note for note in check_prepared(planned, prepare(schema, planned.values)).notes)


def test_settings_that_differ_are_listed() -> None:
    left, right = make_record(), make_record(parameters={"prompt": "a lighthouse", "steps": 20})
    assert compare_settings(left, right) == {
        "steps": (16, 20),
        "scale": (5, None),
    }
    assert compare_settings(left, left) == {}
    left, right = (
        make_record(made_by={"device": "cpu", "seed": 7}),
        make_record(made_by={"device": "A100", "seed": 7}),
    )
    assert compare_settings(left, right) == {"made by: device": ("cpu", "A100")}


def test_clips_are_the_same_by_bytes_by_frames_or_not(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "one.mp4")
    tagged = make_clip(tmp_path / "tagged.mp4")
    write_texts(tagged, mp4, '{"wiro_nb": "a tag changes bytes, not frames"}')
    worse = make_clip(tmp_path / "worse.mp4", crf="40")
    longer = make_clip(tmp_path / "longer.mp4", frames=14)
    assert compare_clips(one, one).verdict == "same bytes"
    same = compare_clips(one, tagged)
    assert same.verdict == "same frames"
    apart = compare_clips(one, worse)
    assert apart.verdict == "different"
    assert apart.mean_psnr_db is not None
    assert 15 < apart.mean_psnr_db < 60
    assert len(apart.psnr_db) == 12
    assert "14" in compare_clips(one, longer).sentence


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    one = make_clip(tmp_path / "one.mp4")
    text = tmp_path / "a.txt"
    text.write_text("hello")
    for other in (text, tmp_path / "missing.mp4"):
        with pytest.raises(BadRecord):
            compare_clips(one, other)


def test_a_clip_that_broke_off_before_its_record_is_known_by_its_sidecar(tmp_path: Path) -> None:
    write_sidecar(tmp_path, make_record())
    clip = make_clip(tmp_path / "a.mp4")
    clip.write_bytes(clip.read_bytes()[:-40])
    assert find_records(clip)[0].kind == "sidecar"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are a thing of Unix")
@pytest.mark.parametrize("name", ["a.mp4", "a.json", "a.ipynb", "a"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadRecord, match="not a regular file"):
        find_records(tmp_path / name)


def test_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(BadRecord, match="the folder notes holds no run") as caught:
        find_records(tmp_path / "notes")
    assert caught.value.reason == "none"


DEEP = b'{"cells": [], "metadata": ' + b'{"a": ' * 100_000 + b"1" + b"}" * 100_000 + b"}"
HALF_DEEP = b'{"cells": [], "metadata": ' + b'{"a": ' * 600 + b"1" + b"}" * 600 + b"}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (DEEP, "nested too deeply"),
        (HALF_DEEP, "nested too deeply"),
        ('{"cells": []}'.encode("utf-16"), "not UTF-8"),
        (b"{", "not JSON"),
    ],
    ids=["deep", "half deep", "utf-16", "cut"],
)
@pytest.mark.parametrize("suffix", [".ipynb", ".json"])
def test_files_that_are_no_json_are_refused_in_a_sentence(
    tmp_path: Path, content: bytes, told: str, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(BadRecord, match=told):
        find_records(path)
    assert any(told in item.message for item in verify_paths([path]))
    with pytest.raises(BadRecord, match=told):
        seal_notebook(path)


def test_a_record_nested_without_end_inside_a_clip_is_none(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    write_texts(clip, mp4, '{"wiro_nb": ' + '{"a": ' * 5000 + "1" + "}" * 5001)
    with pytest.raises(BadRecord, match="carries no run record"):
        find_records(clip)


def test_a_byte_order_mark_hides_no_notebook(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "a.ipynb", make_record())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert find_records(path)[0].record == make_record()


def test_a_folder_that_cannot_be_looked_into_holds_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its path is as long as a path can be, so that looking for anything in it is an error of the system."""
    folder = tmp_path
    while (left := 4090 - len(str(folder))) > 1:
        monkeypatch.chdir(folder)
        Path("d" * min(250, left - 1)).mkdir()
        folder /= "d" * min(250, left - 1)
    with pytest.raises(BadRecord, match="holds no run"):
        find_records(folder)
    with pytest.raises(BadRecord, match="does not exist"):
        find_records(folder / "a.mp4")
