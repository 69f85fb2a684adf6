"""Compares settings of requests, and clips.

Clips are compared in three steps, each only when the one before says no: the same bytes; the same
decoded frames; else how far apart, frame by frame. Decoding needs PyAV (the sandbox extra).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import BadRecord
from wiro_nb.files import hash_file
from wiro_nb.media import decode
from wiro_nb.provenance.made_by import made_by_facts

if TYPE_CHECKING:
    import numpy as np

IDENTICAL_DB = 99.0
"""PSNR given to a pair of equal frames, for which the formula has no finite value."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that differs; None where a side does not have it."""

    name: str
    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class ClipComparison:
    """The result of comparing two clips.

    Attributes:
        verdict: "same bytes", "same frames" or "different".
        mean_psnr_db, worst_psnr_db: Over the frames both have, in decibels; higher is closer, above
            about 40 the eye sees no difference. None for same bytes.
        psnr_db: One value a frame pair.
        frames: Frame counts of both.
        note: What kept the clips from being compared frame by frame, or what else is to be said, or "".
    """

    verdict: str
    mean_psnr_db: float | None = None
    worst_psnr_db: float | None = None
    psnr_db: tuple[float, ...] = ()
    frames: tuple[int, int] | None = None
    note: str = ""

    @property
    def sentence(self) -> str:
        """The result in one line for people."""
        if self.verdict == "same bytes":
            return "the same, byte for byte" + (f"; {self.note}" if self.note else "")
        if self.verdict == "same frames":
            return "the files differ, every frame is the same"
        if self.mean_psnr_db is None:
            return f"the clips differ: {self.note}"
        text = f"the clips differ: mean PSNR {self.mean_psnr_db:.1f} dB, worst frame {self.worst_psnr_db:.1f} dB"
        return f"{text}; {self.note}" if self.note else text


def diff_settings(*requests: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Returns each setting that differs between requests with its value in every one, None where it has none."""
    names = dict.fromkeys(name for request in requests for name in request)
    values = {name: tuple(request.get(name) for request in requests) for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def compare_settings(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """Returns what differs between two records' requests, and in how their outputs were made.

    That is: model, service, parameters, input files, and each fact of `made_by` ("made by: device").
    """
    sides = []
    for item in (left, right):
        side = settings_of(item["model"]["slug"], item["service"]["name"], item["parameters"], item["files"])
        sides.append({**side, **{f"made by: {name}": value for name, value in made_by_facts(item).items()}})
    return [Difference(name, *values) for name, values in diff_settings(*sides).items()]


def settings_of(
    model: str, service: str, parameters: Mapping[str, Any], files: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Returns what a request asks for, by name; a file by name and hash, as one name may stand for two files."""
    named = {
        name: [f"{item['name']} {(item.get('sha256') or item.get('url') or '')[:8]}".strip() for item in items]
        for name, items in files.items()
    }
    return {"model": model, "service": service, **parameters, **named}


def compare_clips(left: Path, right: Path) -> ClipComparison:
    """Compares two files as clips.

    Raises:
        BadRecord: A file is missing or is no clip.
        MissingExtra: The bytes differ and PyAV is not installed.
    """
    if hash_clip(left) == hash_clip(right):
        return ClipComparison("same bytes")
    decode.require_decoder()
    return _compare_frames(left, right)


def _compare_frames(left: Path, right: Path) -> ClipComparison:
    values: list[float] = []
    counts = [0, 0]
    sides = [_frames(left), _frames(right)]
    while True:
        pair = [next(side, None) for side in sides]
        for index, frame in enumerate(pair):
            counts[index] += frame is not None
        one, two = pair
        if one is None and two is None:
            break
        if one is None or two is None:
            continue
        if one.shape != two.shape:
            sizes = " and ".join(f"{frame.shape[1]}x{frame.shape[0]}" for frame in (one, two))
            return ClipComparison("different", note=f"their sizes are {sizes}")
        values.append(_psnr(one, two))
    frames = (counts[0], counts[1])
    note = "" if counts[0] == counts[1] else f"their frame counts are {counts[0]} and {counts[1]}"
    if not note and all(value == IDENTICAL_DB for value in values):
        return ClipComparison("same frames", IDENTICAL_DB, IDENTICAL_DB, tuple(values), frames)
    if not values:
        return ClipComparison("different", frames=frames, note=note)
    return ClipComparison("different", sum(values) / len(values), min(values), tuple(values), frames, note)


def _psnr(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    """Peak signal-to-noise ratio in dB over all channels of 8-bit frames."""
    import numpy as np

    error = float(np.mean((one.astype(np.int16) - two.astype(np.int16)).astype(np.float64) ** 2))
    return IDENTICAL_DB if error == 0 else min(10 * math.log10(255**2 / error), IDENTICAL_DB)


def _frames(path: Path) -> Iterator[np.ndarray[Any, Any]]:
    is_clip = False
    try:
        for frame in decode.frames(path):
            is_clip = True
            yield frame.to_ndarray(format="rgb24")
    except decode.DECODE_ERRORS:
        raise BadRecord(f"{path.name} cannot be decoded") from None
    if not is_clip:
        raise BadRecord(f"{path.name} has no pictures to compare")


def hash_clip(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file's bytes.

    Raises:
        BadRecord: It cannot be read.
    """
    try:
        return hash_file(path)
    except OSError as error:
        raise BadRecord(f"{path.name} cannot be read: {error.strerror}") from None
