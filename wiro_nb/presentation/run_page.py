"""A run as static output: what the saved notebook keeps, readable without a kernel and untrusted. Pure.

Every function takes a `Snapshot` and returns a bundle {mime type: text}: `text/html`, its `text/plain`
twin, and an `image/jpeg` poster for viewers that show no HTML. The clip itself is a relative link:
160 bytes in place of 760 KB, and it plays trusted, untrusted and from exported HTML beside the file.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from wiro_nb.ledger.state import RunOutput, RunState, Snapshot
from wiro_nb.presentation import markup
from wiro_nb.presentation.formatting import (
    format_cost,
    format_cost_forecast,
    format_count,
    format_datetime,
    format_duration,
    format_number,
    format_progress,
    format_size,
    state_label,
)
from wiro_nb.presentation.grammar import find_command
from wiro_nb.presentation.output import Output
from wiro_nb.schema.types import ModelSchema

LONGEST_TITLE = 280
LONGEST_VALUE = 2000
LONGEST_RAW = 8000
LOG_LINES = 20
LONGEST_LOG_LINE = 300
_WIDEST_PX, _HIGHEST_PX = 560, 400
_POSTER_BYTES = 12_000
"""All posters of one run together, as base64 text: a run adds at most 30 KB to the notebook."""


def run_output(
    snapshot: Snapshot,
    posters: Mapping[str, bytes] | None = None,
    note: str = "",
    labels: Mapping[str, str] | None = None,
) -> Output:
    """Returns the bundle that shows a run as it is now.

    Args:
        snapshot: The run.
        posters: JPEG bytes by the `poster_path` of an output; missing ones are left out.
        note: One sentence above everything, such as why nothing was paid this time.
        labels: What people call a chosen value, by parameter; see `option_labels`.
    """
    pictures = _affordable(snapshot, posters or {})
    html = {
        RunState.SUCCEEDED: _done_html,
        RunState.FAILED: _failed_html,
        RunState.CANCELLED: _cancelled_html,
        RunState.UNCERTAIN: _uncertain_html,
    }.get(snapshot.state, _unfinished_html)(snapshot, _Extras(pictures, labels or {}))
    lead = markup.block(markup.escape(note), "margin:0 0 6px 0") if note else ""
    jpeg = next(iter(pictures.values()), "") if snapshot.state is RunState.SUCCEEDED else ""
    return Output(markup.card(lead + html), run_text(snapshot, note), jpeg)


@dataclass(frozen=True, slots=True)
class _Extras:
    """What a page needs beside the run: posters as base64 text by path, labels by parameter."""

    pictures: Mapping[str, str]
    labels: Mapping[str, str]


def option_labels(snapshot: Snapshot, schema: ModelSchema | None) -> dict[str, str]:
    """Returns the labels of chosen values where they differ from the value that was sent."""
    found: dict[str, str] = {}
    if schema is None:
        return found
    for name, value in snapshot.parameters.items():
        parameter = schema.get(name)
        options = parameter.options if parameter is not None else ()
        label = next((option.label for option in options if option.value == value), "")
        if label and label != value:
            found[name] = label
    return found


def run_text(snapshot: Snapshot, note: str = "") -> str:
    """Returns the run in plain text, for terminals and for viewers without HTML."""
    lines = [f"wiro: {note}"] if note else []
    when = snapshot.finished or snapshot.submitted or snapshot.created
    at = f", {format_datetime(when)}" if when else ""
    state = state_label(snapshot) if snapshot.state.is_final else format_progress(snapshot)
    lines.append(f"wiro: {state.lower()}  {snapshot.model}, run {snapshot.short_id}{at}")
    if snapshot.prompt:
        lines.append(f"  {_cut(' '.join(snapshot.prompt.split()), LONGEST_TITLE)}")
    if snapshot.message and snapshot.state is not RunState.SUCCEEDED:
        lines.append(f"  {snapshot.message}")
    settled = [f"{label.lower()} {value}" for label, value in _plain_facts(snapshot)]
    if settled:
        lines.append(f"  {', '.join(settled)}")
    for output in snapshot.outputs:
        lines.append(f"  {_output_text(output)}")
    lines.append(f"  next: {next_command(snapshot)}")
    return "\n".join(lines)


def next_command(snapshot: Snapshot) -> str:
    """Returns the one line worth typing next."""
    short = snapshot.short_id
    if snapshot.state is RunState.SUCCEEDED and any(output.problem for output in snapshot.outputs):
        return f"%wiro fetch {short}"
    if snapshot.state.is_final:
        return f"%wiro rerun {short}" if find_command("rerun") else f"%wiro form {snapshot.model} --from {short}"
    return f"%wiro show {short}"


def poster_base64(picture: bytes) -> str:
    """Returns picture bytes as the text that notebooks keep."""
    return base64.b64encode(picture).decode("ascii")


def _affordable(snapshot: Snapshot, posters: Mapping[str, bytes]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    room = _POSTER_BYTES
    for output in snapshot.outputs:
        if output.poster_path and (picture := posters.get(output.poster_path)):
            text = poster_base64(picture)
            if len(text) <= room:
                chosen[output.poster_path] = text
                room -= len(text)
    return chosen


def _head(snapshot: Snapshot, word: str, tail: str) -> str:
    return (
        f"<div>{markup.mark(markup.mark_of(snapshot))}<b>{markup.escape(word)}</b> "
        f"{markup.quiet(f'{markup.escape(snapshot.model)}, run {markup.escape(snapshot.short_id)}{tail}')}</div>"
    )


def _done_html(snapshot: Snapshot, extras: _Extras) -> str:
    when = snapshot.finished or snapshot.created
    at = f", {markup.escape(format_datetime(when))}" if when else ""
    right = [_head(snapshot, "Done", at)]
    if snapshot.prompt:
        title = _cut(snapshot.prompt, LONGEST_TITLE)
        right.append(
            '<div style="font-size:15px;font-weight:600;line-height:1.3;margin:4px 0 10px 0;'
            f'white-space:pre-wrap">{markup.escape(title)}</div>'
        )
    right.append(markup.facts(_fact_cells(snapshot)))
    right += [_file_line(output) for output in snapshot.outputs if output.content is None]
    right.append(_settings(snapshot, extras.labels))
    again = "Get the file again, at no cost: " if "fetch" in next_command(snapshot) else "Run it again: "
    small = f"margin:8px 0 0 0;font-size:12px;{markup.QUIET}"
    right.append(markup.block(again + markup.command(next_command(snapshot)), small))
    left = _gallery(snapshot, extras.pictures)
    side = f'<div style="flex:1 1 280px;min-width:0">{"".join(right)}</div>'
    return f'<div style="display:flex;flex-wrap:wrap;gap:12px 18px">{left}{side}</div>'


def _gallery(snapshot: Snapshot, pictures: Mapping[str, str]) -> str:
    views = [view for output in snapshot.outputs if (view := _output_html(output, snapshot, pictures))]
    if not views:
        return ""
    if len(views) == 1:
        widest = _widest_px(snapshot.outputs)
        basis = min(300, widest)
        return f'<div style="flex:1 1 {basis}px;max-width:{widest}px;min-width:0">{views[0]}</div>'
    columns = "display:grid;grid-template-columns:repeat(auto-fill,minmax(160px,1fr));gap:8px"
    tiles = "".join(f"<div>{view}</div>" for view in views)
    frame = f"flex:1 1 300px;max-width:{_WIDEST_PX}px;min-width:0"
    return f'<div style="{frame}"><div style="{columns}">{tiles}</div></div>'


def _widest_px(outputs: Sequence[RunOutput]) -> int:
    """Returns how wide a single clip may be, so that a square or upright one does not fill the screen."""
    shaped = next((output for output in outputs if output.width and output.height), None)
    if shaped is None or not shaped.width or not shaped.height:
        return _WIDEST_PX
    return max(180, min(_WIDEST_PX, round(_HIGHEST_PX * shaped.width / shaped.height)))


def _output_html(output: RunOutput, snapshot: Snapshot, pictures: Mapping[str, str]) -> str:
    if output.content is not None:
        return _raw_html(output.content)
    if output.path is None:
        return ""
    kind = output.content_type.partition("/")[0]
    title = markup.attribute(_cut(snapshot.prompt or output.name, 120))
    source = markup.url(output.path)
    size = f' width="{output.width}" height="{output.height}"' if output.width and output.height else ""
    look = "display:block;width:100%;height:auto;border-radius:2px"
    if kind == "video":
        return _video_html(output, pictures, source, title, size, look)
    if kind == "image":
        picture = f'<img src="{source}" alt="{title or "Image of the run"}"{size} style="{look};margin:0">'
        return f'<a href="{source}" title="Open the picture">{picture}</a>'
    if kind == "audio":
        return f'<audio src="{source}" controls preload="none" title="{title}" style="width:100%"></audio>'
    return ""


def _video_html(
    output: RunOutput, pictures: Mapping[str, str], source: str, title: str, size: str, look: str
) -> str:
    embedded = pictures.get(output.poster_path or "")
    poster = f' poster="data:image/jpeg;base64,{embedded}"' if embedded else ""
    # Without a poster an unloaded video is a black box: let the browser fetch the first frame.
    preload = "none" if poster else "metadata"
    inside = f'<a href="{source}">Open the video</a>'
    if output.poster_path:
        inside = f'<a href="{source}"><img src="{markup.url(output.poster_path)}" alt="Poster: {title}"></a>'
    return (
        f'<video src="{source}"{poster} controls muted loop preload="{preload}"{size} '
        f'style="{look}" title="{title}">{inside}</video>'
    )


def _raw_html(content: Any) -> str:
    text = markup.escape(_cut(raw_text(content), LONGEST_RAW))
    return f'<div style="white-space:pre-wrap;max-height:320px;overflow:auto">{text}</div>'


def raw_text(content: Any) -> str:
    """Returns the text of a language model's output: its answer where there is one, else the JSON."""
    if isinstance(content, Mapping):
        answer = content.get("answer")
        if isinstance(answer, list) and answer:
            return "\n".join(str(part) for part in answer)
        if content.get("raw"):
            return str(content["raw"])
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)


def _plain_facts(snapshot: Snapshot) -> list[tuple[str, str]]:
    items: list[tuple[str, str]] = []
    if snapshot.seed and snapshot.seed.get("value") not in (None, ""):
        items.append(("Seed", str(snapshot.seed["value"])))
    if output := next((item for item in snapshot.outputs if item.width and item.height), None):
        items.append(("Size", f"{output.width} × {output.height}"))
        items += [("Frames", str(output.frames))] if output.frames and output.frames > 1 else []
        items += [("Rate", f"{format_number(output.fps)} fps")] if output.fps else []
    if length := next((item.duration_s for item in snapshot.outputs if item.duration_s), None):
        items.append(("Length", f"{length:.1f} s"))
    if snapshot.elapsed_s is not None and snapshot.state.is_final:
        items.append(("Elapsed", format_duration(snapshot.elapsed_s)))
    items.append(("Cost", format_cost(snapshot)))
    items += [("Forecast", forecast)] if (forecast := format_cost_forecast(snapshot)) else []
    return items


def _fact_cells(snapshot: Snapshot) -> list[str]:
    cells = [
        markup.fact(label, f"<span>{markup.escape(value)}</span>" if "$" in value else markup.escape(value))
        for label, value in _plain_facts(snapshot)
    ]
    if checksum := next((output.sha256 for output in snapshot.outputs if output.sha256), None):
        title, short = markup.attribute(checksum), markup.escape(checksum[:8])
        short = f'<code style="{markup.PLAIN_CODE}" title="{title}">{short}</code>'
        cells.append(markup.fact("sha256", short))
    return cells


def _file_line(output: RunOutput) -> str:
    if output.path is None:
        reason = output.problem or "not downloaded yet"
        return markup.block(f"File {markup.escape(output.name or 'of this run')}: {markup.escape(reason)}")
    size = f" {markup.quiet(format_size(output.size_bytes))}" if output.size_bytes is not None else ""
    link = (
        f'<a href="{markup.url(output.path)}" title="Open the file" style="text-decoration:underline">'
        f"{markup.escape(output.path)}</a>"
    )
    problem = f" {markup.escape(output.problem)}" if output.problem else ""
    return markup.block(f"File {link}{size}{problem}", "margin:10px 0 0 0")


def _output_text(output: RunOutput) -> str:
    if output.content is not None:
        return _cut(raw_text(output.content), LONGEST_VALUE).replace("\n", "\n  ")
    where = output.path or f"{output.name or 'file'}: {output.problem or 'not downloaded yet'}"
    size = f"  {format_size(output.size_bytes)}" if output.path and output.size_bytes is not None else ""
    return where + size


def _settings(snapshot: Snapshot, labels: Mapping[str, str]) -> str:
    rows = [
        (
            key,
            f"{markup.escape(labels[key])} {markup.quiet(_value_html(value))}"
            if key in labels
            else _value_html(value),
        )
        for key, value in snapshot.parameters.items()
    ]
    for key, files in snapshot.files.items():
        names = [str(item.get("name") or item.get("url") or "file") for item in files]
        rows.append((key, markup.escape(", ".join(PurePosixPath(item).name for item in names))))
    if not rows:
        return ""
    return markup.details(f"Settings ({len(rows)})", markup.pairs(rows, code_names=True))


def _value_html(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return markup.escape(_cut(text, LONGEST_VALUE)) if text else markup.quiet("empty")


def _failed_html(snapshot: Snapshot, _extras: _Extras) -> str:
    elapsed = f", {format_duration(snapshot.elapsed_s)}" if snapshot.elapsed_s is not None else ""
    parts = [_head(snapshot, state_label(snapshot), elapsed)]
    reason = snapshot.message or "The service told no reason."
    parts.append(markup.block(f"{markup.escape(reason)} <b>{_billed(snapshot)}</b>"))
    parts.append(
        markup.block(f"Change its settings: {markup.command(_form_command(snapshot))}", "margin:2px 0 0 0")
    )
    parts.append(_log(snapshot))
    return "".join(parts)


def _cancelled_html(snapshot: Snapshot, _extras: _Extras) -> str:
    after = f", after {format_duration(snapshot.elapsed_s)}" if snapshot.elapsed_s is not None else ""
    again = markup.block(f"Run it again: {markup.command(next_command(snapshot))}", "margin:2px 0 0 0")
    return _head(snapshot, "Cancelled", f"{after}.") + markup.block(f"<b>{_billed(snapshot)}</b>") + again


def _uncertain_html(snapshot: Snapshot, _extras: _Extras) -> str:
    said = snapshot.message or "The request was sent, but its answer was lost. It is never sent again by itself."
    return (
        _head(snapshot, state_label(snapshot), "")
        + markup.block(f"{markup.escape(said)} Billed once if the service took it and it succeeds.")
        + markup.block(f"Look again: {markup.command(f'%wiro show {snapshot.short_id}')}", "margin:2px 0 0 0")
        + markup.block(
            f"If its task is at the service: {markup.command('%wiro attach TASK')} "
            f"If it is not: {markup.command(f'%wiro forget {snapshot.short_id}')}",
            "margin:2px 0 0 0",
        )
    )


def _unfinished_html(snapshot: Snapshot, _extras: _Extras) -> str:
    seen = state_label(snapshot).lower()
    at = f" at {snapshot.percent:.0f}%" if snapshot.percent is not None else ""
    where = "in the sandbox" if snapshot.is_sandbox else "on Wiro"
    return (
        f"<div>{markup.mark(markup.LOST)}<b>Not finished when this notebook was saved</b> "
        + markup.quiet(
            f"{markup.escape(snapshot.model)}, run {markup.escape(snapshot.short_id)}, "
            f"last seen {markup.escape(seen)}{at}"
        )
        + "</div>"
        + markup.block(
            f"It may have finished {where} since. {markup.command(f'%wiro show {snapshot.short_id}')} "
            "picks it up at no extra cost."
        )
    )


def _billed(snapshot: Snapshot) -> str:
    if snapshot.cost_usd and not snapshot.is_sandbox:
        return f"Billed: {markup.amount(snapshot.cost_usd)}."
    return "Billed: nothing."


def _form_command(snapshot: Snapshot) -> str:
    return f"%wiro form {snapshot.model} --from {snapshot.short_id}"


def _log(snapshot: Snapshot) -> str:
    if not snapshot.log_tail:
        return ""
    lines = "\n".join(_cut(line, LONGEST_LOG_LINE) for line in snapshot.log_tail[-LOG_LINES:])
    shown = f'<pre style="margin:6px 0 0 0;font-size:12px;white-space:pre-wrap">{markup.escape(lines)}</pre>'
    return markup.details(f"Log ({format_count(max(snapshot.log_count, len(snapshot.log_tail)), 'line')})", shown)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
