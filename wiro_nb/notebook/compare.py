"""Comparisons: what `compare` found, and runs side by side: settings and results that differ, clips in step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InputError
from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_count, status_of
from wiro_nb.ledger.state import Snapshot
from wiro_nb.media.decode import make_thumb
from wiro_nb.notebook.display import publish, with_view_of
from wiro_nb.notebook.live import read_position
from wiro_nb.notebook.run.display import clip_data, main_output, read_poster, rebase_outputs
from wiro_nb.notebook.session import current_context, session, source_text
from wiro_nb.presentation.html import CARD, Child, Html, code, details, h, line, muted, table, url
from wiro_nb.presentation.models import option_labels
from wiro_nb.presentation.output import Displayable, Output
from wiro_nb.presentation.reproduction import comparison_output, differ_title, setting_text
from wiro_nb.presentation.run import media, poster_base64, run_facts
from wiro_nb.reproduce.compare import Comparison, compare_sources, diff_settings, settings_of

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.views import ComparisonWidget

LETTERS = "ABCD"
_RESULTS = ("State", "Cost", "Elapsed", "Size", "Frames", "Length")
_LONGEST_VALUE = 1200
_MIN_WORDS = 4
_POSTER_BYTES = 16_000

Pieces = list[tuple[str, bool]]


class Compared:
    """What a comparison found; it shows itself in a notebook.

    Attributes:
        found: Settings that differ, and outputs, of each further side against the first.
        is_same: True when every output came out the same, at least frame by frame.
    """

    def __init__(self, found: Sequence[Comparison]) -> None:
        self.found = tuple(found)
        self.is_same = all(item.is_same for item in found)

    def __repr__(self) -> str:
        return "\n".join(comparison_output(item).text for item in self.found)

    def _ipython_display_(self) -> None:
        view = self._side_by_side()
        for item in self.found:
            publish(comparison_output(item, with_settings=view is None))
        if view is not None:
            publish(view.output())

    def _side_by_side(self) -> ComparisonView | None:
        """Returns the clips in step, where this machine has the runs themselves."""
        runs = [self.found[0].left.run, *(item.right.run for item in self.found)]
        known = {run.id: run for run in runs if run is not None}
        return ComparisonView(list(known.values())) if len(known) == len(runs) else None


def compare(source: str | Path | Run, *others: str | Path | Run) -> Compared:
    """Compares runs, or what is left of them: which settings differ, and whether the clips are the same.

    Args:
        source: A run, id, clip, sidecar or `NOTEBOOK#RUN`; it is compared with each other one. Alone it is
            compared with the run it was made from.
        *others: Up to three more.

    Raises:
        UnknownRun, BadRecord: One of them is not there.
        MissingExtra: Files differ, and PyAV is not installed to look at their pictures.
    """
    manager, notebook = session.manager(choose=False), current_context().notebook
    sources = [source_text(item) for item in (source, *others)]
    return Compared(compare_sources(manager, sources, notebook=notebook))


# Runs side by side ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One setting that differs: its name, and for each run the text in pieces; True marks what differs."""

    name: str
    cells: tuple[Pieces, ...]


@dataclass(frozen=True, slots=True)
class RunDifferences:
    """What differs between two to four runs.

    Attributes:
        title: How many settings differ.
        differ: Settings that differ.
        same_title: How many settings are the same.
        same: Their names.
        results: State, cost, time and size.
    """

    title: str
    differ: tuple[DiffRow, ...]
    same_title: str
    same: tuple[str, ...]
    results: tuple[DiffRow, ...]


def compare_runs(snapshots: Sequence[Snapshot], labels: Sequence[Mapping[str, str]] = ()) -> RunDifferences:
    """Compares the settings and results of runs.

    Args:
        snapshots: Two to four.
        labels: For each run the labels of chosen values, by parameter.
    """
    settings = [settings_of(shot.model, shot.service, shot.parameters, shot.files) for shot in snapshots]
    called = [{**values, **named} for values, named in zip(settings, labels or [{}] * len(settings), strict=True)]
    differ = diff_settings(*settings)
    same = tuple(dict.fromkeys(name for setting in settings for name in setting if name not in differ))
    rows = []
    for name in differ:
        values = (setting_text(known.get(name, "not set"), _LONGEST_VALUE) for known in called)
        rows.append(DiffRow(name, tuple(mark_words(list(values)))))
    same_title = f"{format_count(len(same), 'setting')} {'is' if len(same) == 1 else 'are'} the same"
    return RunDifferences(differ_title(len(rows)), tuple(rows), same_title, same, tuple(_results(snapshots)))


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
    """Returns cost and time, and what else is known of the runs and differs."""
    facts = [{"State": status_of(snapshot).label, **run_facts(snapshot)} for snapshot in snapshots]
    rows = {name: [known.get(name, "") for known in facts] for name in _RESULTS}
    return [
        DiffRow(name.lower(), tuple([(value, False)] for value in values))
        for name, values in rows.items()
        if any(values) and (name in ("Cost", "Elapsed") or len(set(values)) > 1)
    ]


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

    def output(self) -> Output:
        """Returns the static form, with the widget in a live kernel."""
        static = self._static()
        return with_view_of(self.widget, static) if current_context().is_live else static

    @cached_property
    def widget(self) -> ComparisonWidget:
        """The live form, which shows the stars as they are while it is open."""
        from wiro_nb.notebook.widgets.views import ComparisonWidget

        clips = [
            {
                "letter": letter,
                "run": shot.short_id,
                "model": shot.model,
                "word": status_of(shot).label,
                **clip_data(shot),
            }
            for letter, shot in zip(LETTERS, self.snapshots, strict=False)
        ]
        view = {"clips": clips, **asdict(self.differences)}
        widget, stops = ComparisonWidget(view=view, stars=self._stars(), on_action=self._on_action), ExitStack()

        def show_stars(_snapshot: Snapshot) -> None:
            if widget.comm is None:
                stops.close()
            else:
                widget.stars = self._stars()

        for run in self.runs:
            stops.callback(run.on_change(show_stars))
        return widget

    def __repr__(self) -> str:
        return self._static().text

    def _static(self) -> Output:
        found, shown = self.differences, list(zip(LETTERS, self.runs, self.snapshots, strict=False))
        lines = [
            f"  {letter}  run {shot.short_id}  {shot.model}  {clip_data(shot)['path']}".rstrip()
            for letter, _, shot in shown
        ]
        rows: list[list[Child]] = []
        for row in (*found.differ, *found.results):
            values = "  |  ".join("".join(text for text, _ in cell) for cell in row.cells)
            lines.append(f"  {row.name}: {values}")
            rows.append([code(row.name), *map(_cell, row.cells)])
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

    def _stars(self) -> list[bool]:
        return [run.snapshot.starred for run in self.runs]

    def _on_action(self, action: str, content: Mapping[str, Any]) -> None:
        position = read_position(content, len(self.runs))
        if position is None:
            return
        run = self.runs[position]
        if action == "star":
            is_picked = not run.snapshot.starred
            for other in self.runs:  # one is the best
                session.manager().star(other, is_picked and other is run)
        elif (picture := read_poster(run)) is not None:
            self.widget.send_poster(position, picture)


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
