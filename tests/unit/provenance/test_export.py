"""Runs as an RO-Crate and as a table."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from rocrate.rocrate import ROCrate

from tests.unit.provenance.clips import make_clip
from tests.unit.provenance.test_record import make_record
from wiro_nb.errors import InputError
from wiro_nb.files import hash_file
from wiro_nb.provenance.export import CrateRun, export_crate, write_csv
from wiro_nb.provenance.find import find_records
from wiro_nb.provenance.record import add_hash

OTHER_ID = "01JD7Z5Q4M8K3T9V2W6X0Y1ABD"


def make_runs(folder: Path) -> list[CrateRun]:
    clip = make_clip(folder / "0.mp4")
    outputs = [{**make_record()["outputs"][0], "sha256": hash_file(clip)}]
    first = make_record(outputs=outputs, files={})
    second = make_record(outputs=outputs, files={}, run_id=OTHER_ID, parameters={"prompt": "=1+1", "steps": 20})
    return [CrateRun(record, [clip]) for record in (first, second)]


def test_the_crate_is_read_by_the_reference_library(tmp_path: Path) -> None:
    image = tmp_path / "input.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    runs = make_runs(tmp_path)
    item = {"name": "input.png", "sha256": hash_file(image), "size_bytes": 8, "url": None}
    runs[0] = CrateRun(add_hash({**runs[0].record, "files": {"inputImage": [item]}}), runs[0].files)
    done = export_crate(runs, tmp_path / "crate", title="Two clips", find_input=lambda sha256: image)
    assert done.left_out == ()
    crate = ROCrate(str(tmp_path / "crate"))
    assert (tmp_path / "crate" / "inputs" / f"{hash_file(image)}.png").is_file()
    assert crate.name == "Two clips"
    assert crate.mainEntity.id == "make-again.ipynb"
    kinds = [entity.type for entity in crate.contextual_entities]
    assert kinds.count("CreateAction") == 3
    for entity in crate.data_entities:
        path = tmp_path / "crate" / unquote(entity.id)
        assert path.is_file()
        assert str(path.stat().st_size) == entity["contentSize"]


def test_the_crate_keeps_the_profile(tmp_path: Path) -> None:
    """What Workflow Run Crate 0.5 asks for: profiles, a workflow as main entity, actions that mention it."""
    path = export_crate(make_runs(tmp_path), tmp_path / "crate", title="Two clips").path
    graph = {entity["@id"]: entity for entity in json.loads(path.read_text("utf-8"))["@graph"]}
    root = graph["./"]
    assert {item["@id"] for item in root["conformsTo"]} >= {
        "https://w3id.org/ro/wfrun/process/0.5",
        "https://w3id.org/ro/wfrun/workflow/0.5",
    }
    workflow = graph[root["mainEntity"]["@id"]]
    assert workflow["@type"] == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert graph[workflow["programmingLanguage"]["@id"]]["@type"] == "ComputerLanguage"
    actions = [graph[item["@id"]] for item in root["mentions"]]
    assert [item["instrument"]["@id"] for item in actions].count(workflow["@id"]) == 1
    for action in actions:
        for item in [action["instrument"], *action["object"], *action["result"]]:
            assert item["@id"] in graph
    assert {item["@id"] for item in root["hasPart"]} <= set(graph)


def test_the_crate_has_what_the_profiles_recommend(tmp_path: Path) -> None:
    """As the SHACL shapes of rocrate-validator say; who made it (`agent`) is not recorded."""
    image = tmp_path / "input.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n")
    item = {"name": "input.png", "sha256": hash_file(image), "size_bytes": 8, "url": None}
    failed = make_record(
        run_id="01JD7Z5Q4M8K3T9V2W6X0Y1ABE",
        status="failed",
        exit_code="1",
        outputs=[],
        parent={"run_id": "01JD7Z5Q4M8K3T9V2W6X0Y1ZZZ"},
        files={"inputImage": [item]},
        times={**make_record()["times"], "finished": datetime(2026, 11, 25, 12, 0, tzinfo=UTC)},
    )
    runs = [*make_runs(tmp_path), CrateRun(failed)]
    path = export_crate(runs, tmp_path / "crate", title="x", find_input=lambda sha256: image).path
    entities = json.loads(path.read_text("utf-8"))["@graph"]
    graph = {entity["@id"]: entity for entity in entities}
    moment = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?\+\d{2}:\d{2}")
    actions = [entity for entity in entities if entity["@type"] == "CreateAction"]
    for action in actions:
        assert action["name"]
        assert action["description"]
        assert moment.fullmatch(action["startTime"])
        assert action["instrument"]["@id"] in graph
    for entity in entities:
        if entity["@type"] == "SoftwareApplication":
            assert entity["@id"] == entity["url"]
            assert entity["url"].startswith("http")
        if entity["@id"].startswith("inputs/"):
            assert entity["encodingFormat"] == "image/png"
    assert graph[graph["./"]["license"]["@id"]]["@type"] == "CreativeWork"
    assert graph["#run-01JD7Z5Q4M8K3T9V2W6X0Y1ZZZ"]["@type"] == "CreativeWork", "it is not in the crate"
    (bad,) = (item for item in actions if item.get("actionStatus") == "http://schema.org/FailedActionStatus")
    assert "result" not in bad
    assert "exit code 1" in bad["error"]
    assert bad["endTime"] == graph["#execution"]["endTime"] == "2026-11-25T12:00:00.000+00:00"
    assert graph[graph["./"]["mainEntity"]["@id"]]["version"]
    assert graph["#execution"]["description"] == "3 runs, which made 2 files"


def test_the_crate_can_make_its_runs_again(tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    export_crate(runs, tmp_path / "crate", title="x")
    notebook = nbformat.read(tmp_path / "crate" / "make-again.ipynb", as_version=4)
    nbformat.validate(notebook)
    for run, cell in zip(runs, notebook.cells[1:], strict=True):
        source = cell.source.removeprefix("%wiro rerun ")
        assert find_records(tmp_path / "crate" / source)[0].record == run.record


def test_the_notebook_of_the_runs_is_the_workflow(tmp_path: Path) -> None:
    notebook = tmp_path / "mine.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), notebook)
    path = export_crate(make_runs(tmp_path), tmp_path / "crate", title="x", notebook=notebook).path
    assert (path.parent / "mine.ipynb").read_bytes() == notebook.read_bytes()


def test_a_folder_in_use_and_nothing_to_export_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        export_crate(make_runs(tmp_path), tmp_path / "full", title="x")
    with pytest.raises(InputError, match="no run"):
        export_crate([], tmp_path / "new", title="x")


def test_a_strangers_lineage_may_break_off_anywhere(tmp_path: Path) -> None:
    record = make_record(parent={"run_id": "01JD7Z5Q4M8K3T9V2W6X0Y1ZZZ", "parent": {"output": 0}})
    assert export_crate([CrateRun(record)], tmp_path / "crate", title="x").path.is_file()


def test_an_output_without_a_path_is_named_in_the_table() -> None:
    assert ",there.mp4," in write_csv([make_record(outputs=[{"name": "there.mp4", "content_type": "video/mp4"}])])


def test_a_strangers_record_packs_no_file_but_the_one_whose_hash_it_names(tmp_path: Path) -> None:
    secret, clip = tmp_path / ".env", make_clip(tmp_path / "0.mp4")
    secret.write_text("WIRO_API_KEY=abc")
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    output = make_record()["outputs"][0]
    outputs = [
        {**output, "name": ".env", "path": ".env", "sha256": "0" * 64},
        {**output, "name": "none", "path": ".env", "sha256": None},
        {**output, "name": "link.mp4", "path": "link.mp4", "sha256": hash_file(clip)},
        {**output, "name": "gone.mp4", "path": "gone.mp4"},
    ]
    item = {"name": ".env", "sha256": "1" * 64, "size_bytes": 16, "url": None}
    record = make_record(outputs=outputs, files={"inputImage": [item]})
    run = CrateRun(record, [secret, secret, link, None])
    done = export_crate([run], tmp_path / "crate", title="x", find_input=lambda sha256: secret)
    packed = [path for path in (tmp_path / "crate").rglob("*") if path.is_file()]
    assert not any(b"WIRO_API_KEY" in path.read_bytes() for path in packed)
    assert {path.name for path in packed} == {"ro-crate-metadata.json", "make-again.ipynb", "run.json"}
    assert [line.partition(": ")[2] for line in done.left_out] == [
        ".env does not have the recorded content; the crate only names it",
        "none does not have the recorded content; the crate only names it",
        "link.mp4 is a link; the crate only names it",
        "gone.mp4 is not here; the crate only names it",
    ]


def test_the_table_has_a_row_a_run_and_no_formulas(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(write_csv([run.record for run in make_runs(tmp_path)]))))
    assert [row["run_id"][-1] for row in rows] == ["C", "D"]
    assert rows[0]["setting.prompt"] == "a lighthouse"
    assert rows[1]["setting.prompt"] == "'=1+1"
    assert rows[0]["estimated_usd"] == "0.040"
