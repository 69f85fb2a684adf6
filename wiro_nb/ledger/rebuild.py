"""A lost ledger's rows, from what lies beside the notebooks: every finished run left its record in its folder.

Which folders there are is noted in a plain list beside the ledger, because a damaged ledger cannot tell.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from wiro_nb.config import data_dir, ledger_path
from wiro_nb.errors import BadRecord
from wiro_nb.files import hash_file
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.ledger.state import RunOutput, RunState, Stage
from wiro_nb.provenance.record import canonical_json
from wiro_nb.provenance.sidecar import SIDECAR_NAME, read_sidecar

_log = logging.getLogger(__name__)
_LIST_NAME = "folders.txt"
_OUTPUT_FIELDS = {item.name for item in fields(RunOutput)}


def remember_folder(folder: Path, data: Path | None = None) -> None:
    """Notes a folder of runs; what cannot be noted is only missed when the ledger is damaged one day."""
    data = data or data_dir()
    path, line = data / _LIST_NAME, str(folder.absolute())
    try:
        if line not in known_folders(data):
            data.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(f"{line}\n")
    except OSError as error:
        _log.info("the folder of runs was not noted: %s", error.strerror)


def known_folders(data: Path) -> list[str]:
    """Returns the folders noted so far."""
    try:
        text = (data / _LIST_NAME).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return []
    return [line for line in text.splitlines() if line]


def open_ledger(out_dir: str = "wiro_outputs") -> Ledger:
    """Opens this person's ledger; a damaged one is replaced, from itself and from the runs' folders.

    Args:
        out_dir: Name of the folder of runs, looked for in the present folder as well.

    Raises:
        LedgerError: As `Ledger`.
    """
    here = str(Path.cwd() / Path(out_dir).expanduser())
    return Ledger(
        ledger_path(),
        rebuild=lambda: rows_from_sidecars(dict.fromkeys([*known_folders(data_dir()), here])),
    )


def rows_from_sidecars(folders: Iterable[str | Path]) -> Iterator[LedgerRow]:
    """Gives a row for every record found in the runs' folders; what cannot be read is passed over."""
    for folder in folders:
        for path in sorted(Path(folder).glob(f"*/{SIDECAR_NAME}")):
            try:
                yield row_from_record(read_sidecar(path), path.parent)
            except (BadRecord, OSError, ValueError, TypeError, KeyError) as error:
                _log.warning("%s was not read: %s", path.parent.name, type(error).__name__)


def row_from_record(record: Mapping[str, Any], folder: Path) -> LedgerRow:
    """Returns the row of a finished run.

    Args:
        record: A checked record.
        folder: Where its files lie.

    Raises:
        KeyError, ValueError, TypeError: The record is not one of a finished run.
    """
    model, service, times = record["model"], record["service"], record["times"]
    cell, price = record.get("cell") or {}, record.get("price") or {}
    state = RunState(record["status"])
    if not state.is_final:
        raise ValueError("a run that was not over has no whole record")
    home = folder.parent.parent
    return LedgerRow(
        run_id=str(record["run_id"]),
        state=state,
        model=str(model["slug"]),
        run_path=str(model["run_path"]),
        service=str(service["name"]),
        base_url=str(service["base_url"]),
        created=_time(times.get("created")) or datetime.now(UTC),
        request_sha256=_identity(record),
        request={name: record.get(name) for name in ("parameters", "files", "seed")},
        notebook=_notebook_of(str(record["run_id"]), home),
        cell_id=cell.get("id"),
        source_sha256=cell.get("source_sha256"),
        origin="python",
        schema_sha256=model.get("schema_sha256"),
        task_id=record.get("task_id"),
        exit_code=record.get("exit_code"),
        estimated_usd=_amount(price.get("estimated_usd")),
        cost_usd=_amount(price.get("cost_usd")),
        submitted_at=_time(times.get("submitted")),
        started_at=_time(times.get("started")),
        finished_at=_time(times.get("finished")),
        elapsed_s=record.get("elapsed_s"),
        stage=str(Stage.DONE),
        outputs=tuple(_output(item, folder, home) for item in record.get("outputs") or ()),
        record=canonical_json(dict(record)),
        folder=str(folder),
        parent=record.get("parent"),
    )


def _identity(record: Mapping[str, Any]) -> str:
    """Returns the identity of the request as `schema.encode.request_sha256` makes it: nobody pays for it again."""
    seed = record.get("seed")
    parameters = dict(record.get("parameters") or {})
    if seed and not seed.get("pinned"):
        parameters[seed["parameter"]] = None
    files = {
        name: [item.get("sha256") or item.get("url") for item in items]
        for name, items in (record.get("files") or {}).items()
    }
    core = {"run_path": record["model"]["run_path"], "parameters": parameters, "files": files}
    text = json.dumps(core, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _notebook_of(run_id: str, home: Path) -> str | None:
    """Returns the notebook whose outputs or metadata name the run; a record names none, for privacy."""
    for path in sorted(home.glob("*.ipynb")):
        if run_id.encode() in path.read_bytes():
            return str(path)
    return None


def _output(item: Mapping[str, Any], folder: Path, home: Path) -> RunOutput:
    kept = {name: value for name, value in item.items() if name in _OUTPUT_FIELDS}
    name = Path(str(kept.get("name") or "")).name  # a record from outside must not lead out of the folder
    path = folder / name
    if not name or not path.is_file():
        return RunOutput(**{**kept, "name": name, "path": None})
    poster = path.with_name(f"{path.stem}.poster.jpg")
    return RunOutput(
        **{
            **kept,
            "name": name,
            "path": path.relative_to(home).as_posix(),
            "poster_path": poster.relative_to(home).as_posix() if poster.is_file() else None,
            "stored_sha256": hash_file(path),
        }
    )


def _time(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _amount(text: object) -> Decimal | None:
    try:
        amount = Decimal(str(text))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
