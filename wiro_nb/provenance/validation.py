"""Checks a record against its published JSON Schema, with the part of JSON Schema that file uses.

The full validator is a test dependency only; a test runs both over the same records.
Source: JSON Schema 2020-12, https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


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
