"""Seals a notebook with the records of its runs, including runs that no output shows.

A run that a cell made with `wiro_nb.run` and did not display is found in the ledger by the cell's source and the
time in which papermill or nbclient executed it.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, InputError, MissingExtra
from wiro_nb.files import write_atomically
from wiro_nb.json_values import as_mapping
from wiro_nb.provenance.find import KEY, merge_runs, records_in_notebook
from wiro_nb.provenance.record import check_record, parse_json, read_bytes
from wiro_nb.session.manager import Manager

_TIMES = (
    ("papermill", "start_time", "end_time"),
    ("execution", "iopub.execute_input", "shell.execute_reply"),
)


@dataclass(frozen=True, slots=True)
class Sealed:
    """The result of sealing: run ids now in the metadata, those new there, and whether the file was written."""

    path: Path
    run_ids: tuple[str, ...]
    added: tuple[str, ...]
    changed: bool


def seal_notebook(path: Path, manager: Manager | None = None) -> Sealed:
    """Writes the records of a notebook's runs into `metadata.wiro`; the file is laid out as Jupyter saves it.

    Args:
        path: A notebook that is not open with unsaved changes.
        manager: Its ledger knows the runs that no output shows; None leaves them out.

    Returns:
        What was done; a notebook that is already sealed is not written again.

    Raises:
        BadRecord: It is no notebook, or one of its records is refused.
        InputError: The file changed while it was being sealed; it is then left as it is.
        LedgerError: The ledger cannot be read.
        MissingExtra: nbformat is not installed.
    """
    MissingExtra.require("sealing a notebook", "lab", "nbformat")
    raw = read_bytes(path)
    notebook = _parse(path, raw)
    records = {**(_hidden_runs(manager, notebook) if manager else {}), **records_in_notebook(notebook)}
    for run_id, record in records.items():
        check_record(record, source=f"{path.name}#{run_id}")
    present = as_mapping(notebook["metadata"].get(KEY))
    merged = merge_runs(present, records) if records else present
    run_ids = tuple(sorted(as_mapping(merged.get("runs"))))
    added = tuple(run_id for run_id in run_ids if run_id not in as_mapping(present.get("runs")))
    if merged == present:
        return Sealed(path, run_ids, (), False)
    notebook["metadata"][KEY] = merged
    data = _dump(path, notebook)
    if read_bytes(path) != raw:
        raise InputError(
            f"{path.name} changed while it was being sealed; it was left as it is",
            hint=f"save and close it, then: wiro-nb seal {path.name}",
        )
    try:
        write_atomically(path.resolve(), data)  # a link stays one
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be written: {error.strerror}; it was left as it is",
            hint="copy it to a folder you can write to, and seal the copy",
        ) from None
    return Sealed(path, run_ids, added, True)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    import nbformat

    problem, hint = "", None
    try:
        notebook = parse_json(raw)
        with warnings.catch_warnings(action="ignore"):  # it repairs what it warns about
            nbformat.validate(nbformat.reads(json.dumps(notebook), as_version=nbformat.NO_CONVERT))
        if "worksheets" not in notebook:
            return dict(notebook)
        problem, hint = " of format 4 or later", "open it in Jupyter and save it, then seal it"
    except (ValueError, nbformat.ValidationError) as error:
        problem = f": {str(error).splitlines()[0]}"
    except (TypeError, AttributeError, KeyError, AssertionError):  # of a layout that nbformat does not expect
        pass
    raise BadRecord(f"{path.name} is not a notebook{problem}", hint=hint)


def _dump(path: Path, notebook: dict[str, Any]) -> bytes:
    import nbformat

    try:
        with warnings.catch_warnings(action="ignore"):
            text: str = nbformat.writes(nbformat.from_dict(notebook), allow_nan=False)
        return text.encode() + b"\n"
    except ValueError:
        problem = "values that no saved notebook can have (NaN, infinity, half a character)"
        raise BadRecord(f"{path.name} holds {problem}") from None


def _hidden_runs(manager: Manager, notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    executed = []
    for cell in notebook["cells"]:
        times = _execution(cell["metadata"])
        if cell["cell_type"] == "code" and times is not None:
            source = "".join(cell["source"]).encode("utf-8", "replace")
            executed.append((hashlib.sha256(source).hexdigest(), *times))
    if not executed:
        return {}
    found = {}
    for row in manager.ledger.list(limit=None, since=min(start for _, start, _ in executed)):
        is_here = any(
            row.source_sha256 == sha256 and start <= row.created <= end for sha256, start, end in executed
        )
        if is_here and (record := row.load_record()) is not None:
            found[row.run_id] = record
    return found


def _execution(metadata: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Returns when a cell was executed, from when until when; papermill writes UTC without saying so."""
    for runner, first, last in _TIMES:
        with suppress(KeyError, TypeError, ValueError, OverflowError):
            return _moment(metadata[runner][first]), _moment(metadata[runner][last])
    return None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
