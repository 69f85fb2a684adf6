"""Gathers what the static form of a sweep needs: snapshots seen from the notebook, posters, records."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.run.display import read_posters, rebase_outputs
from wiro_nb.notebook.sweep.grid_view import main_output
from wiro_nb.notebook.sweep.static_html import render_sweep
from wiro_nb.presentation.output import Output
from wiro_nb.sweeps.sweep import Sweep

_numbers = itertools.count(1)


def new_display_id(sweep: Sweep) -> str:
    """Returns a display id of its own: two cells may show one sweep."""
    return f"wiro-sweep-{sweep.id}-{next(_numbers)}"


def snapshots_of(sweep: Sweep, folder: Path) -> list[Snapshot]:
    """Returns the runs with their files' paths as seen from a folder."""
    return [rebase_outputs(run, folder) for run in sweep.runs]


def best_of(sweep: Sweep) -> int | None:
    """Returns the position of the picked run, or None."""
    return next((position for position, run in enumerate(sweep.runs) if run.row.starred), None)


def poster_of(sweep: Sweep, position: int) -> bytes | None:
    """Returns the small picture of a run's main output, or None."""
    run = sweep.runs[position]
    output = main_output(run.snapshot)
    if output is None or not output.poster_path:
        return None
    return read_posters(run, run.snapshot).get(output.poster_path)


def sweep_output(sweep: Sweep, folder: Path, notes: Sequence[str] = ()) -> Output:
    """Returns the static output of a sweep as it is now, with its records, for a notebook in a folder."""
    posters = {
        position: picture for position in range(len(sweep)) if (picture := poster_of(sweep, position)) is not None
    }
    metadata = sweep_metadata(sweep)  # first: an output must not be older than the records beside it
    shown = render_sweep(sweep.plan, snapshots_of(sweep, folder), posters, best=best_of(sweep), notes=notes)
    return replace(shown, metadata=metadata)


def sweep_metadata(sweep: Sweep) -> dict[str, Any]:
    """Returns what stands in the output's metadata: the sweep, and the record of every run that has one."""
    records = {run.id: record for run in sweep.runs if run.done and (record := run.record) is not None}
    best = sweep.best
    mark: dict[str, Any] = {"sweep_id": sweep.id, "model": sweep.model, "runs": records}
    if best is not None:
        mark["best"] = best.id
    return {"wiro": mark}
