"""Renders a sweep: layout, labels, tiles and counts as plain data for the grid, and the static output.

The static output is a table of posters with links and one line of text a run, with the records as metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import PurePath
from typing import Any

from wiro_nb.formatting import (
    DONE,
    FAILED,
    RUNNING,
    Status,
    describe_billed,
    format_billed,
    format_count,
    format_duration,
    format_forecast,
    format_progress,
    format_step,
    format_time_left,
    format_usd,
    shorten,
    status_of,
    tally,
)
from wiro_nb.ledger.state import Snapshot, Stage
from wiro_nb.media.decode import make_thumb
from wiro_nb.notebook.run.display import clip_data, main_output
from wiro_nb.presentation.html import MUTED, Child, Html, h, line, muted, url
from wiro_nb.presentation.models import unsent_output
from wiro_nb.presentation.output import NOTHING, Block, Output, card, heading, paragraphs, status_dot
from wiro_nb.presentation.run import jpeg_uri, poster_base64
from wiro_nb.schema.types import ModelSchema
from wiro_nb.sweeps.plan import SweepPlan

_LONGEST_LABEL = 60
_WAITING = ("slot", "sending", "queued")
_PICTURE = "display:block;width:100%;max-width:208px;height:auto;border-radius:2px;margin:0"
_SMALL = f"font-size:11px;{MUTED}"
_LONGEST_PROMPT = 280


@dataclass(frozen=True, slots=True)
class Layout:
    """The rows and columns of a sweep's points.

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


def lay_out(plan: SweepPlan) -> Layout:
    """Returns rows and columns of a sweep: the last axis makes the columns, the others together the rows.

    One axis, or zipped axes, make a list.
    """
    names = [axis.name for axis in plan.axes]
    if plan.zipped or len(names) == 1:
        return Layout("", ", ".join(names), (), tuple(point_labels(plan)), (tuple(range(len(plan.points))),))
    labels = [tuple(axis_value_label(plan.schema, name, point[name]) for name in names) for point in plan.points]
    rows = tuple(dict.fromkeys(label[:-1] for label in labels))
    columns = tuple(dict.fromkeys(label[-1] for label in labels))
    places = {label: position for position, label in enumerate(labels)}
    cells = tuple(tuple(places.get((*row, column)) for column in columns) for row in rows)
    return Layout(", ".join(names[:-1]), names[-1], tuple(", ".join(row) for row in rows), columns, cells)


def point_labels(plan: SweepPlan) -> list[str]:
    """Returns a short name for each point: "seed 7, PanLeft"."""
    return [
        ", ".join(_point_label(plan.schema, name, value) for name, value in point.items()) for point in plan.points
    ]


def _point_label(schema: ModelSchema, name: str, value: object) -> str:
    """Returns the label of a value; numbers and very short ones need their names to mean something."""
    label = axis_value_label(schema, name, value)
    is_unclear = len(label) <= 2 or label.replace(".", "").replace("-", "").isdigit()
    return f"{name} {label}" if is_unclear else label


def preview_sweep(plan: SweepPlan) -> Output:
    """Returns the page of a sweep that is not sent: how many runs, price, time, and every point."""
    labels = point_labels(plan)
    notes = dict.fromkeys(plan.made, "  already made or under way")
    lines = [f"{label}{notes.get(position, '')}" for position, label in enumerate(labels)]
    rows = [("Request", f"POST /Run/{plan.schema.run_path}"), ("Would send", plan.total.describe())]
    rows += [("Note", note) for note in plan.notes]
    return unsent_output(f"Dry run of a sweep, {format_count(len(labels), 'point')}", rows, "\n".join(lines))


def axis_value_label(schema: ModelSchema, name: str, value: object) -> str:
    """Returns a value of a sweep for display: the label of a choice, the name of a file, else the text."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, (list, tuple)):
        return ", ".join(axis_value_label(schema, name, item) for item in value)
    if short_id := getattr(value, "short_id", None):
        return f"run {short_id}"
    text, parameter = str(value), schema.get(name)
    if parameter is not None and parameter.is_file:
        return PurePath(text).name
    options = parameter.options if parameter is not None else ()
    fitting = (item.label for item in options if text.lower() in (item.value.lower(), item.label.lower()))
    return shorten(next(fitting, text), _LONGEST_LABEL)


def sweep_tiles(plan: SweepPlan, snapshots: Sequence[Snapshot]) -> list[dict[str, Any]]:
    """Returns what each tile shows, as plain JSON data.

    Args:
        plan: The sweep.
        snapshots: Its runs, in order; their paths start from the folder of the notebook that shows them.
    """
    best = best_of(snapshots)
    return [
        _tile_data(snapshot, position, label, is_best=position == best)
        for position, (snapshot, label) in enumerate(zip(snapshots, point_labels(plan), strict=True))
    ]


def _tile_data(snapshot: Snapshot, position: int, label: str, *, is_best: bool) -> dict[str, Any]:
    status = status_of(snapshot)
    is_moving = status.kind in ("running", "lost")
    # The picture area says what a run waits for.
    word = "Waiting" if status.kind == "slot" else status.label
    return {
        **asdict(status),
        **clip_data(snapshot),
        "p": position,
        "run": snapshot.short_id,
        "label": label,
        "word": "Best" if is_best else word,
        "best": is_best,
        "percent": round(snapshot.percent, 1) if is_moving and snapshot.percent is not None else None,
        "step": format_step(snapshot) if is_moving else "",
        "elapsed": snapshot.elapsed_s if status.kind not in _WAITING else None,
        "ticking": status.kind == "running",
        "cost": describe_billed(snapshot),
        "middle": _placeholder(snapshot, status.kind),
        "cancel": not snapshot.state.is_final and not snapshot.cancel_requested and status.kind != "uncertain",
    }


def _placeholder(snapshot: Snapshot, kind: str) -> str:
    """Returns the text shown in the picture area while there is no picture."""
    if kind == "slot" and snapshot.ahead is not None:
        return "starts next" if snapshot.ahead == 0 else f"starts after {snapshot.ahead} more"
    if kind in ("failed", "uncertain", "lost"):
        return snapshot.message[:160]
    if kind == "done":
        problem = next((output.problem for output in snapshot.outputs if output.problem), "")
        return problem or ("no picture" if main_output(snapshot) is None else "")
    if kind == "running":
        return snapshot.stage.value if snapshot.percent is None else ""
    texts = {"slot": "sending", "sending": "sending", "queued": "sent, not started"}
    return texts.get(kind) or format_billed(snapshot)


def head_data(plan: SweepPlan, snapshots: Sequence[Snapshot], left_s: float | None = None) -> dict[str, Any]:
    """Returns the line of counts and money above the grid.

    Args:
        plan: The sweep.
        snapshots: Its runs, in order.
        left_s: Seconds it should still take, or None.
    """
    kinds = [status_of(snapshot).kind for snapshot in snapshots]
    done, count, best = kinds.count("done"), len(kinds), best_of(snapshots)
    ended = sum(snapshot.state.is_final for snapshot in snapshots)
    percent = 100.0 * sum(map(_share_done, snapshots)) / max(1, count)
    in_order = sorted(snapshots, key=lambda snapshot: (not snapshot.state.is_final, -snapshot.stage.rank))
    return {
        **asdict(_status(snapshots)),
        "title": f"Sweep: all {count} done" if done == count else f"Sweep: {done} of {count} done",
        "percent": round(percent, 1),
        "counts": tally(in_order),
        "left": format_time_left(left_s) if left_s is not None and ended < count else "",
        "spent": _spent(plan, snapshots),
        "waiting": sum(kind in _WAITING for kind in kinds),
        "best": "" if best is None else point_labels(plan)[best],
        "valuetext": f"Sweep, {percent:.0f} percent, {done} of {format_count(count, 'run')} done",
    }


def _status(snapshots: Sequence[Snapshot]) -> Status:
    if not all(snapshot.state.is_final for snapshot in snapshots):
        return RUNNING
    return DONE if any(status_of(snapshot).kind == "done" for snapshot in snapshots) else FAILED


def _spent(plan: SweepPlan, snapshots: Sequence[Snapshot]) -> str:
    """Returns "spent $0.12 of about $0.24": what the runs of this start were billed, against the forecast."""
    if plan.total.free_label:
        return plan.total.free_label
    sent = [snapshot for position, snapshot in enumerate(snapshots) if position not in plan.made]
    if not sent:
        return "spent $0: everything was made before"
    spent = format_usd(sum((snapshot.cost_usd or Decimal(0) for snapshot in sent), Decimal(0)))
    most = plan.total.cost.most_usd
    return f"spent {spent}, price not listed" if most is None else f"spent {spent} of {format_forecast(most)}"


def _share_done(snapshot: Snapshot) -> float:
    if snapshot.state.is_final:
        return 1.0
    return (snapshot.percent or 0.0) / 100.0 if snapshot.stage is Stage.GENERATING else 0.0


def grid_plan(plan: SweepPlan, snapshots: Sequence[Snapshot], notes: Sequence[str]) -> dict[str, Any]:
    """Returns what does not change in the live grid, as plain JSON data."""
    varied = " × ".join(axis.name for axis in plan.axes)
    return {
        **asdict(lay_out(plan)),
        "model": plan.schema.slug,
        "varied": f"{varied}, zipped" if plan.zipped else varied,
        "prompt": _shared_prompt(plan, snapshots)[:600],
        "notes": list(notes),
    }


def best_of(snapshots: Sequence[Snapshot]) -> int | None:
    """Returns the position of the picked run, or None."""
    return next((position for position, snapshot in enumerate(snapshots) if snapshot.starred), None)


def _shared_prompt(plan: SweepPlan, snapshots: Sequence[Snapshot]) -> str:
    """Returns the prompt of all runs; "" where it is varied."""
    is_varied = any(axis.name == "prompt" for axis in plan.axes)
    return "" if is_varied else next((snapshot.prompt for snapshot in snapshots if snapshot.prompt), "")


def render_sweep(
    plan: SweepPlan, snapshots: Sequence[Snapshot], posters: Mapping[int, bytes], notes: Sequence[str] = ()
) -> Output:
    """Returns the static output of a sweep.

    Args:
        plan: The sweep.
        snapshots: Its runs, in order, with paths from the notebook's folder.
        posters: JPEG by position; missing ones are left out.
        notes: Sentences above the table.
    """
    layout, head, tiles = lay_out(plan), head_data(plan, snapshots), sweep_tiles(plan, snapshots)
    varied = f"{layout.row_name} by {layout.column_name}" if layout.rows else layout.column_name
    text = f"{head['title'].lower()}  {plan.schema.slug}, {head['counts']}, {head['spent']}"
    about = f"{plan.schema.slug}, {varied}. {head['spent']}"
    prompt_style = "font-size:15px;font-weight:600;line-height:1.3;margin:4px 0 0 0;white-space:pre-wrap"
    prompt = shorten(_shared_prompt(plan, snapshots), _LONGEST_PROMPT)
    unfinished = sum(not snapshot.state.is_final for snapshot in snapshots)
    waiting = (
        f"{unfinished} not finished when this notebook was saved. Run the cell again: it picks them up, and sends "
        "only what is missing."
    )
    shown = [_tile(tile, snapshots[place], posters.get(place)) for place, tile in enumerate(tiles)]
    output = card(
        heading(head["title"], about, status=_status(snapshots), text=text),
        Block(h("div", prompt, style=prompt_style)) if prompt else NOTHING,
        paragraphs(notes),
        Block(line(waiting)) if unfinished else NOTHING,
        Block((_table if layout.rows else _list)(layout, shown), _lines(tiles, snapshots)),
    )
    # Viewers that show no pictures inside HTML get one: of the best point, or the first.
    best, first = best_of(snapshots), next(iter(posters.values()), b"")
    return replace(output, jpeg=poster_base64(first if best is None else posters.get(best, first)))


def _lines(tiles: Sequence[dict[str, Any]], snapshots: Sequence[Snapshot]) -> tuple[str, ...]:
    lines, width = [], max((len(tile["label"]) for tile in tiles), default=0)
    for tile, snapshot in zip(tiles, snapshots, strict=True):
        status = status_of(snapshot).label if snapshot.state.is_final else format_progress(snapshot)
        mark = "*" if tile["best"] else " "
        lines.append(f" {mark} {tile['label']:<{width}}  {tile['run']}  {status.lower()}  {tile['path']}".rstrip())
    return (*lines, "  * picked as best") if best_of(snapshots) is not None else tuple(lines)


def _tile(tile: dict[str, Any], snapshot: Snapshot, poster: bytes | None) -> Html:
    picture: Child = ""
    if poster is not None:
        picture = h("img", src=jpeg_uri(make_thumb(poster)), alt=tile["label"], style=_PICTURE)
    elif not tile["path"]:
        reason = tile["middle"] if snapshot.state.is_final else ""
        picture = h("div", reason, style=f"{_SMALL};white-space:normal;max-width:208px")
    if tile["path"]:
        shown = picture or PurePath(tile["path"]).name
        picture = h("a", shown, href=url(tile["path"]), title=f"Open {tile['label']}")
    tail = muted(", ".join(filter(None, (format_duration(tile["elapsed"]), tile["cost"], f"run {tile['run']}"))))
    word = h("b", "Best") if tile["best"] else tile["word"]
    below = h("div", status_dot(status_of(snapshot)), word, " ", tail, style="font-size:11px;white-space:nowrap")
    return h("div", picture, below, style="outline:2px solid #2f80ed;outline-offset:2px" if tile["best"] else "")


def _table(layout: Layout, tiles: Sequence[Html]) -> Html:
    row_style, start = "background:transparent", "text-align:left;font-size:12px"
    head = f"{start};vertical-align:bottom;padding:6px 10px 2px 0"
    columns = (h("th", name, scope="col", style=f"{head};font-weight:600") for name in layout.columns)
    both = f"{layout.row_name} / {layout.column_name}"
    corner = h("th", both, scope="col", style=f"{head};{MUTED};font-weight:normal")
    cell_style = "text-align:left;vertical-align:top;padding:4px 10px 6px 0"
    row_head = f"{start};vertical-align:middle;padding:4px 10px 6px 0;font-weight:600"
    body = (
        h(
            "tr",
            h("th", name, scope="row", style=row_head),
            (h("td", tiles[position] if position is not None else "", style=cell_style) for position in positions),
            style=row_style,
        )
        for name, positions in zip(layout.rows, layout.cells, strict=True)
    )
    style = "margin:8px 0 0 0;border-collapse:collapse;table-layout:auto;width:auto"
    return h("table", h("thead", h("tr", corner, columns, style=row_style)), h("tbody", body), style=style)


def _list(layout: Layout, tiles: Sequence[Html]) -> Html:
    items = (
        h("div", h("div", name, style="font-size:12px;font-weight:600"), tile)
        for name, tile in zip(layout.columns, tiles, strict=True)
    )
    style = "display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px 12px;margin:8px 0 0 0"
    return h("div", items, style=style)
