"""What would be sent, and what it would cost: the request of a run or the points of a sweep, sent nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.context import ExecutionContext
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_count, format_duration
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.request import describe_request, explain_estimate, unsent_output

if TYPE_CHECKING:
    from wiro_nb.sweeps.plan import SweepPlan

_MOST_POINTS = 60


def preview(model: str, values: Mapping[str, Any], context: ExecutionContext) -> Output:
    """Returns the page of one run that is not sent.

    Args:
        model: "owner/name".
        values: Its inputs, as given.
        context: Whose notebook is asked for an earlier result.

    Raises:
        InputError: A value or a file does not fit.
    """
    from wiro_nb.notebook.run.submit import origin_of
    from wiro_nb.session.submission import Batch

    manager = session.manager()
    prepared = manager.prepare(model, dict(values), origin=origin_of(context, "magic"))
    ((estimate, seconds),) = manager.forecast([prepared])
    facts = describe_request(prepared)
    rows = [
        ("Request", facts["endpoint"]),
        ("Service", manager.service_name),
        ("Price", explain_estimate(estimate, manager.choice.is_free)),
        ("Time", "no earlier run compares" if seconds is None else f"about {format_duration(seconds)} of work"),
    ]
    (made,) = manager.find_made(Batch([prepared], origin_of(context, "magic")))
    if made is not None:
        label = "Already made" if made.done else "Under way"
        rows.append((label, f"run {made.short_id}: a cell that asks for this shows it at no cost"))
    rows += [("Note", note) for note in prepared.notes]
    shown = {name: facts[name] for name in ("body", "fields", "files") if name in facts}
    return unsent_output("Dry run", rows, shown.get("body", shown))


def preview_sweep(plan: SweepPlan) -> Output:
    """Returns the page of a sweep that is not sent: how many runs, price, time, and every point."""
    from wiro_nb.notebook.sweep.rendering import point_labels
    from wiro_nb.sweeps.plan import describe_plan

    labels = point_labels(plan)
    lines = [
        f"{label}{'  already made or under way' if position in plan.made else ''}"
        for position, label in enumerate(labels[:_MOST_POINTS])
    ]
    if len(labels) > _MOST_POINTS:
        lines.append(f"and {len(labels) - _MOST_POINTS} more")
    rows = [("Request", f"POST /Run/{plan.schema.run_path}"), ("Would send", describe_plan(plan))]
    rows += [("Note", note) for note in plan.notes]
    return unsent_output(f"Dry run of a sweep, {format_count(len(labels), 'point')}", rows, "\n".join(lines))
