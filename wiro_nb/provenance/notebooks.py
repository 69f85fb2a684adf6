"""Records in notebooks: in each output's metadata, and gathered in the notebook's own.

`metadata.wiro` is `{"format": 1, "runs": {run_id: record}, "budget": ..., "omitted": n}`. Output
metadata always works, also headless; notebook metadata survives cleared outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wiro_nb.provenance.record import FORMAT, normalise

KEY = "wiro"
MAX_RUNS = 200
"""The latest runs a notebook keeps; older ones stay in the ledger."""


def records_in_outputs(notebook: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Gives the records of every output that has one, or those of a sweep, in the order of the notebook."""
    for cell in _items(notebook.get("cells")):
        for output in _items(cell.get("outputs") if isinstance(cell, Mapping) else None):
            metadata = output.get("metadata") if isinstance(output, Mapping) else None
            mark = metadata.get(KEY) if isinstance(metadata, dict) else None
            if isinstance(mark, dict) and is_record(mark):
                yield mark
            elif isinstance(mark, dict) and isinstance(mark.get("runs"), dict):
                yield from (
                    record for record in mark["runs"].values() if isinstance(record, dict) and is_record(record)
                )


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def records_in_notebook(notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns every record of a parsed notebook by run id; the finished one of two wins.

    Args:
        notebook: JSON of an nbformat 4 notebook. Records are not checked here.
    """
    found: dict[str, dict[str, Any]] = {}
    metadata = notebook.get("metadata")
    gathered = metadata.get(KEY) if isinstance(metadata, Mapping) else None
    runs = gathered.get("runs") if isinstance(gathered, Mapping) else None
    kept = list(runs.values()) if isinstance(runs, Mapping) else []
    for record in [*kept, *records_in_outputs(notebook)]:
        if is_record(record):
            found[record["run_id"]] = pick_newer(found.get(record["run_id"]), record)
    return found


def merge_runs(
    present: Mapping[str, Any] | None,
    records: Mapping[str, Mapping[str, Any]],
    *,
    limit: int = MAX_RUNS,
    total: int = 0,
) -> dict[str, Any]:
    """Returns notebook metadata with these records added.

    Args:
        present: The notebook's `metadata.wiro`, or None; keys it has beside `runs` stay.
        records: By run id.
        limit: The latest runs to keep.
        total: How many runs the ledger knows for this notebook; `omitted` says how many of them
            are not in the metadata.

    Returns:
        New metadata; the same content gives the same result, so that saving twice changes nothing.
    """
    merged = dict(present or {})
    runs = merged.get("runs")
    kept = {key: value for key, value in runs.items() if is_record(value)} if isinstance(runs, Mapping) else {}
    for run_id, record in records.items():
        kept[run_id] = pick_newer(kept.get(run_id), dict(record))
    latest = sorted(kept)[-limit:] if limit else []
    before = merged.pop("omitted", 0)
    omitted = max(before if isinstance(before, int) else 0, max(len(kept), total) - len(latest))
    merged["format"] = FORMAT
    merged["runs"] = {run_id: kept[run_id] for run_id in latest}
    if omitted > 0:
        merged["omitted"] = omitted
    result: dict[str, Any] = normalise(merged)
    return result


def is_record(value: Any) -> bool:
    """True for what has the outline of a record: a format and a run id."""
    return isinstance(value, Mapping) and isinstance(value.get("run_id"), str) and "format" in value


def pick_newer(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Returns the one of two records of a run that is further along."""
    if old is None:
        return new
    return old if _progress(old) > _progress(new) else new


def _progress(record: Mapping[str, Any]) -> int:
    order = ("planned", "submitting", "uncertain", "submitted", "cancelled", "failed", "succeeded")
    status = record.get("status")
    return order.index(status) if status in order else -1
