"""From anything that is left of a run to the same clip again, on a real sandbox."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import QUICK, VACE, WAN, submit_request
from wiro_nb.config import data_dir
from wiro_nb.errors import BadRecord, InputError, InvalidFile, InvalidParameter, UnknownModel, UnknownRun
from wiro_nb.execution.requests import Origin
from wiro_nb.execution.run import Run
from wiro_nb.media.mp4 import read_tags
from wiro_nb.provenance.embed import hash_media, read_embedded
from wiro_nb.provenance.find import Source, merge_runs
from wiro_nb.provenance.record import add_hash, check_record, write_sidecar
from wiro_nb.reproduce import find_run, find_source, find_sources, locate_output, replay
from wiro_nb.reproduce.compare import compare_clips, compare_sides, compare_sources, diff_settings, find_side
from wiro_nb.reproduce.replay import Replay, check_prepared, plan_replay, require_ready
from wiro_nb.reproduce.verify import verify, verify_paths
from wiro_nb.schema import bundled_models, find_bundled
from wiro_nb.schema.types import ModelSchema, Option, Parameter
from wiro_nb.schema.values import prepare
from wiro_nb.services import catalogue
from wiro_nb.session.lineage import chain_text
from wiro_nb.session.manager import Manager
from wiro_nb.session.submission import Batch

SMALL: dict[str, dict[str, Any]] = {
    "wiro/animate-diff": {
        "prompt": "a fox",
        "frameNumber": 6,
        "steps": 2,
        "width": 256,
        "height": 256,
        "seed": "",
    },
    "wiro/wan2.2-effects-extra": {"seed": ""},
    "pruna/vace": {"prompt": "a fox", "frameNum": 5, "seed": ""},
    "Wan-AI/Wan2.2-TI2V-5B-text-to-video": {"prompt": "a fox", "numFrames": 5, "steps": 2, "seed": ""},
    "wiro/SkyReels-V1": {"prompt": "a fox", "numFrames": 5, "steps": 2},
}


def submit(manager: Manager, model: str = WAN, **values: Any) -> Run:
    return submit_request(manager, manager.prepare(model, {"prompt": "a cat", **values}), fresh=True).wait(300)


def again(manager: Manager, source: str | Path, **overrides: Any) -> Run:
    plan = replay.plan_rerun(manager, find_source(manager, source), overrides)
    return send(manager, plan, fresh=True).wait(300)


def send(manager: Manager, plan: Replay, *, fresh: bool = False) -> Run:
    """Sends a replay as every door does."""
    batch = Batch(require_ready([plan]), Origin(), [plan.parent], fresh=fresh, is_rerun=True)
    return manager.submit(batch)[0].run


def notebook_of(path: Path, *runs: Run) -> Path:
    """A notebook whose outputs were cleared, with the runs' records in its metadata."""
    records = {run.id: run.record or {} for run in runs}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"wiro": merge_runs(None, records)}, "cells": []}
    path.write_text(json.dumps(content), "utf-8")
    return path


def forge(run: Run, folder: Path, **changes: Any) -> Path:
    """A sidecar from elsewhere: a whole, sealed record that says something else."""
    folder.mkdir(exist_ok=True)
    write_sidecar(folder, add_hash({**(run.record or {}), **changes}))
    return folder / "run.json"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    from PIL import Image

    path = tmp_path / "photo of mine.png"
    Image.new("RGB", (64, 64), "teal").save(path)
    return path


@pytest.fixture(scope="module")
def painter(start_shared_sandbox: Callable[..., Any]) -> Any:
    """A sandbox that really paints, as fast as it can."""
    return start_shared_sandbox("--speed", "50", "--balance", "1000")


FULL_SIZE = "wiro/wan2.2-effects-extra"
"""Has no inputs that make its clip smaller."""


@pytest.mark.parametrize(
    "model",
    [pytest.param(model, marks=pytest.mark.slow) if model == FULL_SIZE else model for model in sorted(SMALL)],
)
def test_a_replay_has_the_same_frames(
    model: str, painter: Any, point_at: Callable[[Any], None], make_manager: Callable[..., Manager], photo: Path
) -> None:
    """For every bundled model: the clip alone, its seed drawn at random, gives the same clip again."""
    point_at(painter)
    manager = make_manager()
    schema = find_bundled(model)
    assert schema is not None
    files = {item.id: photo for item in schema.parameters if item.is_file and item.required}
    first = submit_request(manager, manager.prepare(model, {**SMALL[model], **files})).wait(300)
    assert first.path is not None
    second = again(manager, first.path)
    assert second.path is not None
    assert second.id != first.id
    assert second.parameters == first.parameters
    found = compare_sides(find_side(manager, first.path), find_side(manager, second.id))
    assert found.is_same
    assert found.settings == {}
    assert second.record is not None
    assert second.record["parent"] == {"run_id": first.id, "output": None}
    if second.record["seed"] is not None:
        assert first.record is not None
        assert not first.record["seed"]["pinned"]
        assert second.record["seed"] == {**first.record["seed"], "pinned": True}


def test_every_bundled_model_is_among_them() -> None:
    assert {schema.slug for schema in bundled_models()} == set(SMALL)


def test_another_seed_has_other_frames_and_a_figure_says_how_far_apart(
    painter: Any, point_at: Callable[[Any], None], make_manager: Callable[..., Manager]
) -> None:
    point_at(painter)
    manager = make_manager()
    first = submit_request(manager, manager.prepare(WAN, SMALL[WAN])).wait(300)
    other = again(manager, first.short_id, seed="8")
    (found,) = compare_sources(manager, [other.id])
    assert not found.is_same
    assert found.settings is not None
    assert list(found.settings) == ["seed"]
    assert 5 < (found.outputs[0].mean_psnr_db or 0) < 60
    assert len(found.outputs[0].psnr_db) == 5


def test_a_clip_of_the_sandbox_says_what_was_asked_for(painter: Any, tmp_path: Path) -> None:
    made = painter.call("/Run/" + WAN, {**SMALL[WAN], "seed": "5"})
    deadline = time.monotonic() + 60
    status = ""
    while status != "task_postprocess_end":
        assert time.monotonic() < deadline
        (task,) = painter.call("/Task/Detail", {"taskid": made["taskid"]})["tasklist"]
        status = task["status"]
    folders = sorted((painter.data).rglob("*.mp4"), key=lambda path: path.stat().st_mtime)
    told = json.loads(dict(read_tags(folders[-1]))["comment"])
    assert told["sandbox"]["parameters"]["seed"] == "5"
    with pytest.raises(BadRecord, match="no run record"):
        read_embedded(folders[-1])


def test_every_kind_of_remains_makes_the_same_request(manager: Manager, own_folders: Path, photo: Path) -> None:
    first = submit(manager, VACE, inputImage=photo)
    assert first.path is not None
    lone = own_folders / "renamed.mp4"
    shutil.copy(first.path, lone)
    notebook = notebook_of(own_folders / "cleared.ipynb", first)
    sources = [first.id, first.id[:12], first.short_id, first.path, lone, first.path.parent / "run.json"]
    sources += [first.path.parent, notebook, f"{notebook}#{first.short_id}"]
    for source in sources:
        plan = replay.plan_rerun(manager, find_source(manager, source))
        assert plan.prepared is not None, source
        assert plan.prepared.parameters == first.parameters
        (image,) = plan.prepared.files["inputImage"]
        assert (image.name, image.sha256) == (photo.name, first.files["inputImage"][0]["sha256"])
    second = again(manager, notebook)
    assert second.files == first.files
    assert second.snapshot.parent == {"run_id": first.id, "output": None}


def test_without_its_ledger_a_clip_and_its_store_are_enough(
    manager: Manager,
    own_folders: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_manager: Callable[..., Manager],
) -> None:
    """Somebody else's machine: no ledger, another folder, only what was handed over."""
    first = submit(manager, VACE, inputImage=photo)
    handed = tmp_path / "handed over"
    shutil.copytree(own_folders / "wiro_outputs", handed / "wiro_outputs")
    clip = next(handed.rglob("0.mp4"))
    photo.unlink()
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "other data"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    other = make_manager()
    second = again(other, clip)
    assert second.parameters == first.parameters
    assert second.files == first.files
    shutil.rmtree(handed / "wiro_outputs" / ".inputs")
    shutil.rmtree(tmp_path / "elsewhere" / "wiro_outputs")
    plan = replay.plan_rerun(other, find_source(other, clip))
    assert plan.prepared is None
    with pytest.raises(InvalidFile) as caught:
        send(other, plan)
    assert "inputImage=PATH" in caught.value.hint
    assert first.files["inputImage"][0]["sha256"][:8] in " ".join(caught.value.details)


def test_an_unfinished_or_failed_run_can_be_made_again(manager: Manager) -> None:
    failed = submit_request(manager, manager.prepare(WAN, {"prompt": "[fail] a cat"})).wait(60, check=False)
    plan = replay.plan_rerun(manager, find_source(manager, failed.short_id), {"prompt": "a cat"})
    assert plan.prepared is not None
    held = submit_request(manager, manager.prepare(WAN, {"prompt": "[hold] a cat"}))
    source = find_source(manager, held.id)
    assert check_record(source.record)["parameters"]["prompt"] == "[hold] a cat"
    assert find_source(manager, failed.id).record == failed.record
    with pytest.raises(UnknownRun, match="is not done: "):
        find_run(manager, source)
    held.cancel()
    held.wait(300)


@pytest.mark.parametrize("place", ["../../etc/passwd", "/etc/passwd", "~/.netrc", "run:last"])
def test_a_foreign_record_reads_nothing_of_this_machine(manager: Manager, own_folders: Path, place: str) -> None:
    first = submit(manager, VACE)
    item = {"name": place, "sha256": "d" * 64, "size_bytes": 3, "url": place}
    for number, changes in enumerate(
        ({"files": {"inputImage": [item]}}, {"parameters": {"prompt": "x", "inputImage": place}})
    ):
        sidecar = forge(first, own_folders / f"foreign{number}", **changes)
        plan = replay.plan_rerun(manager, find_source(manager, sidecar))
        assert plan.prepared is None
        assert [(item.parameter, item.kind) for item in plan.drift if item.blocks] == [
            ("inputImage", "file missing")
        ]


def test_a_record_that_names_another_service_goes_to_the_one_in_use(
    manager: Manager, sandbox: Any, own_folders: Path
) -> None:
    first = submit(manager)
    asked = sandbox.audit()["requests"].get("Run", 0)
    evil = {"name": "elsewhere", "base_url": "https://collector.invalid/v1"}
    source = find_source(manager, forge(first, own_folders / "foreign", service=evil))
    plan = replay.plan_rerun(manager, source)
    assert "made on elsewhere; this would go to cloud" in plan.lines
    second = send(manager, plan).wait(300)
    assert second.snapshot.base_url == manager.choice.service.base_url
    assert "collector" not in json.dumps(second.record)
    assert sandbox.audit()["requests"]["Run"] == asked + 1


def test_no_output_is_looked_for_outside_the_folders_of_its_record(tmp_path: Path) -> None:
    holder, outside = tmp_path / "a" / "b" / "c" / "d" / "run.json", tmp_path / "0.mp4"
    holder.parent.mkdir(parents=True)
    outside.write_bytes(b"mine")
    (holder.parent / "link.mp4").symlink_to(outside)
    (holder.parent / "1.mp4").write_bytes(b"a clip")
    for name in ("../../../../0.mp4", str(outside), "a:b", "link.mp4", "", None):
        assert locate_output(holder, {"name": name}) is None
    assert locate_output(holder, {"name": "1.mp4"}) == holder.parent / "1.mp4"


def test_a_model_the_service_does_not_have_says_where_it_was_made(manager: Manager, own_folders: Path) -> None:
    first = submit(manager)
    model = {"slug": "no/such", "run_path": "no/such", "schema_sha256": None}
    source = find_source(manager, forge(first, own_folders / "foreign", model=model))
    with pytest.raises(UnknownModel, match="made on cloud"):
        replay.plan_rerun(manager, source)


def test_changed_inputs_are_named_with_the_schema_of_the_time(manager: Manager, own_folders: Path) -> None:
    made = submit(manager)
    present = find_bundled(WAN)
    assert present is not None
    assert made.record is not None
    fps = next(item for item in present.parameters if item.id == "fps")
    changed = [replace(item, default="99") if item.id == "steps" else item for item in present.parameters]
    older = replace(present, parameters=(*changed, replace(fps, id="rate")))
    catalogue.archive_schema(older, data_dir())
    model = {**made.record["model"], "schema_sha256": older.sha256}
    parameters = {**made.record["parameters"], "rate": "16"}
    source = find_source(manager, forge(made, own_folders / "older", model=model, parameters=parameters))
    plan = replay.plan_rerun(manager, source)
    assert {(item.parameter, item.kind) for item in plan.drift} == {
        ("rate", "gone"),
        ("steps", "default changed"),
    }
    with pytest.raises(InvalidParameter) as caught:
        send(manager, plan)
    assert caught.value.hint.endswith(" rate=")
    settled = replay.plan_rerun(manager, source, {"rate": ""})
    assert settled.prepared is not None
    assert settled.prepared.parameters["steps"] == made.parameters["steps"]


def test_schemas_are_kept_by_hash_and_an_altered_one_is_not_believed(tmp_path: Path) -> None:
    schema = ModelSchema(slug="a/b", run_path="a/b", title="b")
    catalogue.archive_schema(schema, tmp_path)
    assert catalogue.find_schema(schema.sha256, tmp_path) == schema
    (path,) = (tmp_path / "schemas").iterdir()
    path.write_text(path.read_text().replace("a/b", "c/d"))
    assert catalogue.find_schema(schema.sha256, tmp_path) is None
    for sha256 in (None, "../../etc/passwd", "0" * 64):
        assert catalogue.find_schema(sha256, tmp_path) is None
    bundled = find_bundled(WAN)
    assert bundled is not None
    assert catalogue.find_schema(bundled.sha256, tmp_path) == bundled


def test_unclear_and_missing_sources_say_what_to_type(manager: Manager, own_folders: Path) -> None:
    first, second = submit(manager), submit(manager, seed="8")
    notebook = notebook_of(own_folders / "two.ipynb", first, second)
    with pytest.raises(UnknownRun) as caught:
        find_source(manager, notebook)
    assert f"two.ipynb#{second.short_id}" in caught.value.hint
    assert len(find_sources(manager, notebook)) == 2
    with pytest.raises(UnknownRun, match="fits 2 runs"):
        find_source(manager, first.id[:4])
    with pytest.raises(BadRecord, match="does not exist"):
        find_source(manager, "gone.mp4")
    for name, content in (("a.ipynb", "{"), ("b.mp4", "cut"), ("c.json", '{"format": 9}')):
        (own_folders / name).write_text(content)
        with pytest.raises(BadRecord):
            find_source(manager, own_folders / name)


def test_a_record_says_how_its_clip_is_known_with_the_record_in_it(manager: Manager) -> None:
    run = submit(manager)
    assert run.path is not None
    assert run.record is not None
    (output,) = run.record["outputs"]
    assert output["media_sha256"] == hash_media(run.path)
    assert output["sha256"] == run.outputs[0].sha256 != run.outputs[0].stored_sha256
    findings = verify_paths([run.path], read_ledger=lambda run_id: run.record)
    assert {item.level for item in findings} == {"ok"}


def test_a_switched_off_record_stays_out_of_the_clip_and_is_said(
    sandbox: Any, point_at: Callable[[Any], None], make_manager: Callable[..., Manager]
) -> None:
    point_at(sandbox)
    manager = make_manager(settings=replace(QUICK, embed_record=False))
    run = submit(manager)
    assert run.path is not None
    with pytest.raises(BadRecord):
        read_embedded(run.path)
    sidecar = json.loads((run.path.parent / "run.json").read_text("utf-8"))
    assert sidecar["notes"] == {"record_not_in": {"0.mp4": "switched off"}}
    assert run.outputs[0].stored_sha256 is None
    assert find_source(manager, run.path).kind == "sidecar"


def test_a_run_made_from_another_names_it_and_the_chain_is_told(manager: Manager, own_folders: Path) -> None:
    first = submit(manager)
    frame = first.frame(-1)
    second = submit(manager, VACE, inputImage=frame)
    assert second.snapshot.parent == {"run_id": first.id, "output": 0, "frame": -1}
    assert second.record is not None
    assert second.record["parent"] == second.snapshot.parent
    saved = own_folders / "saved by hand.png"
    frame.save(saved)
    by_file = submit(manager, VACE, inputImage=saved)
    assert by_file.snapshot.parent == second.snapshot.parent
    third = again(manager, second.short_id)
    told = chain_text(manager.ledger, third.snapshot)
    assert told == (
        f"{third.short_id} made again from {second.short_id} ({VACE}), "
        f"from the last frame of {first.short_id} ({WAN})"
    )
    assert chain_text(manager.ledger, first.snapshot) == ""
    effects = submit(manager, VACE, inputImage=f"run:{first.short_id}")
    assert effects.snapshot.parent == second.snapshot.parent


def test_a_frame_of_a_second_file_is_known_as_such_where_the_first_is_gone(manager: Manager) -> None:
    (kept,) = submit(manager).outputs
    first = manager.runs(limit=1)[0]
    gone = replace(kept, name="gone.mp4", path=str(kept.path).replace(kept.name, "gone.mp4"), frames=2)
    manager.ledger.amend(first.id, outputs=(gone, kept))
    frame = manager.get(first.id).frame(-1)
    parent = {"run_id": first.id, "output": 1, "frame": -1}
    assert submit(manager, VACE, inputImage=frame).snapshot.parent == parent


def test_a_chain_ends_after_ten_and_never_runs_in_a_circle(manager: Manager) -> None:
    rows = [submit(manager).snapshot]
    for _ in range(12):
        parent = {"run_id": rows[-1].run_id, "output": None}
        run = submit_request(manager, manager.prepare(WAN, {"prompt": "a cat"}), parent=parent, fresh=True).wait(
            300
        )
        rows.append(run.snapshot)
    told = chain_text(manager.ledger, rows[-1])
    assert told.count("made again from") == 10
    assert told.endswith("and further back")
    circle = replace(rows[0], parent={"run_id": rows[0].run_id, "output": None})
    assert chain_text(manager.ledger, circle) == ""
    lost = replace(rows[0], parent={"run_id": "01JD7Z5Q4M8K3T9V2W6X0Y1ABC", "output": 0})
    assert chain_text(manager.ledger, lost).endswith("from output 0 of y1abc (not in this ledger)")


def test_comparing_by_what_was_sent_and_what_is_missing(manager: Manager, own_folders: Path) -> None:
    first = submit(manager)
    with pytest.raises(InputError, match=f"{first.short_id} was not made from another run: name two to compare"):
        compare_sources(manager, [first.id])
    second = again(manager, first.short_id)
    assert first.path is not None
    assert second.path is not None
    found = compare_sides(find_side(manager, first.id), find_side(manager, second.path.parent / "run.json"))
    assert found.is_same
    assert "byte for byte" in found.sentences[0]
    assert compare_clips(first.path, second.path).verdict == "same frames"
    bare = own_folders / "bare.mp4"
    bare.write_bytes(first.path.read_bytes().replace(b'{"wiro_nb"', b'{"holiday"'))
    untold = compare_sides(find_side(manager, bare), find_side(manager, second.id))
    assert untold.settings is None
    assert untold.is_same
    assert "bare.mp4 carries no record" in untold.sentences[-1]
    second.path.unlink()
    gone = compare_sides(find_side(manager, first.id), find_side(manager, second.id))
    assert not gone.is_same
    assert f"{second.short_id} has no such file here" in gone.sentences[0]
    assert json.loads(json.dumps(gone.to_dict()))["outputs"][0]["verdict"] is None


def test_verify_knows_the_tokens_of_the_ledger_and_damaged_files(manager: Manager, own_folders: Path) -> None:
    run = submit(manager)
    assert run.path is not None
    assert run.snapshot.task_token
    assert {item.level for item in verify(manager, [own_folders], ledger=True)} == {"ok"}
    leaking = own_folders / "leaking.ipynb"
    leaking.write_text(json.dumps({"cells": [{"source": f"token = '{run.snapshot.task_token}'"}], "metadata": {}}))
    assert [item.kind for item in verify(manager, [leaking]) if item.level == "problem"] == ["secret"]
    run.path.write_bytes(run.path.read_bytes() + b"\0")
    problems = [item for item in verify(manager, [], ledger=True) if item.level == "problem"]
    assert [item.where for item in problems] == [f"run {run.short_id}"]


def test_a_recorded_empty_choice_is_planned_as_it_was_sent() -> None:
    style = Parameter("style", "select", "Style", default="a", options=(Option("", "None"), Option("a", "A")))
    schema = ModelSchema("x/y", "x/y", "Y", parameters=(style,))
    record: dict[str, Any] = {
        "model": {"slug": "x/y"}, "service": {"name": "sandbox"}, "parameters": {"style": ""}, "files": {},
    }  # fmt: skip
    plan = plan_replay(Source(record, "a run", "ledger"), schema)
    assert check_prepared(plan, prepare(schema, plan.values)).drift == ()


def test_settings_are_compared_over_all_runs_not_the_first_two() -> None:
    requests = ({"seed": 1, "steps": 4}, {"seed": 1, "steps": 4}, {"seed": 2, "steps": 4, "fps": 8})
    assert diff_settings(*requests) == {"seed": (1, 1, 2), "fps": (None, None, 8)}
