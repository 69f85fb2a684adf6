"""What a comparison of runs shows, as plain data: which settings differ, which words, which results. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePosixPath
from typing import Any

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.run.clips import main_output
from wiro_nb.presentation.formatting import format_cost, format_count, format_duration
from wiro_nb.presentation.status import status_of
from wiro_nb.reproduce.diff import diff_settings

LETTERS = "ABCD"
_LONGEST_VALUE = 1200
_MIN_WORDS = 4

Pieces = list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One setting that differs: its name, and for each run the text in pieces; True marks what differs."""

    name: str
    cells: tuple[Pieces, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two to four runs side by side.

    Attributes:
        differ: Settings that differ. same: Names of those that do not.
        results: What came out: cost, time, size.
    """

    differ: tuple[DiffRow, ...]
    same: tuple[str, ...]
    results: tuple[DiffRow, ...]


def compare_runs(snapshots: Sequence[Snapshot], labels: Sequence[Mapping[str, str]] = ()) -> Comparison:
    """Compares the settings and results of runs.

    Args:
        snapshots: Two to four.
        labels: For each run what people call a chosen value, by parameter.
    """
    settings = [_settings(snapshot) for snapshot in snapshots]
    differ = []
    changed = diff_settings(*settings)
    same = [
        name for name in dict.fromkeys(name for setting in settings for name in setting) if name not in changed
    ]
    for name, values in changed.items():
        shown = [
            "not set" if value is None else str((labels[index] if labels else {}).get(name, value))
            for index, value in enumerate(values)
        ]
        differ.append(DiffRow(name, tuple(mark_words([text[:_LONGEST_VALUE] for text in shown]))))
    return Comparison(tuple(differ), tuple(same), tuple(_results(snapshots)))


def mark_words(texts: Sequence[str]) -> list[Pieces]:
    """Returns each text in pieces, those words marked that the first text (for the first: another one) lacks.

    Short values are not marked: the whole of them differs.
    """
    split = [text.split(" ") for text in texts]
    if min(map(len, split)) < _MIN_WORDS:
        return [[(text, False)] for text in texts]
    base = split[0]
    kept_in_base = set(range(len(base)))
    marked: list[Pieces] = []
    for words_of in split[1:]:
        blocks = SequenceMatcher(None, base, words_of, autojunk=False).get_matching_blocks()
        shared = {block.b + offset for block in blocks for offset in range(block.size)}
        kept_in_base &= {block.a + offset for block in blocks for offset in range(block.size)}
        marked.append(_pieces(words_of, shared))
    return [_pieces(base, kept_in_base), *marked]


def _pieces(words_of: Sequence[str], shared: set[int]) -> Pieces:
    pieces: Pieces = []
    for index, word in enumerate(words_of):
        is_other = index not in shared
        text = word + (" " if index < len(words_of) - 1 else "")
        if pieces and pieces[-1][1] == is_other:
            pieces[-1] = (pieces[-1][0] + text, is_other)
        else:
            pieces.append((text, is_other))
    return pieces or [("", False)]


def _settings(snapshot: Snapshot) -> dict[str, Any]:
    found: dict[str, Any] = {"model": snapshot.model, "service": snapshot.service}
    found.update({name: _text(value) for name, value in snapshot.parameters.items()})
    for name, files in snapshot.files.items():
        found[name] = ", ".join(_file_name(item) for item in files)
    return found


def _text(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if text else "empty"


def _file_name(item: Mapping[str, Any]) -> str:
    name = PurePosixPath(str(item.get("name") or item.get("url") or "file")).name
    # The same name may stand for other content.
    return f"{name} {str(item['sha256'])[:8]}" if item.get("sha256") else name


def _results(snapshots: Sequence[Snapshot]) -> list[DiffRow]:
    rows = {
        "state": [status_of(snapshot).label for snapshot in snapshots],
        "cost": [format_cost(snapshot) for snapshot in snapshots],
        "elapsed": ["" if item.elapsed_s is None else format_duration(item.elapsed_s) for item in snapshots],
        "clip": [_clip_words(snapshot) for snapshot in snapshots],
    }
    always = {"cost", "elapsed"}
    return [
        DiffRow(name, tuple([(value, False)] for value in values))
        for name, values in rows.items()
        if any(values) and (name in always or len(set(values)) > 1)
    ]


def _clip_words(snapshot: Snapshot) -> str:
    output = main_output(snapshot)
    if output is None:
        return "none"
    parts = [f"{output.width} × {output.height}"] if output.width and output.height else []
    parts += [format_count(output.frames, "frame")] if output.frames and output.frames > 1 else []
    parts += [f"{output.duration_s:.1f} s"] if output.duration_s else []
    return ", ".join(parts) or output.content_type
