"""A sweep as static output: a table of posters with links, and a contact sheet. Pure but for Pillow's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.sweep.contact_sheet import make_sheet, make_thumb
from wiro_nb.notebook.sweep.grid_view import Layout, head_view, lay_out, main_output, point_labels, tile_cost
from wiro_nb.presentation import markup
from wiro_nb.presentation.formatting import format_duration, format_progress
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import poster_base64
from wiro_nb.presentation.status import status_of
from wiro_nb.sweeps.plan import SweepPlan

_PICTURE = "display:block;width:100%;max-width:208px;height:auto;border-radius:2px;margin:0"
_SMALL = f"font-size:11px;{markup.QUIET}"
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
    html = markup.card(_head(plan, layout, snapshots, str(head["title"]), str(head["spent"]), notes) + body)
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
) -> str:
    unfinished = sum(not snapshot.state.is_final for snapshot in snapshots)
    kind = markup.RUNNING if unfinished else markup.DONE
    if not unfinished and not any(output.path for snapshot in snapshots for output in snapshot.outputs):
        kind = markup.FAILED
    varied = f"{layout.row_name} by {layout.column_name}" if layout.is_table else layout.column_name
    about = markup.quiet(f"{markup.escape(plan.schema.slug)}, {markup.escape(varied)}. {markup.escape(spent)}")
    parts = [f"<div>{markup.mark(kind)}<b>{markup.escape(title)}</b> {about}</div>"]
    prompt = next((snapshot.prompt for snapshot in snapshots if snapshot.prompt), "")
    if prompt and "prompt" not in (axis.name for axis in plan.axes):
        short = prompt if len(prompt) <= _LONGEST_PROMPT else prompt[: _LONGEST_PROMPT - 1] + "…"
        parts.append(
            f'<div style="font-size:15px;font-weight:600;line-height:1.3;margin:4px 0 0 0;white-space:pre-wrap">'
            f"{markup.escape(short)}</div>"
        )
    parts += [markup.block(markup.escape(note)) for note in notes]
    if unfinished:
        parts.append(
            markup.block(
                f"{unfinished} not finished when this notebook was saved. Run the cell again: it picks them up, "
                "and sends only what is missing."
            )
        )
    return "".join(parts)


def _tile(snapshot: Snapshot, label: str, thumb: bytes | None, is_best: bool) -> str:
    output = main_output(snapshot)
    alt = markup.attribute(label)
    picture = ""
    if thumb is not None:
        picture = f'<img src="data:image/jpeg;base64,{poster_base64(thumb)}" alt="{alt}" style="{_PICTURE}">'
    elif not snapshot.state.is_final or not (output and output.path):
        said = snapshot.message if snapshot.state.is_final else ""
        picture = f'<div style="{_SMALL};white-space:normal;max-width:208px">{markup.escape(said[:160])}</div>'
    if output is not None and output.path:
        link = f'href="{markup.url(output.path)}" title="Open {alt}"'
        picture = f"<a {link}>{picture or markup.escape(output.name)}</a>"
    facts = [format_duration(snapshot.elapsed_s)] if snapshot.elapsed_s is not None else []
    facts += [cost] if (cost := tile_cost(snapshot)) else []
    word = "<b>Best</b>" if is_best else markup.escape(status_of(snapshot).label)
    tail = markup.quiet(markup.escape(", ".join([*facts, f"run {snapshot.short_id}"])))
    frame = "outline:2px solid #2f80ed;outline-offset:2px" if is_best else ""
    mark = markup.mark(markup.mark_of(snapshot))
    line = f'<div style="font-size:11px;white-space:nowrap">{mark}{word} {tail}</div>'
    return f'<div style="{frame}">{picture}{line}</div>'


def _table(layout: Layout, tiles: Sequence[str]) -> str:
    row_style = "background:transparent"
    head = f"text-align:left;vertical-align:bottom;padding:6px 10px 2px 0;font-size:12px;{markup.QUIET}"
    columns = "".join(
        f'<th scope="col" style="text-align:left;vertical-align:bottom;padding:6px 10px 2px 0;font-size:12px;'
        f'font-weight:600">{markup.escape(name)}</th>'
        for name in layout.columns
    )
    both = markup.escape(f"{layout.row_name} / {layout.column_name}")
    corner = f'<th scope="col" style="{head};font-weight:normal">{both}</th>'
    body = []
    for name, positions in zip(layout.rows, layout.cells, strict=True):
        cells = "".join(
            '<td style="text-align:left;vertical-align:top;padding:4px 10px 6px 0">'
            f"{tiles[position] if position is not None else ''}</td>"
            for position in positions
        )
        row_head = (
            '<th scope="row" style="text-align:left;vertical-align:middle;padding:4px 10px 6px 0;font-size:12px;'
            f'font-weight:600">{markup.escape(name)}</th>'
        )
        body.append(f'<tr style="{row_style}">{row_head}{cells}</tr>')
    style = "margin:8px 0 0 0;border-collapse:collapse;table-layout:auto;width:auto"
    return (
        f'<table style="{style}"><thead><tr style="{row_style}">{corner}{columns}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _list(layout: Layout, tiles: Sequence[str]) -> str:
    items = "".join(
        f'<div><div style="font-size:12px;font-weight:600">{markup.escape(name)}</div>{tile}</div>'
        for name, tile in zip(layout.columns, tiles, strict=True)
    )
    style = "display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px 12px;margin:8px 0 0 0"
    return f'<div style="{style}">{items}</div>'
