"""Finds what a run can be made again from: its record in a clip, sidecar, notebook or ledger, and its inputs.

`replay` makes the request again, `compare` compares two runs or clips, `verify` checks what is kept of them,
and `seal` gathers a notebook's records in its metadata.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wiro_nb import local_models
from wiro_nb.config import LOCAL, cache_dir
from wiro_nb.errors import BadRecord, UnknownRun
from wiro_nb.execution.requests import notebook_dir_of_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.run_record import build_run_record
from wiro_nb.files import INPUTS_FOLDER, OUTPUTS_FOLDER, is_there, resolve_inside
from wiro_nb.ledger.state import LedgerRow
from wiro_nb.local_models.weights import commit_of, locate
from wiro_nb.provenance.find import Source, find_records, quote_name, split_source
from wiro_nb.provenance.made_by import used_repositories
from wiro_nb.provenance.record import check_record
from wiro_nb.session.manager import Manager

_LONGEST_COMMIT = 12
_LATEST = 500
"""How many runs of the ledger may point to further stores of inputs."""


def find_sources(
    manager: Manager, source: str | Path, *, notebook: str | None = None, ignore_hash: bool = False
) -> list[Source]:
    """Finds the records that a source names.

    Args:
        manager: Its ledger is asked for ids.
        source: A run's id or a part of it, a clip, picture, `run.json`, folder, notebook or `NOTEBOOK#RUN`.
        notebook: Whose runs come first where a part of an id fits several; its records are read for a run that the
            ledger does not know.
        ignore_hash: True reads records that were changed after they were written.

    Raises:
        UnknownRun: There is none, or an id fits several.
        BadRecord: A file holds no record, or one that is refused.
    """
    text = str(source).strip()
    path, wanted = split_source(text)
    if text and is_there(path):
        found = find_records(text, ignore_hash=ignore_hash)
        return found if wanted or len(found) > 1 else [replace(found[0], name=text)]
    if wanted or "/" in text or "\\" in text or path.suffix:
        raise BadRecord(
            f"{path.name} does not exist here",
            hint="check the path, or name the run: %wiro runs",
            reason="none",
        )
    try:
        row = manager.ledger.find(text, notebook)
    except UnknownRun:
        if notebook is not None:  # one that comes from another machine holds the records of its runs
            with contextlib.suppress(UnknownRun, BadRecord):
                found = find_records(f"{notebook}#{text}", ignore_hash=ignore_hash)
                return [replace(item, name=item.short_id) for item in found]
        raise
    return [Source(record_of(row), row.short_id, "ledger")]


def find_source(
    manager: Manager, source: str | Path, *, notebook: str | None = None, ignore_hash: bool = False
) -> Source:
    """Finds the one record that a source names.

    Raises:
        UnknownRun: None or several. BadRecord: as `find_sources`.
    """
    found = find_sources(manager, source, notebook=notebook, ignore_hash=ignore_hash)
    if len(found) > 1:
        name = Path(str(source)).name
        raise UnknownRun(
            f"{name} holds {len(found)} runs: name one",
            details=[f"{item.name}  {item.model}" for item in found[:10]],
            hint=f"%wiro rerun {found[-1].typed_name}, or %wiro rerun {quote_name(str(source))} --all",
            query=str(source),
            near=[item.run_id for item in found[:5]],
        )
    return found[0]


def find_to_rerun(
    manager: Manager,
    source: str | Path,
    *,
    all: bool = False,
    notebook: str | None = None,
    ignore_hash: bool = False,
) -> list[Source]:
    """Finds the record that a source names; with `all` every run of it, but no films: their shots are runs.

    Raises:
        UnknownRun, BadRecord: As `find_source`, or with `all` there are only films.
    """
    if not all:
        return [find_source(manager, source, notebook=notebook, ignore_hash=ignore_hash)]
    found = find_sources(manager, source, notebook=notebook, ignore_hash=ignore_hash)
    runs = [item for item in found if not item.is_film]
    if not runs:
        raise UnknownRun(
            f"{Path(str(source)).name} holds a film and no runs of its own",
            hint=f"%wiro rerun {found[0].typed_name}",
            query=str(source),
        )
    return runs


def locate_output(holder: Path, output: Mapping[str, Any]) -> Path | None:
    """Returns a recorded output's file: beside what holds the record, or by its path one or two folders above.

    A run's sidecar lies in a folder of its own, where paths are seen from the notebook's, or in a crate. A path or
    a link that leads out of such a folder is not followed.
    """
    beside, *above = holder.parents[:3]
    path, name = output.get("path"), output.get("name")
    for folder, relative in ((beside, path), (beside, name), *((folder, path) for folder in above)):
        with contextlib.suppress(ValueError):
            place = resolve_inside(str(relative or ""), folder)
            if place.is_file() and place.resolve().is_relative_to(folder.resolve()):
                return place
    return None


def find_run(manager: Manager, source: Source) -> Run | None:
    """Returns the run of a record, or None where this machine's ledger does not have it.

    Raises:
        UnknownRun: It is not done, and the source is no file that holds its record.
    """
    if manager.ledger.lookup(source.run_id) is None:
        return None
    run = manager.get(source.run_id)
    if source.path is None and not run.state.is_final:
        raise UnknownRun(
            f"run {run.short_id} is not done: {run.status}",
            hint=f"%wiro wait {run.short_id}",
            query=run.id,
            near=[],
        )
    return run


def locate_files(source: Source, run: Run | None) -> list[Path | None]:
    """Returns the files of a record by position of the output; None where one is not on this machine.

    They are looked for beside the file that holds the record, then in the run's folder; `run` is from `find_run`.
    """
    saved = {output.sha256: run.snapshot.find_file(output) for output in run.outputs} if run is not None else {}
    outputs = source.record["outputs"]
    beside = [source.path and locate_output(source.path, output) for output in outputs]
    return [place or saved.get(output.get("sha256")) for place, output in zip(beside, outputs, strict=True)]


def record_of(row: LedgerRow) -> dict[str, Any]:
    """Returns a run's record; of one that has none yet, what the ledger knows of its request.

    Raises:
        BadRecord: The ledger's record is not what was written.
    """
    if (record := row.load_record()) is not None:
        return check_record(record, source=f"run {row.short_id}")
    return build_run_record(row, [])


# Input files ---------------------------------------------------------------------------------


def find_input(manager: Manager, home: Path, source: Source, sha256: str) -> Path | None:
    """Finds an input file by its SHA-256 (hex) in the stores of inputs; None where there is none.

    Looked through in this order: the notebook's own store, what lies beside the source the user named, files
    kept in the cache, stores of other notebooks of the ledger, and what runs have made.

    Args:
        manager: Its ledger names further stores.
        home: The notebook's folder.
        source: Where the record was found.
        sha256: From a checked record.
    """
    for folder in dict.fromkeys(_stores(manager, home, source.path)):
        for path in sorted(folder.glob(f"{sha256}*")):
            if path.is_file() and not path.is_symlink():
                return path
    made = manager.ledger.find_maker(sha256)
    row = manager.ledger.lookup(made.run_id) if made is not None and made.frame is None else None
    if row is None:
        return None
    return next((row.find_file(item) for item in row.outputs if sha256 in (item.sha256, item.stored_sha256)), None)


def _stores(manager: Manager, home: Path, path: Path | None) -> Iterator[Path]:
    yield home / OUTPUTS_FOLDER / INPUTS_FOLDER
    # The folder of the file a user named, and the two above it: a clip lies in its run's folder.
    for base in path.resolve().parents[:3] if path is not None else ():
        yield base / OUTPUTS_FOLDER / INPUTS_FOLDER
        yield base / INPUTS_FOLDER
        yield base / "inputs"  # an exported crate
    yield cache_dir() / "inputs"
    for row in manager.ledger.list(limit=_LATEST):
        yield notebook_dir_of_row(row) / OUTPUTS_FOLDER / INPUTS_FOLDER


# Weights -------------------------------------------------------------------------------------


def weights_notes(record: Mapping[str, Any], service: str) -> list[str]:
    """Returns what differs between the weights of a record and those that a replay would use, as sentences.

    Args:
        record: Of the run to be made again.
        service: That a replay would go to.

    Raises:
        ConfigError: `local.toml` is wrong.
    """
    used = used_repositories(record)
    if not used:
        is_moving = service == LOCAL and record["service"]["name"] != LOCAL
        return ["Open weights on this machine make it now: other frames than before"] if is_moving else []
    if service != LOCAL:
        return [f"It was made with {used[0][0]} on one's own machine; {service} makes it with weights of its own"]
    model = local_models.find(str(record["model"]["slug"]))
    present = {item.id: item for item in model.repositories} if model is not None else {}
    notes = []
    for name, revision in used:
        folder = locate(present[name]) if name in present else None
        if name not in present:
            notes.append(
                f"the weights {name} are not what this machine makes the model with; local.toml can name them"
            )
        elif folder is None:
            notes.append(f"The weights {name} are not here: wiro-nb local pull {record['model']['slug']}")
        elif (commit := commit_of(folder) or "a plain copy") != revision:
            then, now = revision[:_LONGEST_COMMIT], commit[:_LONGEST_COMMIT]
            notes.append(f"the weights {name} were {then}, here are {now}: frames may differ")
    return notes
