"""Forecasts the duration of a run from earlier runs. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any

LATEST_RUNS = 9

_SIZE_NAMES = ("size", "resolution", "ratio", "aspectratio", "width", "height")
_FRAME_NAMES = ("numframes", "framenumber", "framenum", "frames")
_LENGTH_NAMES = ("duration", "videolength", "seconds", "length")
_STEP_NAMES = ("steps", "samplesteps", "numinferencesteps", "numsteps")
_SPEED_NAMES = ("speedmode", "speed", "mode", "quality", "fps")
_RELEVANT = (*_SIZE_NAMES, *_FRAME_NAMES, *_LENGTH_NAMES, *_STEP_NAMES, *_SPEED_NAMES)


@dataclass(frozen=True, slots=True)
class PastRun:
    """How long one run took.

    Attributes:
        compute_s: Seconds of work, without the queue.
        signature: What of its parameters makes work (see `work_signature`).
        work: Relative amount of work (see `work_units`), or None when it is unknown.
    """

    compute_s: float
    signature: str
    work: float | None


def work_signature(parameters: Mapping[str, Any]) -> str:
    """Returns the parameters that decide how long a run takes, as one text: size, frames, length, steps, speed."""
    found = {_plain(name): str(value).strip().lower() for name, value in parameters.items()}
    return ";".join(f"{name}={found[name]}" for name in _RELEVANT if found.get(name))


def work_units(parameters: Mapping[str, Any]) -> float | None:
    """Returns the relative amount of work: pixels x frames x steps, as far as the parameters tell.

    Returns:
        A positive number that only compares with others of the same model, or None when none of them is given.
    """
    found = {_plain(name): str(value) for name, value in parameters.items()}
    factors = (
        _pixels(found),
        _first_number(found, _FRAME_NAMES) or _first_number(found, _LENGTH_NAMES),
        _first_number(found, _STEP_NAMES),
    )
    known = [factor for factor in factors if factor]
    return math.prod(known) if known else None


def expected_seconds(past: Sequence[PastRun], parameters: Mapping[str, Any]) -> float | None:
    """Forecasts the seconds of work of a run.

    Args:
        past: Earlier successful runs of the same model on the same service, latest first.
        parameters: Of the run to come.

    Returns:
        The median of the latest runs with the same work; else the median of the latest ones scaled by the
        amount of work; None without any that compares.
    """
    signature = work_signature(parameters)
    alike = [run.compute_s for run in past if run.signature == signature and run.compute_s > 0][:LATEST_RUNS]
    if alike:
        return median(alike)
    work = work_units(parameters)
    if not work:
        return None
    rates = [run.compute_s / run.work for run in past if run.work and run.compute_s > 0][:LATEST_RUNS]
    return median(rates) * work if rates else None


@lru_cache(maxsize=1024)
def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _number(text: str) -> float | None:
    match = re.match(r"\s*(\d+(?:\.\d+)?)", text)
    value = float(match.group(1)) if match else 0.0
    return value if 0 < value < math.inf else None


def _first_number(found: Mapping[str, str], names: Sequence[str]) -> float | None:
    return next((value for name in names if name in found and (value := _number(found[name]))), None)


def _pixels(found: Mapping[str, str]) -> float | None:
    width, height = _first_number(found, ("width",)), _first_number(found, ("height",))
    if width and height:
        return width * height
    for name in ("size", "resolution"):
        text = found.get(name, "")
        if pair := re.search(r"(\d{2,5})\s*[*xX×]\s*(\d{2,5})", text):
            return float(pair.group(1)) * float(pair.group(2))
        if lines := re.search(r"(\d{3,4})\s*p\b", text):
            return float(lines.group(1)) ** 2 * 16 / 9
    return None
