"""Runs that a notebook brings along. A ledger row knows its notebook by path; a copied or renamed one has another
path, but its file still holds the records. They are read for their ids alone: what counts is the ledger's row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import UnknownRun
from wiro_nb.provenance.notebooks import records_in_notebook

if TYPE_CHECKING:
    from wiro_nb.ledger.ledger import Ledger
    from wiro_nb.ledger.rows import LedgerRow

_LARGEST_BYTES = 100_000_000


def carried_rows(ledger: Ledger, notebook: str | None, model: str) -> Iterator[LedgerRow]:
    """Gives the runs of a model that a notebook's file names and that belong to another path, latest first.

    Args:
        ledger: Knows the runs.
        notebook: Path of the notebook; where there is no such file, nothing is given.
        model: Slug.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    for run_id in _ids_in(notebook, model.lower()):
        try:
            row = ledger.get(run_id)
        except UnknownRun:
            continue  # made elsewhere
        if row.notebook != notebook and not row.deleted:
            yield row


def _ids_in(notebook: str | None, model: str) -> tuple[str, ...]:
    if notebook is None:
        return ()
    try:
        facts = Path(notebook).stat()
    except (OSError, ValueError):
        return ()
    if facts.st_size > _LARGEST_BYTES:
        return ()
    return tuple(run_id for run_id, slug in _read(notebook, facts.st_mtime_ns, facts.st_size) if slug == model)


@lru_cache(maxsize=4)
def _read(notebook: str, _mtime_ns: int, _size_bytes: int) -> tuple[tuple[str, str], ...]:
    """Returns run id and model of every record in a file, latest first."""
    try:
        content = json.loads(Path(notebook).read_bytes())
    except (OSError, ValueError, RecursionError):
        return ()
    records = records_in_notebook(content) if isinstance(content, dict) else {}
    return tuple((run_id, _slug_of(records[run_id])) for run_id in sorted(records, reverse=True))


def _slug_of(record: Mapping[str, Any]) -> str:
    model = record.get("model")
    return str(model.get("slug")).lower() if isinstance(model, Mapping) else ""
