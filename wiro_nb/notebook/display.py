"""Displays outputs, runs and sweeps in the running cell, and waits for runs and sweeps there.

- A live kernel: a widget beside the static form; it updates from the I/O thread.
- A headless kernel: messages that do not belong to the executing cell are dropped, so the cell waits, shows the
  final output and raises when a run failed.
- A terminal: text.

Background code never prints and never displays: it only updates what a cell displayed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

from wiro_nb.errors import DownloadFailed
from wiro_nb.formatting import format_bar
from wiro_nb.notebook.session import current_context, current_shell, session
from wiro_nb.presentation.output import Output, message

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.ledger.state import RunOutput, Snapshot
    from wiro_nb.notebook.live import LiveView

Handle = TypeVar("Handle")


def publish(output: Output, *, display_id: str | None = None, update: bool = False) -> None:
    """Displays an output in the running cell, or updates the display with this id (any thread)."""
    shell = current_shell()
    if shell is None:
        print(output.text)
        return
    transient = {"display_id": display_id} if display_id else {}
    shell.display_pub.publish(data=output.data, metadata=dict(output.metadata), transient=transient, update=update)


def show_messages(messages: Iterable[str]) -> None:
    """Displays messages, each as a line: a damaged ledger was replaced, widgets need a setting."""
    for text in messages:
        publish(message(text))


def with_view_of(widget: Any, static: Output) -> Output:
    """Returns an output that shows a widget, and its static form wherever no widget can run.

    Args:
        widget: A widget whose script calls `saveOnlyStatic`: the file then holds the static form alone.
        static: That form.
    """
    data, _metadata = widget._repr_mimebundle_()
    view = {kind: value for kind, value in data.items() if kind.startswith("application/vnd.jupyter")}
    note = {"key": widget.view_key, "model_id": widget.model_id}
    return replace(static, view=view, metadata={**static.metadata, "wiro_view": note})


def show(view: LiveView[Any]) -> None:
    """Shows a run or sweep in the running cell, in a headless kernel at its end."""
    context = current_context()
    if not context.is_live and not view.handle.done and session.should_wait(context):
        view.handle.wait(check=False)
    show_now(view)


def show_now(view: LiveView[Any]) -> None:
    """Displays the widget where a user watches, else the static form as it is now."""
    context = current_context()
    if context.kind == "plain":
        print(repr(view.handle))
    elif context.is_live and view.is_moving:
        view.show_live()
    else:
        publish(view.output(), display_id=view.display_id)


def show_and_wait(view: LiveView[Handle], *, wait: bool | None = None) -> Handle:
    """Shows a run or sweep in the running cell, waits for it there, and returns it.

    Args:
        view: The run or sweep.
        wait: True waits, False does not; None leaves it to the preferences.

    Raises:
        WiroError: As `wait_for`; the result is still displayed.
    """
    context, handle = current_context(), cast("Any", view.handle)
    waits = session.should_wait(context, wait)
    is_shown_last = waits and not context.is_live and not handle.done
    session.displayed_in(context).add(handle.id)
    try:
        try:
            if is_shown_last:
                wait_for(view)
        finally:
            show_now(view)
        if waits and not is_shown_last:
            wait_for(view)
    except KeyboardInterrupt:
        # Wherever it struck, the runs continue: one line says so in place of a traceback.
        from wiro_nb.execution.run import WaitInterrupted

        first, *others = view.runs
        if others:
            raise
        raise WaitInterrupted(first.short_id) from None
    return view.handle


def finish(view: LiveView[Handle], wait: bool | None) -> Handle:
    """Waits for a run or sweep where that is wanted, and returns it; `wait` and errors as in `show_and_wait`."""
    if session.should_wait(view.context, wait):
        wait_for(view)
    return view.handle


def wait_for(view: LiveView[Any]) -> None:
    """Waits for a run or sweep in the running cell.

    Raises:
        RunFailed, SubmitUncertain: A run gave no result.
        RunCancelled: The run was cancelled in a headless kernel: a notebook that continues would miss its clip.
        DownloadFailed: A file is not on this machine, in a headless kernel.
        WaitInterrupted: The user stopped waiting; runs continue.
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


def _wait_in_terminal(view: LiveView[Any]) -> None:
    """Waits with one moving line on stderr."""
    width = 0

    def draw(snapshot: Snapshot) -> None:
        nonlocal width
        text = format_bar(snapshot, sys.stderr)
        print("\r" + text.ljust(width), end="", file=sys.stderr, flush=True)
        width = len(text)

    with ExitStack() as stops:
        stops.callback(lambda: print("\r" + " " * width, end="\r", file=sys.stderr, flush=True))
        for run in view.runs:
            stops.callback(run.on_change(draw))
            draw(run.snapshot)
        view.handle.wait()


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
