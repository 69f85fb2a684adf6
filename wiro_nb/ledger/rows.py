"""One run as a row of the ledger, and its conversion to and from SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from wiro_nb.ledger.history import work_signature, work_units
from wiro_nb.ledger.state import ROW_FIELDS, LedgerRow, RunOutput, RunState, Stage
from wiro_nb.redaction import SecretText, redact, redact_value

_OUTPUT_FIELDS = frozenset(item.name for item in fields(RunOutput))
COLUMNS = ROW_FIELDS
WHOLE_ROW = ", ".join(COLUMNS)
"""What to select for `row_from_sql`."""
_LOCAL_ONLY = frozenset({"task_token", "folder", "lease_owner", "lease_until", "scope", "account"})


def time_text(moment: datetime | None) -> str | None:
    """Returns a UTC time as fixed-width text, so that texts sort chronologically."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError("times in the ledger need a time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def read_time(text: str | None) -> datetime | None:
    """Reads what `time_text` wrote."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return moment


def money_text(amount: Decimal | None) -> str | None:
    """Returns an amount as plain decimal text, without an exponent."""
    return None if amount is None else format(amount, "f")


def read_money(text: str | None) -> Decimal | None:
    """Reads decimal text; None for none, or for a text that is no number."""
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def json_text(value: Any) -> str | None:
    """Returns a value as JSON, or None for None. Stray surrogates stay escaped: SQLite takes UTF-8 only."""
    if value is None:
        return None
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return text


def clean_text(text: str) -> str:
    """Returns text that UTF-8 can encode."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _read_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _read_object(text: str | None) -> dict[str, Any] | None:
    value = _read_json(text)
    if not isinstance(value, dict | None):
        raise TypeError(f"{type(value).__name__} in place of an object")
    return value


def _read_request(text: str) -> dict[str, Any]:
    request: dict[str, Any] = _read_json(text)
    files = (request.get("files") or {}).values()
    if not isinstance(request.get("seed") or {}, dict) or any(
        not hasattr(file, "get") for row in files for file in row
    ):
        raise TypeError("a request of another shape")
    return request


_STAGES = {stage.value: stage for stage in Stage}


def _read_stage(text: str) -> Stage:
    return _STAGES.get(text, Stage.WAITING)  # "" before there is one; a later version may have others


def _outputs_text(outputs: tuple[RunOutput, ...]) -> str | None:
    return json_text([asdict(output) for output in outputs])


def _read_outputs(text: str | None) -> tuple[RunOutput, ...]:
    if text is None or text == "[]":
        return ()
    # A later version may have written more fields than this one knows.
    return tuple(
        RunOutput(**{name: value for name, value in item.items() if name in _OUTPUT_FIELDS})
        for item in _read_json(text) or []
    )


_TIMES = ("created", "submitting_at", "submitted_at", "started_at", "finished_at", "lease_until", "cancel_at")
_TO_SQL: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TIMES, time_text),
    **dict.fromkeys(("estimated_usd", "cost_usd"), money_text),
    **dict.fromkeys(("request", "parent", "error"), json_text),
    **dict.fromkeys(("starred", "deleted"), int),
    **dict.fromkeys(("state", "stage"), str),
    "message": clean_text,
    "outputs": _outputs_text,
}
_FROM_SQL: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_TIMES, read_time),
    **dict.fromkeys(("estimated_usd", "cost_usd"), read_money),
    **dict.fromkeys(("parent", "error"), _read_object),
    "request": _read_request,
    **dict.fromkeys(("starred", "deleted"), bool),
    "state": RunState,
    "stage": _read_stage,
    "outputs": _read_outputs,
    "task_token": lambda text: None if text is None else SecretText(text),
}


DAMAGE = (ValueError, TypeError, AttributeError, RecursionError)
_IF_DAMAGED = {
    "state": RunState.UNCERTAIN,  # never sent again, and its task is looked for
    "created": datetime(1970, 1, 1, tzinfo=UTC),
    "request": {},
    "outputs": (),
}
_READERS = tuple((place, _FROM_SQL[name]) for place, name in enumerate(COLUMNS) if name in _FROM_SQL)


def to_sql(name: str, value: Any) -> Any:
    """Returns one field of a row as SQLite stores it."""
    convert = _TO_SQL.get(name)
    return value if convert is None else convert(value)


def row_from_sql(stored: Sequence[Any]) -> LedgerRow:
    """Reads a row of the `runs` table, selected as `WHOLE_ROW`.

    What is damaged of it is left out, and its message says so; a damaged state becomes UNCERTAIN, which is never
    sent again.
    """
    try:
        return intact_row(stored)
    except DAMAGE:
        return _repair_row(stored)


def intact_row(stored: Iterable[Any]) -> LedgerRow:
    """Reads a row as `row_from_sql` does.

    Raises:
        ValueError, TypeError, AttributeError, RecursionError: It is damaged.
    """
    values = list(stored)  # by place: a search by name costs more than all the reading
    if bytes in map(type, values):
        raise TypeError("bytes in place of text")
    for place, read in _READERS:
        values[place] = read(values[place])
    return LedgerRow(*values)


def _repair_row(stored: Iterable[Any]) -> LedgerRow:
    values: list[Any] = [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in stored
    ]
    damaged = []
    for place, read in _READERS:
        try:
            values[place] = read(values[place])
        except DAMAGE:
            damaged.append(COLUMNS[place])
            values[place] = _IF_DAMAGED.get(COLUMNS[place])
    values[COLUMNS.index("message")] = f"its row in the ledger is damaged: {', '.join(damaged) or 'text'}"
    return LedgerRow(*values)


def row_to_sql(row: LedgerRow) -> dict[str, Any]:
    """Returns all columns of a row, with those that only searches use."""
    searched = [row.run_id, row.model, *(str(value) for value in row.parameters.values())]
    return {
        **{name: to_sql(name, getattr(row, name)) for name in COLUMNS},
        "short_id": row.short_id,
        "search_text": clean_text(redact("\n".join(searched)).casefold()),
        "signature": work_signature(row.parameters),
        "work": work_units(row.parameters),
    }


_INSERTED = (*COLUMNS, "short_id", "search_text", "signature", "work")
_INSERT = f"INTO runs ({', '.join(_INSERTED)}) VALUES ({', '.join(':' + name for name in _INSERTED)})"


def insert_row(connection: sqlite3.Connection, row: LedgerRow) -> None:
    """Adds a row; SQLite refuses an id that is there already."""
    connection.execute(f"INSERT {_INSERT}", row_to_sql(row))


def insert_missing(connection: sqlite3.Connection, rows: Iterable[LedgerRow]) -> int:
    """Adds the rows whose ids are not there yet; returns how many."""
    return sum(connection.execute(f"INSERT OR IGNORE {_INSERT}", row_to_sql(row)).rowcount for row in rows)


def export_line(row: LedgerRow) -> str:
    """Returns a row as one line of JSON, without tokens, secrets and what concerns this machine only."""
    values: dict[str, Any] = {}
    for name in COLUMNS:
        value = getattr(row, name)
        if name in _LOCAL_ONLY:
            continue
        if name == "outputs":
            value = [asdict(output) for output in value]
        elif name == "record":
            value = _read_json(value)
        elif isinstance(value, (datetime, Decimal, RunState)):
            value = to_sql(name, value)
        values[name] = value
    return json.dumps(redact_value(values), sort_keys=True, ensure_ascii=False)
