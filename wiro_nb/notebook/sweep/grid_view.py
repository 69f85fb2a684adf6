"""What a sweep's grid shows, as plain data: heads, tiles, counts. Pure; widget and static form share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage
from wiro_nb.presentation.formatting import format_count, format_duration, format_usd
from wiro_nb.presentation.status import status_of
from wiro_nb.schema.types import ModelSchema
from wiro_nb.sweeps.plan import SweepPlan

_LONGEST_LABEL = 60
_FALLBACK_FPS = 16.0

_ICONS = {
    "done": ("done", "ok"),
    "failed": ("failed", "err"),
    "cancelled": ("cancelled", "off"),
    "uncertain": ("warning", "warn"),
    "lost": ("lost", "warn"),
    "waiting": ("slot", "off"),
    "queued": ("queued", "off"),
    "running": ("ring", "brand"),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the points stand.

    Attributes:
        row_name, column_name: What rows and columns vary, in words; a list has only `column_name`.
        rows, columns: The heads. A list has no rows.
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

    One axis, or axes that run in pairs, make a list.
    """
    names = [axis.name for axis in plan.axes]
    labels = [tuple(value_label(plan.schema, name, point.values[name]) for name in names) for point in plan.points]
    if plan.zipped or len(names) == 1:
        return Layout(
            "",
            ", ".join(names),
            (),
            tuple(_joined(names, label) for label in labels),
            (tuple(range(len(labels))),),
        )
    rows = tuple(dict.fromkeys(label[:-1] for label in labels))
    columns = tuple(dict.fromkeys(label[-1] for label in labels))
    places = {(label[:-1], label[-1]): position for position, label in enumerate(labels)}
    cells = tuple(tuple(places.get((row, column)) for column in columns) for row in rows)
    return Layout(", ".join(names[:-1]), names[-1], tuple(", ".join(row) for row in rows), columns, cells)


def point_labels(plan: SweepPlan) -> list[str]:
    """Returns a short name for each point: "seed 7, PanLeft"."""
    named = []
    for point in plan.points:
        parts = []
        for name, value in point.values.items():
            label = value_label(plan.schema, name, value)
            parts.append(f"{name} {label}" if _needs_name(label) else label)
        named.append(", ".join(parts))
    return named


def value_label(schema: ModelSchema, name: str, value: object) -> str:
    """Returns a varied value as people read it: the label of a choice, the name of a file, else the text."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, (list, tuple)):
        return ", ".join(value_label(schema, name, item) for item in value)
    parameter = schema.get(name)
    short_id = getattr(value, "short_id", None)
    text = f"run {short_id}" if short_id else str(value)
    if parameter is not None and parameter.is_file:
        return PurePath(text).name if not short_id else text
    options = parameter.options if parameter is not None else ()
    text = next(
        (option.label for option in options if text.lower() in (option.value.lower(), option.label.lower())), text
    )
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1].rstrip() + "…"


def tile_kind(snapshot: Snapshot) -> str:
    """Returns the kind of a run's tile; see `_ICONS`."""
    finals = {RunState.SUCCEEDED: "done", RunState.FAILED: "failed", RunState.CANCELLED: "cancelled"}
    if snapshot.state in finals:
        return finals[snapshot.state]
    if snapshot.state is RunState.UNCERTAIN:
        return "uncertain"
    if snapshot.lost_since is not None:
        return "lost"
    if snapshot.stage is Stage.WAITING:
        return "waiting"
    return "queued" if snapshot.stage is Stage.QUEUED else "running"


def tile_view(snapshot: Snapshot, position: int, label: str, *, is_best: bool) -> dict[str, Any]:
    """Returns what one tile shows, as plain JSON data.

    Args:
        snapshot: The run; its paths start from the folder of the notebook that shows it.
        position: Of the point, from 0.
        label: Name of the point.
        is_best: True when it was picked.
    """
    kind = tile_kind(snapshot)
    icon, tone = _ICONS[kind]
    output = main_output(snapshot)
    moving = kind in ("running", "lost")
    return {
        "p": position,
        "run": snapshot.short_id,
        "label": label,
        "kind": kind,
        "icon": icon,
        "tone": tone,
        "word": "Best" if is_best else _word(snapshot, kind),
        "best": is_best,
        "percent": round(snapshot.percent, 1) if moving and snapshot.percent is not None else None,
        "step": f"step {snapshot.step} of {snapshot.steps}" if moving and snapshot.step and snapshot.steps else "",
        "elapsed": snapshot.elapsed_s if kind not in ("waiting", "queued") else None,
        "ticking": kind == "running",
        "cost": tile_cost(snapshot),
        "middle": _middle(snapshot, kind),
        "cancel": not snapshot.state.is_final and not snapshot.cancel_requested and kind != "uncertain",
        "path": (output.path if output else None) or "",
        "type": output.content_type.partition("/")[0] if output else "",
        "poster": (output.poster_path if output else None) or "",
        **clip_timing(output),
        "width": (output.width if output else None) or 0,
        "height": (output.height if output else None) or 0,
    }


def main_output(snapshot: Snapshot) -> RunOutput | None:
    """Returns the output a tile shows: the first clip, else the first picture, else the first file."""
    kept = [output for output in snapshot.outputs if output.path or output.content is not None]
    for wanted in ("video/", "image/", ""):
        found = next((output for output in kept if output.content_type.startswith(wanted)), None)
        if found is not None:
            return found
    return None


def clip_timing(output: RunOutput | None) -> dict[str, float]:
    """Returns `duration` in seconds and `fps` of an output, for playing: whole frames where they are counted."""
    fps = (output.fps if output else None) or _FALLBACK_FPS
    seconds = (output.duration_s if output else None) or 0.0
    if output is not None and output.frames and output.fps:
        seconds = output.frames / output.fps
    return {"duration": seconds, "fps": fps}


def tile_cost(snapshot: Snapshot) -> str:
    """Returns what a tile says about money: short, and nothing for what is free."""
    if snapshot.is_sandbox or snapshot.cost_usd is None:
        return ""
    return format_usd(snapshot.cost_usd)


def head_view(
    plan: SweepPlan, snapshots: Sequence[Snapshot], *, best: str, left_s: float | None
) -> dict[str, Any]:
    """Returns the line of counts and money above the grid.

    Args:
        plan: The sweep.
        snapshots: Its runs, in order.
        best: Name of the point that was picked, or "".
        left_s: Seconds it should still take, or None.
    """
    kinds = [tile_kind(snapshot) for snapshot in snapshots]
    done, count = kinds.count("done"), len(kinds)
    over = sum(snapshot.state.is_final for snapshot in snapshots)
    percent = 100.0 * sum(_share(snapshot) for snapshot in snapshots) / max(1, count)
    waiting = [kind for kind in kinds if kind in ("waiting", "queued")]
    tone, icon = ("brand", "ring") if over < count else ("ok", "done") if done else ("err", "failed")
    return {
        "title": f"Sweep: {done} of {count} done" if over < count or done < count else f"Sweep: all {count} done",
        "tone": tone,
        "icon": icon,
        "percent": round(percent, 1),
        "counts": tally(snapshots),
        "left": f"about {format_duration(left_s)} left" if left_s is not None and over < count else "",
        "spent": spent_words(plan, snapshots),
        "waiting": len(waiting),
        "best": best,
        "final": over == count,
        "valuetext": f"Sweep, {percent:.0f} percent, {done} of {format_count(count, 'run')} done",
    }


def tally(snapshots: Sequence[Snapshot]) -> str:
    """Returns "3 done, 1 generating, 2 queued"."""
    counts: dict[str, int] = {}
    for snapshot in sorted(snapshots, key=_rank):
        final = {RunState.SUCCEEDED: "done", RunState.FAILED: "failed", RunState.CANCELLED: "cancelled"}
        word = final.get(snapshot.state) or status_of(snapshot).label.lower()
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{number} {word}" for word, number in counts.items())


def spent_words(plan: SweepPlan, snapshots: Sequence[Snapshot]) -> str:
    """Returns "spent $0.12 of about $0.24": what the runs of this start were billed, against the forecast."""
    if plan.is_sandbox:
        return "free, sandbox"
    sent = [snapshot for position, snapshot in enumerate(snapshots) if position not in plan.made]
    if not sent:
        return "spent $0: everything was made before"
    spent = sum((snapshot.cost_usd or Decimal(0) for snapshot in sent), Decimal(0))
    most = plan.cost.most_usd
    return (
        f"spent {format_usd(spent)}, price not listed"
        if most is None
        else f"spent {format_usd(spent)} of about {format_usd(most)}"
    )


def _share(snapshot: Snapshot) -> float:
    if snapshot.state.is_final:
        return 1.0
    return (snapshot.percent or 0.0) / 100.0 if snapshot.stage is Stage.GENERATING else 0.0


def _rank(snapshot: Snapshot) -> int:
    order = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.UNCERTAIN)
    return order.index(snapshot.state) if snapshot.state in order else 100 - snapshot.stage.rank


def _word(snapshot: Snapshot, kind: str) -> str:
    """Returns the state for a tile's one short line; what it waits for stands in the picture area."""
    return "Waiting" if kind == "waiting" and snapshot.ahead is not None else status_of(snapshot).label


def _middle(snapshot: Snapshot, kind: str) -> str:
    """Returns what stands in the picture area while there is no picture."""
    if kind == "waiting":
        if snapshot.ahead is None:
            return "sending"
        return "starts next" if snapshot.ahead == 0 else f"starts after {snapshot.ahead} more"
    if kind == "queued":
        return "sent, not started"
    if kind in ("failed", "uncertain", "lost"):
        return snapshot.message[:160]
    if kind == "cancelled":
        return "billed: nothing"
    if kind == "done":
        problem = next((output.problem for output in snapshot.outputs if output.problem), "")
        return problem or ("no picture" if main_output(snapshot) is None else "")
    return snapshot.stage.value if kind == "running" and snapshot.percent is None else ""


def _joined(names: Sequence[str], labels: Sequence[str]) -> str:
    if len(names) == 1:
        return labels[0]
    return ", ".join(
        f"{name} {label}" if _needs_name(label) else label for name, label in zip(names, labels, strict=True)
    )


def _needs_name(label: str) -> bool:
    """True for a value that says nothing without its name: a number, or next to nothing."""
    return len(label) <= 2 or label.replace(".", "").replace("-", "").isdigit()


def labelled(values: Mapping[str, object], schema: ModelSchema) -> str:
    """Returns values with their names: "seed 7, loraType PanLeft"."""
    return ", ".join(f"{name} {value_label(schema, name, value)}" for name, value in values.items())
