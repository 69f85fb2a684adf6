"""Runs that a notebook's file names. A ledger row knows its notebook by path; a copied or renamed notebook has
another path, but its file still holds the records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from wiro_nb.provenance.notebooks import records_in_notebook

_LARGEST_BYTES = 100_000_000


def list_notebook_runs(notebook: str | None, model: str) -> tuple[str, ...]:
    """Returns the ids of a model's runs that a notebook's file names; none where there is no such file."""
    if notebook is None:
        return ()
    try:
        facts = Path(notebook).stat()
    except (OSError, ValueError):
        return ()
    if facts.st_size > _LARGEST_BYTES:
        return ()
    named = _read(notebook, facts.st_mtime_ns, facts.st_size)
    return tuple(run_id for run_id, slug in named if slug == model.lower())


@lru_cache(maxsize=4)
def _read(notebook: str, _mtime_ns: int, _size_bytes: int) -> tuple[tuple[str, str], ...]:
    """Returns run id and model of every record in a file."""
    try:
        content = json.loads(Path(notebook).read_bytes())
    except (OSError, ValueError, RecursionError):
        return ()
    records = records_in_notebook(content) if isinstance(content, dict) else {}
    return tuple((run_id, _slug_of(record)) for run_id, record in records.items())


def _slug_of(record: Mapping[str, Any]) -> str:
    model = record.get("model")
    return str(model.get("slug")).lower() if isinstance(model, Mapping) else ""
