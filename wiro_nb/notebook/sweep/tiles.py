"""What the grid of a sweep shows, as plain data: layout, labels, tiles, counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from wiro_nb.ledger.state import Snapshot, Stage
from wiro_nb.notebook.run.clips import clip_data, main_output
from wiro_nb.presentation.formatting import format_count, format_forecast, format_time_left, format_usd, shorten
from wiro_nb.presentation.status import DONE, FAILED, RUNNING, status_of, tally
from wiro_nb.schema.types import ModelSchema
from wiro_nb.sweeps.plan import SweepPlan

_LONGEST_LABEL = 60
_WAITING = ("slot", "sending", "queued")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the points stand.

    Attributes:
        row_name: What the rows vary; "" of a list.
        column_name: What the columns vary.
        rows: Heads of the rows; none of a list.
        columns: Heads of the columns.
        cells: Position of the point in each cell, row by row; None where there is none.
    """

    row_name: str
    column_name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[int | None, ...], ...]

    @property
    def is_table(self) -> bool:
        """True when there are rows and columns; else a list of labelled tiles."""
        return bool(self.rows)


def lay_out(plan: SweepPlan) -> Layout:
    """Returns rows and columns of a sweep: the last axis makes the columns, the others together the rows.

    One axis, or zipped axes, make a list.
    """
    names = [axis.name for axis in plan.axes]
    labels = [tuple(value_label(plan.schema, name, point.values[name]) for name in names) for point in plan.points]
    if plan.zipped or len(names) == 1:
        heads = tuple(label[0] if len(names) == 1 else _join_labels(names, label) for label in labels)
        return Layout("", ", ".join(names), (), heads, (tuple(range(len(labels))),))
    rows = tuple(dict.fromkeys(label[:-1] for label in labels))
    columns = tuple(dict.fromkeys(label[-1] for label in labels))
    places = {(label[:-1], label[-1]): position for position, label in enumerate(labels)}
    cells = tuple(tuple(places.get((row, column)) for column in columns) for row in rows)
    return Layout(", ".join(names[:-1]), names[-1], tuple(", ".join(row) for row in rows), columns, cells)


def point_labels(plan: SweepPlan) -> list[str]:
    """Returns a short name for each point: "seed 7, PanLeft"."""
    return [
        _join_labels(
            list(point.values), [value_label(plan.schema, name, value) for name, value in point.values.items()]
        )
        for point in plan.points
    ]


def _join_labels(names: Sequence[str], labels: Sequence[str]) -> str:
    """Joins the labels of values; numbers and very short ones need their names to mean something."""
    unclear = [len(label) <= 2 or label.replace(".", "").replace("-", "").isdigit() for label in labels]
    named = zip(names, labels, unclear, strict=True)
    return ", ".join(f"{name} {label}" if is_unclear else label for name, label, is_unclear in named)


def value_label(schema: ModelSchema, name: str, value: object) -> str:
    """Returns a varied value as people read it: the label of a choice, the name of a file, else the text."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, (list, tuple)):
        return ", ".join(value_label(schema, name, item) for item in value)
    if short_id := getattr(value, "short_id", None):
        return f"run {short_id}"
    text, parameter = str(value), schema.get(name)
    if parameter is not None and parameter.is_file:
        return PurePath(text).name
    options = parameter.options if parameter is not None else ()
    fitting = (item.label for item in options if text.lower() in (item.value.lower(), item.label.lower()))
    return shorten(next(fitting, text), _LONGEST_LABEL)


def tile_data(snapshot: Snapshot, position: int, label: str, *, is_best: bool) -> dict[str, Any]:
    """Returns what one tile shows, as plain JSON data.

    Args:
        snapshot: The run; its paths start from the folder of the notebook that shows it.
        position: Of the point, from 0.
        label: Name of the point.
        is_best: True when it was picked.
    """
    status = status_of(snapshot)
    is_moving = status.kind in ("running", "lost")
    # What a run waits for stands in the picture area.
    word = "Waiting" if status.kind == "slot" else status.label
    return {
        "p": position,
        "run": snapshot.short_id,
        "label": label,
        "kind": status.kind,
        "icon": status.icon,
        "variant": status.variant,
        "word": "Best" if is_best else word,
        "best": is_best,
        "percent": round(snapshot.percent, 1) if is_moving and snapshot.percent is not None else None,
        "step": f"step {snapshot.step} of {snapshot.steps}" if is_moving and snapshot.steps else "",
        "elapsed": snapshot.elapsed_s if status.kind not in _WAITING else None,
        "ticking": status.kind == "running",
        "cost": tile_cost(snapshot),
        "middle": _placeholder(snapshot, status.kind),
        "cancel": not snapshot.state.is_final and not snapshot.cancel_requested and status.kind != "uncertain",
        **clip_data(snapshot),
    }


def tile_cost(snapshot: Snapshot) -> str:
    """Returns what a tile says about money: nothing for what is free."""
    return "" if snapshot.is_sandbox or snapshot.cost_usd is None else format_usd(snapshot.cost_usd)


def _placeholder(snapshot: Snapshot, kind: str) -> str:
    """Returns what stands in the picture area while there is no picture."""
    if kind == "slot" and snapshot.ahead is not None:
        return "starts next" if snapshot.ahead == 0 else f"starts after {snapshot.ahead} more"
    if kind in ("failed", "uncertain", "lost"):
        return snapshot.message[:160]
    if kind == "done":
        problem = next((output.problem for output in snapshot.outputs if output.problem), "")
        return problem or ("no picture" if main_output(snapshot) is None else "")
    if kind == "running":
        return snapshot.stage.value if snapshot.percent is None else ""
    return {"slot": "sending", "sending": "sending", "queued": "sent, not started"}.get(kind, "billed: nothing")


def head_data(
    plan: SweepPlan, snapshots: Sequence[Snapshot], *, best: str = "", left_s: float | None = None
) -> dict[str, Any]:
    """Returns the line of counts and money above the grid.

    Args:
        plan: The sweep.
        snapshots: Its runs, in order.
        best: Name of the point that was picked, or "".
        left_s: Seconds it should still take, or None.
    """
    kinds = [status_of(snapshot).kind for snapshot in snapshots]
    done, count = kinds.count("done"), len(kinds)
    ended = sum(snapshot.state.is_final for snapshot in snapshots)
    percent = 100.0 * sum(map(_share_done, snapshots)) / max(1, count)
    status = RUNNING if ended < count else DONE if done else FAILED
    in_order = sorted(snapshots, key=lambda snapshot: (not snapshot.state.is_final, -snapshot.stage.rank))
    return {
        "title": f"Sweep: all {count} done" if done == count else f"Sweep: {done} of {count} done",
        "variant": status.variant,
        "icon": status.icon,
        "percent": round(percent, 1),
        "counts": tally(in_order),
        "left": format_time_left(left_s) if left_s is not None and ended < count else "",
        "spent": _spent(plan, snapshots),
        "waiting": sum(kind in _WAITING for kind in kinds),
        "best": best,
        "final": ended == count,
        "valuetext": f"Sweep, {percent:.0f} percent, {done} of {format_count(count, 'run')} done",
    }


def _spent(plan: SweepPlan, snapshots: Sequence[Snapshot]) -> str:
    """Returns "spent $0.12 of about $0.24": what the runs of this start were billed, against the forecast."""
    if plan.is_sandbox:
        return "free, sandbox"
    sent = [snapshot for position, snapshot in enumerate(snapshots) if position not in plan.made]
    if not sent:
        return "spent $0: everything was made before"
    spent = format_usd(sum((snapshot.cost_usd or Decimal(0) for snapshot in sent), Decimal(0)))
    most = plan.cost.most_usd
    return f"spent {spent}, price not listed" if most is None else f"spent {spent} of {format_forecast(most)}"


def _share_done(snapshot: Snapshot) -> float:
    if snapshot.state.is_final:
        return 1.0
    return (snapshot.percent or 0.0) / 100.0 if snapshot.stage is Stage.GENERATING else 0.0
