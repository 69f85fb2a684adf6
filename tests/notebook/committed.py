"""The form in which executed tutorials are committed: what every viewer shows, and nothing of a machine.

A viewer on a code host drops players, styles and pictures inside HTML, but shows an output that is a
picture, and one that is text. So each output is kept as these: the poster first, then the facts as text. The
record stays in the metadata of the output it belongs to.
"""

from __future__ import annotations

import configparser
import copy
import json
import re
from typing import Any

from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat.notebooknode import from_dict

from tests.conftest import SandboxProcess
from tests.notebook.tutorials import SANITIZE, Executed, read_tutorial
from wiro_nb.provenance.find import records_in_notebook
from wiro_nb.provenance.record import check_record

PICTURE, TEXT = "image/jpeg", "text/plain"
IGNORED = "nbval-ignore-output"
GROWTH_BYTES = 30_000
TABLES_BYTES = 60_000  # lists of runs and models, the help of a model


def for_readers(notebook: Any) -> Any:
    """Returns an executed notebook with its outputs in that form; the notebook itself is changed."""
    one_stream = CoalesceStreamsPreprocessor()
    for name in ("widgets", "papermill"):
        notebook.metadata.pop(name, None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for name in ("execution", "papermill"):
            cell.metadata.pop(name, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if output.get("name") != "stderr"]
            cell.outputs = [from_dict(part) for output in kept for part in _parts(output)]
            one_stream.preprocess_cell(cell, {}, 0)  # how a kernel cuts what is printed is a matter of time
    return notebook


def _parts(output: Any) -> list[dict[str, Any]]:
    """Returns the outputs that stand for one: a stream as it is, a picture and its text one after the other."""
    if "data" not in output:
        return [dict(output)]
    text = output["data"][TEXT]
    record = {name: value for name, value in output.get("metadata", {}).items() if name == "wiro"}
    if PICTURE not in output["data"]:
        return [{**output, "data": {TEXT: text}, "metadata": record}]
    poster = {PICTURE: output["data"][PICTURE], TEXT: text.splitlines()[0]}
    return [
        {"output_type": "display_data", "data": poster, "metadata": record},
        {"output_type": "display_data", "data": {TEXT: text}, "metadata": {}},
    ]


def shown(notebook: Any) -> dict[str, list[str]]:
    """Returns what a notebook in that form shows, by the id of the cell, without what differs from run to run.

    No number counts: the tests' sandbox paints smaller clips, and quicker. Cells that are tagged
    `nbval-ignore-output` are left out: theirs depends on the pictures, or on what else was run before.
    """
    rules = configparser.RawConfigParser()
    rules.read(SANITIZE, "utf-8")
    pairs = [(re.compile(rf"\b{short}\b"), "RUN") for short in _short_ids(notebook)]
    pairs.append((re.compile(r"(wiro_outputs/\S+?-)[0-9a-hjkmnp-tv-z]{5}/"), r"\1RUN/"))
    pairs += [(re.compile(rules[name]["regex"]), rules[name]["replace"]) for name in rules.sections()]
    pairs += [(re.compile(r"\b[0-9a-f]{16}\b"), "HASH"), (re.compile(r"(?<![A-Za-z_])\d+(\.\d+)?"), "N")]

    def settle(text: str) -> str:
        for pattern, replacement in pairs:
            text = pattern.sub(replacement, text)
        return " ".join(text.split())

    return {
        cell["id"]: [_kind(output) + settle(_text(output)) for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code" and IGNORED not in cell.metadata.get("tags", [])
    }


def _short_ids(notebook: Any) -> set[str]:
    records = records_in_notebook(notebook).values()
    parents = [record["parent"] for record in records if record["parent"]]
    return {item["run_id"][-5:].lower() for item in [*records, *parents]}


def _kind(output: Any) -> str:
    return "picture: " if PICTURE in output.get("data", {}) else ""


def _text(output: Any) -> str:
    return str(output.get("text") or output["data"][TEXT])


def check_tutorial(name: str, done: Executed, service: SandboxProcess) -> None:
    """Checks an executed tutorial: whole records, files, size, no secret, and the outputs that are committed."""
    assert done.records
    for record in done.records:
        check_record(record)
        assert record["status"] == "succeeded"
        assert record["cell"] is None or "parameters" not in record["cell"]
        for output in record["outputs"]:
            assert (done.folder / output["path"]).stat().st_size > 0
    text = json.dumps(done.notebook.cells)
    own = len(json.dumps([cell.get("outputs") for cell in done.notebook.cells]))
    assert own < GROWTH_BYTES * len(done.records) + TABLES_BYTES
    assert "data:video" not in text
    assert str(done.folder) not in text
    for secret in (service.api_key, service.api_secret, service.key_only_api_key):
        assert secret not in text
    fresh, kept = shown(for_readers(copy.deepcopy(done.notebook))), shown(read_tutorial(name))
    changed = [f"{cell}: {kept.get(cell)} is now {now}" for cell, now in fresh.items() if kept.get(cell) != now]
    assert kept.keys() == fresh.keys()
    assert not changed, "\n".join([*changed, f"python -m tests.notebook.refresh_tutorials {name[:2]}"])
