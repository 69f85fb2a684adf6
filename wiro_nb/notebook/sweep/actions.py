"""Sweeps in a notebook: starts them and shows them, live, waiting, or as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from wiro_nb.notebook.context import ExecutionContext, current_context
from wiro_nb.notebook.document.bridge import bridge
from wiro_nb.notebook.run import lineage
from wiro_nb.notebook.run.display import publish
from wiro_nb.notebook.run.saved import check_saved
from wiro_nb.notebook.run.submit import merge_inputs, read_limit
from wiro_nb.notebook.session import session
from wiro_nb.notebook.sweep.output import new_display_id, sweep_output
from wiro_nb.sweeps.plan import Grid, SweepPlan, confirm, describe_plan, plan_sweep
from wiro_nb.sweeps.sweep import Sweep

NOTHING_SENT = "Every point of this sweep is made already: shown at no cost. --fresh runs them anew."


def sweep(
    model: str,
    grid: Grid | None = None,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    zip: bool = False,
    yes: bool = False,
    wait: bool | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | float | str | None = None,
    out_dir: str | None = None,
    **fixed: Any,
) -> Sweep:
    """Runs a model once for every point of a grid and returns the handle of all runs.

    Args:
        model: "owner/name".
        grid: Values by input: a list, a range, or text such as "1..6" or "0.5..2..0.5". Several multiply.
        inputs: The inputs that all runs share as a mapping, for those whose names are options here.
        zip: True takes the first values together, then the second ones, and so on.
        yes: True sends a large sweep too. Without it more than 12 runs, more than 1 USD (both are settings:
            `%config WiroMagics`) or an unknown price are refused.
        wait: As in `wiro_nb.run`.
        fresh: True runs every point, also those that are made.
        max_cost_usd: Refuses when one run may cost more, in USD.
        out_dir: Folder of the files; beside the notebook when None.
        **fixed: The inputs that all runs share.

    Raises:
        InputError: A value, file or model does not fit, or the sweep is empty or far too large. Nothing was sent.
        ConfirmationNeeded, BudgetExceeded: Nothing was sent.
        RunFailed: Where it waits: one gave no result. All others have ended by then.
        DownloadFailed: Where it waits and nobody watches: a file is not on this machine.
    """
    context = current_context()
    limit, fixed = read_limit(max_cost_usd), merge_inputs(inputs, fixed)
    plan = make_plan(model, grid or {}, fixed, context, "python", zipped=zip, fresh=fresh)
    handle = start(plan, context, "python", yes=yes, max_cost_usd=limit, out_dir=out_dir)
    if session.should_wait(context, wait):
        _wait(handle, context)
    return handle


def _wait(handle: Sweep, context: ExecutionContext) -> None:
    """Waits for the end. Raises for runs without a result and, where nobody watches, without their file."""
    handle.wait()
    if context.is_headless:
        check_saved(*handle.runs)


def sweep_in_cell(
    plan: SweepPlan,
    *,
    yes: bool,
    wait: bool | None,
    max_cost_usd: Decimal | None,
    keep: Callable[[Sweep], None],
) -> None:
    """Sends a sweep for a magic, shows its grid in the cell, and waits where that is wanted.

    Args:
        plan: From `make_plan`.
        yes: As in `sweep`.
        wait: As in `sweep`.
        max_cost_usd: As in `sweep`.
        keep: Called with the handle before anything is waited for.

    Raises:
        WiroError: Nothing was sent; or, in a cell that waits, a run gave no result.
    """
    context = current_context()
    handle = start(plan, context, "magic", yes=yes, max_cost_usd=max_cost_usd)
    keep(handle)
    waits = session.should_wait(context, wait)
    if not context.is_live and waits and not handle.done:
        try:
            _wait(handle, context)
        finally:
            show_result(handle)
        return
    show(handle, wait=False)
    if waits:
        _wait(handle, context)


def make_plan(
    model: str,
    grid: Grid,
    fixed: Mapping[str, Any],
    context: ExecutionContext,
    kind: str,
    *,
    zipped: bool,
    fresh: bool,
) -> SweepPlan:
    """Works a sweep out for a notebook; sends nothing. Raises as `sweep`."""
    from wiro_nb.notebook.run.submit import origin_of

    manager = session.manager()
    plan = plan_sweep(manager, model, grid, fixed, zipped=zipped, origin=origin_of(context, kind), fresh=fresh)
    session.remember_schema(plan.schema)
    return plan


def start(
    plan: SweepPlan,
    context: ExecutionContext,
    kind: str,
    *,
    yes: bool,
    max_cost_usd: Decimal | None = None,
    out_dir: str | None = None,
) -> Sweep:
    """Checks a plan against the limits and sends what is missing. Raises as `sweep`."""
    from wiro_nb.notebook.run.submit import origin_of

    manager = session.manager()
    if not yes:
        limits = session.preferences
        confirm(plan, limit_usd=limits.sweep_limit_usd, limit_runs=limits.sweep_limit_runs)
    parents = [lineage.parent_of({**plan.fixed, **point.values}, manager) for point in plan.points]
    handle = Sweep.start(
        manager,
        plan,
        origin=origin_of(context, kind),
        max_cost_usd=max_cost_usd,
        out_dir=out_dir,
        parents=parents,
    )
    for run in handle.runs:
        bridge.follow(run)
    session.last_run = handle.runs[-1]
    return handle


def plan_notes(plan: SweepPlan) -> list[str]:
    """Returns the sentences that stand above a grid: what is sent, what is reused."""
    first = NOTHING_SENT if not plan.missing else f"{describe_plan(plan)}."
    return [first, *plan.notes]


def show(handle: Sweep, *, wait: bool | None = None) -> None:
    """Shows a sweep in the running cell: the grid where a person watches, else what it is now.

    Args:
        handle: The sweep.
        wait: As in `display.show`: None waits where nobody watches.
    """
    context = current_context()
    if context.kind == "plain":
        print(repr(handle))
        return
    if not handle.done and not context.is_live and session.should_wait(context, wait):
        handle.wait(check=False)
    if context.is_live:
        from wiro_nb.notebook.sweep.controller import show_live

        show_live(handle, plan_notes(handle.plan))
    else:
        show_result(handle)


def show_result(handle: Sweep) -> None:
    """Displays a sweep as it is now, static."""
    publish(
        sweep_output(handle, current_context().folder, plan_notes(handle.plan)), display_id=new_display_id(handle)
    )
