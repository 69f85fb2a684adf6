"""Static output of a run: its facts, settings and clips, as a saved notebook keeps it.

The static output is readable without a kernel and in an untrusted notebook. The clip is a relative link: 160 bytes
in place of 760 KB, and it plays in a trusted and an untrusted notebook and in HTML exported beside the file.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import PurePosixPath

from wiro_nb.formatting import (
    LOST,
    as_sentence,
    describe_cost,
    format_billed,
    format_count,
    format_datetime,
    format_duration,
    format_forecast,
    format_number,
    format_place,
    format_progress,
    format_size,
    raw_text,
    shorten,
    status_of,
)
from wiro_nb.ids import short_id
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot
from wiro_nb.presentation.html import (
    CARD,
    MUTED,
    SMALL,
    Child,
    Html,
    code,
    command,
    details,
    file_link,
    h,
    line,
    muted,
    name_table,
    pre,
    url,
)
from wiro_nb.presentation.output import NOTHING, Block, Output, heading

LONGEST_TITLE = 280
LONGEST_VALUE = 2000
LONGEST_RAW = 8000
LOG_LINES = 20
LONGEST_LOG_LINE = 300
_WIDEST_PX, _HIGHEST_PX = 560, 400
_POSTER_BYTES = 12_000
"""All posters of one run together, as base64 text: a run adds at most 30 KB to the notebook."""
_NOT_IN_TEXT = ("File size", "sha256")


# Facts -----------------------------------------------------------------------------------------


def run_facts(snapshot: Snapshot) -> dict[str, str]:
    """Returns what is known of a run and its first clip, by label: seed, size, frames, cost and so on."""
    outputs, expected, parent = snapshot.outputs, snapshot.estimated_usd, snapshot.parent or {}
    clip = next((output for output in outputs if output.width and output.height), RunOutput("", ""))
    length = next((output.duration_s for output in outputs if output.duration_s), None)
    seed, frame = (snapshot.seed or {}).get("value"), parent.get("frame")
    place = "its last frame" if frame == -1 else f"frame {frame}"
    is_billed = snapshot.cost_usd is not None and not snapshot.is_free
    found = {
        "Seed": str(seed) if seed is not None else "",
        "Size": f"{clip.width} × {clip.height}" if clip.width else "",
        "Continues": f"{short_id(str(parent['run_id']))} at {place}" if isinstance(frame, int) else "",
        "Frames": str(clip.frames) if (clip.frames or 0) > 1 else "",
        "Rate": f"{format_number(clip.fps)} fps" if clip.fps else "",
        "Length": f"{length:.1f} s" if length else "",
        "Elapsed": format_duration(snapshot.elapsed_s if snapshot.state.is_final else None),
        "Cost": describe_cost(snapshot),
        "Forecast": format_forecast(expected) if is_billed and expected is not None else "",
        "File size": format_size(outputs[0].size_bytes) if outputs else "",
        "Credentials": next((output.credentials for output in outputs if output.credentials), ""),
        "sha256": next((output.sha256[:8] for output in outputs if output.sha256), ""),
    }
    return {label: value for label, value in found.items() if value}


def run_settings(snapshot: Snapshot) -> dict[str, str]:
    """Returns the settings that were sent and the names of the input files, by parameter."""
    shown = {name: shorten(_value_text(value), LONGEST_VALUE) for name, value in snapshot.parameters.items()}
    for name, files in snapshot.files.items():
        named = (str(item.get("name") or item.get("url") or "file") for item in files)
        shown[name] = ", ".join(PurePosixPath(item).name for item in named)
    return shown


def _value_text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def make_note(strong: str = "", text: str = "", command: str = "") -> dict[str, str]:
    """Returns one line about a run: a sentence in bold, one that is not, and a command to type; each may be ""."""
    return {"strong": strong, "text": text, "command": command}


def run_notes(snapshot: Snapshot) -> list[dict[str, str]]:
    """Returns notes about how a run ended or may have ended, and what to do about it."""
    message, code, elapsed = snapshot.message, snapshot.exit_code, format_duration(snapshot.elapsed_s)
    match snapshot.state:
        case RunState.FAILED:
            is_news = code not in (None, "", "0") and f"exit code {code}" not in message
            ended = [make_note(text=f"The model ended with exit code {code}.")] if is_news else []
            return [make_note(message or "The service gave no reason."), *ended]
        case RunState.CANCELLED:
            return [make_note(text=f"Stopped after {elapsed}." if elapsed else "Stopped before it was sent.")]
        case RunState.UNCERTAIN:
            once = "It is never sent a second time by itself; it is billed once if it exists and succeeds."
            return [
                make_note(message or "Whether the service took the request is not known yet.", once),
                make_note(text="If its task is at the service:", command="%wiro attach TASK"),
                make_note(text="If it is not:", command=f"%wiro forget {snapshot.short_id}"),
            ]
    return [make_note(text=message)] if message else []


def next_command(snapshot: Snapshot) -> str:
    """Returns the most useful next command."""
    if snapshot.state is RunState.SUCCEEDED and any(output.problem for output in snapshot.outputs):
        return f"%wiro download {snapshot.short_id}"
    return f"%wiro {'rerun' if snapshot.state.is_final else 'show'} {snapshot.short_id}"


def poster_base64(picture: bytes) -> str:
    """Returns picture bytes as the text that notebooks keep."""
    return base64.b64encode(picture).decode("ascii")


def jpeg_uri(picture: bytes | None) -> str:
    """Returns a JPEG as a data URI; "" for None."""
    return f"data:image/jpeg;base64,{poster_base64(picture)}" if picture else ""


def run_text(snapshot: Snapshot, notice: str = "") -> str:
    """Returns the run in plain text, for terminals and for viewers without HTML."""
    at = format_datetime(snapshot.finished_at or snapshot.submitted_at or snapshot.created)
    state = status_of(snapshot).label if snapshot.state.is_final else format_progress(snapshot)
    has_reason = snapshot.state not in (RunState.SUCCEEDED, RunState.CANCELLED)
    facts = run_facts(snapshot).items()
    return "\n".join(
        [
            *([f"wiro: {notice}"] if notice else []),
            f"wiro: {state.lower()}  {snapshot.model}, run {snapshot.short_id}, {at}",
            *([f"  {shorten(' '.join(snapshot.prompt.split()), LONGEST_TITLE)}"] if snapshot.prompt else []),
            *([f"  {snapshot.message}"] if has_reason and snapshot.message else []),
            f"  {', '.join(f'{label.lower()} {value}' for label, value in facts if label not in _NOT_IN_TEXT)}",
            *(f"  {_output_text(output)}" for output in snapshot.outputs),
            f"  next: {next_command(snapshot)}",
        ]
    )


def _output_text(output: RunOutput) -> str:
    if output.content is not None:
        return shorten(raw_text(output.content), LONGEST_VALUE).replace("\n", "\n  ")
    if not output.path:
        return f"{output.name or 'file'}: {output.problem or 'not downloaded yet'}"
    return f"{output.path}  {format_size(output.size_bytes)}".rstrip()


# Static output ---------------------------------------------------------------------------------


def run_output(
    snapshot: Snapshot,
    posters: Mapping[str, bytes] | None = None,
    notice: str = "",
    labels: Mapping[str, str] | None = None,
    more: Block = NOTHING,
) -> Output:
    """Returns the static output that shows a run as it is now.

    Args:
        snapshot: The run.
        posters: JPEG bytes by the `poster_path` of an output; missing ones are left out.
        notice: One sentence above everything, such as why nothing was paid this time.
        labels: What people call a chosen value, by parameter; see `models.option_labels`.
        more: Stands below the settings of a finished run, and at the end of the text.
    """
    pictures: dict[str, str] = {}
    match snapshot.state:
        case RunState.SUCCEEDED:
            pictures = _posters_within_limit(snapshot, posters or {})
            shown: Child = _done(snapshot, pictures, labels or {}, more.html)
        case RunState.FAILED | RunState.CANCELLED | RunState.UNCERTAIN:
            shown = _without_result(snapshot)
        case _:
            shown = _unfinished(snapshot)
    lead = line(notice, style="margin:0 0 6px 0") if notice else ""
    text = "\n".join((run_text(snapshot, notice), *more.lines))
    return Output(h("div", lead, shown, style=CARD), text, next(iter(pictures.values()), ""))


def _posters_within_limit(snapshot: Snapshot, posters: Mapping[str, bytes]) -> dict[str, str]:
    """Returns the posters that fit into the limit for one run, as base64 text by path."""
    chosen, left = {}, _POSTER_BYTES
    for path in filter(None, (output.poster_path for output in snapshot.outputs)):
        text = poster_base64(posters.get(path, b""))
        if text and len(text) <= left:
            chosen[path] = text
            left -= len(text)
    return chosen


def _head(snapshot: Snapshot, tail: str) -> Html:
    status = status_of(snapshot)
    return heading(status.label, f"{snapshot.model}, run {snapshot.short_id}{tail}", status=status).html


def _done(snapshot: Snapshot, pictures: Mapping[str, str], labels: Mapping[str, str], more: Child) -> Child:
    title = "font-size:15px;font-weight:600;line-height:1.3;margin:4px 0 10px 0;white-space:pre-wrap"
    again = "Get the file again, at no cost: " if "download" in next_command(snapshot) else "Run it again: "
    right = (
        _head(snapshot, f", {format_datetime(snapshot.finished_at or snapshot.created)}"),
        h("div", shorten(snapshot.prompt, LONGEST_TITLE), style=title) if snapshot.prompt else "",
        _fact_grid(snapshot),
        (_file_line(output) for output in snapshot.outputs if output.content is None),
        _settings(snapshot, labels),
        more,
        line(again, command(next_command(snapshot)), style=f"margin:8px 0 0 0;{SMALL}"),
    )
    side = h("div", right, style="flex:1 1 280px;min-width:0")
    return h("div", _gallery(snapshot, pictures), side, style="display:flex;flex-wrap:wrap;gap:12px 18px")


def _fact_grid(snapshot: Snapshot) -> Html:
    checksum = next((output.sha256 for output in snapshot.outputs if output.sha256), "")
    label_style = f"display:block;font-size:11px;line-height:1.3;{MUTED}"
    cells = (
        h("div", h("span", label, style=label_style), code(value, title=checksum) if label == "sha256" else value)
        for label, value in run_facts(snapshot).items()
        if label != "File size"  # shown beside each file
    )
    return h(
        "div", cells, style="display:grid;grid-template-columns:repeat(auto-fill,minmax(84px,1fr));gap:8px 12px"
    )


def _file_line(output: RunOutput) -> Html:
    if output.path is None:
        return line(f"File {output.name or 'of this run'}: {output.problem or 'not downloaded yet'}")
    size = (" ", muted(format_size(output.size_bytes))) if output.size_bytes is not None else ""
    problem = f" {output.problem}" if output.problem else ""
    return line("File ", file_link(output.path), size, problem, style="margin:10px 0 0 0")


def _settings(snapshot: Snapshot, labels: Mapping[str, str]) -> Child:
    def shown(name: str, value: str) -> Child:
        text = value or muted("empty")
        return (f"{labels[name]} ", muted(text)) if name in labels else text

    settings = run_settings(snapshot)
    rows = ((code(name), shown(name, value)) for name, value in settings.items())
    return details(f"Settings ({len(settings)})", name_table(rows)) if settings else ""


def _gallery(snapshot: Snapshot, pictures: Mapping[str, str]) -> Child:
    shown = (
        media(output, shorten(snapshot.prompt or output.name, 120), pictures.get(output.poster_path or "", ""))
        for output in snapshot.outputs
    )
    views = [view for view in shown if view is not None]
    if len(views) == 1:
        widest = _widest_px(snapshot)
        return h("div", views, style=f"flex:1 1 {min(300, widest)}px;max-width:{widest}px;min-width:0")
    columns = "display:grid;grid-template-columns:repeat(auto-fill,minmax(160px,1fr));gap:8px"
    grid = h("div", (h("div", view) for view in views), style=columns)
    return h("div", grid, style=f"flex:1 1 300px;max-width:{_WIDEST_PX}px;min-width:0") if views else ""


def _widest_px(snapshot: Snapshot) -> int:
    """Returns how wide a single clip may be, so that a square or upright one does not fill the screen."""
    ratios = (output.width / output.height for output in snapshot.outputs if output.width and output.height)
    return max(180, min(_WIDEST_PX, round(_HIGHEST_PX * next(ratios, _WIDEST_PX))))


def media(output: RunOutput, title: str, poster: str = "") -> Html | None:
    """Returns the clip, picture, sound or text that a run made; None for what a page cannot show.

    Args:
        output: With its path relative to the notebook.
        title: What it shows, in a few words.
        poster: Of a clip, JPEG as base64 text, or "".
    """
    if output.content is not None:
        text = shorten(raw_text(output.content), LONGEST_RAW)
        return h("div", text, style="white-space:pre-wrap;max-height:320px;overflow:auto")
    if output.path is None:
        return None
    address, kind = url(output.path), output.content_type.partition("/")[0]
    style = "display:block;width:100%;height:auto;border-radius:2px"
    size = {"width": output.width, "height": output.height} if output.width and output.height else {}
    if kind == "image":
        picture = h("img", src=address, alt=title or "Image of the run", **size, style=f"{style};margin:0")
        return h("a", picture, href=address, title="Open the picture")
    if kind == "audio":
        return h("audio", src=address, controls=True, preload="none", title=title, style="width:100%")
    if kind != "video":
        return None
    inside: Child = "Open the video"
    if output.poster_path:
        inside = h("img", src=url(output.poster_path), alt=f"Poster: {title}")
    return h(
        "video",
        h("a", inside, href=address),
        src=address,
        poster=f"data:image/jpeg;base64,{poster}" if poster else None,
        controls=True,
        muted=True,
        loop=True,
        # Without a poster an unloaded video is a black box: let the browser fetch the first frame.
        preload="none" if poster else "metadata",
        **size,
        style=style,
        title=title,
    )


def _without_result(snapshot: Snapshot) -> Child:
    is_failed = snapshot.state is RunState.FAILED
    step, typed = {
        RunState.FAILED: ("Change its settings: ", f"%wiro form {snapshot.model} --from {snapshot.short_id}"),
        RunState.CANCELLED: ("Run it again: ", next_command(snapshot)),
    }.get(snapshot.state, ("Look again: ", f"%wiro show {snapshot.short_id}"))
    log = "\n".join(shorten(text, LONGEST_LOG_LINE) for text in snapshot.log_tail[-LOG_LINES:])
    count = format_count(max(snapshot.log_count, len(snapshot.log_tail)), "line")
    after = format_duration(snapshot.elapsed_s) if is_failed else ""
    notes = (
        line(f"{note['strong']} {note['text']} ".lstrip(), command(note["command"]) if note["command"] else "")
        for note in run_notes(snapshot)
    )
    return (
        _head(snapshot, f", {after}" if after else ""),
        notes,
        line(h("b", as_sentence(format_billed(snapshot)))) if snapshot.state.is_final else "",
        line(step, command(typed), style="margin:2px 0 0 0"),
        details(f"Log ({count})", pre(log)) if is_failed and log else "",
    )


def _unfinished(snapshot: Snapshot) -> Child:
    at = f" at {snapshot.percent:.0f}%" if snapshot.percent is not None else ""
    about = f"{snapshot.model}, run {snapshot.short_id}, last seen {status_of(snapshot).label.lower()}{at}"
    where = format_place(snapshot.service, "on Wiro")
    show = command(f"%wiro show {snapshot.short_id}")
    return (
        heading("Not finished when this notebook was saved", about, status=LOST).html,
        line(f"It may have finished {where} since. ", show, " picks it up at no extra cost."),
    )
