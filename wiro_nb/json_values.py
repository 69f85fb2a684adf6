"""Reads loosely typed JSON: every function accepts any value, returns a typed one or None, and never raises.

The service sends most numbers as text ("6.0000"), times as epoch text with "0" for "not yet", and
lists as JSON inside a string. Fields go missing and change type; a reader that raised would lose a
run that was paid for. What `load_json` returns can be stored anywhere: finite numbers of limited size, text
that UTF-8 can hold, at most `DEEPEST_LEVEL` levels.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

DEEPEST_LEVEL = 64
LARGEST_COST_USD = 1_000_000
_MILLISECONDS_FROM = 10**11
_LAST_MOMENT_S = 4_102_444_800.0
"""The year 2100: later times are nonsense, and those near the end of the calendar make time zones raise."""
_LONGEST_DURATION_S = 1e9
_LARGEST_WHOLE = 2**53
_LONGEST_NUMBER = 64
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|h|m|s)", re.IGNORECASE)
_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)")
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_Default = TypeVar("_Default")
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def as_mapping(value: object) -> dict[str, Any]:
    """Returns a dict; JSON text of an object is read; anything else is empty."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        value = load_json(value)
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def as_list(value: object) -> list[Any]:
    """Returns a list; JSON text of a list is read; None and other values are empty."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = load_json(value)
    return list(value) if isinstance(value, (list, tuple)) else []


def load_json(text: str) -> Any:
    """Returns the JSON value, or None when the text is not JSON.

    NaN, infinity and integers of more than 64 digits become None, half surrogate pairs a question mark, and what
    is nested deeper than `DEEPEST_LEVEL` None.
    """
    if text.count("[") + text.count("{") > DEEPEST_LEVEL:
        text = _cut_levels(text)
    try:
        value = _decode(text)
    except (ValueError, RecursionError):
        return None
    return _clean(value) if "\\ud" in text or "\\uD" in text else value


def is_deeper(value: object, levels: int) -> bool:
    """True for JSON data with more than so many levels of lists and objects; it is looked into no further."""
    if not isinstance(value, (dict, list)):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(item, levels - 1) for item in inside if isinstance(item, (dict, list)))


def dump_json(value: Any) -> str:
    """Returns the canonical text of JSON data, which hashes are computed over.

    Raises:
        ValueError: A float is not finite.
    """
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def hash_json(value: Any) -> str:
    """Returns the SHA-256 (hex) of JSON data. Raises as `dump_json`."""
    return hashlib.sha256(dump_json(value).encode()).hexdigest()


def _cut_levels(text: str) -> str:
    """Returns JSON text with null in place of what is nested too deeply; linear, and without recursion."""
    parts, level, kept_until = [], 0, 0
    for match in _STRING_OR_BRACKET.finditer(text):
        bracket = match.group()
        if bracket in ("[", "{"):
            if level == DEEPEST_LEVEL:
                parts += [text[kept_until : match.start()], "null"]
            level += 1
        elif bracket in ("]", "}"):
            level -= 1
            if level == DEEPEST_LEVEL:
                kept_until = match.end()
    if level > DEEPEST_LEVEL:  # never closed: no JSON, and not worth reading
        return ""
    return "".join([*parts, text[kept_until:]])


def _read_integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else None


def _read_real(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


_decode = json.JSONDecoder(parse_int=_read_integer, parse_float=_read_real, parse_constant=lambda _: None).decode


def _clean(value: Any) -> Any:
    """Returns JSON whose texts UTF-8 can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def as_text(value: object, longest: int | None = None) -> str:
    """Returns text, cut where it is longer than `longest`; numbers as written, None and containers as ""."""
    if isinstance(value, str):
        return value if longest is None else value[:longest]
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))[:longest]
    try:
        return str(value)[:longest]
    except ValueError:  # an integer of more digits than Python converts
        return ""


def as_optional_text(value: object, longest: int | None = None) -> str | None:
    """Returns text, cut where it is longer than `longest`, or None where there is none."""
    return as_text(value, longest).strip() or None


def as_decimal(value: object) -> Decimal | None:
    """Returns an exact, finite number, or None."""
    text = as_text(value).strip()
    if not text or len(text) > _LONGEST_NUMBER:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    # Exponents beyond any price or size would make later arithmetic slow or raise.
    return number if number.is_finite() and abs(number.adjusted()) < 40 else None


def as_cost(value: object) -> Decimal | None:
    """Returns an amount in USD, or None (unknown) where it is none: negative, or beyond `LARGEST_COST_USD`."""
    amount = as_decimal(value)
    return amount if amount is not None and 0 <= amount <= LARGEST_COST_USD else None


def as_float(value: object) -> float | None:
    """Returns a finite number, or None; "60%" reads as 60."""
    number = as_decimal(value.strip().removesuffix("%") if isinstance(value, str) else value)
    return None if number is None else float(number)


def as_whole(value: object) -> int | None:
    """Returns a whole number ("6.0000" reads as 6) that a float holds exactly, or None."""
    number = as_decimal(value)
    return int(number) if number is not None and abs(number) <= _LARGEST_WHOLE else None


def as_flag(value: object, default: _Default) -> bool | _Default:
    """Returns a truth value; "true"/"false"/"yes"/"off"/1/"0" are read, anything else is the default."""
    return value if isinstance(value, bool) else _FLAGS.get(as_text(value).strip().lower(), default)


def as_moment(value: object) -> datetime | None:
    """Returns a UTC time from epoch seconds (or milliseconds); None for "0", empty, unreadable or after 2100."""
    seconds = as_float(value)
    if not seconds or seconds < 0:
        return None
    if seconds >= _MILLISECONDS_FROM:
        seconds /= 1000
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds < _LAST_MOMENT_S else None


def as_seconds(value: object) -> float | None:
    """Returns a duration in seconds from "5s", "1m 5s", "01:05", "6.0000" or a number; None otherwise."""
    text = as_text(value).strip()[:_LONGEST_NUMBER]
    seconds = as_float(text.removesuffix("s"))
    if seconds is None and (clock := _CLOCK.fullmatch(text)):
        seconds = float(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3])
    elif seconds is None and text and not _DURATION_PART.sub("", text).strip():
        seconds = sum(float(number) * _UNIT_SECONDS[unit.lower()] for number, unit in _DURATION_PART.findall(text))
    return seconds if seconds is not None and 0 <= seconds <= _LONGEST_DURATION_S else None


def as_words(value: object) -> tuple[str, ...]:
    """Returns a list of words from a list, a JSON list inside a string, or comma-separated text.

    The service is also seen to send the list with its quotes unescaped or stripped; what is between
    the brackets is then split at commas.
    """
    items: list[Any] = as_list(value)
    if not items and isinstance(value, str):
        items = [item.strip(" \t\r\n\"'[]\\") for item in value.split(",")]
    return tuple(text for text in (as_text(item).strip() for item in items) if text)
