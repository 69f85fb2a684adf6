"""One run as a row of the ledger, and its conversion to and from SQLite."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from wiro_nb.api.pricing import FRAMES, Inputs
from wiro_nb.json_values import as_decimal
from wiro_nb.ledger.state import ROW_FIELDS, LedgerRow, RunOutput, RunState, Stage
from wiro_nb.redaction import SecretText, redact, redact_value

_OUTPUT_FIELDS = frozenset(item.name for item in fields(RunOutput))
WHOLE_ROW = ", ".join(ROW_FIELDS)
"""What to select for `row_from_sql`."""
_LOCAL_ONLY = frozenset({"task_token", "folder", "lease_owner", "lease_until", "scope", "account"})


# Values ----------------------------------------------------------------------------------------


def time_text(moment: datetime) -> str:
    """Returns a UTC time as fixed-width text, so that texts sort chronologically."""
    if moment.tzinfo is None:
        raise ValueError("times in the ledger need a time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def read_time(text: str) -> datetime:
    """Reads what `time_text` wrote; a time without a time zone is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def money_text(amount: Decimal) -> str:
    """Returns an amount as plain decimal text, without an exponent."""
    return format(amount, "f")


def json_text(value: Any) -> str:
    """Returns a value as JSON. Stray surrogates stay escaped: SQLite takes UTF-8 only."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return text


def clean_text(text: str) -> str:
    """Returns text that UTF-8 can encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _read_object(text: str) -> dict[str, Any] | None:
    value = json.loads(text)
    if not isinstance(value, dict | None):
        raise TypeError(f"{type(value).__name__} in place of an object")
    return value


def _read_request(text: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads(text)
    files = (request.get("files") or {}).values()
    if not isinstance(request.get("seed") or {}, dict) or any(
        not hasattr(file, "get") for row in files for file in row
    ):
        raise TypeError("a request of another shape")
    return request


_STAGES = {stage.value: stage for stage in Stage}


def _read_stage(text: str) -> Stage:
    return _STAGES.get(text, Stage.WAITING)  # "" before there is one; a later version may have others


def _outputs_text(outputs: tuple[RunOutput, ...]) -> str:
    return json_text([asdict(output) for output in outputs])


def _read_outputs(text: str) -> tuple[RunOutput, ...]:
    return tuple(map(read_output, json.loads(text) or ()))


def read_output(item: Mapping[str, Any]) -> RunOutput:
    """Reads an output from JSON; a later version may have written more fields than this one knows."""
    return RunOutput(**{name: value for name, value in item.items() if name in _OUTPUT_FIELDS})


# Rows ------------------------------------------------------------------------------------------

_BY_TYPE: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "datetime": (time_text, read_time),
    "Decimal": (money_text, as_decimal),
    "dict[str, Any]": (json_text, _read_object),
    "tuple[RunOutput, ...]": (_outputs_text, _read_outputs),
    "RunState": (str, RunState),
    "Stage": (str, _read_stage),
    "bool": (int, bool),
}
"""How values of a type, other than None, are written and read; all other types are SQLite's own."""
_TYPES = {item.name: str(item.type).removesuffix(" | None") for item in fields(LedgerRow)}
_CONVERSIONS = {name: _BY_TYPE[kind] for name, kind in _TYPES.items() if kind in _BY_TYPE}
_CONVERSIONS |= {
    "message": (clean_text, str),
    "task_token": (SecretText, SecretText),
    "request": (json_text, _read_request),
}
_READERS = tuple((place, _CONVERSIONS[name][1]) for place, name in enumerate(ROW_FIELDS) if name in _CONVERSIONS)
DAMAGE = (ValueError, TypeError, AttributeError, RecursionError)
_IF_DAMAGED = {
    "state": RunState.UNCERTAIN,  # never sent again, and its task is looked for
    "created": datetime(1970, 1, 1, tzinfo=UTC),
    "request": {},
    "outputs": (),
}


def to_sql(name: str, value: Any) -> Any:
    """Returns one field of a row as SQLite stores it."""
    return _CONVERSIONS[name][0](value) if name in _CONVERSIONS and value is not None else value


def row_from_sql(stored: Iterable[Any]) -> LedgerRow:
    """Reads a row of the `runs` table, selected as `WHOLE_ROW`.

    What is damaged of it is left out, and its message says so; a damaged state becomes UNCERTAIN, which is never
    sent again.
    """
    row, damaged = read_row(stored)
    return replace(row, message=f"its row in the ledger is damaged: {', '.join(damaged)}") if damaged else row


def read_row(stored: Iterable[Any]) -> tuple[LedgerRow, list[str]]:
    """Reads a row as `row_from_sql` does; returns it with the names of its damaged fields."""
    values, damaged = list(stored), []  # by place: a search by name costs more than all the reading
    if bytes in map(type, values):
        values = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
        damaged.append("text")
    for place, read in _READERS:
        try:
            values[place] = None if values[place] is None else read(values[place])
        except DAMAGE:
            damaged.append(ROW_FIELDS[place])
            values[place] = _IF_DAMAGED.get(ROW_FIELDS[place])
    return LedgerRow(*values), damaged


_LENGTHS = ("duration", "videolength", "seconds", "length")
_STEPS = ("steps", "samplesteps", "numinferencesteps", "numsteps")
_DECIDE_TIME = (
    *("size", "resolution", "ratio", "aspectratio", "width", "height"),
    *("numframes", "framenumber", "framenum", "frames"),
    *_LENGTHS,
    *_STEPS,
    *("speedmode", "speed", "mode", "quality", "fps"),
)


def work_signature(parameters: Mapping[str, Any]) -> str:
    """Returns the parameters that decide how long a run takes, as one text: size, frames, length, steps, speed."""
    inputs = Inputs(parameters)
    given = {name: str(value).strip().lower() for name in _DECIDE_TIME for value in inputs.pick([name])}
    return ";".join(f"{name}={value}" for name, value in given.items() if value)


def work_units(parameters: Mapping[str, Any]) -> float | None:
    """Returns the relative amount of work: pixels x frames x steps, as far as the parameters tell.

    Returns:
        A positive number that only compares with others of the same model, or None when none of them is given.
    """
    inputs = Inputs(parameters)
    frames = inputs.number(FRAMES) or inputs.seconds(_LENGTHS)
    known = [float(factor) for factor in (inputs.pixels(), frames, inputs.number(_STEPS)) if factor]
    return math.prod(known) if known else None


def row_to_sql(row: LedgerRow) -> dict[str, Any]:
    """Returns all columns of a row, with those that only searches use."""
    searched = [row.run_id, row.model, *(str(value) for value in row.parameters.values())]
    return {
        **{name: to_sql(name, getattr(row, name)) for name in ROW_FIELDS},
        "short_id": row.short_id,
        "search_text": clean_text(redact("\n".join(searched)).casefold()),
        "signature": work_signature(row.parameters),
        "work": work_units(row.parameters),
    }


_INSERTED = (*ROW_FIELDS, "short_id", "search_text", "signature", "work")
_INSERT = f"INTO runs ({', '.join(_INSERTED)}) VALUES ({', '.join(':' + name for name in _INSERTED)})"


def insert_row(connection: sqlite3.Connection, row: LedgerRow) -> None:
    """Adds a row; SQLite refuses an id that is there already."""
    connection.execute(f"INSERT {_INSERT}", row_to_sql(row))


def insert_missing(connection: sqlite3.Connection, rows: Iterable[LedgerRow]) -> int:
    """Adds the rows whose ids are not there yet; returns how many."""
    return sum(connection.execute(f"INSERT OR IGNORE {_INSERT}", row_to_sql(row)).rowcount for row in rows)


def export_line(row: LedgerRow) -> str:
    """Returns a row as one line of JSON, without tokens, secrets and what concerns this machine only."""
    values: dict[str, Any] = {name: getattr(row, name) for name in ROW_FIELDS if name not in _LOCAL_ONLY}
    values |= {"outputs": [asdict(output) for output in row.outputs], "record": row.load_record()}
    return json.dumps(redact_value(values), sort_keys=True, ensure_ascii=False, default=_plain_text)


def _plain_text(value: datetime | Decimal) -> str:
    return time_text(value) if isinstance(value, datetime) else money_text(value)
