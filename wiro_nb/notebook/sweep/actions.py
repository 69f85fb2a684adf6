"""Plans and starts sweeps from a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.context import ExecutionContext, current_context
from wiro_nb.notebook.display import wait_for
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs, origin_of, parent_of, read_limit
from wiro_nb.notebook.session import session
from wiro_nb.notebook.sweep.view import SweepView
from wiro_nb.session.prices import confirm_plan
from wiro_nb.sweeps import Sweep
from wiro_nb.sweeps.plan import Grid, SweepPlan, plan_sweep


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
        DownloadFailed: Where it waits in a headless kernel: a file is not on this machine.
    """
    context = current_context()
    options = SubmitOptions("python", fresh, read_limit(max_cost_usd), out_dir)
    plan = make_plan(model, grid or {}, merge_inputs(inputs, fixed), context, "python", zipped=zip, fresh=fresh)
    handle = start(plan, options, yes=yes)
    if session.should_wait(context, wait):
        wait_for(SweepView(handle))
    return handle


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
    manager = session.manager()
    plan = plan_sweep(manager, model, grid, fixed, zipped=zipped, origin=origin_of(context, kind), fresh=fresh)
    session.remember_schema(plan.schema)
    return plan


def start(plan: SweepPlan, options: SubmitOptions, *, yes: bool) -> Sweep:
    """Checks a plan against the limits and sends what is missing. Raises as `sweep`."""
    manager = session.manager()
    confirm_plan(plan, session.preferences.limits(yes), what="this sweep")
    handle = Sweep.start(
        manager,
        plan,
        max_cost_usd=options.max_cost_usd,
        out_dir=options.out_dir,
        parents=[parent_of({**plan.fixed, **point.values}, manager) for point in plan.points],
    )
    for run in handle.runs:
        bridge.follow(run)
    session.last_run = handle.runs[-1]
    return handle
