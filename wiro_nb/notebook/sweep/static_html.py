"""A sweep as static output: a table of posters with links, and a contact sheet. Pure but for Pillow's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.sweep.contact_sheet import make_sheet, make_thumb
from wiro_nb.notebook.sweep.grid_view import Layout, head_view, lay_out, main_output, point_labels, tile_cost
from wiro_nb.presentation.formatting import format_duration, format_progress, shorten
from wiro_nb.presentation.html import CARD, MUTED, Child, Html, h, line, muted, url
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import poster_base64
from wiro_nb.presentation.status import DONE, FAILED, RUNNING, status_dot, status_of
from wiro_nb.sweeps.plan import SweepPlan

_PICTURE = "display:block;width:100%;max-width:208px;height:auto;border-radius:2px;margin:0"
_SMALL = f"font-size:11px;{MUTED}"
_LONGEST_PROMPT = 280


def render_sweep(
    plan: SweepPlan,
    snapshots: Sequence[Snapshot],
    posters: Mapping[int, bytes],
    *,
    best: int | None = None,
    notes: Sequence[str] = (),
) -> Output:
    """Returns the static output of a sweep as it is now.

    Args:
        plan: The sweep.
        snapshots: Its runs, in order, with paths from the notebook's folder.
        posters: JPEG by position; missing ones are left out.
        best: Position of the picked point, or None.
        notes: Sentences above the table.
    """
    layout, labels = lay_out(plan), point_labels(plan)
    thumbs = {position: make_thumb(picture) for position, picture in posters.items()}
    tiles = [
        _tile(snapshot, labels[position], thumbs.get(position), position == best)
        for position, snapshot in enumerate(snapshots)
    ]
    head = head_view(plan, snapshots, best=labels[best] if best is not None else "", left_s=None)
    body = _table(layout, tiles) if layout.is_table else _list(layout, tiles)
    lead = _head(plan, layout, snapshots, str(head["title"]), str(head["spent"]), notes)
    html = h("div", lead, body, style=CARD)
    title = f"{plan.schema.slug}: {layout.row_name + ' by ' if layout.is_table else ''}{layout.column_name}"
    sheet = make_sheet(layout, labels, posters, title, best)
    text = sweep_text(plan, snapshots, best=best, notes=notes)
    return Output(html, text, "" if sheet is None else poster_base64(sheet))


def sweep_text(
    plan: SweepPlan, snapshots: Sequence[Snapshot], *, best: int | None = None, notes: Sequence[str] = ()
) -> str:
    """Returns a sweep in plain text: one line a run."""
    labels = point_labels(plan)
    head = head_view(plan, snapshots, best="", left_s=None)
    lines = [f"wiro: {str(head['title']).lower()}  {plan.schema.slug}, {head['counts']}, {head['spent']}"]
    lines += [f"  {note}" for note in notes]
    width = max(map(len, labels), default=0)
    for position, (label, snapshot) in enumerate(zip(labels, snapshots, strict=True)):
        output = main_output(snapshot)
        where = output.path if output and output.path else ""
        word = status_of(snapshot).label if snapshot.state.is_final else format_progress(snapshot)
        mark = "*" if position == best else " "
        lines.append(f" {mark} {label:<{width}}  {snapshot.short_id}  {word.lower()}  {where}".rstrip())
    if best is not None:
        lines.append("  * picked as best")
    return "\n".join(lines)


def _head(
    plan: SweepPlan, layout: Layout, snapshots: Sequence[Snapshot], title: str, spent: str, notes: Sequence[str]
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
    return (
        h("div", status_dot(status), h("b", title), " ", muted(f"{plan.schema.slug}, {varied}. {spent}")),
        h("div", shorten(prompt, _LONGEST_PROMPT), style=prompt_style) if prompt and is_shared else "",
        (line(note) for note in notes),
        line(waiting) if unfinished else "",
    )


def _tile(snapshot: Snapshot, label: str, thumb: bytes | None, is_best: bool) -> Html:
    output, status = main_output(snapshot), status_of(snapshot)
    picture: Child = ""
    if thumb is not None:
        picture = h("img", src=f"data:image/jpeg;base64,{poster_base64(thumb)}", alt=label, style=_PICTURE)
    elif not snapshot.state.is_final or not (output and output.path):
        said = snapshot.message if snapshot.state.is_final else ""
        picture = h("div", said[:160], style=f"{_SMALL};white-space:normal;max-width:208px")
    if output is not None and output.path:
        picture = h("a", picture or output.name, href=url(output.path), title=f"Open {label}")
    facts = [format_duration(snapshot.elapsed_s)] if snapshot.elapsed_s is not None else []
    facts += [cost] if (cost := tile_cost(snapshot)) else []
    said = h("b", "Best") if is_best else status.label
    tail = muted(", ".join([*facts, f"run {snapshot.short_id}"]))
    below = h("div", status_dot(status), said, " ", tail, style="font-size:11px;white-space:nowrap")
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
