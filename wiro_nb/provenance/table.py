"""Writes runs as a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = (
    "run_id", "model", "service", "status", "created", "finished", "elapsed_s", "seed",
    "estimated_usd", "cost_usd", "outputs", "sha256",
)  # fmt: skip


def write_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Returns one row a run; settings follow the fixed columns as `setting.NAME`.

    Cells that a spreadsheet would read as a formula are written with a leading apostrophe.
    """
    settings = sorted({name for record in records for name in record["parameters"]})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"setting.{name}" for name in settings)])
    for record in records:
        row = [
            record["run_id"],
            record["model"]["slug"],
            record["service"]["name"],
            record["status"],
            record["times"]["created"],
            record["times"]["finished"],
            record["elapsed_s"],
            (record["seed"] or {}).get("value"),
            record["price"]["estimated_usd"],
            record["price"]["cost_usd"],
            " ".join(output["path"] or output["name"] for output in record["outputs"]),
            " ".join(output.get("sha256") or "" for output in record["outputs"]).strip(),
        ]
        values = [record["parameters"].get(name) for name in settings]
        writer.writerow([_safe_cell(value) for value in [*row, *values]])
    return text.getvalue()


def _safe_cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
