"""Builds, hashes and checks run records of format 1, and reads and writes the files that hold them.

A record travels through JSON writers we do not control (JupyterLab keeps notebook metadata in
JavaScript, where 5.0 becomes 5). The canonical form is made so that such a trip does not change
the hash: whole floats count as integers, and integers a double cannot hold are kept as text.

Files may come from strangers: each kind of damage is refused with one sentence. `run.json`, the sidecar beside a
clip, holds the run's record for people and programs.

A record is checked against its published JSON Schema with the part of JSON Schema that file uses. The full
validator is a test dependency only; a test runs both over the same records.
Source: JSON Schema 2020-12, https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord
from wiro_nb.files import is_there, write_atomically
from wiro_nb.json_values import dump_json, hash_json, is_deeper
from wiro_nb.redaction import redact_value

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
FORMAT = 1
HASH_FIELD = "record_sha256"
_OPTIONAL = ("seed", "task_id", "exit_code", "parent", "cell")
"""Fields that are None in a record that was built without them."""
SIDECAR_NAME = "run.json"
MAX_DEPTH = 200
"""Maximum nesting of lists and objects. Deeper JSON would exhaust the interpreter's stack."""
_LARGEST_EXACT = 2**53


@cache
def record_schema() -> dict[str, Any]:
    """Returns the JSON Schema of record format 1 as shipped in the package."""
    text = resources.files("wiro_nb.provenance").joinpath("record.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate_record(record: Any) -> list[str]:
    """Returns the validation problems, one line each ("outputs/0/sha256: ..."); empty when all fits."""
    return list(_problems(record, record_schema(), ""))


def _problems(value: Any, rule: Mapping[str, Any], where: str) -> Iterator[str]:
    if "$ref" in rule:
        rule = record_schema()["$defs"][rule["$ref"].rpartition("/")[2]]
    name = where or "record"
    if "anyOf" in rule and all(any(_problems(value, option, where)) for option in rule["anyOf"]):
        yield f"{name}: fits none of the allowed forms"
    if "const" in rule and value != rule["const"]:
        yield f"{name}: must be {rule['const']!r}"
    if "enum" in rule and value not in rule["enum"]:
        yield f"{name}: must be one of {rule['enum']}"
    if "type" in rule and not _has_type(value, rule["type"]):
        yield f"{name}: must be of type {rule['type']}"
        return
    if isinstance(value, str) and "pattern" in rule and not re.search(rule["pattern"], value):
        yield f"{name}: must match {rule['pattern']}"
    if "minimum" in rule and _has_type(value, "number") and value < rule["minimum"]:
        yield f"{name}: must be at least {rule['minimum']}"
    inside: list[tuple[Any, Any, Any]] = []
    if isinstance(value, dict):
        yield from (f"{name}: {key} is missing" for key in rule.get("required", ()) if key not in value)
        known, others = rule.get("properties", {}), rule.get("additionalProperties")
        inside = [(key, item, known.get(key, others)) for key, item in value.items()]
    elif isinstance(value, list):
        inside = [(index, item, rule.get("items")) for index, item in enumerate(value)]
    for key, item, inner in inside:
        if isinstance(inner, dict):
            yield from _problems(item, inner, f"{where}/{key}".lstrip("/"))


def _has_type(value: Any, names: str | list[str]) -> bool:
    names = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def canonical_json(value: Any) -> str:
    """Returns the canonical text of a JSON value, which hashes are computed over.

    Args:
        value: JSON data; datetimes become ISO 8601 text in UTC, decimals plain text.

    Raises:
        ValueError: A float is not finite.
    """
    return dump_json(normalise(value))


def normalise(value: Any) -> Any:
    """Returns the value as JSON data that survives a trip through JavaScript unchanged."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_EXACT else str(value)
    if isinstance(value, float):
        return normalise(int(value)) if value.is_integer() else value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be recorded")
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(normalise(key)): normalise(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [normalise(item) for item in value]
    raise TypeError(f"a record cannot hold {type(value).__name__}")


def add_hash(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record in normal form with its hash: SHA-256 (hex) over everything else."""
    content = normalise({key: value for key, value in record.items() if key != HASH_FIELD})
    return {**content, HASH_FIELD: hash_json(content)}


def build_record(*, run_id: str, **fields: Any) -> dict[str, Any]:
    """Builds a hashed record of format 1.

    Args:
        run_id: ULID.
        **fields: All of the following; those of `_OPTIONAL` and `environment` may be left out.

            model: `slug`, `run_path`, `schema_sha256`.
            service: `name`, `base_url` (without credentials).
            parameters: As sent, by wire name; files excluded.
            files: By parameter: `name`, `sha256`, `size_bytes`, `url` of each file in order.
            seed: `parameter`, `value`, `pinned`; None when the model has no seed.
            task_id: The service's id, or None when nothing was sent.
            status: Ledger state, e.g. "succeeded".
            exit_code: The service's `pexit`.
            outputs: `name, content_type, size_bytes, sha256, path, url, width, height, duration_s, fps, frames`.
            price: `estimated_usd`, `cost_usd` as decimals, decimal texts or None.
            times: `created, submitted, started, finished` as UTC datetimes or None.
            elapsed_s: Seconds from submission to the end.
            parent: `run_id`, `output` of the run this one was made from.
            cell: `id`, `source_sha256` of the notebook cell; `parameters` that papermill put into the notebook.
            made_by: How the outputs were made, where a service on this machine says so; else left out.
            environment: Versions, without a name of host or user; those of this process when None.

    Returns:
        The record with `record_sha256`; secrets the process knows are masked in every text.

    Raises:
        BadRecord: A field does not fit the format (a defect of the caller).
    """
    content = {"format": FORMAT, "run_id": run_id, **dict.fromkeys(_OPTIONAL), **fields}
    content["environment"] = fields.get("environment") or {
        "wiro_nb": own_version(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}".strip(),
    }
    record = add_hash(redact_value(normalise(content)))
    if problems := validate_record(record):
        raise BadRecord(f"the record of run {run_id} does not fit its format", details=problems[:5])
    return record


@cache
def own_version() -> str:
    """Returns the version of this package; looking it up reads the metadata of installed packages."""
    return metadata.version("wiro_nb")


def check_record(record: Any, *, source: str = "record", ignore_hash: bool = False) -> dict[str, Any]:
    """Validates a record and returns it in normal form, whose text UTF-8 can hold.

    Args:
        record: Parsed JSON. Fields of later versions are kept and ignored.
        source: Where it was found, for the message.
        ignore_hash: True reads on when the content was changed after it was hashed.

    Raises:
        BadRecord: Not a record, of an unknown format, of the wrong shape, or altered. `reason` is
            one of "shape", "format", "altered".
    """
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise BadRecord(f"{source} holds no run record")
    if record["format"] != FORMAT:
        raise BadRecord(
            f"{source} holds a record of format {record['format']}; this version reads up to {FORMAT}",
            hint="python -m pip install --upgrade wiro_nb",
            reason="format",
        )
    try:
        checked = add_hash(record)
    except (ValueError, TypeError, RecursionError):  # NaN, infinity, or nested too deeply
        if ignore_hash:
            reason = "NaN, infinity, too many levels"
            raise BadRecord(f"{source} holds values that no record can hold ({reason})") from None
        checked = {HASH_FIELD: ""}
    stated = record.get(HASH_FIELD)
    if not ignore_hash and stated != checked[HASH_FIELD]:
        raise BadRecord(
            f"{source} holds a record that was changed after it was written",
            details=["its content does not match its record_sha256"],
            hint="record and rerun read it all the same with --force",
            reason="altered",
        )
    checked[HASH_FIELD] = stated
    if problems := validate_record(checked):
        raise BadRecord(f"{source} holds a record that does not fit its format", details=problems[:5])
    return checked


# Files ---------------------------------------------------------------------------------------


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
        if path.stat().st_size > limit_mb * 1_000_000:
            raise BadRecord(f"{path.name} is larger than {limit_mb} MB")
        return path.read_bytes()
    except OSError as error:
        raise BadRecord(f"{path.name} cannot be read: {error.strerror}") from None


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file; a byte order mark before it is skipped.

    Raises:
        BadRecord: As `read_bytes`, or it is no UTF-8, no JSON, or nested too deeply.
    """
    try:
        return parse_json(read_bytes(path))
    except ValueError as error:
        raise BadRecord(f"{path.name} cannot be read: {error}") from None


def parse_json(raw: bytes | str) -> Any:
    """Returns the value of JSON text.

    Raises:
        ValueError: It is none, not UTF-8, or nested too deeply; the text says which.
    """
    try:
        value = json.loads(raw if isinstance(raw, str) else raw.decode("utf-8-sig"))
        is_deep = is_deeper(value, MAX_DEPTH)
    except RecursionError:
        is_deep = True
    except ValueError as error:
        what = "UTF-8 text" if isinstance(error, UnicodeDecodeError) else "JSON"
        raise ValueError(f"it is not {what}") from None
    if is_deep:
        raise ValueError("it is nested too deeply")
    return value


def parse_object(text: Any) -> dict[str, Any]:
    """Returns the object of a JSON text, an object as it is, and {} for anything else."""
    try:
        content = parse_json(text) if isinstance(text, str) and text.startswith("{") else text
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def write_sidecar(
    folder: Path, record: Mapping[str, Any], *, name: str = SIDECAR_NAME, notes: Mapping[str, Any] | None = None
) -> None:
    """Writes the record to a file in one step, so that a reader never sees half of it.

    Args:
        folder: Where; must exist.
        record: A hashed record.
        name: Of the file.
        notes: Facts about this copy that are not part of the record, e.g. why the clip holds none.

    Raises:
        OSError: The folder cannot be written.
    """
    content = {**({"notes": notes} if notes else {}), "wiro": record}
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    write_atomically(folder / name, f"{text}\n".encode())


def read_sidecar(path: Path, *, ignore_hash: bool = False) -> dict[str, Any]:
    """Returns the record of a `run.json`.

    Raises:
        BadRecord: There is none, it is not JSON, or the record is refused.
    """
    content = read_json(path)
    record = content.get("wiro", content) if isinstance(content, dict) else content
    return check_record(record, source=path.name, ignore_hash=ignore_hash)
