"""Exports runs as a Workflow Run RO-Crate: a folder with clips, inputs and records, described in JSON-LD.

The workflow is the notebook the runs were made in; runs without one get a small notebook that makes
them again from their records.
Source: RO-Crate 1.1 (https://w3id.org/ro/crate/1.1); Workflow Run Crate 0.5
(https://w3id.org/ro/wfrun/workflow/0.5) and Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from wiro_nb.errors import InputError
from wiro_nb.files import hash_file, write_atomically
from wiro_nb.media.decode import sniff_file
from wiro_nb.provenance.embed import content_hashes, recorded_hashes
from wiro_nb.provenance.reading import SIDECAR_NAME, write_sidecar

_OUTPUTS_FOLDER = "wiro_outputs"
METADATA_NAME = "ro-crate-metadata.json"
_CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
_JUPYTER = "https://jupyter.org/"
_STATUS = {
    "succeeded": "http://schema.org/CompletedActionStatus",
    "failed": "http://schema.org/FailedActionStatus",
    "cancelled": "http://schema.org/FailedActionStatus",
}

_ENDS = {"succeeded": "succeeded", "failed": "failed", "cancelled": "was cancelled"}

Entity = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CrateRun:
    """A run to export: its record, and where its output files are now, by position; None for one not found."""

    record: Mapping[str, Any]
    files: Sequence[Path | None] = ()


@dataclass(frozen=True, slots=True)
class Export:
    """A crate that was written: the path of its metadata, and one sentence for each file left out."""

    path: Path
    left_out: tuple[str, ...]


def export_crate(
    runs: Sequence[CrateRun],
    target: Path,
    *,
    title: str,
    notebook: Path | None = None,
    find_input: Callable[[str], Path | None] = lambda sha256: None,
) -> Export:
    """Writes the crate.

    A record may come from a stranger, so it names files only by their hash: a file is copied when its content is
    the recorded one and it is no link.

    Args:
        runs: At least one.
        target: The crate's folder; made when missing, must be empty.
        title: Name of the crate.
        notebook: The notebook the runs were made in, to be copied in.
        find_input: Looks up input files by SHA-256; those not found are named without their content.

    Raises:
        InputError: There is nothing to export, or the folder is in use or cannot be written.
    """
    if not runs:
        raise InputError("there is no run to export", hint="%wiro runs")
    problem = ""
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            problem = f"{target.name} is not empty"
        else:
            crate = _Crate(target, find_input)
            workflow = crate.add_workflow(notebook, runs)
            actions = [crate.add_run(run) for run in runs]
            crate.add_execution(workflow, runs, actions)
            path = crate.write(title, workflow, _time(max(run.record["times"]["created"] for run in runs)))
            return Export(path, tuple(dict.fromkeys(crate.left_out)))
    except OSError as error:
        problem = f"{target.name} cannot be written: {error.strerror}"
    raise InputError(problem, hint="--to NEW_FOLDER")


class _Crate:
    """Entities by id, and the files they stand for."""

    def __init__(self, folder: Path, find_input: Callable[[str], Path | None]) -> None:
        self._folder = folder
        self._find_input = find_input
        self._entities: dict[str, Entity] = {}
        self._parts: list[str] = []
        self._made: dict[str, list[str]] = {}
        self.left_out: list[str] = []

    def add_workflow(self, notebook: Path | None, runs: Sequence[CrateRun]) -> str:
        name = notebook.name if notebook else "make-again.ipynb"
        if notebook:
            shutil.copyfile(notebook, self._folder / name)
        else:
            write_atomically(self._folder / name, _replay_notebook(runs))
        language = {"name": "Jupyter Notebook", "url": {"@id": _JUPYTER}}
        self._add({"@id": _JUPYTER, "@type": "ComputerLanguage", **language})
        return self._add_file(
            name,
            {
                "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
                "name": name,
                "encodingFormat": "application/x-ipynb+json",
                "version": hash_file(self._folder / name),
                "programmingLanguage": {"@id": _JUPYTER},
            },
        )

    def add_run(self, run: CrateRun) -> str:
        """Adds a run with its model, settings, inputs, outputs and record; returns its action's id."""
        record = run.record
        times, status = record["times"], record["status"]
        base = f"runs/{record['run_id']}"
        (self._folder / base).mkdir(parents=True)
        action_id = f"#run-{record['run_id']}"
        objects = [*self._add_settings(record), *self._add_inputs(record)]
        results = self._add_outputs(run, base)
        self._made[record["run_id"]] = results
        self._add_lineage(record, results)
        sidecar = f"{base}/{SIDECAR_NAME}"
        write_sidecar(self._folder / base, record)
        self._add_file(
            sidecar,
            {
                "name": f"Record of run {record['run_id']}",
                "encodingFormat": "application/json",
                "about": {"@id": action_id},
            },
        )
        action: Entity = {
            "@id": action_id,
            "@type": "CreateAction",
            "name": f"{record['model']['slug']}, run {record['run_id']}",
            "description": f"A run of the model {record['model']['slug']} that {_ENDS.get(status, 'is not over')}",
            "instrument": {"@id": self._add_model(record)},
            "object": [{"@id": item} for item in objects],
            "startTime": _time(times["started"] or times["submitted"] or times["created"]),
            "subjectOf": {"@id": sidecar},
        }
        if results:
            action["result"] = [{"@id": item} for item in results]
        if times["finished"]:
            action["endTime"] = _time(times["finished"])
        if status in _STATUS:
            action["actionStatus"] = _STATUS[status]
        if status == "failed" and record["exit_code"]:
            action["error"] = f"The model ended with exit code {record['exit_code']}"
        self._add(action)
        return action_id

    def _add_lineage(self, record: Mapping[str, Any], results: Sequence[str]) -> None:
        """Says which run each output is based on; ancestors that are not in the crate are named."""
        later, parent = list(results), record.get("parent")
        while isinstance(parent, Mapping) and parent:
            run_id = str(parent["run_id"])
            known = self._made.get(run_id)
            named = f"#run-{quote(run_id, safe='')}"
            if not known and named not in self._entities:
                frame = f", from frame {parent['frame']}" if isinstance(parent.get("frame"), int) else ""
                self._add(
                    {"@id": named, "@type": "CreativeWork", "name": f"Run {run_id}, not in this crate{frame}"}
                )
            for item in later:
                self._entities[item]["isBasedOn"] = [{"@id": place} for place in known or [named]]
            if known:
                return  # its own files say what they are based on
            later, parent = [named], parent.get("parent")

    def add_execution(self, workflow: str, runs: Sequence[CrateRun], actions: Sequence[str]) -> None:
        """Adds the one action that stands for executing the notebook, as the profile asks for."""
        taken = [item for action in actions for item in self._entities[action]["object"]]
        made = [item for action in actions for item in self._entities[action].get("result", ())]
        ends = [run.record["times"]["finished"] for run in runs if run.record["times"]["finished"]]
        execution: Entity = {
            "@id": "#execution",
            "@type": "CreateAction",
            "name": f"Execution of {workflow}",
            "description": f"{len(runs)} runs, which made {len(made)} files",
            "instrument": {"@id": workflow},
            "startTime": _time(min(run.record["times"]["created"] for run in runs)),
            "object": taken,
            "result": made,
        }
        if ends:
            execution["endTime"] = _time(max(ends))
        self._add(execution)
        self._mentions = [{"@id": "#execution"}, *({"@id": action} for action in actions)]

    def write(self, title: str, workflow: str, published: str) -> Path:
        """Writes the metadata file and returns its path."""
        for profile, name in _PROFILES.items():
            self._add(
                {"@id": profile, "@type": "CreativeWork", "name": name, "version": profile.rpartition("/")[2]}
            )
        note = "Add the licence of the clips before publishing."
        self._add({"@id": "#license", "@type": "CreativeWork", "name": "Not stated", "description": note})
        root: Entity = {
            "@id": "./",
            "@type": "Dataset",
            "name": title,
            "description": "Clips made with generative video models, with the requests that made them.",
            "datePublished": published,
            "license": {"@id": "#license"},
            "conformsTo": [{"@id": profile} for profile in _PROFILES],
            "hasPart": [{"@id": part} for part in self._parts],
            "mainEntity": {"@id": workflow},
            "mentions": self._mentions,
        }
        descriptor: Entity = {
            "@id": METADATA_NAME,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": [{"@id": "https://w3id.org/ro/crate/1.1"}, {"@id": list(_PROFILES)[-1]}],
        }
        graph = [descriptor, root, *self._entities.values()]
        text = json.dumps({"@context": _CONTEXT, "@graph": graph}, indent=2, ensure_ascii=False)
        path = self._folder / METADATA_NAME
        write_atomically(path, (text + "\n").encode())
        return path

    def _add_model(self, record: Mapping[str, Any]) -> str:
        slug = record["model"]["slug"]
        entity_id = f"{record['service']['base_url']}/Run/{quote(record['model']['run_path'])}"
        where = f"the service {record['service']['name']}, at {record['model']['run_path']}"
        self._add(
            {
                "@id": entity_id,
                "@type": "SoftwareApplication",
                "name": slug,
                "url": entity_id,
                "description": f"Model {slug}, run by {where}",
                "softwareVersion": record["model"]["schema_sha256"] or "not stated",
            }
        )
        return entity_id

    def _add_settings(self, record: Mapping[str, Any]) -> list[str]:
        added = []
        for name, value in record["parameters"].items():
            entity_id = f"#run-{record['run_id']}-{quote(name, safe='')}"
            self._add(
                {
                    "@id": entity_id,
                    "@type": "PropertyValue",
                    "name": name,
                    "value": value if isinstance(value, (str, int, float, bool)) else json.dumps(value),
                }
            )
            added.append(entity_id)
        return added

    def _add_inputs(self, record: Mapping[str, Any]) -> list[str]:
        added = []
        for parameter, items in record["files"].items():
            for item in items:
                name, sha256 = item["name"], item.get("sha256")
                source = self._find_input(sha256) if sha256 else None
                place = f"inputs/{sha256}{source.suffix}" if source is not None else ""
                if source is not None and self._copy(record, name, source, place, {sha256}):
                    added.append(
                        self._add_file(
                            place, {"name": name, "sha256": sha256, "encodingFormat": sniff_file(source)}
                        )
                    )
                    continue
                if source is None:
                    self._leave_out(record, name, "is not here")
                entity_id = f"#input-{quote(sha256 or name, safe='')}"
                note = f"Input {parameter}: {name}" + (f" from {item['url']}" if item.get("url") else "")
                self._add({"@id": entity_id, "@type": "CreativeWork", "name": name, "description": note})
                added.append(entity_id)
        return added

    def _add_outputs(self, run: CrateRun, base: str) -> list[str]:
        added = []
        for number, output in enumerate(run.record["outputs"]):
            source = run.files[number] if number < len(run.files) else None
            if source is None or not source.is_file():
                self._leave_out(run.record, output["name"], "is not here")
                continue
            place = self._place_of(output.get("path")) or f"{base}/{number}-{source.name}"
            if not self._copy(run.record, output["name"], source, place, recorded_hashes(output)):
                continue
            facts = {"name": output["name"], "encodingFormat": output["content_type"]}
            if output.get("sha256"):
                facts["description"] = f"As sent by the service: SHA-256 {output['sha256']}"
            added.append(self._add_file(place, facts))
        return added

    def _copy(
        self, record: Mapping[str, Any], name: str, source: Path, place: str, known: Collection[str]
    ) -> bool:
        if source.is_symlink():
            self._leave_out(record, name, "is a link")
        elif content_hashes(source).isdisjoint(known):
            self._leave_out(record, name, "does not have the recorded content")
        else:
            (self._folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self._folder / place)
            return True
        return False

    def _leave_out(self, record: Mapping[str, Any], name: str, reason: str) -> None:
        run_id = str(record["run_id"])[-5:].lower()
        self.left_out.append(f"run {run_id}: {name or 'an output'} {reason}; the crate only names it")

    def _place_of(self, recorded: str | None) -> str | None:
        """Returns where a clip lies beside its notebook, so that the copied notebook still shows it."""
        if not recorded:
            return None
        parts = PurePosixPath(recorded).parts
        is_safe = len(parts) > 1 and parts[0] == _OUTPUTS_FOLDER and not {"..", "/"} & set(parts)
        is_plain = not any(letter in recorded for letter in "\\:\0")
        return recorded if is_safe and is_plain and not (self._folder / recorded).exists() else None

    def _add_file(self, place: str, facts: Mapping[str, Any]) -> str:
        """Adds a file of the crate and returns its id: the path, with what a URI does not take encoded."""
        entity_id = quote(place)
        size = str((self._folder / place).stat().st_size)
        self._add({"@id": entity_id, "@type": "File", "contentSize": size, **facts})
        if entity_id not in self._parts:
            self._parts.append(entity_id)
        return entity_id

    def _add(self, entity: Entity) -> None:
        self._entities[entity["@id"]] = entity


def _time(text: str) -> str:
    """Returns a record's time with the offset of UTC, which validators want in place of Z."""
    return f"{text.removesuffix('Z')}+00:00"


def _replay_notebook(runs: Sequence[CrateRun]) -> bytes:
    sources = {"load": "%load_ext wiro_nb"}
    for number, run in enumerate(runs, start=1):
        sources[f"run-{number}"] = f"%wiro rerun runs/{run.record['run_id']}/{SIDECAR_NAME}"
    empty: Entity = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [{**empty, "id": name, "source": [source]} for name, source in sources.items()]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    return (json.dumps(notebook, indent=1) + "\n").encode()
