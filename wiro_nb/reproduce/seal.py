"""Seals a notebook with the records of its runs, including runs that no output shows.

A run that a cell made with `wiro_nb.run` and did not display is found in the ledger by the cell's source and the
time in which papermill or nbclient executed it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wiro_nb.provenance.notebooks import Sealed, seal_notebook
from wiro_nb.session.manager import Manager

_TIMES = (
    ("papermill", "start_time", "end_time"),
    ("execution", "iopub.execute_input", "shell.execute_reply"),
)


def seal(manager: Manager, path: Path) -> Sealed:
    """Writes the records of a notebook's runs into its metadata. Raises as `seal_notebook`, and LedgerError."""
    return seal_notebook(path, lambda notebook: dict(_hidden_runs(manager, notebook)))


def _hidden_runs(manager: Manager, notebook: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    executed: dict[str, list[tuple[datetime, datetime]]] = {}
    for cell in notebook["cells"]:
        times = _execution(cell["metadata"])
        if cell["cell_type"] == "code" and times is not None:
            source = "".join(cell["source"])
            executed.setdefault(hashlib.sha256(source.encode("utf-8", "replace")).hexdigest(), []).append(times)
    if not executed:
        return
    for row in manager.ledger.list(
        limit=None, since=min(start for times in executed.values() for start, _ in times)
    ):
        is_here = any(start <= row.created <= end for start, end in executed.get(row.source_sha256 or "", ()))
        record = row.load_record() if is_here else None
        if record is not None:
            yield row.run_id, record


def _execution(metadata: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Returns when a cell was executed, from when until when; papermill writes UTC without saying so."""
    for runner, first, last in _TIMES:
        try:
            return _moment(metadata[runner][first]), _moment(metadata[runner][last])
        except (KeyError, TypeError, ValueError):
            continue
    return None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
