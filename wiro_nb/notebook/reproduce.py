"""Reruns and verification: the functions behind `%wiro rerun` and `verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, overload

from wiro_nb.config import ANY_NOTEBOOK
from wiro_nb.errors import InputError
from wiro_nb.execution.run import Run
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs, origin_of, submit_or_reuse
from wiro_nb.notebook.run.view import RunView
from wiro_nb.notebook.session import ExecutionContext, current_context, session, source_text
from wiro_nb.presentation.reproduction import Verified
from wiro_nb.presentation.run_list import RunList, runs_output
from wiro_nb.provenance.find import Source
from wiro_nb.reproduce import find_to_rerun
from wiro_nb.reproduce.replay import Replay, plan_rerun, require_ready
from wiro_nb.reproduce.verify import verify as check
from wiro_nb.session.prices import confirm_total


@overload
def rerun(
    source: str | Path | Run, overrides: Mapping[str, Any] | None = None, /, *, all: Literal[True], **options: Any
) -> RunList: ...
@overload
def rerun(source: str | Path | Run, overrides: Mapping[str, Any] | None = None, /, **options: Any) -> Run: ...
def rerun(
    source: str | Path | Run,
    overrides: Mapping[str, Any] | None = None,
    /,
    *,
    all: bool = False,
    yes: bool = False,
    wait: bool | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | float | str | None = None,
    out_dir: str | None = None,
    force: bool = False,
    **values: Any,
) -> Run | RunList:
    """Makes a run again with the settings, files and seed it had, and returns the new run.

    Args:
        source: A run or its id, a clip, picture, `run.json`, folder, or `NOTEBOOK#RUN`.
        overrides: Settings to change as a mapping, for those whose names are options here.
        all: True makes every run of a notebook or folder again and returns the new runs; none is sent unless
            every one can be.
        yes: With `all`, sends more runs, or more expensive ones, than the sweep limits allow without asking.
        wait: As in `run`.
        fresh: True runs even when this notebook has already made this very thing again.
        max_cost_usd: As in `run`, for each run.
        out_dir: As in `run`.
        force: True reads a record that was changed after it was written.
        **values: Settings to change, such as `seed=8`.

    Raises:
        UnknownRun, BadRecord: There is no such run, or its record is refused.
        InvalidParameter, InvalidFile: The model has changed, or an input file is not here; nothing was sent.
        BudgetExceeded: Nothing was sent.
        ConfirmationNeeded: With `all`: more runs than `sweep_limit_runs`, or they may cost more than
            `sweep_limit_usd` together, or their price is unknown; nothing was sent.
        RunFailed: Where it waits, when a run gave no result.
    """
    options = SubmitOptions.of_call(fresh, max_cost_usd, out_dir)
    replays = plan(find(source, all=all, force=force), merge_inputs(overrides, values), options)
    handles, forecast = start(replays, options, all=all, yes=yes)
    return wait_and_list(handles, wait, forecast) if all else RunView(handles[0]).finish(wait)


def find(source: str | Path | Run, *, all: bool = False, force: bool = False) -> list[Source]:
    """Finds the record that a source names; with `all` every run of it.

    Raises:
        UnknownRun, BadRecord: There is no such run, or its record is refused.
    """
    notebook = current_context().notebook
    return find_to_rerun(session.manager(), source_text(source), all=all, notebook=notebook, ignore_hash=force)


def plan(found: Sequence[Source], overrides: Mapping[str, Any], submit: SubmitOptions) -> list[Replay]:
    """Plans to make the runs of records again; sends nothing.

    Raises:
        InputError: It is a film.
        UnknownModel, InvalidParameter: A run does not fit the model.
    """
    if found[0].is_film:
        text = found[0].name
        raise InputError(
            f"{text} is a film of several runs",
            hint=f'%wiro rerun {found[0].typed_name}, or wiro_nb.film("{text}")',
        )
    manager, origin = session.manager(), origin_of(current_context(), submit.kind)
    return [plan_rerun(manager, item, overrides, origin=origin) for item in found]


def start(
    replays: Sequence[Replay], options: SubmitOptions, *, all: bool = False, yes: bool = False
) -> tuple[list[Run], str]:
    """Makes runs again, those that this notebook has not made again already; none unless every one can be sent.

    Returns:
        The runs; with `all` their number, price, time and service as text.

    Raises:
        InvalidParameter, InvalidFile: One of them cannot be sent.
        ConfirmationNeeded: With `all`: they are above the limits for sweeps, and `yes` is False.
        WiroError: As `run`.
    """
    requests, context = require_ready(replays), current_context()
    forecast = confirm_total(session.manager(), requests, session.preferences.limits(yes)) if all else ""
    runs = [
        submit_or_reuse(request, context, options, parent=replay.parent, is_rerun=True)
        for request, replay in zip(requests, replays, strict=True)
    ]
    return runs, forecast


def wait_and_list(handles: list[Run], wait: bool | None, forecast: str) -> RunList:
    """Returns runs as a table, after waiting for them where that is wanted.

    Args:
        handles: The runs.
        wait: As in `rerun`.
        forecast: From `start`.

    Raises:
        WiroError: One gave no result, where it waits.
    """
    if session.should_wait(current_context(), wait):
        actions.wait_for_all(handles)
    return RunList(
        handles,
        lambda snapshots: runs_output(
            snapshots, spent=f"Forecast: {forecast}.", where="made again", schemas=session.known_schemas()
        ),
    )


def verify(*paths: str | Path) -> Verified:
    """Checks notebooks, run folders and clips: hashes, files, records, agreement with the ledger, and no secret.

    Args:
        *paths: What to check; without any, this notebook and its outputs, and the ledger itself.
    """
    manager = session.manager(choose=False)
    if paths:
        return Verified(check(manager, [Path(path) for path in paths]))
    return Verified(check(manager, _own_paths(current_context()), ledger=True))


def _own_paths(context: ExecutionContext) -> list[Path]:
    folder = context.folder / session.preferences.out_dir
    notebook = Path(context.notebook) if context.notebook and not context.notebook.endswith(ANY_NOTEBOOK) else None
    return [path for path in (notebook, folder) if path is not None and path.exists()]
