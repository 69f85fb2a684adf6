"""Builds, hashes and checks run records of format 1.

A record travels through JSON writers we do not control (JupyterLab keeps notebook metadata in
JavaScript, where 5.0 becomes 5). The canonical form is made so that such a trip does not change
the hash: whole floats count as integers, and integers a double cannot hold are kept as text.

A record is checked against its published JSON Schema with the part of JSON Schema that file uses. The full
validator is a test dependency only; a test runs both over the same records.
Source: JSON Schema 2020-12, https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib import metadata, resources
from typing import Any

from wiro_nb.errors import BadRecord
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
_LARGEST_EXACT = 2**53


@cache
def record_schema() -> dict[str, Any]:
    """Returns the JSON Schema of record format 1 as shipped in the package."""
    text = resources.files("wiro_nb.provenance").joinpath("record.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate_record(record: Any) -> list[str]:
    """Returns what does not fit, one line each ("outputs/0/sha256: ..."); empty when all fits."""
    root = record_schema()
    return list(_problems(record, root, root, ""))


def _problems(value: Any, schema: dict[str, Any], root: dict[str, Any], where: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        if not any(not list(_problems(value, option, root, where)) for option in schema["anyOf"]):
            yield f"{where or 'record'}: fits none of the allowed forms"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{where or 'record'}: must be {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where or 'record'}: must be one of {schema['enum']}"
    if "type" in schema and not _has_type(value, schema["type"]):
        yield f"{where or 'record'}: must be of type {schema['type']}"
        return
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{where}: must match {schema['pattern']}"
    if _has_type(value, "number") and "minimum" in schema and value < schema["minimum"]:
        yield f"{where}: must be at least {schema['minimum']}"
    if isinstance(value, dict):
        yield from _object_problems(value, schema, root, where)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _problems(item, schema["items"], root, f"{where}/{index}".lstrip("/"))


def _object_problems(
    value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str
) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{where or 'record'}: {name} is missing"
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        rule = known.get(name, others)
        if isinstance(rule, dict):
            yield from _problems(item, rule, root, f"{where}/{name}".lstrip("/"))


def _has_type(value: Any, names: str | list[str]) -> bool:
    names = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in names
    return any(isinstance(value, _TYPES[name]) for name in names)


def canonical_json(value: Any) -> str:
    """Returns the one text form of a JSON value that hashes are taken over.

    Args:
        value: JSON data; datetimes become ISO 8601 text in UTC, decimals plain text.

    Raises:
        ValueError: A float is not finite.
    """
    return dump_normal(normalise(value))


def dump_normal(normal: Any) -> str:
    """Returns the canonical text of data that is in normal form already, as a hashed record is."""
    return json.dumps(normal, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def normalise(value: Any) -> Any:
    """Returns the value as JSON data that survives a trip through JavaScript unchanged."""
    kind = type(value)
    if kind is str and value.isascii():  # nearly all of a record: not worth the questions below
        return value
    if kind is dict:
        return {
            normalise(key) if type(key) is str else str(normalise(key)): normalise(item)
            for key, item in value.items()
        }
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_EXACT else str(value)
    if isinstance(value, float):
        return normalise(int(value)) if value.is_integer() else value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Mapping):
        return {str(normalise(key)): normalise(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [normalise(item) for item in value]
    raise TypeError(f"a record cannot hold {type(value).__name__}")


def utc_text(moment: datetime | None) -> str | None:
    """Returns ISO 8601 in UTC with milliseconds and a Z, or None.

    Raises:
        ValueError: The moment has no time zone.
    """
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be recorded")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def hash_record(record: Mapping[str, Any]) -> str:
    """Returns the SHA-256 (hex) over the canonical form of everything but the hash itself."""
    body = canonical_json({key: value for key, value in record.items() if key != HASH_FIELD})
    return hashlib.sha256(body.encode()).hexdigest()


def add_hash(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record in normal form with its hash."""
    return _add_hash(normalise({key: value for key, value in record.items() if key != HASH_FIELD}))


def _add_hash(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, HASH_FIELD: hashlib.sha256(dump_normal(body).encode()).hexdigest()}


def build_record(*, run_id: str, **fields: Any) -> dict[str, Any]:
    """Builds a hashed record of format 1.

    Args:
        run_id: ULID.
        **fields: All of the following but the last three, which default to None.

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
            environment: Versions; those of this process when None.

    Returns:
        The record with `record_sha256`; secrets the process knows are masked in every text.

    Raises:
        BadRecord: A field does not fit the format (a defect of the caller).
    """
    content = {"format": FORMAT, "run_id": run_id, "parent": None, "cell": None, **fields}
    content["environment"] = fields.get("environment") or _environment()
    record = _add_hash(redact_value(normalise(content)))
    if problems := validate_record(record):
        raise BadRecord(f"the record of run {run_id} does not fit its format", details=problems[:5])
    return record


@cache
def _environment() -> dict[str, str]:
    """Returns the versions a record names (no host or user name); looking one up reads every package's folder."""
    return {
        "wiro_nb": metadata.version("wiro_nb"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}".strip(),
    }


def check_record(record: Any, *, source: str = "record", ignore_hash: bool = False) -> dict[str, Any]:
    """Returns the record, or refuses it.

    Args:
        record: Parsed JSON. Fields of later versions are kept and ignored.
        source: Where it was found, for the message.
        ignore_hash: True reads on when the content was changed after it was hashed.

    Raises:
        BadRecord: Not a record, of an unknown format, of the wrong shape, or altered. `reason` is
            one of "shape", "format", "altered".
    """
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise BadRecord(f"{source} holds no run record", source=source, reason="shape")
    if record["format"] < FORMAT:
        raise BadRecord(f"records of format {record['format']} are not known", source=source, reason="format")
    if record["format"] > FORMAT:
        raise BadRecord(
            f"{source} holds a record of format {record['format']}; this version reads up to {FORMAT}",
            hint="python -m pip install --upgrade wiro_nb",
            source=source,
            reason="format",
        )
    own_hash = _hash_or_none(record)
    if own_hash is None and ignore_hash:
        raise BadRecord(
            f"{source} holds values that no record can hold (NaN, infinity, too many levels)",
            source=source,
            reason="shape",
        )
    if not ignore_hash and record.get(HASH_FIELD) != own_hash:
        raise BadRecord(
            f"{source} holds a record that was changed after it was written",
            details=["its content does not match its record_sha256"],
            hint="record and rerun read it all the same with --force",
            source=source,
            reason="altered",
        )
    if problems := validate_record(record):
        raise BadRecord(
            f"{source} holds a record that does not fit its format",
            details=problems[:5],
            source=source,
            reason="shape",
        )
    return record


def _hash_or_none(record: Mapping[str, Any]) -> str | None:
    try:
        return hash_record(record)
    except (ValueError, TypeError, RecursionError):
        return None  # NaN, infinity, half a surrogate pair, too deep: no record of ours has them
