"""Displays outputs, runs and sweeps in the running cell, and waits for runs and sweeps there.

- A live kernel: a widget beside the static form; it updates from the I/O thread.
- A headless kernel: messages that do not belong to the executing cell are dropped, so the cell waits, shows the
  final output and raises when a run failed.
- A terminal: text.

Background code never prints and never displays: it only updates what a cell displayed.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from wiro_nb.errors import DownloadFailed
from wiro_nb.notebook.context import current_context, current_shell
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_bar
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.ledger.state import RunOutput, Snapshot


class LiveWidget(Protocol):
    """A widget that an output shows beside its static form."""

    view_key: Any

    @property
    def model_id(self) -> Any:
        """Its id in the browser."""

    def _repr_mimebundle_(self) -> Any:
        """Returns the MIME bundle with the view."""


class View(Protocol):
    """A run or a sweep in a notebook, with its live and its static form.

    Attributes:
        handle: The run or sweep.
        display_id: Where it is displayed.
    """

    handle: Any
    display_id: str

    @property
    def runs(self) -> Iterable[Run]:
        """All its runs."""

    @property
    def is_moving(self) -> bool:
        """True when a live kernel shows the live form."""

    def show_live(self) -> None:
        """Displays the live form."""

    def output(self) -> Output:
        """Returns the static form."""


class OpenViews:
    """The live views that are open. One more than `most` closes the oldest, which leaves its static form."""

    def __init__(self, most: int = 20) -> None:
        self._most = most
        self._views: deque[ClosableView] = deque()

    def add(self, view: ClosableView) -> None:
        """Takes a view that was just opened; one that is here already stays in its place."""
        if view not in self._views:
            self._views.append(view)
        while len(self._views) > self._most:
            self._views.popleft().close()

    def close_all(self) -> None:
        """Closes every view."""
        while self._views:
            self._views.popleft().close()


class ClosableView(Protocol):
    """A live view that can be closed."""

    def close(self) -> None:
        """Leaves the static form in its place."""


def publish(output: Output, *, display_id: str | None = None, update: bool = False) -> None:
    """Displays an output in the running cell, or replaces what stands under a display id (any thread)."""
    shell = current_shell()
    if shell is None:
        print(output.text)
        return
    transient = {"display_id": display_id} if display_id else {}
    shell.display_pub.publish(data=output.data, metadata=dict(output.metadata), transient=transient, update=update)


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


def show(view: View, *, wait: bool | None = None) -> None:
    """Shows a run or sweep in the running cell: live where a person watches, else as it is now.

    Args:
        view: The run or sweep.
        wait: True waits for the end first where it cannot be updated later; None does so in a headless kernel.
    """
    context = current_context()
    if context.kind == "plain":
        print(repr(view.handle))
        return
    if not view.handle.done and not context.is_live and session.should_wait(context, wait):
        view.handle.wait(check=False)
    if context.is_live and view.is_moving:
        view.show_live()
    else:
        publish(view.output(), display_id=view.display_id)


def show_and_wait(view: View, *, wait: bool | None = None) -> None:
    """Shows a run or sweep in the running cell, and waits for it there.

    Args:
        view: The run or sweep.
        wait: True waits, False does not; None leaves it to the preferences.

    Raises:
        WiroError: As `wait_for`; the result is displayed all the same.
    """
    context = current_context()
    waits = session.should_wait(context, wait)
    session.displayed_in(context).add(view.handle.id)
    try:
        if waits and not context.is_live and not view.handle.done:
            try:
                wait_for(view)
            finally:
                publish(view.output(), display_id=view.display_id)
            return
        show(view, wait=False)
        if waits:
            wait_for(view)
    except KeyboardInterrupt:
        # Wherever it struck, the runs go on: one line says so in place of a traceback.
        from wiro_nb.execution.run import WaitInterrupted

        first, *others = view.runs
        if others:
            raise
        raise WaitInterrupted(first.short_id) from None


def wait_for(view: View) -> None:
    """Waits for a run or sweep in the running cell.

    Raises:
        RunFailed, SubmitUncertain: A run gave no result.
        RunCancelled: The run was cancelled in a headless kernel: a notebook that goes on would miss its clip.
        DownloadFailed: A file is not on this machine, in a headless kernel.
        WaitInterrupted: The person stopped the waiting; the run goes on.
    """
    context, handle = current_context(), view.handle
    if context.kind == "terminal" and sys.stderr.isatty():
        _wait_in_terminal(view)
    else:
        handle.wait()
    if not context.is_headless:
        return
    if (error := getattr(handle, "error", None)) is not None:
        raise error
    check_saved(view.runs)


def _wait_in_terminal(view: View) -> None:
    """Waits with one moving line on stderr."""
    width = 0

    def draw(snapshot: Snapshot) -> None:
        nonlocal width
        text = format_bar(snapshot, sys.stderr)
        sys.stderr.write("\r" + text.ljust(width))
        sys.stderr.flush()
        width = len(text)

    stops = [run.on_change(draw) for run in view.runs]
    try:
        for run in view.runs:
            draw(run.snapshot)
        view.handle.wait()
    finally:
        for stop in stops:
            stop()
        sys.stderr.write("\r" + " " * width + "\r")
        sys.stderr.flush()


def check_saved(runs: Iterable[Run]) -> None:
    """Checks that what runs made is on this machine; later cells of a headless notebook need it.

    Raises:
        DownloadFailed: A file could not be downloaded or written; the others are named.
    """
    lacking = [(run, lost) for run in runs if (lost := find_unsaved(run)) is not None]
    if not lacking:
        return
    (first, lost), others = lacking[0], [run.short_id for run, _ in lacking[1:]]
    raise DownloadFailed(
        f"run {first.short_id} is done, but {lost.name or 'its file'} was not saved: {lost.problem}",
        hint=f"%wiro download {first.short_id}",
        billed="The clip is billed once; downloading it again costs nothing.",
        details=[f"Not saved either: {', '.join(others)}."] if others else [],
        url=lost.url,
        reason=lost.problem,
        run_id=first.id,
    )


def find_unsaved(run: Run) -> RunOutput | None:
    """Returns the first output of a run that could not be downloaded or written, or None."""
    return next((output for output in run.outputs if output.problem and not output.path), None)
