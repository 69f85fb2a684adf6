"""Lists of runs in a live notebook: `%wiro runs`, and the monitor that `%wiro` shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook import account, display
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.pacing import pacer
from wiro_nb.notebook.run.display import is_gone, is_settled, make_thumb, read_poster
from wiro_nb.notebook.run.view import LiveCard
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_count, format_duration
from wiro_nb.presentation.output import Displayable, Output
from wiro_nb.presentation.run import poster_base64
from wiro_nb.presentation.run_list import FILE_GONE, RunList, format_run_cost, format_run_time, key_settings
from wiro_nb.presentation.status import status_of

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.widgets.run_table import RunTable

_numbers = itertools.count(1)
_open = display.OpenViews(most=5)


class NotebookRuns(RunList):
    """Runs, newest first: a table whose rows open in a live notebook, else a static one.

    Args:
        runs: The runs.
        render: As in `RunList`.
        where: Which runs these are.
    """

    def __init__(self, runs: Iterable[Run], render: Callable[[list[Snapshot]], Output], where: str) -> None:
        super().__init__(runs, render)
        self._where = where

    def _ipython_display_(self) -> None:
        title = f"{format_count(len(self), 'run')} {self._where}"
        _show(ListView(self, self.output, lambda: {"title": title, "lines": [account.spent_sentence()]}))


class Monitor(Displayable):
    """Service, account and money, and the runs in flight with their progress."""

    def output(self) -> Output:
        """Returns the account status."""
        return account.status().output()

    def _ipython_display_(self) -> None:
        def head() -> dict[str, Any]:
            status = account.status()
            lines = [f"{name}: {value}" for name, value in status.facts]
            steps = ", ".join(f"{typed} {why}" for typed, why in status.next_steps)
            return {"title": "Ready", "lines": [*lines, f"Next: {steps}."], "notify": True}

        found = session.manager().runs(notebook=current_context().notebook, limit=500)
        view = ListView([run for run in found if not run.done], self.output, head)
        bridge.on_run = view.follow
        _show(view)


def monitor() -> Monitor:
    """Returns what this notebook spends and its runs in flight; it shows them live, with progress and cancel.

    Raises:
        ConfigError: The preferred service cannot be used.
    """
    session.manager()
    return Monitor()


def _show(view: ListView) -> None:
    if current_context().is_live:
        view.show()
    else:
        display.publish(view.static())


class ListView:
    """A list of runs in one output.

    Args:
        runs: Newest first.
        static: Returns the static output.
        head: Returns what stands above the rows.
    """

    def __init__(
        self, runs: Sequence[Run], static: Callable[[], Output], head: Callable[[], dict[str, Any]]
    ) -> None:
        self._runs = {run.id: run for run in runs}
        self.static, self._head, self._context = static, head, current_context()
        self._display_id = f"wiro-list-{next(_numbers)}"
        self._table: RunTable | None = None
        self._stops: list[Callable[[], None]] = []

    def show(self) -> None:
        """Displays the table in the running cell and follows its runs."""
        from wiro_nb.notebook.widgets.run_table import RunTable

        bridge.open(self._context.notebook)
        rows = [self._row(run) for run in self._runs.values()]
        self._table = RunTable(self._head(), rows, on_action=self._on_action)
        _open.add(self)
        display.publish(display.with_view_of(self._table, self.static()), display_id=self._display_id)
        for run in list(self._runs.values()):
            (self._watch if is_settled(run) else self.follow)(run)

    def follow(self, run: Run) -> None:
        """Keeps the row of a run up to date (any thread)."""
        self._runs[run.id] = run
        self._watch(run)
        self._on_change(run)

    def _watch(self, run: Run) -> None:
        self._stops.append(run.on_change(lambda _snapshot: self._on_change(run)))

    def close(self) -> None:
        """Leaves the static output."""
        table, self._table = self._table, None
        while self._stops:
            self._stops.pop()()
        if table is not None:
            display.publish(self.static(), display_id=self._display_id, update=True)
            table.close()

    def _on_change(self, run: Run) -> None:
        table, key = self._table, (id(self), run.id)
        if table is None:
            pacer.drop(key)
        elif is_settled(run):
            pacer.drop(key)
            table.update(self._row(run))
            table.head = self._head()
        else:
            pacer.offer(key, lambda: table.update(self._row(run)))

    def _row(self, run: Run) -> dict[str, Any]:
        is_here = run.snapshot.notebook == self._context.notebook
        return row_data(run, "" if is_here or not run.snapshot.notebook else PurePath(run.snapshot.notebook).name)

    def _on_action(self, action: str, run_id: str) -> None:
        run, table = self._runs[run_id], self._table
        if action == "cancel":
            run.cancel()
        elif table is not None:
            opened = LiveCard(run, self._context)
            table.attach(opened.card)
            opened.follow()
            if not run.done:
                session.manager().follow(run)


def end_lists() -> None:
    """Closes every list: the extension is unloaded. Their static outputs stay."""
    bridge.on_run = None
    _open.close_all()


def row_data(run: Run, notebook: str = "") -> dict[str, Any]:
    """Returns what one row shows, as plain JSON data; `notebook` is the name of another notebook."""
    snapshot: Snapshot = run.snapshot
    status, poster = status_of(snapshot), read_poster(run)
    about = ", ".join(filter(None, (run.model, key_settings(snapshot, session.known_schema(run.model)), notebook)))
    elapsed = format_duration(snapshot.elapsed_s) if snapshot.elapsed_s is not None else ""
    return {
        "id": run.id,
        "run": run.short_id,
        "icon": status.icon,
        "variant": status.variant,
        "label": f"{status.label}, best" if run.snapshot.starred else status.label,
        "percent": None if snapshot.state.is_final else snapshot.percent,
        "when": format_run_time(snapshot),
        "prompt": snapshot.prompt[:300],
        "about": about,
        "money": ", ".join(filter(None, (format_run_cost(snapshot), elapsed))),
        "thumb": f"data:image/jpeg;base64,{poster_base64(make_thumb(poster))}" if poster else "",
        "note": FILE_GONE.format(run.short_id) if is_gone(run) else "",
        "final": snapshot.state.is_final,
        "cancel": not snapshot.state.is_final and not snapshot.cancel_requested,
    }
