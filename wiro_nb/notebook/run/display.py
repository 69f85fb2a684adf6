"""A run in a notebook: its static output, and its clip in grids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import RunOutput, Snapshot
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.models import option_labels
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.reproduction import made_by_block
from wiro_nb.presentation.run import run_output
from wiro_nb.presentation.run_list import FILE_GONE

_POSTER_LIMIT_BYTES = 16_000
_FALLBACK_FPS = 16.0


def static_output(run: Run, notice: str = "") -> Output:
    """Returns the static output of a run, with its record as metadata; `notice` is shown above it."""
    snapshot = rebase_outputs(run, current_context().folder)
    labels = option_labels(snapshot, session.known_schema(run.model))
    record = run.record if is_settled(run) else None
    shown = run_output(snapshot, read_posters(run, snapshot), notice, labels, made_by_block(record or {}))
    mark = record or {"run_id": run.id, "model": run.model, "status": str(run.state)}
    return replace(shown, metadata={"wiro": mark})


def rebase_outputs(run: Run, folder: Path) -> Snapshot:
    """Returns the run with file paths relative to `folder` instead of its own notebook's folder."""
    snapshot, own = run.snapshot, run.folder
    if own is None or not snapshot.outputs:
        return snapshot
    base = PurePosixPath(os.path.relpath(own, folder).replace(os.sep, "/"))

    def move(path: str | None) -> str | None:
        return None if path is None else str(base / PurePosixPath(path).name)

    outputs = tuple(
        replace(output, path=move(output.path), poster_path=move(output.poster_path))
        for output in snapshot.outputs
    )
    return replace(snapshot, outputs=outputs)


def read_posters(run: Run, snapshot: Snapshot) -> dict[str, bytes]:
    """Reads the small pictures of a run's clips, by their relative path; unreadable ones are left out."""
    posters: dict[str, bytes] = {}
    for path in filter(None, (output.poster_path for output in snapshot.outputs)):
        with suppress(OSError):
            picture = ((run.folder or Path()) / PurePosixPath(path).name).read_bytes()
            if len(picture) <= _POSTER_LIMIT_BYTES:
                posters[path] = picture
    return posters


def is_settled(run: Run) -> bool:
    """True when the run has ended with its files and record.

    Listeners get the final state a moment before `run.done`; an uncertain run may still find its task.
    """
    return run.state.is_final and (run.done or run.error is not None or run.record is not None)


def gone_note(run: Run) -> str:
    """Returns what to do about a file that a run made and that is not on this machine; "" where there is none."""
    return FILE_GONE.format(run.short_id) if run.state.is_final and run.lacks_files else ""


def stack_outputs(outputs: Sequence[Output]) -> Output:
    """Returns static outputs one below the other, with the picture and metadata of the first."""
    html = "".join(f'<div style="margin:0 0 8px 0">{output.html}</div>' for output in outputs)
    first = outputs[0] if outputs else Output("", "")
    return replace(first, html=html, text="\n".join(output.text for output in outputs))


def main_output(snapshot: Snapshot) -> RunOutput | None:
    """Returns the output that stands for a run: the first clip, else the first picture, else the first file."""
    kept = [output for output in snapshot.outputs if output.path or output.content is not None]
    order = ("video/", "image/", "")
    return next((output for kind in order for output in kept if output.content_type.startswith(kind)), None)


def clip_data(snapshot: Snapshot) -> dict[str, Any]:
    """Returns what a player needs of a run's main output, as plain JSON data."""
    output = main_output(snapshot) or RunOutput("", "")
    counted = output.frames / output.fps if output.frames and output.fps else None
    return {
        "path": output.path or "",
        "poster": output.poster_path or "",
        "type": output.content_type.partition("/")[0],
        "duration": counted or output.duration_s or 0,
        "fps": output.fps or _FALLBACK_FPS,
        "width": output.width or 0,
        "height": output.height or 0,
    }


def read_poster(run: Run) -> bytes | None:
    """Returns the poster of a run's main output as JPEG, or None."""
    output = main_output(run.snapshot)
    return read_posters(run, run.snapshot).get(output.poster_path or "") if output is not None else None
