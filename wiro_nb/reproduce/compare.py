"""Compares two runs, or files of them: their settings and their outputs.

Clips are compared in three steps, each only when the one before says no: the same bytes; the same
decoded frames; else how far apart, frame by frame. Decoding needs PyAV (the sandbox extra).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import BadRecord, InputError
from wiro_nb.execution.run import Run
from wiro_nb.files import hash_file, is_there
from wiro_nb.media import decode
from wiro_nb.provenance.embed import hash_media
from wiro_nb.provenance.made_by import made_by_facts
from wiro_nb.reproduce import find_run, find_source, locate_files
from wiro_nb.session.manager import Manager

if TYPE_CHECKING:
    import numpy as np

IDENTICAL_DB = 99.0
"""PSNR given to a pair of equal frames, for which the formula has no finite value."""
_NO_CLIPS = (".ipynb", ".json")


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How an output of one side compares with that of the other.

    Attributes:
        name: Of the file.
        verdict: "same bytes", "same frames" or "different"; None where they could not be compared.
        mean_psnr_db, worst_psnr_db: Over the frames both have, in decibels; higher is closer, above
            about 40 the eye sees no difference. None for same bytes.
        note: What kept them from being compared, or from frame by frame, or what else is to be said, or "".
        psnr_db: One value a frame pair.
    """

    name: str
    verdict: str | None
    mean_psnr_db: float | None = None
    worst_psnr_db: float | None = None
    note: str = ""
    psnr_db: tuple[float, ...] = ()

    @property
    def sentence(self) -> str:
        """The result in one line for people."""
        found = {
            None: "",
            "same bytes": "the same, byte for byte",
            "same frames": "the files differ, every frame is the same",
            "different": "the clips differ",
        }[self.verdict]
        if self.verdict == "different" and self.mean_psnr_db is not None:
            found += f": mean PSNR {self.mean_psnr_db:.1f} dB, worst frame {self.worst_psnr_db:.1f} dB"
        return f"{self.name}: {'; '.join(filter(None, (found, self.note)))}"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        label: What to call it.
        record: Of the run; None for a clip that carries none.
        files: Its files on this machine, one for each output of the record; None where one is not here.
        run: The run, where this machine's ledger has it.
    """

    label: str
    record: Mapping[str, Any] | None
    files: Sequence[Path | None]
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        left, right: The sides.
        settings: By name the values of both sides of what differs in the request, None where a side does not have
            it; None where a side has no record.
        outputs: By position.
    """

    left: Side
    right: Side
    settings: dict[str, tuple[Any, ...]] | None
    outputs: tuple[OutputComparison, ...]

    @property
    def is_same(self) -> bool:
        """True when every output came out the same, at least frame by frame."""
        return bool(self.outputs) and all(item.verdict not in (None, "different") for item in self.outputs)

    @property
    def sentences(self) -> list[str]:
        """The result for people: outputs, then what kept the settings from being compared."""
        lines = [item.sentence for item in self.outputs] or ["neither side has a file to compare"]
        if self.settings is None:
            bare = ", ".join(side.label for side in (self.left, self.right) if side.record is None)
            lines.append(f"settings cannot be compared: {bare} carries no record")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as plain JSON data."""
        settings = None
        if self.settings is not None:
            settings = [{"name": name, "left": one, "right": two} for name, (one, two) in self.settings.items()]
        outputs = [asdict(item) for item in self.outputs]
        for item in outputs:
            del item["psnr_db"]
        names = {"left": self.left.label, "right": self.right.label}
        return {**names, "same": self.is_same, "settings": settings, "outputs": outputs}


def find_side(manager: Manager, source: str | Path, *, notebook: str | None = None) -> Side:
    """Returns a run, clip, sidecar or notebook's run as one side of a comparison.

    Raises:
        UnknownRun, BadRecord: There is no such thing, or several, or the run is not done.
    """
    path = Path(source)
    is_clip = is_there(path) and path.is_file() and path.suffix.lower() not in _NO_CLIPS
    try:
        found = find_source(manager, source, notebook=notebook)
    except BadRecord as error:
        if not is_clip or error.reason != "none":
            raise
        return Side(path.name, None, [path])
    run = find_run(manager, found)
    if not is_clip:
        return Side(Path(found.name).name, found.record, locate_files(found, run), run)
    # One of several files of a run: its own entry is the one to compare.
    outputs: list[Any] = found.record["outputs"]
    own = outputs if len(outputs) == 1 else [output for output in outputs if output["name"] == path.name][:1]
    return Side(path.name, {**found.record, "outputs": own or [{}]}, [path], run)


def compare_sources(
    manager: Manager, sources: Sequence[str | Path], *, notebook: str | None = None
) -> list[Comparison]:
    """Compares the first of these with each other one; one alone with the run it was made from.

    Raises:
        UnknownRun, BadRecord: As `find_side`; also where the run that one alone was made from is not here.
        InputError: One alone was made from no other run.
        MissingExtra: As `compare_sides`.
    """
    first, *others = [find_side(manager, source, notebook=notebook) for source in sources]
    if not others:
        parent = first.record.get("parent") if first.record is not None else None
        if not parent:
            raise InputError(
                f"{first.label} was not made from another run: name two to compare",
                hint=f"%wiro compare {first.label} RUN",
            )
        first, others = find_side(manager, str(parent["run_id"]), notebook=notebook), [first]
    return [compare_sides(first, other) for other in others]


def compare_sides(left: Side, right: Side) -> Comparison:
    """Compares the settings of two sides, and their outputs one by one.

    Raises:
        MissingExtra: Files differ, and PyAV is not installed to look at their pictures.
    """
    settings = None
    if left.record is not None and right.record is not None:
        settings = compare_settings(left.record, right.record)
    count = max(len(left.files), len(right.files))
    return Comparison(left, right, settings, tuple(_compare_outputs(left, right, at) for at in range(count)))


def _compare_outputs(left: Side, right: Side, position: int) -> OutputComparison:
    one, two = (side.files[position] if position < len(side.files) else None for side in (left, right))
    is_only = len(left.files) == len(right.files) == 1
    name = "output" if is_only else next((file.name for file in (one, two) if file), f"output {position}")
    if one is None or two is None:
        absent = left if one is None else right
        return OutputComparison(name, None, note=f"{absent.label} has no such file here")
    try:
        if _arrived_identical(left, right, position, one, two) and hash_file(one) != hash_file(two):
            return OutputComparison(name, "same bytes", note="the files differ only in the record they carry")
        return replace(compare_clips(one, two), name=name)
    except BadRecord as error:
        return OutputComparison(name, None, note=error.message)


def _arrived_identical(left: Side, right: Side, position: int, one: Path, two: Path) -> bool:
    """True when both files are unchanged since download and the service sent the same bytes."""
    recorded = [side.record["outputs"][position] if side.record is not None else {} for side in (left, right)]
    hashes = [output.get("sha256") for output in recorded]
    if hashes[0] is None or hashes[0] != hashes[1]:
        return False
    media = {output.get("media_sha256") for output in recorded} | {hash_media(one), hash_media(two)}
    return len(media) == 1 and None not in media


# Settings -------------------------------------------------------------------------------------


def diff_settings(*requests: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Returns each setting that differs between requests with its value in every one, None where it has none."""
    names = dict.fromkeys(name for request in requests for name in request)
    values = {name: tuple(request.get(name) for request in requests) for name in names}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def compare_settings(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Returns what differs between two records' requests, and in how their outputs were made.

    That is: model, service, parameters, input files, and each fact of `made_by` ("made by: device").
    """
    sides = []
    for item in (left, right):
        side = settings_of(item["model"]["slug"], item["service"]["name"], item["parameters"], item["files"])
        sides.append({**side, **{f"made by: {name}": value for name, value in made_by_facts(item).items()}})
    return diff_settings(*sides)


def settings_of(
    model: str, service: str, parameters: Mapping[str, Any], files: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Returns what a request asks for, by name; a file by name and hash, as one name may stand for two files."""
    named = {
        name: [f"{item['name']} {(item.get('sha256') or item.get('url') or '')[:8]}".strip() for item in items]
        for name, items in files.items()
    }
    return {"model": model, "service": service, **parameters, **named}


# Clips ----------------------------------------------------------------------------------------


def compare_clips(left: Path, right: Path) -> OutputComparison:
    """Compares two files as clips; the result has the name of the first.

    Raises:
        BadRecord: A file is missing or is no clip.
        MissingExtra: The bytes differ and PyAV is not installed.
    """
    try:
        if hash_file(left) == hash_file(right):
            return OutputComparison(left.name, "same bytes")
    except OSError as error:
        raise BadRecord(f"{Path(error.filename).name} cannot be read: {error.strerror}") from None
    decode.require_decoder()
    values: list[float] = []
    counts = [0, 0]
    for one, two in zip_longest(_frames(left), _frames(right)):
        counts = [counts[0] + (one is not None), counts[1] + (two is not None)]
        if one is None or two is None:
            continue
        if one.shape != two.shape:
            sizes = " and ".join(f"{frame.shape[1]}x{frame.shape[0]}" for frame in (one, two))
            return OutputComparison(left.name, "different", note=f"their sizes are {sizes}")
        values.append(_psnr(one, two))
    note = "" if counts[0] == counts[1] else f"their frame counts are {counts[0]} and {counts[1]}"
    verdict = "same frames" if not note and min(values) == IDENTICAL_DB else "different"
    return OutputComparison(left.name, verdict, sum(values) / len(values), min(values), note, tuple(values))


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
