"""Reads values from a job's wire parameters, for every engine. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from wiro_nb.sandbox.engines import EngineError

__all__ = ["fit_area", "read_number", "read_size", "read_text", "read_whole"]

_SIZE = re.compile(r"(\d{1,6})\s*[*xX×]\s*(\d{1,6})")


def read_text(parameters: Mapping[str, Any], name: str) -> str:
    """Returns a value as text without blanks around it, "" where there is none."""
    value = parameters.get(name)
    return "" if value is None else str(value).strip()


def read_number(parameters: Mapping[str, Any], name: str, default: float) -> float:
    """Returns a number.

    Raises:
        EngineError: The value is no finite number.
    """
    text = read_text(parameters, name)
    number = _parse_number(text) if text else default
    if number is None:
        raise EngineError(f"{name} must be a number, got {text[:40]!r}.")
    return number


def read_whole(parameters: Mapping[str, Any], name: str, default: int) -> int:
    """Returns a whole number; "12.0" is one.

    Raises:
        EngineError: The value is none.
    """
    text = read_text(parameters, name)
    number = _parse_number(text) if text else default
    if number is None or number != int(number):
        raise EngineError(f"{name} must be a whole number, got {text[:40]!r}.")
    return int(number)


def _parse_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_size(parameters: Mapping[str, Any], name: str, default: tuple[int, int]) -> tuple[int, int]:
    """Returns a width and height written as `832*480` or `960x544`.

    Raises:
        EngineError: The value is no size.
    """
    text = read_text(parameters, name)
    if not text:
        return default
    match = _SIZE.fullmatch(text)
    if match is None:
        raise EngineError(f"{name} must read like 832*480, got {text[:40]!r}.")
    return int(match[1]), int(match[2])


def fit_area(area: int, aspect: float) -> tuple[int, int]:
    """Returns a size of about this many pixels and this width over height, in multiples of 16."""
    aspect = min(max(aspect, 0.4), 2.5)
    width = math.sqrt(area * aspect)
    return max(64, round(width / 16) * 16), max(64, round(width / aspect / 16) * 16)
