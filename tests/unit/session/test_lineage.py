"""Which run a request continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.manager_tools import VACE, submit, submit_request
from wiro_nb.cli import main
from wiro_nb.execution.run import Run
from wiro_nb.films.extend import plan_extension
from wiro_nb.notebook.run.submit import parent_of
from wiro_nb.presentation.reproduction import tree_output
from wiro_nb.session.lineage import tree
from wiro_nb.session.manager import Manager


def test_an_output_given_as_an_input_names_the_run_that_made_it(manager: Manager) -> None:
    """Its content does not: a model that takes pictures is sent a frame of the clip."""
    run = submit(manager, "a cat").wait(60)
    assert parent_of({"inputImage": run.outputs[0]}, manager) == {"run_id": run.id, "output": 0}
    assert parent_of({"inputImage": [run]}, manager) == {"run_id": run.id, "output": 0}
    assert parent_of({"prompt": "a dog"}, manager) is None


def extend(manager: Manager, run: Run, prompt: str) -> Run:
    request = plan_extension(manager, run, {"prompt": prompt}, model=VACE)
    parent = {"run_id": run.id, "output": 0, "frame": -1}
    return submit_request(manager, manager.prepare(*request), parent=parent).wait(60)


def test_record_tree_and_crate_say_the_whole_line(manager: Manager, capsys: Any) -> None:
    first = submit(manager, "a root").wait(60)
    second = extend(manager, first, "a branch")
    third, other = extend(manager, second, "a leaf"), extend(manager, first, "<b>another</b>")
    assert third.record is not None
    line = {"run_id": first.id, "output": 0, "frame": -1}
    assert third.record["parent"] == {"run_id": second.id, "output": 0, "frame": -1, "parent": line}

    found = tree(manager.ledger, third.snapshot)
    assert found.to_dict() == tree(manager.ledger, first.snapshot).to_dict()
    assert found.run_id == first.id
    assert [child.run_id for child in found.children] == [second.id, other.id]
    assert [child.run_id for child in found.children[0].children] == [third.id]
    shown = tree_output(found, third.id)
    assert f"<b>{third.short_id}</b>" in shown.html
    assert "<b>another" not in shown.html
    assert f"    - {second.short_id}  from the last frame, {VACE}, done, a branch" in shown.text
    assert main(["show", third.short_id, "--tree"]) == 0
    assert f"      * {third.short_id}" in capsys.readouterr().out
    assert main(["show", third.short_id, "--tree", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found.to_dict()

    assert main(["export", third.short_id, second.short_id, "--to", "crate"]) == 0
    graph = json.loads(Path("crate/ro-crate-metadata.json").read_text())["@graph"]
    entities = {item["@id"]: item for item in graph}
    results = {run.id: entities[f"#run-{run.id}"]["result"] for run in (second, third)}
    assert entities[results[third.id][0]["@id"]]["isBasedOn"] == results[second.id]
    assert entities[results[second.id][0]["@id"]]["isBasedOn"] == [{"@id": f"#run-{first.id}"}]
    assert "not in this crate" in entities[f"#run-{first.id}"]["name"]
