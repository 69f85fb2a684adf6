"""A sweep in a notebook: its static output, and the live grid that follows its runs.

A grid stays open after the last run, because its clips are played in it. The same output carries the static form
beside the widget's view: it is updated at the end, and shown without a kernel and in an untrusted notebook.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook import display
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.run.display import is_gone, is_settled, read_poster, rebase_outputs
from wiro_nb.notebook.run.view import LiveCard
from wiro_nb.notebook.session import session
from wiro_nb.notebook.sweep.rendering import best_of, head_data, lay_out, point_labels, sweep_output, tile_data
from wiro_nb.presentation.output import Output
from wiro_nb.session.prices import describe_plan
from wiro_nb.sweeps import Sweep

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.grid import SweepGrid

NOTHING_SENT = "All clips already made. No charge. To run them again: --fresh"

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)
_MIN_INTERVAL_S = 0.2
_open = display.OpenViews()


def show(handle: Sweep, *, is_value: bool = False) -> None:
    """Shows a sweep on `sweep.show()`, or as the value of a cell that has not displayed it yet."""
    if is_value and handle.id in session.displayed_in(current_context()):
        return
    display.show(SweepView(handle))


def end_grids() -> None:
    """Closes every grid: the extension is unloaded. The static forms stay."""
    _open.close_all()


class SweepView:
    """A sweep in one output: the live grid in a live kernel, else its static form.

    Args:
        handle: The sweep.
    """

    is_moving = True  # also of a finished sweep: its clips are played in the grid

    def __init__(self, handle: Sweep) -> None:
        self.handle, self.runs = handle, handle.runs
        self.display_id = f"wiro-sweep-{handle.id}-{next(_numbers)}"  # of its own: two cells may show one sweep
        self.grid: SweepGrid | None = None
        self._context = current_context()
        self._folder = self._context.folder
        self._labels = point_labels(handle.plan)
        # Without the forecast of work: the grid shows the time left, which counts runs side by side.
        first = f"{describe_plan(handle.plan, with_time=False)}." if handle.plan.missing else NOTHING_SENT
        self._notes = [first, *handle.plan.notes]
        self._lock = threading.Lock()
        self._flushed_at, self._is_scheduled = 0.0, False
        self._opened_at, self._done_before = time.monotonic(), sum(run.done for run in self.runs)
        self._has_ended = self._is_closed = False
        self._static_best: int | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def output(self) -> Output:
        """Returns the static form."""
        return sweep_output(self.handle, self._folder, self._notes)

    def show_live(self) -> None:
        """Displays grid and static form under one display id, and follows the runs."""
        from wiro_nb.notebook.widgets.grid import SweepGrid

        head, tiles = self._state()
        self.grid = SweepGrid(self._plan(), head, tiles, text=repr(self.handle), on_action=self._on_action)
        _open.add(self)
        self._has_ended, self._static_best = all(map(is_settled, self.runs)), best_of(self.handle)
        self._publish(update=False)
        self._unsubscribe = self.handle.on_change(lambda _position, _run: self._on_change())
        self._flush()

    def close(self) -> None:
        """Ends the grid; its static form takes its place."""
        self._unsubscribe()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._publish(update=True, is_live=False)
        if self.grid is not None:
            self.grid.close()

    def _plan(self) -> dict[str, Any]:
        plan = self.handle.plan
        layout = lay_out(plan)
        varied = " × ".join(axis.name for axis in plan.axes)
        is_varied = any(axis.name == "prompt" for axis in plan.axes)
        return {
            "model": plan.schema.slug,
            "varied": f"{varied}, zipped" if plan.zipped else varied,
            "prompt": "" if is_varied else self.runs[0].snapshot.prompt[:600],
            "row_name": layout.row_name,
            "column_name": layout.column_name,
            "rows": list(layout.rows),
            "columns": list(layout.columns),
            "cells": [list(row) for row in layout.cells],
            "notes": self._notes,
        }

    def _state(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Returns head and tiles as they are now."""
        snapshots = [rebase_outputs(run, self._folder) for run in self.runs]
        best = best_of(self.handle)
        name = self._labels[best] if best is not None else ""
        head = head_data(self.handle.plan, snapshots, best=name, left_s=self._left_s())
        tiles = [
            tile_data(
                snapshot,
                position,
                self._labels[position],
                is_best=position == best,
                is_lost=is_gone(self.runs[position]),
            )
            for position, snapshot in enumerate(snapshots)
        ]
        return head, tiles

    def _left_s(self) -> float | None:
        """Returns the seconds still to go, once two runs have ended since the grid was opened."""
        ended = sum(run.done for run in self.runs)
        seen = ended - self._done_before
        return (time.monotonic() - self._opened_at) / seen * (len(self.runs) - ended) if seen >= 2 else None

    def _publish(self, *, update: bool, is_live: bool = True) -> None:
        output = self.output()
        shown = display.with_view_of(self.grid, output) if is_live and self.grid is not None else output
        display.publish(shown, display_id=self.display_id, update=update)

    def _on_change(self) -> None:
        """Handles a change on the I/O thread; changes in quick succession are shown together."""
        pause = self._flushed_at + _MIN_INTERVAL_S - time.monotonic()
        if pause <= 0:
            self._flush()
        elif not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_later(pause, self._flush)

    def _flush(self) -> None:
        self._is_scheduled, self._flushed_at = False, time.monotonic()
        if self._is_closed or self.grid is None:
            return
        self.grid.update(*self._state())
        self.grid.send_previews(run.snapshot.preview for run in self.runs)
        best = best_of(self.handle)
        with self._lock:
            if not all(map(is_settled, self.runs)) or (self._has_ended and best == self._static_best):
                return
            self._has_ended, self._static_best = True, best
        self._update_static()

    def _update_static(self) -> None:
        """Updates the static form outside the I/O thread: its pictures take a moment."""

        def work() -> None:
            try:
                with self._lock:
                    if not self._is_closed:
                        self._publish(update=True)
            except Exception:
                _log.exception("the static form of a sweep could not be made")

        threading.Thread(target=work, name="wiro-sweep-static", daemon=True).start()

    def _on_action(self, grid: SweepGrid, action: str, position: int | None) -> None:
        """Does what a button asks for. May run on any thread; displays nothing."""
        run = self.runs[position] if position is not None else None
        if action == "star" and run is not None:
            self.handle.best = None if run.snapshot.starred else run
        elif action == "open" and run is not None:
            opened = LiveCard(run, self._context)
            grid.attach(opened.card)
            opened.follow()
        elif action == "cancel" and run is not None:
            run.cancel()
        elif action == "cancel_waiting":
            self.handle.cancel(waiting_only=True)
        elif action == "poster" and run is not None and position is not None:
            if run.lacks_files:
                self._flush()  # the tile says so
            elif (poster := read_poster(run)) is not None:
                grid.send_poster(position, poster)
        elif action == "copy" and self.handle.best is not None:
            from wiro_nb.notebook.magic.cells import cell_of_run

            grid.reply_copy(cell_of_run(self.handle.best, session.known_schema(self.handle.best.model)))
