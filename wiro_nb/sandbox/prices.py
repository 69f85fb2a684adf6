"""What a run costs here. The amounts are made up; the methods are the service's.

Each bundled model uses another method, so that every way of pricing can be met without an account.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

__all__ = ["MIN_BALANCE_USD", "Price", "Usage", "clip_seconds", "cost_usd", "slots_for"]

MIN_BALANCE_USD = Decimal("0.50")
_NO_LIMIT_ABOVE_USD = Decimal(250)
_TIER_PIXELS = 1_048_576
_HEAD_BYTES = 1 << 18
_UNIT = Decimal("0.000000000001")


@dataclass(frozen=True)
class Price:
    """A model's price: the service's `dynamicprice` entries, or elapsed seconds times `cps`."""

    entries: tuple[dict[str, Any], ...] = ()
    cps: Decimal = Decimal(0)
    approximate_usd: Decimal = Decimal(0)


@dataclass(frozen=True)
class Usage:
    """What a run used: seconds it ran, outputs made, seconds of video, pixels a frame, words in and out."""

    elapsed_s: float
    outputs: int = 1
    clip_s: float = 0.0
    pixels: int = 0
    prompt_length: int = 0
    tokens: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)


def slots_for(balance_usd: Decimal) -> int | None:
    """Returns how many tasks may run at once for a balance; None for no limit."""
    if balance_usd > _NO_LIMIT_ABOVE_USD:
        return None
    return max(1, int(balance_usd * Decimal("0.10")))


def cost_usd(price: Price, usage: Usage) -> Decimal:
    """Returns what a successful run bills, 12 places."""
    entry = _fitting(price.entries, usage.parameters)
    seconds = Decimal(str(usage.elapsed_s))
    amount = seconds * price.cps if entry is None else Decimal(str(entry["price"])) * _quantity(entry, usage)
    return amount.quantize(_UNIT, ROUND_HALF_UP)


def _fitting(entries: Sequence[dict[str, Any]], parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    for entry in entries:
        if all(str(parameters.get(name, "")) == str(value) for name, value in entry["inputs"].items()):
            return entry
    return None


def _quantity(entry: dict[str, Any], usage: Usage) -> Decimal:
    match entry["priceMethod"]:
        case "cps":
            return Decimal(str(usage.elapsed_s))
        case "cpo":
            return Decimal(usage.outputs)
        case "cpt":
            return Decimal(usage.tokens)
        case "cp-pixel":
            return Decimal(max(1, math.ceil(usage.pixels / _TIER_PIXELS)))
        case "cp-promptlength":
            return Decimal(usage.prompt_length)
        case "cp-outputVideoLength":
            return Decimal(str(round(usage.clip_s, 3)))
        case _:
            return Decimal(1)


def clip_seconds(path: Path) -> tuple[float, int]:
    """Returns an MP4's length in seconds and its pixels a frame, 0 for what cannot be read.

    Source: ISO/IEC 14496-12, `mvhd` and `tkhd`.
    """
    if path.suffix != ".mp4":
        return 0.0, 0
    with path.open("rb") as source:
        data = source.read(_HEAD_BYTES)  # the engines write the index first
    seconds, pixels = 0.0, 0
    if (at := data.find(b"mvhd")) > 0:
        offset = at + (24 if data[at + 4] == 1 else 16)
        scale = struct.unpack_from(">I", data, offset)[0]
        length = struct.unpack_from(">Q" if data[at + 4] == 1 else ">I", data, offset + 4)[0]
        seconds = length / scale if scale else 0.0
    if (at := data.find(b"tkhd")) > 0:
        width, height = struct.unpack_from(">II", data, at + (92 if data[at + 4] == 1 else 80))
        pixels = (width >> 16) * (height >> 16)
    return seconds, pixels
