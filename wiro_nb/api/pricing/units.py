"""Counts the billed units of a run from its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil
from typing import Any

from wiro_nb.json_values import as_decimal, as_seconds, as_text

TIER_PIXELS = 1_048_576
"""Source: the service's price page; `cp-pixel` counts begun tiers of this size."""

# Spelling differs from model to model; compared in lower case without "_" and "-".
_DURATIONS = ("duration", "videolength", "videoduration", "durationseconds", "seconds", "videoseconds")
_FRAMES = ("numframes", "framenum", "framenumber", "frames", "numberofframes", "framecount")
_RATES = ("fps", "framerate", "framespersecond")
_OUTPUTS = ("numoutputs", "outputs", "numberofoutputs", "numimages", "samples", "batchsize", "n")
_PROMPTS = ("prompt", "text", "inputtext")
_TOKENS = ("maxtokens", "maxnewtokens", "maxoutputtokens")
_TURNS = ("turns", "maxturns")
_SIZES = ("size", "resolution", "imagesize", "videosize", "dimensions")
_SIZE = re.compile(r"(\d{2,5})\s*[x*×]\s*(\d{2,5})", re.IGNORECASE)
_LINES = re.compile(r"(\d{3,4})p", re.IGNORECASE)
_SLOWEST_FPS, _FASTEST_FPS = Decimal(8), Decimal(30)


@dataclass(frozen=True, slots=True)
class Units:
    """A count, from `low` to `high` (None: open), its description, and whether it is known."""

    low: Decimal
    high: Decimal | None
    text: str
    known: bool = True


def as_plain(number: Decimal) -> str:
    """Returns a number without exponent and trailing zeros."""
    return format(number.normalize(), "f")


def count_units(
    method: str, parameters: Mapping[str, Any], *, seconds: Decimal | None, named: str | None
) -> Units:
    """Counts the units of a price method.

    Args:
        method: The service's word.
        parameters: As they will be sent.
        seconds: That runs of this model usually take, or None.
        named: The parameter that the row says to count by, or None.
    """
    values = {re.sub(r"[_\-\s]", "", name).lower(): value for name, value in parameters.items()}
    given = parameters.get(named) if named else None
    match method:
        case "cpr":
            return _exactly(Decimal(1), "a run")
        case "cps":
            return _per_second(seconds)
        case "cpo":
            return _per_output(_number([given, *_pick(values, _OUTPUTS)]))
        case "cpt":
            return _up_to(_number([given, *_pick(values, _TOKENS)]), "a token")
        case "cp-pixel":
            return _per_tier(_pixels(values, given))
        case "cp-audiosecondslength":
            return _audio_seconds(_duration([given, *_pick(values, _DURATIONS)]))
        case "cp-promptlength":
            return _per_length(as_text(given) or as_text(next(iter(_pick(values, _PROMPTS)), "")))
        case "cp-outputVideoLength":
            return _video_seconds(_duration([given, *_pick(values, _DURATIONS)]), values)
        case "cp-realtimeturn":
            return _up_to(_number([given, *_pick(values, _TURNS)]), "a turn")
        case "cp-readoutput":
            return _unknown("times a figure that only the finished output shows")
        case _:
            return _unknown(f"by a method that is not known here ({method[:40]})")


def _exactly(count: Decimal, text: str) -> Units:
    return Units(count, count, text)


def _unknown(text: str) -> Units:
    return Units(Decimal(0), None, text, known=False)


def _up_to(most: Decimal | None, unit: str) -> Units:
    if most is None:
        return _unknown(f"{unit}, and how many there will be is open")
    return Units(min(Decimal(1), most), most, f"{unit}, at most {as_plain(most)}")


def _per_second(seconds: Decimal | None) -> Units:
    if seconds is None:
        return _unknown("a second of work, and no run has been timed yet")
    return _exactly(seconds, f"a second, and runs like this took {as_plain(seconds)} s")


def _per_output(count: Decimal | None) -> Units:
    if count is None:
        return _exactly(Decimal(1), "an output, taking one output")
    return _exactly(count, f"an output, {as_plain(count)} asked for")


def _per_tier(pixels: int | None) -> Units:
    if pixels is None:
        return _unknown(f"for each {TIER_PIXELS:,} pixels, and the inputs do not tell the size")
    tiers = max(1, ceil(pixels / TIER_PIXELS))
    return _exactly(Decimal(tiers), f"for each begun {TIER_PIXELS:,} pixels, {tiers} of them")


def _audio_seconds(seconds: Decimal | None) -> Units:
    if seconds is None:
        return _unknown("a second of sound, and the inputs do not tell how long it is")
    return _exactly(seconds, f"a second of sound, {as_plain(seconds)} s")


def _per_length(text: str) -> Units:
    if not text.strip():
        return _unknown("by the length of the prompt, and there is none")
    words, characters = Decimal(len(text.split())), Decimal(len(text))
    counted = f"{words} words, {characters} characters: the service does not say which it counts"
    return Units(words, characters, f"by the length of the prompt ({counted})")


def _video_seconds(seconds: Decimal | None, values: Mapping[str, Any]) -> Units:
    if seconds is not None:
        return _exactly(seconds, f"a second of video, {as_plain(seconds)} s")
    frames, rate = _number(_pick(values, _FRAMES)), _number(_pick(values, _RATES))
    if frames is None:
        return _unknown("a second of video, and the inputs do not tell how long it will be")
    if rate is not None:
        length = (frames / rate).quantize(Decimal("0.0001"))
        return _exactly(length, f"a second of video, {as_plain(frames)} frames at {as_plain(rate)} a second")
    low, high = ((frames / fps).quantize(Decimal("0.0001")) for fps in (_FASTEST_FPS, _SLOWEST_FPS))
    return Units(low, high, f"a second of video, {as_plain(frames)} frames at 8 to 30 a second")


def _pick(values: Mapping[str, Any], names: Iterable[str]) -> list[Any]:
    return [values[name] for name in names if name in values]


def _number(candidates: Iterable[Any]) -> Decimal | None:
    numbers = (as_decimal(value) for value in candidates)
    return next((number for number in numbers if number is not None and number > 0), None)


def _duration(candidates: Iterable[Any]) -> Decimal | None:
    return _number(as_seconds(value) for value in candidates)


def _pixels(values: Mapping[str, Any], named: Any) -> int | None:
    width, height = _number(_pick(values, ("width",))), _number(_pick(values, ("height",)))
    if width is not None and height is not None:
        return int(width * height)
    for value in [named, *_pick(values, _SIZES)]:
        text = as_text(value)
        if found := _SIZE.search(text):
            return int(found[1]) * int(found[2])
        if found := _LINES.search(text):
            return int(found[1]) ** 2 * 16 // 9  # "720p" without a ratio: the widest usual one
    return None
