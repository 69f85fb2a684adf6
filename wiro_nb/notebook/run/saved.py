"""Whether the files that runs made are on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wiro_nb.errors import DownloadFailed

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.ledger.state import RunOutput


def check_saved(*handles: Run) -> None:
    """Makes sure that what was made is on this machine; later cells of a notebook that nobody watches need it.

    Raises:
        DownloadFailed: A file could not be fetched or written; the others are named.
    """
    lacking = [(handle, lost) for handle in handles if (lost := find_unsaved(handle)) is not None]
    if not lacking:
        return
    (first, lost), others = lacking[0], [handle.short_id for handle, _ in lacking[1:]]
    raise DownloadFailed(
        f"run {first.short_id} is done, but {lost.name or 'its file'} was not saved: {lost.problem}",
        hint=f"%wiro download {first.short_id}",
        details=[f"Not saved either: {', '.join(others)}."] if others else [],
        url=lost.url,
        reason=lost.problem,
        run_id=first.id,
    )


def find_unsaved(handle: Run) -> RunOutput | None:
    """Returns the first output of a run that could not be fetched or written, or None."""
    return next((output for output in handle.outputs if output.problem and not output.path), None)
