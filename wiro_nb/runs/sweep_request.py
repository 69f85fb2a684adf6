"""Works a sweep out against model, price and ledger: what it would send, cost and take. Sends nothing.

The points of a sweep are requests, and the ledger knows which of them are made or under way. So a sweep
that was interrupted, or a cell that is run again, finds what it has and asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from wiro_nb.errors import ConfirmationNeeded, InputError, InvalidParameter, WiroError
from wiro_nb.runs.inputs import resolve_inputs
from wiro_nb.runs.requests import Origin, home_of
from wiro_nb.runs.rows import LedgerRow
from wiro_nb.runs.run import Run
from wiro_nb.runs.snapshot import RunState
from wiro_nb.runs.sweep_plan import (
    MOST_POINTS,
    Axis,
    Point,
    check_axes,
    count_points,
    first_point,
    list_points,
    make_axis,
)
from wiro_nb.schema.encode import request_sha256
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared, prepare

if TYPE_CHECKING:
    from wiro_nb.runs.manager import Manager

Grid = Mapping[str, object] | Sequence[Axis]


@dataclass(frozen=True, slots=True)
class SweepCost:
    """What the runs that are still to be sent may cost and take.

    Attributes:
        low_usd, high_usd: Together; high is None when nobody can say.
        known: False when the price of at least one run is unknown.
        seconds: Of work in all, or None when no earlier run compares.
    """

    low_usd: Decimal
    high_usd: Decimal | None
    known: bool
    seconds: float | None

    @property
    def most_usd(self) -> Decimal | None:
        """The most it should cost, or None when that is unknown."""
        if not self.known:
            return None
        return self.low_usd if self.high_usd is None else self.high_usd


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A sweep before anything of it is sent.

    Attributes:
        sweep_id: The same for the same points in the same notebook on the same service.
        schema: The model. axes: What varies. paired: True when the axes run side by side.
        fixed: The values all runs share, as given.
        points: In order. requests: One for each point.
        made: Runs that answer points already: finished or under way, by position.
        cost: Of the points that are not in `made`.
        notes: Lines worth showing.
    """

    sweep_id: str
    schema: ModelSchema
    axes: tuple[Axis, ...]
    paired: bool
    fixed: dict[str, object]
    points: tuple[Point, ...]
    requests: tuple[Prepared, ...]
    made: dict[int, Run]
    cost: SweepCost
    is_sandbox: bool
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> list[int]:
        """Positions of the points that would be sent."""
        return [point.position for point in self.points if point.position not in self.made]


def plan_sweep(
    manager: Manager,
    model: str,
    grid: Grid,
    fixed: Mapping[str, object],
    *,
    paired: bool = False,
    origin: Origin | None = None,
    fresh: bool = False,
) -> SweepPlan:
    """Works out a sweep: every point checked, what is made already, price and time of the rest. Sends nothing.

    Args:
        manager: Knows the model, its price, and the runs made.
        model: "owner/name".
        grid: Values by input (a list, a range, or text such as "1..6"), or axes.
        fixed: Values that all runs share.
        paired: True takes the first values together, then the second ones, and so on.
        origin: Where it is asked for.
        fresh: True counts nothing as made.

    Raises:
        UnknownModel, InvalidParameter, InvalidFile: A value does not fit; the points it concerns are counted.
        InputError: More than 1,000 points; the message has the number and the price.
    """
    origin = origin or Origin()
    schema = manager.schema(model)
    axes = _axes_of(schema, grid)
    check_axes(schema, axes, fixed, paired=paired)
    folder = home_of(origin.notebook)

    def resolve(values: Mapping[str, object]) -> dict[str, object]:
        return resolve_inputs(schema, values, find_run=manager.get, folder=folder)

    shared = resolve(fixed)
    count = count_points(axes, paired=paired)
    if count > MOST_POINTS:
        raise _too_large(manager, schema, count, {**shared, **resolve(first_point(axes).values)})
    points = list_points(axes, paired=paired)
    points, requests, notes = _prepare_points(schema, points, shared, resolve)
    identities = [request_sha256(request) for request in requests]
    made = {} if fresh else _find_made(manager, schema.slug, identities, origin.notebook)
    missing = [request for position, request in enumerate(requests) if position not in made]
    return SweepPlan(
        _identify(manager.service_name, origin.notebook, identities),
        schema,
        tuple(axes),
        paired,
        dict(fixed),
        tuple(points),
        tuple(requests),
        made,
        _forecast(manager, missing),
        manager.choice.is_sandbox,
        tuple(dict.fromkeys([*notes, *(note for request in requests for note in request.notes)])),
    )


def confirm(plan: SweepPlan, *, limit_usd: Decimal, limit_runs: int) -> None:
    """Refuses a plan that a person should say yes to first.

    In the sandbox only the number of runs counts: nothing is billed there, but this machine does the work.

    Raises:
        ConfirmationNeeded: More runs to send than `limit_runs`, a price above `limit_usd`, or an unknown one.
    """
    count, cost = len(plan.missing), plan.cost
    reason = ""
    if count > limit_runs:
        reason = f"more than {limit_runs} runs"
    elif count and not plan.is_sandbox and cost.most_usd is None:
        reason = "their price is unknown"
    elif count and not plan.is_sandbox and cost.most_usd is not None and cost.most_usd > limit_usd:
        reason = f"more than ${limit_usd}"
    if reason:
        raise ConfirmationNeeded(
            f"this sweep would send {describe_plan(plan)}: {reason}",
            runs=count,
            low_usd=str(cost.low_usd) if cost.known else None,
            high_usd=str(cost.high_usd) if cost.known and cost.high_usd is not None else None,
        )


def describe_plan(plan: SweepPlan) -> str:
    """Returns what a plan would send, in words: "6 runs, about $0.24, about 1:30 of work; 2 of 8 ..."."""
    count = len(plan.missing)
    parts = [f"{count:,} run" if count == 1 else f"{count:,} runs"]
    if count:
        parts.append(_price_words(plan.cost, plan.is_sandbox))
        if plan.cost.seconds is not None:
            parts.append(f"about {_clock(plan.cost.seconds)} of work")
    text = ", ".join(parts)
    return f"{text}; {len(plan.made)} of {len(plan.points)} already made or under way" if plan.made else text


def _axes_of(schema: ModelSchema, grid: Grid) -> list[Axis]:
    axes = [make_axis(name, values) for name, values in grid.items()] if isinstance(grid, Mapping) else list(grid)
    names = {parameter.id.lower(): parameter.id for parameter in schema.parameters}
    return [Axis(names.get(axis.name.lower(), axis.name), axis.parts) for axis in axes]


def _prepare_points(
    schema: ModelSchema,
    points: Sequence[Point],
    shared: dict[str, object],
    resolve: Callable[[Mapping[str, object]], dict[str, object]],
) -> tuple[list[Point], list[Prepared], list[str]]:
    """Types every point by the schema. Two points that ask for the very same thing become one."""
    requests: list[Prepared] = []
    kept: list[Point] = []
    problems: dict[str, tuple[InvalidParameter, int]] = {}
    seen: set[str] = set()
    notes: list[str] = []
    shared = dict(shared)
    for point in points:
        try:
            request = prepare(schema, {**shared, **resolve(point.values)})
        except InvalidParameter as error:
            first = problems.get(error.message)
            problems[error.message] = (error, 1 + (first[1] if first else 0))
            continue
        # Files that all points share are read and hashed once.
        shared.update({name: list(files) for name, files in request.files.items() if name in shared})
        identity = request_sha256(request)
        is_drawn = request.seed is not None and not request.seed.pinned
        if identity in seen and not is_drawn:
            notes.append("Points that ask for the very same thing are run once.")
            continue
        seen.add(identity)
        kept.append(Point(len(kept), point.values))
        requests.append(request)
    if problems:
        raise _not_fitting(problems, len(points))
    return kept, requests, notes


def _not_fitting(problems: Mapping[str, tuple[InvalidParameter, int]], count: int) -> WiroError:
    error, first_count = next(iter(problems.values()))
    more = [f"{message} ({number} of {count:,} points)" for message, (_, number) in list(problems.items())[1:6]]
    return type(error)(
        error.message,
        hint=error.hint,
        details=[f"This concerns {first_count:,} of the {count:,} points of the sweep.", *error.details, *more],
        **error._fields,
    )


def _too_large(manager: Manager, schema: ModelSchema, count: int, values: Mapping[str, object]) -> InputError:
    one = _forecast(manager, [prepare(schema, values)])
    together = SweepCost(
        one.low_usd * count,
        None if one.high_usd is None else one.high_usd * count,
        one.known,
        None if one.seconds is None else one.seconds * count,
    )
    price = _price_words(together, manager.choice.is_sandbox)
    return InputError(
        f"this sweep has {count:,} runs, {price} at the price of the first; "
        f"one sweep takes at most {MOST_POINTS:,}",
        hint="give fewer values, or --zip to pair them",
        runs=count,
        low_usd=str(together.low_usd) if together.known else None,
    )


def _find_made(manager: Manager, model: str, identities: Sequence[str], notebook: str | None) -> dict[int, Run]:
    """Returns the runs of this notebook that answer points already; each run answers one point."""
    wanted = set(identities)
    rows: dict[str, list[LedgerRow]] = {}
    for row in manager.ledger.list(notebook=notebook, model=model, service=manager.service_name, limit=None):
        usable = row.state is RunState.SUCCEEDED or not row.state.is_final
        if usable and row.notebook == notebook and row.request_sha256 in wanted:
            rows.setdefault(row.request_sha256, []).append(row)
    found: dict[int, Run] = {}
    for position, identity in enumerate(identities):
        candidates = rows.get(identity)
        if candidates:
            # What is finished comes first, and of equals the run that was made for this very place.
            candidates.sort(key=lambda row: (row.state is RunState.SUCCEEDED, row.sweep_point == position))
            found[position] = manager.get(candidates.pop().run_id)
    return found


def _identify(service: str, notebook: str | None, identities: Sequence[str]) -> str:
    text = json.dumps([service, notebook, list(identities)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _forecast(manager: Manager, requests: Sequence[Prepared]) -> SweepCost:
    low, high, known, seconds = Decimal(0), Decimal(0), True, 0.0
    has_high = has_seconds = True
    for price, expected in manager.forecast(requests):
        known = known and price.known
        low += price.low_usd
        has_high = has_high and price.high_usd is not None
        high += price.high_usd or Decimal(0)
        has_seconds = has_seconds and expected is not None
        seconds += expected or 0.0
    return SweepCost(low, high if has_high else None, known, seconds if has_seconds and requests else None)


def _price_words(cost: SweepCost, is_sandbox: bool) -> str:
    if not cost.known:
        words = "price unknown"
    elif cost.high_usd is not None and cost.high_usd != cost.low_usd:
        words = f"{_usd(cost.low_usd)} to {_usd(cost.high_usd)}"
    else:
        words = f"about {_usd(cost.low_usd)}"
    return f"free, sandbox (make-believe price: {words})" if is_sandbox else words


def _usd(amount: Decimal) -> str:
    if 0 < amount < Decimal("0.0005"):
        return "under $0.001"
    return f"${amount:,.3f}" if amount < Decimal("0.1") else f"${amount:,.2f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
