"""Shows a run where the code runs: a card that moves, a wait in the cell, or text.

- A live kernel: the card is displayed under a display id, follows the run from the I/O thread, and at the
  end gives way to the static bundle, so that a saved notebook holds no dead widget.
- A headless kernel: messages that do not belong to the executing cell are dropped, so the cell waits,
  shows the final bundle and raises when the run failed.
- A terminal: text.

Background code never prints and never displays: it only updates what a cell displayed.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

from wiro_nb.ledger.state import Snapshot, Stage
from wiro_nb.notebook.context import current_context, current_shell
from wiro_nb.notebook.pacing import pacer
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_forecast, format_progress
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import option_labels, run_output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.widgets import RunCard

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)
_POSTER_LIMIT_BYTES = 16_000


def show(run: Run, note: str = "", *, wait: bool | None = None) -> None:
    """Shows a run in the running cell: a card that moves where a person watches, else what it is now.

    Args:
        run: The run.
        note: One sentence above it.
        wait: True waits for the end first; None does so where nobody watches, as the cell is the only
            place its result can go.
    """
    context = current_context()
    if context.kind == "plain":
        print(repr(run))
        return
    if not run.done and not context.is_live and session.should_wait(context, wait):
        run.wait(check=False)
    if context.is_live and not run.done:
        _show_live(run, note)
    else:
        show_result(run, note)


def show_result(run: Run, note: str = "") -> None:
    """Displays the run as it is now, static, under its display id."""
    publish(static_output(run, note), display_id=new_display_id(run))


def mimebundle(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns data and metadata of a run that is the value of a cell.

    In a headless kernel an unfinished run is waited for first.
    """
    if not run.done and session.should_wait(current_context()):
        run.wait(check=False)
    return static_output(run)._repr_mimebundle_()


def static_output(run: Run, note: str = "") -> Output:
    """Returns the static output of a run, with its record as metadata."""
    snapshot = rebase_outputs(run, current_context().folder)
    labels = option_labels(snapshot, session.known_schema(run.model))
    shown = run_output(snapshot, read_posters(run, snapshot), note, labels)
    return replace(shown, metadata=output_metadata(run))


def rebase_outputs(run: Run, folder: Path) -> Snapshot:
    """Returns the run with its files' paths as seen from a folder; they start from its own notebook's."""
    snapshot, own = run.snapshot, run.folder
    if own is None or not snapshot.outputs:
        return snapshot
    place = PurePosixPath(os.path.relpath(own, folder).replace(os.sep, "/"))

    def move(path: str | None) -> str | None:
        return None if path is None else str(place / PurePosixPath(path).name)

    outputs = tuple(
        replace(output, path=move(output.path), poster_path=move(output.poster_path))
        for output in snapshot.outputs
    )
    return replace(snapshot, outputs=outputs)


def output_metadata(run: Run) -> dict[str, Any]:
    """Returns what stands in the output's metadata: the record, or id and status until there is one."""
    record = run.record if is_settled(run) else None
    return {"wiro": record or {"run_id": run.id, "model": run.model, "status": str(run.state)}}


def read_posters(run: Run, snapshot: Snapshot) -> dict[str, bytes]:
    """Reads the small pictures of a run's clips, by their relative path; unreadable ones are left out."""
    folder = run.folder
    if folder is None:
        return {}
    posters: dict[str, bytes] = {}
    for output in snapshot.outputs:
        if output.poster_path:
            try:
                picture = (folder / PurePosixPath(output.poster_path).name).read_bytes()
            except OSError:
                continue
            if len(picture) <= _POSTER_LIMIT_BYTES:
                posters[output.poster_path] = picture
    return posters


def publish(output: Output, *, display_id: str | None = None, update: bool = False) -> None:
    """Displays an output in the running cell, or replaces what stands under a display id (any thread)."""
    shell = current_shell()
    if shell is None:
        print(output.text)
        return
    transient = {"display_id": display_id} if display_id else {}
    shell.display_pub.publish(data=output.data, metadata=dict(output.metadata), transient=transient, update=update)


def new_display_id(run: Run) -> str:
    """Returns a display id of its own: two cells may show one run."""
    return f"wiro-{run.id}-{next(_numbers)}"


def wait_in_terminal(run: Run, timeout_s: float | None = None) -> Run:
    """Waits with one moving line on stderr; without it where stderr is no terminal."""
    if not sys.stderr.isatty():
        return run.wait(timeout_s)
    width = 0

    def draw(snapshot: Snapshot) -> None:
        nonlocal width
        line = f"wiro {snapshot.short_id}: {format_progress(snapshot)}"[:100]
        sys.stderr.write("\r" + line.ljust(width))
        sys.stderr.flush()
        width = len(line)

    stop = run.on_change(draw)
    try:
        draw(run.snapshot)
        return run.wait(timeout_s)
    finally:
        stop()
        sys.stderr.write("\r" + " " * width + "\r")
        sys.stderr.flush()


# Live -----------------------------------------------------------------------------------------


class LiveWidget(Protocol):
    """A widget that an output shows beside its static form."""

    view_key: Any

    @property
    def model_id(self) -> Any:
        """Its id in the browser."""

    def _repr_mimebundle_(self) -> Any:
        """Returns the mime bundle with the view."""


class LiveView:
    """A card that follows one run until its end.

    Args:
        run: The run. card: Its card. display_id: Where the card stands. note: Kept above the result.
    """

    def __init__(self, run: Run, card: RunCard, display_id: str, note: str) -> None:
        self.run, self.card, self.display_id, self.note = run, card, display_id, note
        self._lock = threading.Lock()
        self._ended = False
        self._stop_actions = card.on_action(self._on_action)
        self._stop: Callable[[], None] = lambda: None

    def follow(self) -> LiveView:
        """Starts to follow; the run may already have ended, or end meanwhile on its own thread."""
        self._stop = self.run.on_change(self._on_change)
        if is_settled(self.run):
            self.end()
        else:
            self.card.update(self.run.snapshot)
        if self._ended:
            self._stop()
        return self

    def _on_change(self, snapshot: Snapshot) -> None:
        if is_settled(self.run):
            self.end()
        elif snapshot.stage is Stage.FETCHING:  # it succeeded: that is not told in turns
            pacer.drop(self.card)
            self.card.update(snapshot)
        else:
            pacer.offer(self.card, lambda: self.card.update(snapshot))

    def end(self) -> None:
        """Replaces the card by the static result; a second call does nothing."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._stop()
        pacer.drop(self.card)
        self._stop_actions()
        _views.discard(self)
        publish(static_output(self.run, self.note), display_id=self.display_id, update=True)
        self.card.close()

    def _on_action(self, card: RunCard, action: str) -> None:
        if action == "stop_watching":
            self.end()
        else:
            answer_action(self.run, card, action)


def answer_action(run: Run, card: RunCard, action: str) -> None:
    """Does what a card's button says. May run on any thread; displays nothing, as no cell is running."""
    if action == "cancel":
        run.cancel()
    elif action == "try_now":
        session.manager().follow(run)
    elif action == "copy_cell":
        from wiro_nb.notebook.magic.prompts import cell_of_run

        card.reply(cell_of_run(run), copy=True)


def is_settled(run: Run) -> bool:
    """True when the run's files and record are there too.

    Listeners hear the last word a moment before `run.done`; an uncertain run may still find its task.
    """
    if not run.state.is_final:
        return False
    return run.done or run.error is not None or run.record is not None


_views: WeakSet[LiveView] = WeakSet()


def _show_live(run: Run, note: str) -> None:
    from wiro_nb.notebook.widgets import RunCard

    estimated = run.snapshot.estimated_usd
    price = "price not listed" if estimated is None else format_forecast(estimated)
    card = RunCard(run.snapshot, again_price="free" if run.snapshot.is_sandbox else price)
    display_id = new_display_id(run)
    publish(with_view_of(card, static_output(run, note)), display_id=display_id)
    view = LiveView(run, card, display_id, note)
    _views.add(view)
    view.follow()


def with_view_of(widget: LiveWidget, static: Output) -> Output:
    """Returns an output that shows a widget, and its static form wherever no widget can run.

    Args:
        widget: A widget whose script calls `saveOnlyStatic`: the file then holds the static form alone.
        static: That form.
    """
    rendered = widget._repr_mimebundle_()
    data = rendered[0] if isinstance(rendered, tuple) else rendered
    view = {kind: value for kind, value in (data or {}).items() if kind.startswith("application/vnd.jupyter")}
    note = {"key": widget.view_key, "model_id": widget.model_id}
    return replace(static, view=view, metadata={**static.metadata, "wiro_view": note})


def end_views() -> None:
    """Lets go of every card: the kernel unloads the extension. Cards stay as static text."""
    for view in list(_views):
        view.end()
