"""A sweep as static output: a table of posters with links, one line of text a run, and its records as metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.run.clips import main_output, make_thumb, read_poster
from wiro_nb.notebook.run.display import rebase_outputs
from wiro_nb.notebook.sweep.tiles import Layout, head_data, lay_out, point_labels, tile_cost
from wiro_nb.presentation.formatting import format_duration, format_progress, shorten
from wiro_nb.presentation.html import CARD, MUTED, Child, Html, h, line, muted, url
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import poster_base64
from wiro_nb.presentation.status import DONE, FAILED, RUNNING, status_dot, status_of
from wiro_nb.sweeps.plan import SweepPlan
from wiro_nb.sweeps.sweep import Sweep

_PICTURE = "display:block;width:100%;max-width:208px;height:auto;border-radius:2px;margin:0"
_SMALL = f"font-size:11px;{MUTED}"
_LONGEST_PROMPT = 280


def sweep_output(sweep: Sweep, folder: Path, notes: Sequence[str] = ()) -> Output:
    """Returns the static output of a sweep as it is now, with its records, for a notebook in a folder."""
    metadata = _metadata(sweep)  # first: an output must not be older than the records beside it
    posters = {at: poster for at, run in enumerate(sweep.runs) if (poster := read_poster(run)) is not None}
    snapshots = [rebase_outputs(run, folder) for run in sweep.runs]
    return render_sweep(sweep.plan, snapshots, posters, best=best_of(sweep), notes=notes, metadata=metadata)


def best_of(sweep: Sweep) -> int | None:
    """Returns the position of the picked run, or None."""
    return next((position for position, run in enumerate(sweep.runs) if run.row.starred), None)


def _metadata(sweep: Sweep) -> dict[str, Any]:
    records = {run.id: record for run in sweep.runs if run.done and (record := run.record) is not None}
    best = {"best": sweep.best.id} if sweep.best is not None else {}
    return {"wiro": {"sweep_id": sweep.id, "model": sweep.model, "runs": records, **best}}


def render_sweep(
    plan: SweepPlan,
    snapshots: Sequence[Snapshot],
    posters: Mapping[int, bytes],
    *,
    best: int | None = None,
    notes: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Output:
    """Returns the static output of a sweep.

    Args:
        plan: The sweep.
        snapshots: Its runs, in order, with paths from the notebook's folder.
        posters: JPEG by position; missing ones are left out.
        best: Position of the picked point, or None.
        notes: Sentences above the table.
        metadata: Of the output.
    """
    layout, labels = lay_out(plan), point_labels(plan)
    tiles = [
        _tile(snapshot, labels[position], posters.get(position), position == best)
        for position, snapshot in enumerate(snapshots)
    ]
    head = head_data(plan, snapshots)
    body = _table(layout, tiles) if layout.is_table else _list(layout, tiles)
    html = h("div", _head(plan, layout, snapshots, head, notes), body, style=CARD)
    # Viewers that show no pictures inside HTML get one: of the best point, or the first.
    first = next(iter(posters.values()), None)
    picture = first if best is None else posters.get(best, first)
    text = "\n".join(_lines(plan, snapshots, head, best, notes))
    return Output(html, text, poster_base64(picture) if picture else "", metadata or {})


def _lines(
    plan: SweepPlan, snapshots: Sequence[Snapshot], head: Mapping[str, Any], best: int | None, notes: Sequence[str]
) -> list[str]:
    labels = point_labels(plan)
    lines = [f"wiro: {head['title'].lower()}  {plan.schema.slug}, {head['counts']}, {head['spent']}"]
    lines += [f"  {note}" for note in notes]
    width = max(map(len, labels), default=0)
    for position, (label, snapshot) in enumerate(zip(labels, snapshots, strict=True)):
        output = main_output(snapshot)
        path = (output.path if output else None) or ""
        status = status_of(snapshot).label if snapshot.state.is_final else format_progress(snapshot)
        mark = "*" if position == best else " "
        lines.append(f" {mark} {label:<{width}}  {snapshot.short_id}  {status.lower()}  {path}".rstrip())
    return [*lines, "  * picked as best"] if best is not None else lines


def _head(
    plan: SweepPlan, layout: Layout, snapshots: Sequence[Snapshot], head: Mapping[str, Any], notes: Sequence[str]
) -> Child:
    unfinished = sum(not snapshot.state.is_final for snapshot in snapshots)
    status = RUNNING if unfinished else DONE
    if not unfinished and not any(output.path for snapshot in snapshots for output in snapshot.outputs):
        status = FAILED
    varied = f"{layout.row_name} by {layout.column_name}" if layout.is_table else layout.column_name
    prompt = next((snapshot.prompt for snapshot in snapshots if snapshot.prompt), "")
    is_shared = "prompt" not in (axis.name for axis in plan.axes)
    prompt_style = "font-size:15px;font-weight:600;line-height:1.3;margin:4px 0 0 0;white-space:pre-wrap"
    waiting = (
        f"{unfinished} not finished when this notebook was saved. Run the cell again: it picks them up, and sends "
        "only what is missing."
    )
    about = muted(f"{plan.schema.slug}, {varied}. {head['spent']}")
    return (
        h("div", status_dot(status), h("b", head["title"]), " ", about),
        h("div", shorten(prompt, _LONGEST_PROMPT), style=prompt_style) if prompt and is_shared else "",
        (line(note) for note in notes),
        line(waiting) if unfinished else "",
    )


def _tile(snapshot: Snapshot, label: str, poster: bytes | None, is_best: bool) -> Html:
    output, status = main_output(snapshot), status_of(snapshot)
    picture: Child = ""
    if poster is not None:
        source = f"data:image/jpeg;base64,{poster_base64(make_thumb(poster))}"
        picture = h("img", src=source, alt=label, style=_PICTURE)
    elif not snapshot.state.is_final or not (output and output.path):
        reason = snapshot.message[:160] if snapshot.state.is_final else ""
        picture = h("div", reason, style=f"{_SMALL};white-space:normal;max-width:208px")
    if output is not None and output.path:
        picture = h("a", picture or output.name, href=url(output.path), title=f"Open {label}")
    facts = [format_duration(snapshot.elapsed_s)] if snapshot.elapsed_s is not None else []
    tail = muted(", ".join(filter(None, [*facts, tile_cost(snapshot), f"run {snapshot.short_id}"])))
    shown = h("b", "Best") if is_best else status.label
    below = h("div", status_dot(status), shown, " ", tail, style="font-size:11px;white-space:nowrap")
    return h("div", picture, below, style="outline:2px solid #2f80ed;outline-offset:2px" if is_best else "")


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
