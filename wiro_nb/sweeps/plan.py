"""Plans a sweep against model, prices and the ledger: what would be sent, its cost and duration. Sends nothing.

The points of a sweep are requests, and the ledger knows which of them are made or under way. So a sweep
that was interrupted, or a cell that is run again, finds what it has and asks only for what is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wiro_nb.errors import InputError, InvalidParameter, WiroError
from wiro_nb.execution.requests import Origin
from wiro_nb.execution.run import Run
from wiro_nb.schema import request_sha256
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared
from wiro_nb.session.prices import Total
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
        total: Of the points that are not in `made`.
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
    total: Total
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
    count = count_points(axes, zipped=zipped)
    if count > MOST_POINTS:
        raise _too_large(manager, manager.prepare(schema, {**fixed, **first_point(axes)}, origin=origin), count)
    points = list_points(axes, zipped=zipped)
    prepared = _prepare_points(manager, schema, points, fixed, origin)
    requests = [request for _, request in prepared]
    sweep_id = _identify(manager.service_name, origin.notebook, [request_sha256(request) for request in requests])
    batch = Batch(requests, origin, sweep_id=sweep_id, fresh=fresh)
    made = {position: run for position, run in enumerate(manager.find_made(batch)) if run is not None}
    missing = [request for position, request in enumerate(requests) if position not in made]
    notes = ["Points that ask for the very same thing are run once."] if len(requests) < len(points) else []
    return SweepPlan(
        sweep_id,
        schema,
        tuple(axes),
        zipped,
        dict(fixed),
        tuple(point for point, _ in prepared),
        batch,
        made,
        Total.of(manager.prices.forecast(missing), manager.choice.free_label, len(made)),
        tuple(dict.fromkeys([*notes, *(note for request in requests for note in request.notes)])),
    )


def _prepare_points(
    manager: Manager,
    schema: ModelSchema,
    points: Sequence[dict[str, object]],
    fixed: Mapping[str, object],
    origin: Origin,
) -> list[tuple[dict[str, object], Prepared]]:
    """Returns each point with its request. Two points that ask for the very same thing become one."""
    found: dict[str, tuple[dict[str, object], Prepared]] = {}
    problems: dict[str, list[InvalidParameter]] = {}
    shared = dict(fixed)
    for point in points:
        try:
            request = manager.prepare(schema, {**shared, **point}, origin=origin)
        except InvalidParameter as error:
            problems.setdefault(error.message, []).append(error)
            continue
        # Files that all points share are read and hashed once.
        shared.update({name: list(files) for name, files in request.files.items() if name in shared})
        is_drawn = request.seed is not None and not request.seed.pinned
        place = f" {len(found)}" if is_drawn else ""  # a drawn seed makes each of them another
        found.setdefault(f"{request_sha256(request)}{place}", (point, request))
    if problems:
        raise _not_fitting(list(problems.values()), len(points))
    return list(found.values())


def _not_fitting(problems: Sequence[Sequence[InvalidParameter]], count: int) -> WiroError:
    (error, *same), *others = problems
    more = [f"{other[0].message} ({len(other):,} of {count:,} points)" for other in others[:5]]
    return type(error)(
        error.message,
        hint=error.hint,
        details=[f"This concerns {len(same) + 1:,} of the {count:,} points of the sweep.", *error.details, *more],
        **error.fields,
    )


def _too_large(manager: Manager, first: Prepared, count: int) -> InputError:
    one = manager.prices.estimate(first)
    high_usd = None if one.high_usd is None else one.high_usd * count
    together = replace(one, low_usd=one.low_usd * count, high_usd=high_usd)
    total = Total(count, together, manager.choice.free_label)
    return InputError(
        f"this sweep has {count:,} runs, {total.price} at the price of the first; "
        f"one sweep takes at most {MOST_POINTS:,}",
        hint="give fewer values, or --zip to pair them",
        runs=count,
        low_usd=str(together.low_usd) if together.known else None,
    )


def _identify(service: str, notebook: str | None, identities: Sequence[str]) -> str:
    text = json.dumps([service, notebook, list(identities)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
