"""Two to four runs side by side: clips in step, what differs, and a static form that stays in the notebook."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InputError
from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.compare.view import LETTERS, Comparison, DiffRow, compare_runs
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.display import with_view_of
from wiro_nb.notebook.run.clips import clip_data, main_output, make_thumb, read_poster
from wiro_nb.notebook.run.display import rebase_outputs
from wiro_nb.notebook.session import session
from wiro_nb.presentation.html import CARD, Child, Html, code, details, h, line, muted, table, url
from wiro_nb.presentation.output import Displayable, Output
from wiro_nb.presentation.run import media, option_labels, poster_base64
from wiro_nb.presentation.status import status_of

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.comparison import ComparisonWidget

_POSTER_BYTES = 16_000


class ComparisonView(Displayable):
    """A comparison, ready to be shown: the value of a cell, or of `wiro_nb.compare(...)`.

    Args:
        runs: Two to four. notes: Sentences under the table.
    """

    def __init__(self, runs: Sequence[Run], notes: Sequence[str] = ()) -> None:
        self.runs = tuple(runs)
        self.notes = tuple(notes)
        self._folder = current_context().folder
        snapshots = [rebase_outputs(run, self._folder) for run in self.runs]
        labels = [option_labels(snapshot, session.known_schema(snapshot.model)) for snapshot in snapshots]
        self.snapshots = tuple(snapshots)
        self.comparison: Comparison = compare_runs(snapshots, labels)
        self._widget: ComparisonWidget | None = None

    def static(self) -> Output:
        """Returns the static form."""
        posters = [read_poster(run) for run in self.runs]
        html = _html(self.snapshots, self.comparison, posters, self.notes)
        text = _plain(self.snapshots, self.comparison, self.notes)
        return Output(html, text, metadata={"wiro": {"compared": [run.id for run in self.runs]}})

    def output(self) -> Output:
        """Returns the static form, with the widget where a person watches."""
        return with_view_of(self.widget(), self.static()) if current_context().is_live else self.static()

    def widget(self) -> ComparisonWidget:
        """Returns the live form, made at first use."""
        from wiro_nb.notebook.widgets.comparison import ComparisonWidget

        if self._widget is None:
            text = f"Comparison of {', '.join(snapshot.short_id for snapshot in self.snapshots)}"
            self._widget = ComparisonWidget(self._view(), self._stars(), text=text, on_action=self._on_action)
        return self._widget

    def __repr__(self) -> str:
        return _plain(self.snapshots, self.comparison, self.notes)

    def _view(self) -> dict[str, Any]:
        clips = []
        for letter, snapshot in zip(LETTERS, self.snapshots, strict=False):
            clips.append(
                {
                    "letter": letter,
                    "run": snapshot.short_id,
                    "model": snapshot.model,
                    "word": status_of(snapshot).label,
                    **clip_data(snapshot),
                }
            )
        return {
            "clips": clips,
            "differ": [_row_data(row) for row in self.comparison.differ],
            "results": [_row_data(row) for row in self.comparison.results],
            "same": list(self.comparison.same),
            "notes": list(self.notes),
        }

    def _stars(self) -> list[bool]:
        return [run.row.starred for run in self.runs]

    def _on_action(self, widget: ComparisonWidget, action: str, position: int) -> None:
        run = self.runs[position]
        if action == "star":
            run._row = session.manager().ledger.amend(run.id, starred=not run.row.starred)
            widget.stars = self._stars()
        elif action == "poster" and (picture := read_poster(run)) is not None:
            widget.send_poster(position, picture)


def comparison_view(runs: Sequence[Run], *, notes: Sequence[str] = ()) -> ComparisonView:
    """Returns runs side by side, ready to be shown.

    Args:
        runs: Two to four.
        notes: Sentences under the table, such as how far the pictures are apart.

    Raises:
        InputError: Not two to four runs, or one of them twice.
    """
    if not 2 <= len(runs) <= len(LETTERS) or len({run.id for run in runs}) < len(runs):
        raise InputError(
            f"a comparison takes two to four different runs, not {len(runs)}",
            hint="%wiro compare RUN RUN",
            billed="",
        )
    return ComparisonView(runs, notes)


def _row_data(row: DiffRow) -> dict[str, Any]:
    return {"name": row.name, "cells": [[list(piece) for piece in cell] for cell in row.cells]}


def _html(
    snapshots: Sequence[Snapshot], comparison: Comparison, posters: Sequence[bytes | None], notes: Sequence[str]
) -> Html:
    figures = (
        _figure(letter, snapshot, poster)
        for letter, snapshot, poster in zip(LETTERS, snapshots, posters, strict=False)
    )
    heads = [_count_words(comparison), *LETTERS[: len(snapshots)]]
    rows: list[list[Child]] = [[code(row.name), *map(_cell, row.cells)] for row in comparison.differ]
    rows += [[muted(row.name), *map(_cell, row.cells)] for row in comparison.results]
    count = len(comparison.same)
    same = f"{'1 setting is' if count == 1 else f'{count} settings are'} the same"
    return h(
        "div",
        h("div", figures, style=f"display:grid;grid-template-columns:repeat({len(snapshots)},1fr);gap:12px"),
        h("div", table(heads, rows), style="margin:10px 0 0 0"),
        (line(note) for note in notes),
        details(same, line(", ".join(comparison.same))) if comparison.same else "",
        style=CARD,
    )


def _figure(letter: str, snapshot: Snapshot, poster: bytes | None) -> Html:
    output = main_output(snapshot)
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


def _count_words(comparison: Comparison) -> str:
    count = len(comparison.differ)
    if not count:
        return "no setting differs"
    return "1 setting differs" if count == 1 else f"{count} settings differ"


def _plain(snapshots: Sequence[Snapshot], comparison: Comparison, notes: Sequence[str]) -> str:
    lines = [f"wiro: {_count_words(comparison)}"]
    for letter, snapshot in zip(LETTERS, snapshots, strict=False):
        output = main_output(snapshot)
        path = (output.path if output else None) or ""
        lines.append(f"  {letter}  run {snapshot.short_id}  {snapshot.model}  {path}".rstrip())
    for row in (*comparison.differ, *comparison.results):
        values = "  |  ".join("".join(text for text, _ in cell) for cell in row.cells)
        lines.append(f"  {row.name}: {values}")
    return "\n".join([*lines, *(f"  {note}" for note in notes)])
