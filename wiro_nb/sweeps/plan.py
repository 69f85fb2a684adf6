"""Plans a sweep against model, prices and the ledger: what would be sent, its cost and duration. Sends nothing.

The points of a sweep are requests, and the ledger knows which of them are made or under way. So a sweep
that was interrupted, or a cell that is run again, finds what it has and asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wiro_nb.api.pricing import Estimate
from wiro_nb.errors import InputError, InvalidParameter, WiroError
from wiro_nb.execution.requests import Origin, resolve_inputs
from wiro_nb.execution.run import Run
from wiro_nb.schema import request_sha256
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared, prepare
from wiro_nb.session.prices import add_up, format_total
from wiro_nb.session.submission import Batch
from wiro_nb.sweeps.axes import (
    MOST_POINTS,
    Axis,
    check_axes,
    count_points,
    first_point,
    list_points,
    make_axis,
)

if TYPE_CHECKING:
    from wiro_nb.session.manager import Manager

Grid = Mapping[str, object] | Sequence[Axis]


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A sweep before any of its runs are sent.

    Attributes:
        sweep_id: The same for the same points in the same notebook on the same service.
        schema: The model. axes: What varies. zipped: True when the axes run side by side.
        fixed: The values all runs share, as given.
        points: The values that vary, by name, in order. batch: One request for each point.
        made: Runs that answer points already: finished or under way, by position.
        cost: Of the points that are not in `made`.
        notes: Lines worth showing.
    """

    sweep_id: str
    schema: ModelSchema
    axes: tuple[Axis, ...]
    zipped: bool
    fixed: dict[str, object]
    points: tuple[dict[str, object], ...]
    batch: Batch
    made: dict[int, Run]
    cost: Estimate
    free_label: str
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> list[int]:
        """Positions of the points that would be sent."""
        return [position for position in range(len(self.points)) if position not in self.made]


def plan_sweep(
    manager: Manager,
    model: str,
    grid: Grid,
    fixed: Mapping[str, object],
    *,
    zipped: bool = False,
    origin: Origin | None = None,
    fresh: bool = False,
) -> SweepPlan:
    """Plans a sweep: checks every point, finds reusable runs, and estimates the rest. Sends nothing.

    Args:
        manager: Knows the model, its price, and the runs made.
        model: "owner/name".
        grid: Values by input (a list, a range, or text such as "1..6"), or axes.
        fixed: Values that all runs share.
        zipped: True takes the first values together, then the second ones, and so on.
        origin: Where it is asked for.
        fresh: True counts nothing as made.

    Raises:
        UnknownModel, InvalidParameter, InvalidFile: A value does not fit; the points it concerns are counted.
        InputError: More than 1,000 points; the message has the number and the price.
    """
    origin = origin or Origin()
    schema = manager.schema(model)
    given = [make_axis(name, values) for name, values in grid.items()] if isinstance(grid, Mapping) else grid
    axes = check_axes(schema, given, fixed, zipped=zipped)
    folder = origin.folder

    def resolve(values: Mapping[str, object]) -> dict[str, object]:
        return resolve_inputs(schema, values, find_run=manager.get, folder=folder)

    shared = resolve(fixed)
    count = count_points(axes, zipped=zipped)
    if count > MOST_POINTS:
        raise _too_large(manager, schema, count, {**shared, **resolve(first_point(axes))})
    points, requests, notes = _prepare_points(schema, list_points(axes, zipped=zipped), shared, resolve)
    identities = [request_sha256(request) for request in requests]
    sweep_id = _identify(manager.service_name, origin.notebook, identities)
    batch = Batch(requests, origin, sweep_id=sweep_id, fresh=fresh)
    made = {position: run for position, run in enumerate(manager.find_made(batch)) if run is not None}
    missing = [request for position, request in enumerate(requests) if position not in made]
    return SweepPlan(
        sweep_id,
        schema,
        tuple(axes),
        zipped,
        dict(fixed),
        tuple(points),
        batch,
        made,
        add_up(manager.prices.forecast(missing)),
        manager.choice.free_label,
        tuple(dict.fromkeys([*notes, *(note for request in requests for note in request.notes)])),
    )


def _prepare_points(
    schema: ModelSchema,
    points: Sequence[dict[str, object]],
    shared: dict[str, object],
    resolve: Callable[[Mapping[str, object]], dict[str, object]],
) -> tuple[list[dict[str, object]], list[Prepared], list[str]]:
    """Types every point by the schema. Two points that ask for the very same thing become one."""
    requests: list[Prepared] = []
    unique: list[dict[str, object]] = []
    problems: dict[str, tuple[InvalidParameter, int]] = {}
    seen: set[str] = set()
    notes: list[str] = []
    shared = dict(shared)
    for point in points:
        try:
            request = prepare(schema, {**shared, **resolve(point)})
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
        unique.append(point)
        requests.append(request)
    if problems:
        raise _not_fitting(problems, len(points))
    return unique, requests, notes


def _not_fitting(problems: Mapping[str, tuple[InvalidParameter, int]], count: int) -> WiroError:
    error, first_count = next(iter(problems.values()))
    more = [f"{message} ({number} of {count:,} points)" for message, (_, number) in list(problems.items())[1:6]]
    return type(error)(
        error.message,
        hint=error.hint,
        details=[f"This concerns {first_count:,} of the {count:,} points of the sweep.", *error.details, *more],
        **error.fields,
    )


def _too_large(manager: Manager, schema: ModelSchema, count: int, values: Mapping[str, object]) -> InputError:
    one = manager.prices.estimate(prepare(schema, values))
    high_usd = None if one.high_usd is None else one.high_usd * count
    together = replace(one, low_usd=one.low_usd * count, high_usd=high_usd)
    price = format_total(together, manager.choice.free_label)
    return InputError(
        f"this sweep has {count:,} runs, {price} at the price of the first; "
        f"one sweep takes at most {MOST_POINTS:,}",
        hint="give fewer values, or --zip to pair them",
        runs=count,
        low_usd=str(together.low_usd) if together.known else None,
    )


def _identify(service: str, notebook: str | None, identities: Sequence[str]) -> str:
    text = json.dumps([service, notebook, list(identities)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
