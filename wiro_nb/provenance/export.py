"""Exports runs: as a Workflow Run RO-Crate (clips, inputs and records, described in JSON-LD), and as a CSV table.

The workflow is the notebook the runs were made in; runs without one get a small notebook that makes
them again from their records.
Source: RO-Crate 1.1 (https://w3id.org/ro/crate/1.1); Workflow Run Crate 0.5
(https://w3id.org/ro/wfrun/workflow/0.5) and Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5).
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from wiro_nb.errors import InputError
from wiro_nb.files import OUTPUTS_FOLDER, hash_file, write_atomically
from wiro_nb.ids import short_id
from wiro_nb.media.decode import sniff_file
from wiro_nb.provenance.embed import content_hashes, recorded_hashes
from wiro_nb.provenance.record import SIDECAR_NAME, write_sidecar

METADATA_NAME = "ro-crate-metadata.json"
_JUPYTER = "https://jupyter.org/"
_ENDS = {
    "succeeded": ("succeeded", "http://schema.org/CompletedActionStatus"),
    "failed": ("failed", "http://schema.org/FailedActionStatus"),
    "cancelled": ("was cancelled", "http://schema.org/FailedActionStatus"),
}
"""By the status of a run that is over: how a sentence says it, and the action's status."""


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
    hint = "--to NEW_FOLDER"
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise InputError(f"{target.name} is not empty", hint=hint)
        crate = _Crate(target, find_input)
        workflow = crate.add_workflow(notebook, runs)
        actions = [crate.add_run(run) for run in runs]
        path = crate.write(title, workflow, [run.record["times"] for run in runs], actions)
        return Export(path, tuple(dict.fromkeys(crate.left_out)))
    except OSError as error:
        raise InputError(f"{target.name} cannot be written: {error.strerror}", hint=hint) from None


class _Crate:
    """Entities by id, those of `crate.json` first, and the files they stand for."""

    def __init__(self, folder: Path, find_input: Callable[[str], Path | None]) -> None:
        self._folder = folder
        self._find_input = find_input
        template = resources.files("wiro_nb.provenance").joinpath("crate.json").read_text("utf-8")
        self._metadata: dict[str, Any] = json.loads(template)
        self._entities: dict[str, dict[str, Any]] = {item["@id"]: item for item in self._metadata["@graph"]}
        self._made: dict[str, list[str]] = {}
        self.left_out: list[str] = []

    def add_workflow(self, notebook: Path | None, runs: Sequence[CrateRun]) -> str:
        name = notebook.name if notebook else "make-again.ipynb"
        if notebook:
            shutil.copyfile(notebook, self._folder / name)
        else:
            write_atomically(self._folder / name, _replay_notebook(runs))
        return self._add_file(
            name,
            ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            name=name,
            encodingFormat="application/x-ipynb+json",
            version=hash_file(self._folder / name),
            programmingLanguage={"@id": _JUPYTER},
        )

    def add_run(self, run: CrateRun) -> str:
        """Adds a run with its model, settings, inputs, outputs and record; returns its action's id."""
        record = run.record
        run_id, slug, times = record["run_id"], record["model"]["slug"], record["times"]
        base, action = f"runs/{run_id}", f"#run-{run_id}"
        (self._folder / base).mkdir(parents=True)
        objects = [*self._add_settings(record), *self._add_inputs(record)]
        results = self._made[run_id] = list(self._add_outputs(run, base))
        self._add_lineage(record, results)
        write_sidecar(self._folder / base, record)
        sidecar = self._add_file(
            f"{base}/{SIDECAR_NAME}",
            name=f"Record of run {run_id}",
            encodingFormat="application/json",
            about={"@id": action},
        )
        ended, action_status = _ENDS.get(record["status"], ("is not over", None))
        has_failed = record["status"] == "failed" and record["exit_code"]
        return self._add(
            action,
            "CreateAction",
            name=f"{slug}, run {run_id}",
            description=f"A run of the model {slug} that {ended}",
            instrument={"@id": self._add_model(record)},
            object=_refer(objects),
            startTime=_time(times["started"] or times["submitted"] or times["created"]),
            subjectOf={"@id": sidecar},
            result=_refer(results) or None,
            endTime=_time(times["finished"]),
            actionStatus=action_status,
            error=f"The model ended with exit code {record['exit_code']}" if has_failed else None,
        )

    def _add_model(self, record: Mapping[str, Any]) -> str:
        slug, run_path, service = record["model"]["slug"], record["model"]["run_path"], record["service"]
        url = f"{service['base_url']}/Run/{quote(run_path)}"
        return self._add(
            url,
            "SoftwareApplication",
            name=slug,
            url=url,
            description=f"Model {slug}, run by the service {service['name']}, at {run_path}",
            softwareVersion=record["model"]["schema_sha256"] or "not stated",
        )

    def _add_settings(self, record: Mapping[str, Any]) -> Iterator[str]:
        for name, value in record["parameters"].items():
            plain = value if isinstance(value, (str, int, float, bool)) else json.dumps(value)
            setting = f"#run-{record['run_id']}-{quote(name, safe='')}"
            yield self._add(setting, "PropertyValue", name=name, value=plain)

    def _add_inputs(self, record: Mapping[str, Any]) -> Iterator[str]:
        for parameter, item in ((name, item) for name, items in record["files"].items() for item in items):
            name, sha256 = item["name"], item.get("sha256")
            source = self._find_input(sha256) if sha256 else None
            place = f"inputs/{sha256}{source.suffix if source else ''}"
            if self._copy(record, name, source, place, {sha256}):
                kind = sniff_file(self._folder / place)
                yield self._add_file(place, name=name, sha256=sha256, encodingFormat=kind)
            else:
                note = f"Input {parameter}: {name}" + (f" from {item['url']}" if item.get("url") else "")
                named = f"#input-{quote(sha256 or name, safe='')}"
                yield self._add(named, "CreativeWork", name=name, description=note)

    def _add_outputs(self, run: CrateRun, base: str) -> Iterator[str]:
        for number, output in enumerate(run.record["outputs"]):
            name, source = output["name"], run.files[number] if number < len(run.files) else None
            place = self._place_of(output.get("path")) or f"{base}/{number}-{source.name if source else ''}"
            if self._copy(run.record, name, source, place, recorded_hashes(output)):
                sent = f"As sent by the service: SHA-256 {output['sha256']}" if output.get("sha256") else None
                yield self._add_file(place, name=name, encodingFormat=output["content_type"], description=sent)

    def _add_lineage(self, record: Mapping[str, Any], results: Sequence[str]) -> None:
        """Says which run each output is based on; ancestors that are not in the crate are named."""
        later, parent = list(results), record.get("parent")
        while isinstance(parent, Mapping) and parent.get("run_id"):
            run_id = str(parent["run_id"])
            known = self._made.get(run_id)
            named = f"#run-{quote(run_id, safe='')}"
            if not known and named not in self._entities:
                frame = f", from frame {parent['frame']}" if isinstance(parent.get("frame"), int) else ""
                self._add(named, "CreativeWork", name=f"Run {run_id}, not in this crate{frame}")
            for item in later:
                self._entities[item]["isBasedOn"] = _refer(known or [named])
            if known:
                return  # its own files say what they are based on
            later, parent = [named], parent.get("parent")

    def write(self, title: str, workflow: str, times: Sequence[Mapping[str, Any]], actions: Sequence[str]) -> Path:
        """Completes the crate and returns the path of its metadata; `times` are those of the runs.

        One action stands for executing the notebook, as the profile asks for.
        """
        made = [item for action in actions for item in self._entities[action].get("result", ())]
        execution = self._add(
            "#execution",
            "CreateAction",
            name=f"Execution of {workflow}",
            description=f"{len(actions)} runs, which made {len(made)} files",
            instrument={"@id": workflow},
            startTime=_time(min(item["created"] for item in times)),
            object=[item for action in actions for item in self._entities[action]["object"]],
            result=made,
            endTime=_time(max((item["finished"] for item in times if item["finished"]), default=None)),
        )
        self._entities["./"] |= {
            "name": title,
            "datePublished": _time(max(item["created"] for item in times)),
            "hasPart": _refer(name for name, entity in self._entities.items() if "contentSize" in entity),
            "mainEntity": {"@id": workflow},
            "mentions": _refer([execution, *actions]),
        }
        self._metadata["@graph"] = list(self._entities.values())
        path = self._folder / METADATA_NAME
        write_atomically(path, (json.dumps(self._metadata, indent=2, ensure_ascii=False) + "\n").encode())
        return path

    def _copy(
        self, record: Mapping[str, Any], name: str, source: Path | None, place: str, known: Collection[str]
    ) -> bool:
        """Copies a file whose content is recorded; False for others, with the reason in `left_out`."""
        if source is None or not source.is_file():
            reason = "is not here"
        elif source.is_symlink():
            reason = "is a link"
        elif content_hashes(source).isdisjoint(known):
            reason = "does not have the recorded content"
        else:
            (self._folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, self._folder / place)
            return True
        run = short_id(record["run_id"])
        self.left_out.append(f"run {run}: {name or 'an output'} {reason}; the crate only names it")
        return False

    def _place_of(self, recorded: str | None) -> str | None:
        """Returns where a clip lies beside its notebook, so that the copied notebook still shows it."""
        parts = PurePosixPath(recorded or "").parts
        is_safe = parts[:1] == (OUTPUTS_FOLDER,) and len(parts) > 1 and ".." not in parts
        if recorded is None or not is_safe or any(letter in recorded for letter in "\\:\0"):
            return None
        return None if (self._folder / recorded).exists() else recorded

    def _add_file(self, place: str, kind: str | list[str] = "File", **facts: Any) -> str:
        """Adds a file of the crate and returns its id: the path, with what a URI does not take encoded."""
        return self._add(quote(place), kind, contentSize=str((self._folder / place).stat().st_size), **facts)

    def _add(self, entity_id: str, kind: str | list[str], **facts: Any) -> str:
        """Adds an entity with the facts that are not None, and returns its id."""
        known = {name: value for name, value in facts.items() if value is not None}
        self._entities[entity_id] = {"@id": entity_id, "@type": kind, **known}
        return entity_id


def _refer(ids: Iterable[str]) -> list[dict[str, str]]:
    return [{"@id": entity_id} for entity_id in ids]


def _time(text: str | None) -> str | None:
    """Returns a record's time with the offset of UTC, which validators want in place of Z."""
    return f"{text.removesuffix('Z')}+00:00" if text else None


def _replay_notebook(runs: Sequence[CrateRun]) -> bytes:
    sources = {"load": "%load_ext wiro_nb"}
    for number, run in enumerate(runs, start=1):
        sources[f"run-{number}"] = f"%wiro rerun runs/{run.record['run_id']}/{SIDECAR_NAME}"
    empty: dict[str, Any] = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [{**empty, "id": name, "source": [source]} for name, source in sources.items()]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
    return (json.dumps(notebook, indent=1) + "\n").encode()


def write_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns one row a run; settings follow the fixed columns as `setting.NAME`.

    Cells that a spreadsheet would read as a formula are written with a leading apostrophe.
    """
    settings = sorted({name for record in records for name in record["parameters"]})
    rows = []
    for record in records:
        outputs = record["outputs"]
        row = {
            "run_id": record["run_id"],
            "model": record["model"]["slug"],
            "service": record["service"]["name"],
            "status": record["status"],
            "created": record["times"]["created"],
            "finished": record["times"]["finished"],
            "elapsed_s": record["elapsed_s"],
            "seed": (record["seed"] or {}).get("value"),
            "estimated_usd": record["price"]["estimated_usd"],
            "cost_usd": record["price"]["cost_usd"],
            "outputs": " ".join(output.get("path") or output["name"] for output in outputs),
            "sha256": " ".join(output.get("sha256") or "" for output in outputs).strip(),
        }
        rows.append(row | {f"setting.{name}": record["parameters"].get(name) for name in settings})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(rows[:1])
    writer.writerows(map(_safe_cell, row.values()) for row in rows)
    return text.getvalue()


def _safe_cell(value: Any) -> str:
    text = "" if value is None else str(value)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
    return text
