"""The sidecar: `run.json` beside a clip, holding the run's record for people and programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiro_nb.files import write_atomically
from wiro_nb.provenance.reading import read_json
from wiro_nb.provenance.record import check_record

SIDECAR_NAME = "run.json"


def write_sidecar(folder: Path, record: Mapping[str, Any], *, notes: Mapping[str, Any] | None = None) -> Path:
    """Writes the record to `run.json` in one step, so that a reader never sees half a file.

    Args:
        folder: The run's folder; must exist.
        record: A hashed record.
        notes: Facts about this copy that are not part of the record, e.g. why the clip holds none.

    Returns:
        The path of the sidecar.

    Raises:
        OSError: The folder cannot be written.
    """
    path = folder / SIDECAR_NAME
    content: dict[str, Any] = {"wiro": record}
    if notes:
        content["notes"] = dict(notes)
    write_atomically(path, f"{_lay_out(content)}\n".encode())
    return path


def _lay_out(content: Mapping[str, Any]) -> str:
    """Returns JSON with a line for each field of a record: its inner values are short, and `indent` is slow."""
    parts = []
    for name, value in sorted(content.items()):
        fields = ",\n".join(f"    {_line(key)}: {_line(item)}" for key, item in sorted(value.items()))
        parts.append(f"  {_line(name)}: {{\n{fields}\n  }}" if value else f"  {_line(name)}: {{}}")
    return "{\n" + ",\n".join(parts) + "\n}"


_line = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def read_sidecar(path: Path, *, ignore_hash: bool = False) -> dict[str, Any]:
    """Returns the record of a `run.json` or of a folder that has one.

    Raises:
        BadRecord: There is none, it is not JSON, or the record is refused.
    """
    if path.is_dir():
        path = path / SIDECAR_NAME
    content = read_json(path)
    record = content.get("wiro", content) if isinstance(content, dict) else content
    return check_record(record, source=path.name, ignore_hash=ignore_hash)
