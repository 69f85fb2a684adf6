"""Runs from a notebook: what the commands and their Python twins do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import TimedOut, WiroError
from wiro_nb.notebook.context import ExecutionContext, current_context
from wiro_nb.notebook.document.bridge import bridge
from wiro_nb.notebook.run import lineage
from wiro_nb.notebook.run.find import find_run
from wiro_nb.notebook.run.saved import check_saved, find_unsaved
from wiro_nb.notebook.run.submit import merge_inputs, origin_of, read_limit, start_prepared
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_count
from wiro_nb.presentation.run_list import RunList, RunMessage
from wiro_nb.presentation.status import status_of

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

_CANCEL_PATIENCE_S = 15.0


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
    `clip.wait()` in a script; `clip.path`, `clip.cost_usd` and `clip.record` tell what came of it.

    Args:
        model: "owner/name".
        inputs: The model's inputs as a mapping, for those whose names are options here (`wait`, `fresh`, ...).
        wait: True waits for the end, False does not; None waits only where nobody watches (papermill, nbclient).
        fresh: True runs even when this very request already succeeded in this notebook.
        max_cost_usd: Refuses to start when the price may be higher, in USD.
        out_dir: Folder of the files; beside the notebook when None.
        **values: The model's inputs: text, numbers, a path or URL for a file, a list for several files.

    Raises:
        UnknownModel, InvalidParameter, InvalidFile: Nothing was sent.
        BudgetExceeded: Nothing was sent.
        RunFailed: Where it waits, when the run gave no result.
    """
    context = current_context()
    limit, values = read_limit(max_cost_usd), merge_inputs(inputs, values)
    handle, note = _start(model, values, context, "python", fresh=fresh, max_cost_usd=limit, out_dir=out_dir)
    session.set_note(handle.id, note)
    if session.should_wait(context, wait):
        wait_for(handle, context)
    return handle


def start_in_cell(
    model: str,
    values: Mapping[str, Any],
    *,
    wait: bool | None,
    fresh: bool,
    max_cost_usd: Decimal | None,
    keep: Callable[[Run], None],
) -> None:
    """Runs a model for a magic: shows the run in the cell, and waits where that is wanted.

    Args:
        model: Slug.
        values: Its inputs.
        wait: As in `run`.
        fresh: As in `run`.
        max_cost_usd: As in `run`.
        keep: Called with the handle before anything is waited for.

    Raises:
        WiroError: The run could not start, or gave no result in a cell that waits.
    """
    context = current_context()
    handle, note = _start(model, values, context, "magic", fresh=fresh, max_cost_usd=max_cost_usd)
    try:
        keep(handle)
        show_and_wait(handle, note, context, wait)
    except KeyboardInterrupt:
        # Wherever it struck, the run itself goes on: say so in place of a traceback.
        from wiro_nb.execution.run import WaitInterrupted

        raise WaitInterrupted(handle.short_id) from None


def show_and_wait(handle: Run, note: str, context: ExecutionContext, wait: bool | None) -> None:
    """Shows a run in the running cell, and waits for it where that is wanted; `note` stands above it."""
    from wiro_nb.notebook.run import display

    waits = session.should_wait(context, wait)
    if not context.is_live and waits and not handle.done:
        try:
            wait_for(handle, context)
        finally:
            display.show_result(handle, note)
        return
    display.show(handle, note, wait=False)
    if waits:
        wait_for(handle, context)


def wait_for(handle: Run, context: ExecutionContext) -> None:
    """Waits for a run in the running cell.

    Raises:
        RunFailed, SubmitUncertain: It gave no result.
        RunCancelled: Somebody cancelled it, and nobody watches: a notebook that goes on would miss its clip.
        DownloadFailed: A file of it is not on this machine, and nobody watches.
        WaitInterrupted: The person stopped the waiting; the run goes on.
    """
    if context.kind == "terminal":
        from wiro_nb.notebook.run.display import wait_in_terminal

        wait_in_terminal(handle)
    else:
        handle.wait()
    if not context.is_headless:
        return
    if handle.error is not None:
        raise handle.error
    check_saved(handle)


def _end_words(handle: Run) -> str:
    """Returns how a run ended, with its id: "8k2qf done"."""
    said = f"{handle.short_id} {status_of(handle.snapshot).label.lower()}"
    return said if find_unsaved(handle) is None else f"{said}, file not saved: %wiro download {handle.short_id}"


def _start(
    model: str,
    values: Mapping[str, Any],
    context: ExecutionContext,
    kind: str,
    *,
    fresh: bool,
    max_cost_usd: Decimal | None,
    out_dir: str | None = None,
) -> tuple[Run, str]:
    prepared = session.manager().prepare(model, dict(values), origin=origin_of(context, kind))
    return start_prepared(
        prepared,
        context,
        kind,
        fresh=fresh,
        max_cost_usd=max_cost_usd,
        out_dir=out_dir,
        parent=lineage.parent_of(values, session.manager()),
    )


def form(
    model: str, inputs: Mapping[str, Any] | None = None, /, *, source: str | None = None, **values: Any
) -> Any:
    """Returns the form of a model.

    Args:
        model: "owner/name".
        inputs: First values, as in `run`.
        source: A run id, or a file with a record in it (clip, sidecar, notebook), to start from.
        **values: First values, over those of `source`.
    """
    from wiro_nb.notebook.form.controller import open_form

    return open_form(session.schema(model), source=source, values=merge_inputs(inputs, values))


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
    from wiro_nb.notebook.account import spent_sentence
    from wiro_nb.presentation.run_list import describe_filters, parse_since, runs_in_state

    notebook = None if all else current_context().notebook
    moment = parse_since(since) if isinstance(since, str) else since
    found = runs_in_state(
        session.manager(), state, notebook=notebook, model=model, text=text, since=moment, limit=limit
    )
    chosen = describe_filters(model=model, state=state, text=text, since=since)
    return RunList(
        found,
        spent=spent_sentence,
        pictures=notebook is not None,
        where="in all notebooks" if notebook is None else "in this notebook",
        chosen=chosen,
        schemas=session.known_schemas,
    )


def last() -> Run | None:
    """Returns the run that was started or shown last in this kernel, or None."""
    return session.last_run


def show(query: str | Run) -> Run:
    """Returns a run to look at; an unfinished one is followed again.

    Raises:
        UnknownRun: None, or several.
    """
    handle = find_run(query)
    if not handle.done:
        session.manager().follow(handle)
        bridge.follow(handle)
    session.last_run = handle
    history = _history_of(handle)
    if history:
        session.set_note(handle.id, history)
    return handle


def _history_of(handle: Run) -> str:
    """Returns what a run was made from, as a sentence; "" when it was made from no other run."""
    from wiro_nb.session.lineage import chain_text

    chain = chain_text(session.manager(choose=False).ledger, handle.row)
    return f"Made from other runs: {chain}." if chain else ""


def wait(query: str | Run | None = None) -> RunMessage:
    """Waits for a run, or for every unfinished run of this notebook, and returns those it waited for.

    Raises:
        RunFailed, SubmitUncertain: One gave no result; the others were waited for as well.
        WaitInterrupted: The person stopped the waiting; the runs go on.
    """
    context = current_context()
    if query is not None:
        waited = [show(query)]
    else:
        waited = [
            item
            for item in session.manager().runs(notebook=context.notebook, limit=500)
            if not item.state.is_final
        ]
        if (
            session.last_run is not None
            and not session.last_run.done
            and session.last_run.id not in {item.id for item in waited}
        ):
            waited.append(session.last_run)
    if not waited:
        return RunMessage((), "no runs in flight")
    failed: WiroError | None = None
    for handle in waited:
        session.manager().follow(handle)
        try:
            wait_for(handle, context)
        except WiroError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    words = ", ".join(_end_words(item) for item in waited)
    return RunMessage(waited, f"{format_count(len(waited), 'run')} waited for: {words}")


def cancel(query: str | Run) -> Run:
    """Cancels a run and returns it; a run that is cancelled before it succeeds is not billed."""
    handle = find_run(query, ends_it=True)
    if not handle.done:
        session.manager().follow(handle)
        handle.cancel()
        try:
            handle.wait(_CANCEL_PATIENCE_S, check=False)
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


def forget(query: str | Run) -> RunMessage:
    """Takes a run off the list and returns it; its files stay, and what it cost still counts."""
    handle = find_run(query, ends_it=True)
    session.manager().forget(handle)
    return RunMessage([handle], f"run {handle.short_id} is off the list; its files stay where they are")


def download(query: str | Run) -> Run:
    """Downloads a run's files again, at no cost.

    Raises:
        DownloadFailed: The service does not have them any more, or cannot be reached.
    """
    handle = find_run(query)
    handle.download()
    return handle
