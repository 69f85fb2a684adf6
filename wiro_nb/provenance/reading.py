"""Reads JSON files from untrusted sources, refusing each kind of damage with one sentence, and writes `run.json`.

`run.json`, the sidecar beside a clip, holds the run's record for people and programs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord
from wiro_nb.files import write_atomically
from wiro_nb.provenance.record import check_record

MAX_DEPTH = 200
"""Maximum nesting of lists and objects. Deeper JSON would exhaust the interpreter's stack."""
SIDECAR_NAME = "run.json"
_line = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def is_there(path: Path) -> bool:
    """True where a path exists; False for text that is no valid path and where access is denied."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def require_file(path: Path) -> None:
    """Refuses paths that exist but are not regular files: reading a pipe or a device might never end.

    Raises:
        BadRecord: It is neither a file nor absent.
    """
    if is_there(path) and not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise BadRecord(f"{path.name} is {what}")


def read_bytes(path: Path) -> bytes:
    """Returns the content of a record's file or a notebook.

    Raises:
        BadRecord: It cannot be read, is no regular file, or is larger than 100 MB (a notebook: 1 GB).
    """
    require_file(path)
    limit_mb = 1000 if path.suffix.lower() == ".ipynb" else 100
    try:
        with path.open("rb") as file:
            if path.stat().st_size <= limit_mb * 1_000_000:
                return file.read(limit_mb * 1_000_000)
    except OSError as error:
        raise BadRecord(f"{path.name} cannot be read: {error.strerror}") from None
    raise BadRecord(f"{path.name} is larger than {limit_mb} MB")


def read_json(path: Path, *, what: str = "") -> Any:
    """Returns the content of a JSON file; a byte order mark before it is skipped.

    Args:
        path: The file.
        what: What it should be, for the error; left out, the error says that it cannot be read.

    Raises:
        BadRecord: As `read_bytes`, or it is no UTF-8, no JSON, or nested too deeply.
    """
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        problem = f"is not {what}" if what else "cannot be read"
        raise BadRecord(f"{path.name} {problem}: {error}") from None


def parse_json(raw: bytes | str) -> Any:
    """Returns the value of JSON text.

    Raises:
        ValueError: It is none, not UTF-8, or nested too deeply; the text says which.
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:
        raise ValueError("it is not JSON") from None
    if isinstance(value, (dict, list)) and _is_deep(value):
        raise ValueError("it is nested too deeply")
    return value


def parse_object(text: Any) -> dict[str, Any]:
    """Returns the object of a JSON text, an object as it is, and {} for anything else."""
    try:
        content = parse_json(text) if isinstance(text, str) and text.startswith("{") else text
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _is_deep(value: Any, left: int = MAX_DEPTH) -> bool:
    inside = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_deep(item, left - 1) for item in inside if isinstance(item, (dict, list)))


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
    content = {"wiro": record} | ({"notes": notes} if notes else {})
    write_atomically(path, f"{_lay_out(content)}\n".encode())
    return path


def _lay_out(content: Mapping[str, Any]) -> str:
    """Returns JSON with a line for each field of a record: its inner values are short, and `indent` is slow."""
    parts = []
    for name, value in sorted(content.items()):
        fields = ",\n".join(f"    {_line(key)}: {_line(item)}" for key, item in sorted(value.items()))
        parts.append(f"  {_line(name)}: {{\n{fields}\n  }}" if value else f"  {_line(name)}: {{}}")
    return "{\n" + ",\n".join(parts) + "\n}"


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
