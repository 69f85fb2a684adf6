"""The live grid of a sweep: follows its runs from the I/O thread and answers what a person does in it.

A grid stays alive after the last run, for that is when its clips are played. The same output carries the
static form beside the widget's view: it is brought up to date at the end, and is what stays when the kernel
goes, the extension is unloaded or nobody trusts the notebook.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.display import publish, with_view_of
from wiro_nb.notebook.run.display import is_settled
from wiro_nb.notebook.sweep.grid_view import head_view, lay_out, point_labels, tile_view
from wiro_nb.notebook.sweep.output import (
    best_of,
    new_display_id,
    poster_of,
    snapshots_of,
    sweep_output,
)
from wiro_nb.presentation.output import Output
from wiro_nb.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.grid import SweepGrid

_log = logging.getLogger(__name__)
_PAUSE_S = 0.2
_MOST_OPEN = 20
_open: deque[GridDesk] = deque()

KeepStatic = Callable[[Output], object]
"""Takes a static form."""


def show_live(sweep: Sweep, notes: Sequence[str]) -> None:
    """Displays the grid of a sweep in the running cell and keeps it up to date."""
    desk = GridDesk(sweep, notes)
    _remember(desk)
    desk.show()


def _remember(desk: GridDesk) -> None:
    _open.append(desk)
    while len(_open) > _MOST_OPEN:
        _open.popleft().close()


def attach_grid(sweep: Sweep, notes: Sequence[str], keep: KeepStatic) -> SweepGrid:
    """Returns the grid of a sweep for a widget that shows it, such as a form; it is kept up to date.

    Args:
        sweep: The sweep.
        notes: Sentences above it.
        keep: Takes the static form each time it changes (any thread): nothing is displayed.
    """
    desk = GridDesk(sweep, notes, keep=keep)
    _remember(desk)
    desk.show()
    return desk.grid


def end_grids() -> None:
    """Lets go of every grid: the extension is unloaded. The static form stays."""
    while _open:
        _open.popleft().close()


class GridDesk:
    """What stands behind one grid.

    Args:
        sweep: The sweep.
        notes: Sentences above it.
        keep: Takes the static form when another widget shows the grid; None displays both.
    """

    def __init__(self, sweep: Sweep, notes: Sequence[str], *, keep: KeepStatic | None = None) -> None:
        from wiro_nb.notebook.widgets.grid import SweepGrid

        self._sweep, self._notes = sweep, list(notes)
        self._folder = current_context().folder
        self._keep = keep
        self._display_id = new_display_id(sweep)
        self._labels = point_labels(sweep.plan)
        self._lock = threading.Lock()
        self._last, self._planned = 0.0, False
        self._began, self._done_before = time.monotonic(), sum(run.done for run in sweep.runs)
        self._ended = self._closed = False
        self._stop: Callable[[], None] = lambda: None
        snapshots = snapshots_of(sweep, self._folder)
        self.grid: SweepGrid = SweepGrid(
            self._plan(),
            self._head(snapshots),
            self._tiles(snapshots),
            text=repr(sweep),
            on_action=self._on_action,
        )

    def show(self) -> None:
        """Displays grid and static form under one display id, and follows the runs."""
        self._ended = all(is_settled(run) for run in self._sweep.runs)
        self._publish(update=False)
        self._stop = self._sweep.on_change(self._on_change)
        self._flush()

    def close(self) -> None:
        """Ends the grid; its static form takes its place."""
        self._stop()
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._publish(update=True, with_view=False)
        self.grid.close()

    # What it shows ---------------------------------------------------------------------------

    def _plan(self) -> dict[str, Any]:
        plan = self._sweep.plan
        layout = lay_out(plan)
        varied = " × ".join(axis.name for axis in plan.axes)
        is_varied = any(axis.name == "prompt" for axis in plan.axes)
        return {
            "model": plan.schema.slug,
            "varied": f"{varied}, zipped" if plan.zipped else varied,
            "prompt": "" if is_varied else self._sweep.runs[0].snapshot.prompt[:600],
            "row_name": layout.row_name,
            "column_name": layout.column_name,
            "rows": list(layout.rows),
            "columns": list(layout.columns),
            "cells": [list(row) for row in layout.cells],
            "notes": self._notes,
        }

    def _head(self, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
        best = best_of(self._sweep)
        name = self._labels[best] if best is not None else ""
        return head_view(self._sweep.plan, snapshots, best=name, left_s=self._left_s())

    def _tiles(self, snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
        best = best_of(self._sweep)
        return [
            tile_view(snapshot, position, self._labels[position], is_best=position == best)
            for position, snapshot in enumerate(snapshots)
        ]

    def _left_s(self) -> float | None:
        """Returns the seconds still to go, once two runs have ended under these eyes."""
        ended = sum(run.done for run in self._sweep.runs)
        seen = ended - self._done_before
        if seen < 2:
            return None
        return (time.monotonic() - self._began) / seen * (len(self._sweep) - ended)

    def _publish(self, *, update: bool, with_view: bool = True) -> None:
        output = sweep_output(self._sweep, self._folder, self._notes)
        if self._keep is not None:
            self._keep(output)
        else:
            shown = with_view_of(self.grid, output) if with_view else output
            publish(shown, display_id=self._display_id, update=update)

    # Changes ---------------------------------------------------------------------------------

    def _on_change(self, _position: int, _run: Run) -> None:
        """Hears of a change on the I/O thread; a burst of them is shown together."""
        pause = self._last + _PAUSE_S - time.monotonic()
        if pause <= 0:
            self._flush()
        elif not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_later(pause, self._flush)

    def _flush(self) -> None:
        self._planned, self._last = False, time.monotonic()
        if self._closed:
            return
        snapshots = snapshots_of(self._sweep, self._folder)
        self.grid.update(self._head(snapshots), self._tiles(snapshots))
        with self._lock:
            if self._ended or not all(is_settled(run) for run in self._sweep.runs):
                return
            self._ended = True
        self._keep_static_form()

    def _keep_static_form(self) -> None:
        """Brings the static form up to date, away from the I/O thread: its pictures take a moment."""

        def work() -> None:
            try:
                with self._lock:
                    if not self._closed:
                        self._publish(update=True)
            except Exception:
                _log.exception("the static form of a sweep could not be made")

        threading.Thread(target=work, name="wiro-sweep-form", daemon=True).start()

    def _on_action(self, grid: SweepGrid, action: str, position: int | None) -> None:
        """Does what the person asks for. May run on any thread; displays nothing."""
        if action == "star" and position is not None:
            run = self._sweep.runs[position]
            self._sweep.best = None if run.row.starred else run
            self._flush()
            if self._ended:
                self._keep_static_form()
        elif action == "cancel" and position is not None:
            self._sweep.runs[position].cancel()
        elif action == "cancel_waiting":
            self._sweep.cancel(waiting_only=True)
        elif action == "poster" and position is not None:
            picture = poster_of(self._sweep, position)
            if picture is not None:
                grid.send_poster(position, picture)
        elif action == "copy" and self._sweep.best is not None:
            from wiro_nb.notebook.magic.prompts import cell_of_run

            grid.reply_copy(cell_of_run(self._sweep.best))
