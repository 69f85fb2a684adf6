"""Displays outputs in the running cell or updates them there; background code never prints and never displays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import DownloadFailed
from wiro_nb.notebook.session import current_shell
from wiro_nb.presentation.output import Output, message

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.ledger.state import RunOutput


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
