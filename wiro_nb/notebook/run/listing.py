"""Lists of runs in a live notebook: `%wiro runs`, and the monitor that `%wiro` shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from wiro_nb.execution.run import Run
from wiro_nb.formatting import format_count, format_duration, status_of
from wiro_nb.ledger.state import Snapshot
from wiro_nb.media.decode import make_thumb
from wiro_nb.notebook import account
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.live import LiveView, read_position
from wiro_nb.notebook.run.display import gone_note, is_settled, read_poster
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.output import Displayable, Output
from wiro_nb.presentation.run import jpeg_uri
from wiro_nb.presentation.run_list import (
    RunList,
    describe_filters,
    format_run_cost,
    format_run_time,
    key_settings,
    parse_since,
    runs_in_state,
    runs_output,
)

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.views import RunTable


def runs(
    *,
    all: bool = False,
    model: str | None = None,
    state: str | None = None,
    text: str | None = None,
    since: str | datetime | None = None,
    limit: int = 50,
) -> RunList:
    """Returns the runs of this notebook, newest first; they show as a table.

    Args:
        all: True takes the runs of every notebook.
        model: Only runs of this model.
        state: Only "done", "failed", "cancelled" or "running" ones.
        text: Only runs with these words in the prompt or a setting.
        since: Only runs since then: "today", "yesterday", "7d" (days), "3h" (hours), an ISO date, or a datetime.
        limit: At most this many.

    Raises:
        InputError: `state` or `since` is none of these.
    """
    notebook = None if all else current_context().notebook
    moment = parse_since(since) if isinstance(since, str) else since
    chosen: dict[str, Any] = {"notebook": notebook, "model": model, "text": text, "since": moment}
    found = runs_in_state(session.manager(), state, limit=limit, **chosen)
    return NotebookRuns(found, describe_filters(model=model, state=state, text=text, since=since), all=all)


class NotebookRuns(RunList):
    """Runs, newest first: a table whose rows open in a live notebook, else a static one.

    Args:
        runs: The runs.
        filters: How they were chosen, as `describe_filters` gives it.
        all: True for those of every notebook.
    """

    def __init__(self, runs: Iterable[Run], filters: str, *, all: bool) -> None:
        super().__init__(runs, self._render_table)
        self._filters, self._all, self._where = filters, all, f"in {'all notebooks' if all else 'this notebook'}"

    def _render_table(self, snapshots: list[Snapshot]) -> Output:
        return runs_output(
            snapshots,
            spent=account.spent_sentence(),
            pictures=not self._all,
            where=self._where,
            filters=self._filters,
            schemas=session.known_schemas(),
            remarks={run.id: self._remark(run) for run in self},
        )

    def _remark(self, run: Run) -> str:
        notebook = PurePath(run.snapshot.notebook or "").name if self._all else ""
        return ". ".join(filter(None, (notebook, gone_note(run))))

    def head(self) -> dict[str, Any]:
        """Returns what stands above the live rows."""
        title = f"{format_count(len(self), 'run')} {self._where}{self._filters}"
        return {"title": title, "lines": [account.spent_sentence()]}

    def _ipython_display_(self) -> None:
        ListView(self, self).show()


class Monitor(Displayable):
    """Service, account and money, and the runs in flight with their progress."""

    def output(self) -> Output:
        """Returns the account status."""
        return account.status().output()

    def head(self) -> dict[str, Any]:
        """Returns what stands above the live rows."""
        status = account.status()
        lines = [f"{name}: {value}" for name, value in status.facts if name != "Now"]  # its rows say that
        steps = ", ".join(f"{typed} {why}" for typed, why in status.next_steps)
        return {"title": "Ready", "lines": [*lines, f"Next: {steps}."], "notify": True}

    def _ipython_display_(self) -> None:
        found = session.manager().runs(notebook=current_context().notebook, limit=500)
        view = ListView(self, [run for run in found if not run.done])
        bridge.on_run = view.follow_run
        view.show()


def monitor() -> Monitor:
    """Returns what this notebook spends and its runs in flight; it shows them live, with progress and cancel.

    Raises:
        ConfigError: The preferred service cannot be used.
    """
    session.manager()
    return Monitor()


class ListView(LiveView["NotebookRuns | Monitor"]):
    """A list of runs in one output.

    Args:
        handle: What is shown above the rows, and without a front end.
        runs: Newest first; later ones are behind them, and are shown on top.
    """

    most_open = 5

    def __init__(self, handle: NotebookRuns | Monitor, runs: Iterable[Run]) -> None:
        super().__init__(handle, "list")
        self._listed = list(runs)
        self._changed, self._head = set(range(len(self._listed))), dict[str, Any]()
        self._stops = ExitStack()
        self.unsubscribe = self._stops.close

    def output(self) -> Output:
        """Returns the static output."""
        return self.handle.output()

    def make_widget(self) -> RunTable:
        """Returns the table."""
        from wiro_nb.notebook.widgets.views import RunTable

        return RunTable(**self.data(), on_action=self._on_action)

    def follow(self) -> None:
        """Follows the runs."""
        for position in range(len(self._listed)):
            self._watch(position)

    def follow_run(self, run: Run) -> None:
        """Adds a run on top (any thread)."""
        if all(other.id != run.id for other in self._listed):
            self._listed.append(run)
            self._watch(len(self._listed) - 1)

    def _watch(self, position: int) -> None:
        def note_change(_snapshot: Snapshot) -> None:
            self._changed.add(position)
            self.schedule()

        run = self._listed[position]
        self._stops.callback(run.on_change(note_change))
        if not is_settled(run):
            note_change(run.snapshot)

    def data(self) -> dict[str, Any]:
        """Returns the head, and the rows that have changed since the last call."""
        changed = [self._changed.pop() for _ in range(len(self._changed))]
        rows = [self._row(position) for position in sorted(changed)]
        if not self._head or any(row["final"] for row in rows):  # money changes when a run ends
            self._head = self.handle.head()
        return {"head": self._head, "items": rows}

    def _row(self, position: int) -> dict[str, Any]:
        """Returns what one row shows, as plain JSON data."""
        run = self._listed[position]
        snapshot, status, poster = run.snapshot, status_of(run.snapshot), read_poster(run)
        settings = key_settings(snapshot, session.known_schema(run.model))
        notebook = "" if snapshot.notebook == self.context.notebook else PurePath(snapshot.notebook or "").name
        cost, elapsed = format_run_cost(snapshot), format_duration(snapshot.elapsed_s)
        return {
            **asdict(status),
            "p": position,
            "run": run.short_id,
            "label": f"{status.label}, best" if snapshot.starred else status.label,
            "percent": None if snapshot.state.is_final else snapshot.percent,
            "when": format_run_time(snapshot),
            "prompt": snapshot.prompt[:300],
            "about": ", ".join(filter(None, (run.model, settings, notebook))),
            "money": ", ".join(filter(None, (cost, elapsed))),
            "thumb": jpeg_uri(poster and make_thumb(poster)),
            "note": gone_note(run),
            "final": snapshot.state.is_final,
            "cancel": not snapshot.state.is_final and not snapshot.cancel_requested,
        }

    def _on_action(self, action: str, content: Mapping[str, Any]) -> None:
        position, table = read_position(content, len(self._listed)), self.widget
        if position is None or table is None:
            return
        run = self._listed[position]
        if action == "cancel":
            run.cancel()
            return
        from wiro_nb.notebook.run.card import LiveCard

        table.attach(LiveCard(run, self.context).follow())
        if not run.done:
            session.manager().follow(run)
