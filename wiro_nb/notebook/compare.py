"""Compares two to four runs side by side: settings and results that differ, and synchronised clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from wiro_nb.errors import InputError
from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_count, status_of
from wiro_nb.ledger.state import Snapshot
from wiro_nb.media.decode import make_thumb
from wiro_nb.notebook.display import with_view_of
from wiro_nb.notebook.live import read_position
from wiro_nb.notebook.run.display import clip_data, main_output, read_poster, rebase_outputs
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.html import CARD, Child, Html, code, details, h, line, muted, table, url
from wiro_nb.presentation.models import option_labels
from wiro_nb.presentation.output import Displayable, Output
from wiro_nb.presentation.reproduction import differ_title, setting_text
from wiro_nb.presentation.run import media, poster_base64, run_facts
from wiro_nb.reproduce.compare import diff_settings, settings_of

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.views import ComparisonWidget

LETTERS = "ABCD"
_LONGEST_VALUE = 1200
_MIN_WORDS = 4
_POSTER_BYTES = 16_000

Pieces = list[tuple[str, bool]]


class DiffRow(NamedTuple):
    """One setting that differs: its name, and for each run the text in pieces; True marks what differs."""

    name: str
    cells: tuple[Pieces, ...]


@dataclass(frozen=True, slots=True)
class RunDifferences:
    """What differs between two to four runs.

    Attributes:
        differ: Settings that differ.
        same: Names of those that do not.
        results: State, cost, time and size.
    """

    differ: tuple[DiffRow, ...]
    same: tuple[str, ...]
    results: tuple[DiffRow, ...]

    @property
    def title(self) -> str:
        """How many settings differ."""
        return differ_title(len(self.differ))

    @property
    def same_title(self) -> str:
        """How many settings are the same."""
        count = len(self.same)
        return f"{format_count(count, 'setting')} {'is' if count == 1 else 'are'} the same"


def compare_runs(snapshots: Sequence[Snapshot], labels: Sequence[Mapping[str, str]] = ()) -> RunDifferences:
    """Compares the settings and results of runs.

    Args:
        snapshots: Two to four.
        labels: For each run the labels of chosen values, by parameter.
    """
    settings = [settings_of(shot.model, shot.service, shot.parameters, shot.files) for shot in snapshots]
    changed = diff_settings(*settings)
    same = dict.fromkeys(name for setting in settings for name in setting if name not in changed)
    differ = []
    for name, values in changed.items():
        called = [(labels[index] if labels else {}).get(name, value) for index, value in enumerate(values)]
        shown = ["not set" if value is None else setting_text(value, _LONGEST_VALUE) for value in called]
        differ.append(DiffRow(name, tuple(mark_words(shown))))
    return RunDifferences(tuple(differ), tuple(same), tuple(_results(snapshots)))


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
    for words in split[1:]:
        blocks = SequenceMatcher(None, base, words, autojunk=False).get_matching_blocks()
        pairs = [(block.a + offset, block.b + offset) for block in blocks for offset in range(block.size)]
        kept_in_base &= {place for place, _ in pairs}
        marked.append(_pieces(words, {place for _, place in pairs}))
    return [_pieces(base, kept_in_base), *marked]


def _pieces(words: Sequence[str], shared: set[int]) -> Pieces:
    ends = [" "] * (len(words) - 1) + [""]
    marked = ((index not in shared, word + end) for index, (word, end) in enumerate(zip(words, ends, strict=True)))
    grouped = groupby(marked, key=itemgetter(0))
    return [("".join(text for _, text in group), is_other) for is_other, group in grouped]


def _results(snapshots: Sequence[Snapshot]) -> list[DiffRow]:
    facts = [run_facts(snapshot) for snapshot in snapshots]
    rows = {
        "state": [status_of(snapshot).label for snapshot in snapshots],
        "cost": [known["Cost"] for known in facts],
        "elapsed": [known.get("Elapsed", "") for known in facts],
        "clip": [_clip_words(snapshot) for snapshot in snapshots],
    }
    return [
        DiffRow(name, tuple([(value, False)] for value in values))
        for name, values in rows.items()
        if any(values) and (name in ("cost", "elapsed") or len(set(values)) > 1)
    ]


def _clip_words(snapshot: Snapshot) -> str:
    output = main_output(snapshot)
    if output is None:
        return "none"
    frames = format_count(output.frames, "frame") if output.frames and output.frames > 1 else ""
    size = f"{output.width} × {output.height}" if output.width and output.height else ""
    length = f"{output.duration_s:.1f} s" if output.duration_s else ""
    return ", ".join(filter(None, (size, frames, length))) or output.content_type


class ComparisonView(Displayable):
    """Runs side by side, as one output.

    Args:
        runs: Two to four.

    Raises:
        InputError: Not two to four runs, or one of them twice.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        if not 2 <= len(runs) <= len(LETTERS) or len({run.id for run in runs}) < len(runs):
            raise InputError(
                f"a comparison takes two to four different runs, not {len(runs)}",
                hint="%wiro compare RUN RUN",
                billed="",
            )
        self.runs, folder = tuple(runs), current_context().folder
        self.snapshots = tuple(rebase_outputs(run, folder) for run in self.runs)
        labels = [option_labels(shot, session.known_schema(shot.model)) for shot in self.snapshots]
        self.differences = compare_runs(self.snapshots, labels)
        self._widget: ComparisonWidget | None = None
        self._stops: list[Callable[[], None]] = []

    def output(self) -> Output:
        """Returns the static form, with the widget in a live kernel."""
        static = self._static()
        return with_view_of(self.widget(), static) if current_context().is_live else static

    def widget(self) -> ComparisonWidget:
        """Returns the live form, made at first use."""
        from wiro_nb.notebook.widgets.views import ComparisonWidget

        if self._widget is None:
            self._widget = ComparisonWidget(view=self._data(), stars=self._stars(), on_action=self._on_action)
            self._stops = [run.on_change(self._on_change) for run in self.runs]
        return self._widget

    def __repr__(self) -> str:
        return self._static().text

    def _static(self) -> Output:
        found, shown = self.differences, list(zip(LETTERS, self.runs, self.snapshots, strict=False))
        lines = [
            f"  {letter}  run {shot.short_id}  {shot.model}  {clip_data(shot)['path']}".rstrip()
            for letter, _, shot in shown
        ]
        for row in (*found.differ, *found.results):
            values = "  |  ".join("".join(text for text, _ in cell) for cell in row.cells)
            lines.append(f"  {row.name}: {values}")
        rows: list[list[Child]] = [[code(row.name), *map(_cell, row.cells)] for row in found.differ]
        rows += [[muted(row.name), *map(_cell, row.cells)] for row in found.results]
        grid = f"display:grid;grid-template-columns:repeat({len(shown)},1fr);gap:12px"
        html = h(
            "div",
            h("div", (_figure(*item) for item in shown), style=grid),
            h("div", table([found.title, *LETTERS[: len(shown)]], rows), style="margin:10px 0 0 0"),
            details(found.same_title, line(", ".join(found.same))) if found.same else "",
            style=CARD,
        )
        metadata = {"wiro": {"compared": [run.id for run in self.runs]}}
        return Output(html, "\n".join([f"wiro: {found.title}", *lines]), metadata=metadata)

    def _data(self) -> dict[str, Any]:
        found = self.differences
        return {
            "clips": [
                {
                    "letter": letter,
                    "run": shot.short_id,
                    "model": shot.model,
                    "word": status_of(shot).label,
                    **clip_data(shot),
                }
                for letter, shot in zip(LETTERS, self.snapshots, strict=False)
            ],
            "differ": [row._asdict() for row in found.differ],
            "results": [row._asdict() for row in found.results],
            "title": found.title,
            "same": list(found.same),
            "same_title": found.same_title,
        }

    def _stars(self) -> list[bool]:
        return [run.snapshot.starred for run in self.runs]

    def _on_change(self, _snapshot: Snapshot) -> None:
        """Shows the stars as they are now, while the widget is open."""
        if self._widget is not None and self._widget.comm is not None:
            self._widget.stars = self._stars()
        else:
            while self._stops:
                self._stops.pop()()

    def _on_action(self, action: str, content: Mapping[str, Any]) -> None:
        position = read_position(content, len(self.runs))
        if position is None:
            return
        run = self.runs[position]
        if action == "star":
            is_picked = not run.snapshot.starred
            for other in self.runs:  # one is the best
                session.manager().star(other, is_picked and other is run)
        elif action == "poster" and (picture := read_poster(run)) is not None:
            self.widget().send_poster(position, picture)


def _figure(letter: str, run: Run, snapshot: Snapshot) -> Html:
    output, poster = main_output(snapshot), read_poster(run)
    about = muted(f"run {snapshot.short_id}, {snapshot.model}")
    head = h("div", h("b", letter), " ", about, style="font-size:12px;margin:0 0 4px 0")
    if output is None or not output.path:
        return h("div", head, muted(status_of(snapshot).label))
    picture = poster_base64(make_thumb(poster, _POSTER_BYTES)) if poster else ""
    shown = media(output, f"Clip {letter}: {snapshot.prompt[:100]}", picture)
    return h("div", head, shown or h("a", output.name, href=url(output.path)))


def _cell(cell: Sequence[tuple[str, bool]]) -> Child:
    style = "text-decoration:underline;font-weight:600"
    return [h("u", text, style=style) if is_marked else text for text, is_marked in cell]
