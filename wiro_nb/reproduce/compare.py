"""Compares two runs, or files of them: their settings and their outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, InputError, UnknownRun
from wiro_nb.execution.run import Run
from wiro_nb.provenance.embed import hash_media
from wiro_nb.provenance.reading import is_there
from wiro_nb.reproduce.diff import ClipComparison, Difference, compare_clips, compare_settings, hash_clip
from wiro_nb.reproduce.replay import Source, find_source
from wiro_nb.run_files import resolve_inside
from wiro_nb.session.manager import Manager

_NO_CLIPS = (".ipynb", ".json")
_ONLY_THE_RECORD = "the files differ only in the record they carry"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison.

    Attributes:
        label: What to call it.
        record: Of the run; None for a clip that carries none.
        files: Its files on this machine, by position of the output; None where one is not here.
        run: The run, where this machine's ledger has it.
    """

    label: str
    record: Mapping[str, Any] | None
    files: tuple[Path | None, ...]
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class OutputPair:
    """One output of each side; `clips` is None where they could not be compared, and `problem` says why."""

    name: str
    clips: ClipComparison | None
    problem: str = ""

    @property
    def sentence(self) -> str:
        """The result in one line for people."""
        return f"{self.name}: {self.clips.sentence if self.clips is not None else self.problem}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        left, right: The sides.
        settings: What differs in the request; None where a side has no record.
        outputs: Pairs of outputs, by position.
    """

    left: Side
    right: Side
    settings: tuple[Difference, ...] | None
    outputs: tuple[OutputPair, ...]

    @property
    def is_same(self) -> bool:
        """True when every output came out the same, at least frame by frame."""
        pairs = [pair.clips for pair in self.outputs]
        return bool(pairs) and all(clips is not None and clips.verdict != "different" for clips in pairs)

    @property
    def sentences(self) -> list[str]:
        """The result for people: outputs, then what kept the settings from being compared."""
        lines = [pair.sentence for pair in self.outputs] or ["neither side has a file to compare"]
        if self.settings is None:
            bare = ", ".join(side.label for side in (self.left, self.right) if side.record is None)
            lines.append(f"settings cannot be compared: {bare} carries no record")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Returns the comparison as plain JSON data."""
        return {
            "left": self.left.label,
            "right": self.right.label,
            "same": self.is_same,
            "settings": None if self.settings is None else [asdict(item) for item in self.settings],
            "outputs": [
                {
                    "name": pair.name,
                    "verdict": pair.clips.verdict if pair.clips is not None else None,
                    "mean_psnr_db": pair.clips.mean_psnr_db if pair.clips is not None else None,
                    "worst_psnr_db": pair.clips.worst_psnr_db if pair.clips is not None else None,
                    "note": pair.clips.note if pair.clips is not None else pair.problem,
                }
                for pair in self.outputs
            ],
        }


def find_side(manager: Manager, source: str | Path | Run, *, notebook: str | None = None) -> Side:
    """Returns a run, clip, sidecar or notebook's run as one side of a comparison.

    Raises:
        UnknownRun, BadRecord: There is no such thing, or several.
    """
    if isinstance(source, Run):
        return _side_of_run(source)
    path = Path(source)
    if is_there(path) and path.is_file() and path.suffix.lower() not in _NO_CLIPS:
        return _side_of_clip(manager, path)
    found = find_source(manager, source, notebook=notebook)
    if found.path is None:
        return _side_of_run(manager.get(found.run_id))
    run = _known_run(manager, found.run_id)
    files = tuple(_locate(found, output, run) for output in found.record["outputs"])
    return Side(f"{Path(found.name).name}", found.record, files, run)


def parent_side(manager: Manager, side: Side) -> Side:
    """Returns the run that a run was made again from, or continues.

    Raises:
        InputError: It has no parent. UnknownRun: this machine does not have the parent.
    """
    parent = side.record.get("parent") if side.record is not None else None
    if not parent:
        raise InputError(
            f"{side.label} was not made from another run: name two to compare",
            hint=f"%wiro compare {side.label} RUN",
        )
    return find_side(manager, str(parent["run_id"]))


def compare_sides(left: Side, right: Side) -> Comparison:
    """Compares the settings of two sides, and their outputs one by one.

    Raises:
        MissingExtra: Files differ, and PyAV is not installed to look at their pictures.
    """
    settings = None
    if left.record is not None and right.record is not None:
        settings = tuple(compare_settings(left.record, right.record))
    count = max(len(left.files), len(right.files))
    return Comparison(left, right, settings, tuple(_compare_outputs(left, right, at) for at in range(count)))


def _compare_outputs(left: Side, right: Side, position: int) -> OutputPair:
    files = [side.files[position] if position < len(side.files) else None for side in (left, right)]
    name = next((file.name for file in files if file is not None), f"output {position}")
    if len(left.files) == len(right.files) == 1:
        name = "output"
    one, two = files
    if one is None or two is None:
        absent = left if one is None else right
        return OutputPair(name, None, f"{absent.label} has no such file here")
    try:
        if _came_the_same(left, right, position, one, two):
            note = "" if hash_clip(one) == hash_clip(two) else _ONLY_THE_RECORD
            return OutputPair(name, ClipComparison("same bytes", note=note))
        return OutputPair(name, compare_clips(one, two))
    except BadRecord as error:
        return OutputPair(name, None, error.message)


def _came_the_same(left: Side, right: Side, position: int, one: Path, two: Path) -> bool:
    """True when both files are still what the service sent, and that was the same bytes."""
    recorded = [_recorded(side, position) for side in (left, right)]
    hashes = [output.get("sha256") for output in recorded]
    if hashes[0] is None or hashes[0] != hashes[1]:
        return False
    media = {output.get("media_sha256") for output in recorded} | {hash_media(one), hash_media(two)}
    return len(media) == 1 and None not in media


def _recorded(side: Side, position: int) -> Mapping[str, Any]:
    outputs = side.record["outputs"] if side.record is not None else []
    return outputs[position] if position < len(outputs) and len(outputs) == len(side.files) else {}


def _side_of_run(run: Run) -> Side:
    record = run.record
    if not run.state.is_final:
        raise UnknownRun(
            f"run {run.short_id} is not done: {run.status}",
            hint=f"%wiro wait {run.short_id}",
            query=run.id,
            near=[],
        )
    folder = run.folder
    files = tuple(
        folder / output.name if folder is not None and output.path and (folder / output.name).is_file() else None
        for output in run.outputs
    )
    return Side(run.short_id, record, files, run)


def _side_of_clip(manager: Manager, path: Path) -> Side:
    try:
        record = find_source(manager, path).record
    except BadRecord as error:
        if error.reason != "none":
            raise
        return Side(path.name, None, (path,))
    run = _known_run(manager, str(record["run_id"]))
    if len(record["outputs"]) == 1:
        return Side(path.name, record, (path,), run)
    # One of several files of a run: its own entry is the one to compare.
    named = [output for output in record["outputs"] if output["name"] == path.name]
    return Side(path.name, {**record, "outputs": named[:1]}, (path,), run)


def _known_run(manager: Manager, run_id: str) -> Run | None:
    try:
        return manager.get(run_id)
    except UnknownRun:
        return None


def _locate(source: Source, output: Mapping[str, Any], run: Run | None) -> Path | None:
    """Returns an output's file beside what holds the record, or in the run's folder of this machine."""
    base = source.path.parent if source.path is not None else Path()
    candidates: list[Path] = []
    for relative in (output.get("path"), output.get("name")):
        try:
            candidates += [resolve_inside(str(relative), base)] if relative else []
        except ValueError:
            continue
    if run is not None and run.folder is not None:
        candidates += [run.folder / item.name for item in run.outputs if item.sha256 == output.get("sha256")]
    folders = [base, *([run.folder] if run is not None and run.folder is not None else [])]
    return next((path for path in candidates if path.is_file() and _is_inside(path, folders)), None)


def _is_inside(path: Path, folders: Sequence[Path]) -> bool:
    """False for a path of a record that leads out of its folder through a link."""
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)
