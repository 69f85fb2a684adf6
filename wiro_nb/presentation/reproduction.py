"""Static pages about making runs again: what would be sent, how two came out, what verify saw. Pure."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from wiro_nb.presentation import markup
from wiro_nb.presentation.formatting import format_count
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.psnr_plot import HEIGHT, WIDTH, draw_psnr
from wiro_nb.reproduce.compare import Comparison
from wiro_nb.reproduce.diff import Difference
from wiro_nb.reproduce.verify import Finding

_LONGEST = 400
_LONGEST_BODY = 4000
_PLOTS = 3
_SHOWN = 60
_LEVELS = {"problem": markup.FAILED, "note": markup.LOST, "ok": markup.DONE}


def replay_output(title: str, rows: Sequence[tuple[str, str]], lines: Sequence[str], body: Any) -> Output:
    """Returns the page of a request that is not sent.

    Args:
        title: Which run it makes again.
        rows: Facts, by name.
        lines: What has changed, what is missing, what is worth knowing.
        body: What would be sent, as JSON data; None when it cannot be made.
    """
    listing = "" if body is None else json.dumps(body, ensure_ascii=False, indent=1)
    shown = listing if len(listing) <= _LONGEST_BODY else listing[:_LONGEST_BODY] + "\n\u2026"
    notes = "".join(markup.block(markup.escape(line)) for line in lines)
    pre = f'<pre style="margin:8px 0 0 0;font-size:12px;white-space:pre-wrap">{markup.escape(shown)}</pre>'
    head = f"<b>{markup.escape(title)}</b> {markup.quiet('Nothing was sent.')}"
    html = (
        f"<div>{markup.mark(markup.WAITING)}{head}</div>"
        + markup.pairs([(name, markup.escape(value)) for name, value in rows])
        + notes
        + (pre if shown else "")
    )
    text = [f"wiro: {title}. Nothing was sent."]
    text += [f"  {name.lower()}: {value}" for name, value in rows]
    text += [f"  note: {line}" for line in lines]
    text += [f"  {line}" for line in shown.split("\n") if shown]
    return Output(markup.card(html), "\n".join(text))


def comparison_output(comparison: Comparison, *, with_settings: bool = True) -> Output:
    """Returns how two sides came out, with a plot where frames differ.

    Args:
        comparison: What was found.
        with_settings: False leaves the table of settings out, where another view shows it.
    """
    title = "Came out the same" if comparison.is_same else _title_of(comparison)
    names = f"{comparison.left.label} and {comparison.right.label}"
    mark = markup.mark(markup.DONE if comparison.is_same else markup.LOST)
    parts = [f"<div>{mark}<b>{markup.escape(title)}</b> {markup.quiet(markup.escape(names))}</div>"]
    parts += [markup.block(markup.escape(f"{line[0].upper()}{line[1:]}.")) for line in comparison.sentences]
    parts += _plots(comparison)
    text = [f"wiro: {title.lower()}: {names}", *(f"  {line}" for line in comparison.sentences)]
    if with_settings and comparison.settings is not None:
        text.append(f"  {_settings_words(comparison.settings)}")
        parts.append(markup.block(markup.escape(_settings_words(comparison.settings)), "margin:8px 0 0 0"))
        if comparison.settings:
            heads = ("setting", comparison.left.label, comparison.right.label)
            rows = [
                [markup.name(item.name), _cell_html(item.left), _cell_html(item.right)]
                for item in comparison.settings
            ]
            parts.append(markup.grid_table(heads, rows))
            text += [f"  {item.name}: {_cell(item.left)}  |  {_cell(item.right)}" for item in comparison.settings]
    return Output(markup.card("".join(parts)), "\n".join(text))


def verify_output(findings: Sequence[Finding]) -> Output:
    """Returns what verify saw: problems first, what is well only counted."""
    told = Counter(item.level for item in findings)
    problems = told["problem"]
    title = "No problem found" if not problems else f"{format_count(problems, 'problem')} found"
    tail = f"{format_count(told['ok'], 'check')} passed, {format_count(told['note'], 'note')}"
    order = sorted((item for item in findings if item.level != "ok"), key=lambda item: item.level != "problem")
    mark = markup.mark(markup.FAILED if problems else markup.DONE)
    rows = [
        [f"{markup.mark(_LEVELS[item.level])}{item.level}", markup.escape(item.where), markup.escape(item.message)]
        for item in order[:_SHOWN]
    ]
    more = len(order) - len(rows)
    html = f"<div>{mark}<b>{title}</b> {markup.quiet(tail)}</div>"
    html += markup.grid_table(("", "where", "what"), rows) if rows else ""
    html += markup.block(f"and {more} more") if more > 0 else ""
    text = [f"wiro: {title.lower()}; {tail}"]
    text += [f"  {item.level}  {item.where}: {item.message}" for item in order[:_SHOWN]]
    text += [f"  and {more} more"] if more > 0 else []
    return Output(markup.card(html), "\n".join(text))


def _title_of(comparison: Comparison) -> str:
    if any(pair.clips is not None and pair.clips.verdict == "different" for pair in comparison.outputs):
        return "Came out different"
    return "Not all of it could be compared"


def _plots(comparison: Comparison) -> list[str]:
    drawn: list[str] = []
    for pair in comparison.outputs:
        if pair.clips is None or pair.clips.verdict != "different" or len(drawn) == _PLOTS:
            continue
        picture = draw_psnr(pair.clips.psnr_db)
        if picture is not None:
            data = base64.b64encode(picture).decode("ascii")
            told = markup.attribute(f"PSNR by frame: {pair.sentence}")
            drawn.append(
                f'<img src="data:image/png;base64,{data}" alt="{told}" width="{WIDTH}" height="{HEIGHT}" '
                'style="display:block;margin:6px 0 0 0;max-width:100%;height:auto">'
            )
    return drawn


def _settings_words(settings: Sequence[Difference]) -> str:
    if not settings:
        return "no setting differs"
    return f"{format_count(len(settings), 'setting')} {'differs' if len(settings) == 1 else 'differ'}"


def _cell(value: Any) -> str:
    if value in (None, ""):
        return "none" if value is None else "empty"
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\u2026"


def _cell_html(value: Any) -> str:
    shown = markup.escape(_cell(value))
    return markup.quiet(shown) if value in (None, "") else shown
