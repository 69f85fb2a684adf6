"""Runs from a notebook: the public functions behind the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from wiro_nb.errors import TimedOut, WiroError
from wiro_nb.execution.run import Run
from wiro_nb.films.extend import plan_extension
from wiro_nb.formatting import format_count, status_of
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.display import find_unsaved
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs, origin_of, parent_of, submit_or_reuse
from wiro_nb.notebook.run.view import RunView
from wiro_nb.notebook.session import current_context, find_run, session
from wiro_nb.presentation.output import Output, message
from wiro_nb.presentation.reproduction import tree_output
from wiro_nb.presentation.run_list import RunList
from wiro_nb.session import lineage
from wiro_nb.session.lineage import chain_text

_CANCEL_TIMEOUT_S = 15.0


def run(
    model: str,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    wait: bool | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | float | str | None = None,
    out_dir: str | None = None,
    **values: Any,
) -> Run:
    """Runs a model and returns the handle of the run.

    For example `clip = wiro_nb.run("wiro/animate-diff", prompt="a lake", seed=7)`, then `await clip`, or
    `clip.wait()` in a script; `clip.path`, `clip.cost_usd` and `clip.record` are its results.

    Args:
        model: "owner/name".
        inputs: The model's inputs as a mapping, for those whose names are options here (`wait`, `fresh`, ...).
        wait: True waits for the end, False does not; None waits only in a headless kernel (papermill, nbclient).
        fresh: True runs even when this very request already succeeded in this notebook.
        max_cost_usd: Refuses to start when the price may be higher, in USD.
        out_dir: Folder of the files; beside the notebook when None.
        **values: The model's inputs: text, numbers, a path or URL for a file, a list for several files.

    Raises:
        UnknownModel, InvalidParameter, InvalidFile: Nothing was sent.
        BudgetExceeded: Nothing was sent.
        RunFailed: Where it waits, when the run gave no result.
    """
    options = SubmitOptions.of_call(fresh, max_cost_usd, out_dir)
    return RunView(start(model, merge_inputs(inputs, values), options)).finish(wait)


def start(model: str, values: Mapping[str, Any], options: SubmitOptions) -> Run:
    """Runs a model, or returns the earlier run that answers the request.

    Raises:
        WiroError: As `run`.
    """
    context, manager = current_context(), session.manager()
    prepared = manager.prepare(model, dict(values), origin=origin_of(context, options.kind))
    return submit_or_reuse(prepared, context, options, parent=parent_of(values, manager))


def extend(
    query: str | Run,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    model: str | None = None,
    frame: int | None = None,
    at_s: float | None = None,
    wait: bool | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | float | str | None = None,
    out_dir: str | None = None,
    **values: Any,
) -> Run:
    """Makes a run that continues from a frame of a run's clip, and returns the new run.

    Args:
        query: The run, or its id.
        inputs: Inputs as a mapping, as in `run`.
        model: "owner/name" of the model that continues; the run's own when None.
        frame: The frame to continue from: from 0, or negative from the end; the last one when None.
        at_s: The moment to continue from in place of `frame`, in seconds.
        wait: As in `run`.
        fresh: As in `run`.
        max_cost_usd: As in `run`.
        out_dir: As in `run`.
        **values: Inputs that differ from those of the run.

    Raises:
        InputError: The model takes no picture: models that do are named. Nothing was sent.
        UnknownRun, UnknownModel, InvalidParameter, InvalidFile, BudgetExceeded: Nothing was sent.
        RunFailed: Where it waits, when the run gave no result.
    """
    options = SubmitOptions.of_call(fresh, max_cost_usd, out_dir)
    given = merge_inputs(inputs, values)
    request = plan_extension(session.manager(), find_run(query), given, model=model, frame=frame, at_s=at_s)
    return RunView(start(*request, options)).finish(wait)


def last() -> Run | None:
    """Returns the run that was started or shown last in this kernel, or None."""
    return session.last_run


def show(query: str | Run) -> Run:
    """Returns a run to be shown; an unfinished one is followed again.

    Raises:
        UnknownRun: None, or several.
    """
    handle = find_run(query)
    if not handle.done:
        session.manager().follow(handle)
        bridge.follow(handle)
    session.last_run = handle
    lineage = chain_text(session.manager(choose=False).ledger, handle.snapshot)
    session.notices[handle.id] = f"Made from other runs: {lineage}." if lineage else ""
    return handle


def tree(query: str | Run) -> Output:
    """Returns the tree of runs that a run was made from, and that were made from it.

    Raises:
        UnknownRun: None, or several.
    """
    handle = find_run(query)
    return tree_output(lineage.tree(session.manager(choose=False).ledger, handle.snapshot), handle.id)


def wait(query: str | Run | None = None) -> RunList:
    """Waits for a run, or for every unfinished run of this notebook, and returns those it waited for.

    Raises:
        RunFailed, SubmitUncertain: One gave no result; the others were waited for as well.
        WaitInterrupted: The user stopped waiting; runs continue.
    """
    waited = [show(query)] if query is not None else _unfinished()
    if not waited:
        return _say((), "no runs in flight")
    wait_for_all(waited)
    ends = ", ".join(_describe_end(item) for item in waited)
    return _say(waited, f"{format_count(len(waited), 'run')} waited for: {ends}")


def _say(handles: Sequence[Run], text: str) -> RunList:
    """Returns runs that an action concerned; they show as one sentence."""
    return RunList(handles, lambda _snapshots: message(text))


def _unfinished() -> list[Run]:
    """Returns the unfinished runs of this notebook, and the last run of this kernel where it is unfinished."""
    found = session.manager().runs(notebook=current_context().notebook, limit=500)
    runs = {run.id: run for run in found if not run.state.is_final}
    if session.last_run is not None and not session.last_run.done:
        runs.setdefault(session.last_run.id, session.last_run)
    return list(runs.values())


def wait_for_all(handles: list[Run]) -> None:
    """Waits for runs; raises the first error after all of them have ended.

    Raises:
        WiroError: As `wait_for`.
    """
    failed: WiroError | None = None
    for handle in handles:
        session.manager().follow(handle)
        try:
            RunView(handle).wait()
        except WiroError as error:
            failed = failed or error
    if failed is not None:
        raise failed


def _describe_end(handle: Run) -> str:
    """Returns how a run ended, with its id: "8k2qf done"."""
    text = f"{handle.short_id} {status_of(handle.snapshot).label.lower()}"
    return text if find_unsaved(handle) is None else f"{text}, file not saved: %wiro download {handle.short_id}"


def cancel(query: str | Run) -> Run:
    """Cancels a run and returns it; in the queue it costs nothing, while it generates it may be billed."""
    handle = find_run(query, ends_it=True)
    if not handle.state.is_final:
        handle.cancel()
        try:
            handle.wait(_CANCEL_TIMEOUT_S, check=False)
        except TimedOut:
            pass
    return handle


def attach(task_id: str) -> Run:
    """Follows a task that was started elsewhere, and downloads its files at the end.

    Raises:
        NotAccessible: The service has no such task of yours.
    """
    handle = session.manager().attach(task_id, origin=origin_of(current_context(), "python"))
    session.last_run = handle
    bridge.follow(handle)
    return handle


def forget(query: str | Run) -> RunList:
    """Takes a run off the list and returns it; its files stay, and what it cost still counts."""
    handle = find_run(query, ends_it=True)
    session.manager().ledger.forget(handle.id)
    return _say([handle], f"run {handle.short_id} is off the list; its files stay where they are")


def download(query: str | Run) -> Run:
    """Downloads a run's files again, at no cost.

    Raises:
        DownloadFailed: The service does not have them any more, or cannot be reached.
    """
    return find_run(query).download()
