"""Small pieces of static markup. Only tags and properties that survive JupyterLab's sanitizer.

An untrusted notebook loses `<style>`, classes, `var()` and inline svg, so every style is inline and
plain, and colour is on marks only: no fixed colour is readable text on both a light and a dark page.
JupyterLab typesets `$...$` and `\\(...\\)` as maths, but never across tags: `escape` puts such signs
into a `<span>` of their own.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from urllib.parse import quote

from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.presentation.formatting import format_usd

LINE = "rgba(127,127,127,.35)"
CARD = f"border:1px solid {LINE};border-radius:4px;padding:12px 14px;font-size:13px;line-height:1.45"
QUIET = "opacity:.75"
SHORT_COMMAND = 40
"""Characters of a command that stays on one line also in a narrow card."""
PLAIN_CODE = "font-size:12px;background:transparent;padding:0"

DONE, FAILED, RUNNING, QUEUED = "done", "failed", "running", "queued"
CANCELLED, LOST, WAITING = "cancelled", "lost", "waiting"
_MARKS = {
    DONE: "background:#2e9e4f;border-radius:5px",
    FAILED: "background:#e5484d;border-radius:1px",
    RUNNING: "background:#2f80ed;border-radius:5px",
    QUEUED: "border:2px solid #2f80ed;border-radius:5px",
    CANCELLED: "border:2px solid #8a8a8a;border-radius:5px",
    WAITING: "border:2px dashed #8a8a8a;border-radius:5px",
    LOST: "border:2px solid #c77700;border-radius:1px",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LEADING = re.compile(r"^[\s/\\]+")
_MATHS = re.compile(r"\$|\\(?=[()\[\]])")


def escape(text: object) -> str:
    """Returns text that reads the same in HTML: escaped, and safe from typesetting as maths."""
    plain = html.escape(_CONTROL.sub("", str(text)))
    return _MATHS.sub(lambda match: f"<span>{match.group()}</span>", plain)


def attribute(text: object) -> str:
    """Returns text for a quoted attribute."""
    return html.escape(_CONTROL.sub(" ", str(text)).replace("\n", " "))


def url(path: str) -> str:
    """Returns a relative path as a URL: every character that means something in a URL is encoded."""
    # A path that begins with "//" would lead to another host, one with "/" out of the notebook's folder.
    return html.escape(quote(_LEADING.sub("", path), safe="/", errors="replace"))


def amount(amount_usd: Decimal) -> str:
    """Returns money in a span of its own."""
    return f"<span>{html.escape(format_usd(amount_usd))}</span>"


def mark(kind: str) -> str:
    """Returns the coloured shape that stands before a state's word."""
    return (
        '<span style="display:inline-block;box-sizing:border-box;width:9px;height:9px;'
        f'margin-right:6px;{_MARKS[kind]}"></span>'
    )


def mark_of(snapshot: Snapshot) -> str:
    """Returns the kind of mark for a run's state."""
    finals = {RunState.SUCCEEDED: DONE, RunState.FAILED: FAILED, RunState.CANCELLED: CANCELLED}
    if snapshot.state in finals:
        return finals[snapshot.state]
    if snapshot.state is RunState.UNCERTAIN or snapshot.lost_since is not None:
        return LOST
    if snapshot.stage is Stage.WAITING:
        return WAITING
    return QUEUED if snapshot.stage is Stage.QUEUED else RUNNING


def quiet(inner: str) -> str:
    """Returns secondary text; `inner` is markup."""
    return f'<span style="{QUIET}">{inner}</span>'


def command(text: str) -> str:
    """Returns a command to type, as a chip; a long one breaks rather than leave its frame."""
    wrap = "white-space:nowrap" if len(text) <= SHORT_COMMAND else "white-space:normal"
    return f'<code style="{wrap}">{escape(text)}</code>'


def name(text: str) -> str:
    """Returns an id or a setting's name: code without the chip."""
    return f'<code style="{PLAIN_CODE}">{escape(text)}</code>'


def chips(texts: Iterable[str]) -> str:
    """Returns values that can be typed, each in a frame."""
    frame = f"border:1px solid {LINE};border-radius:3px;padding:1px 5px"
    style = f"{frame};font-size:12px;display:inline-block;margin:0 4px 4px 0"
    return "".join(f'<code style="{style}">{escape(text)}</code>' for text in texts)


def block(inner: str, style: str = "margin:4px 0 0 0") -> str:
    """Returns a line of its own; `inner` is markup."""
    return f'<div style="{style}">{inner}</div>'


def card(inner: str, extra: str = "") -> str:
    """Returns the framed box around a run or an error; `inner` is markup."""
    return f'<div style="{CARD}{extra}">{inner}</div>'


def details(summary: str, inner: str) -> str:
    """Returns a closed drawer; `inner` is markup."""
    return (
        '<details style="margin:8px 0 0 0"><summary style="cursor:pointer;font-weight:600;font-size:12px">'
        f"{escape(summary)}</summary>{inner}</details>"
    )


def fact(label: str, inner: str) -> str:
    """Returns one labelled fact of the grid; `inner` is markup."""
    head = f'<span style="display:block;font-size:11px;line-height:1.3;{QUIET}">{escape(label)}</span>'
    return f"<div>{head}{inner}</div>"


def facts(items: Sequence[str]) -> str:
    """Returns the grid of facts."""
    style = "display:grid;grid-template-columns:repeat(auto-fill,minmax(84px,1fr));gap:8px 12px"
    return f'<div style="{style}">{"".join(items)}</div>'


def pairs(rows: Iterable[tuple[str, str]], *, code_names: bool = False, width: str = "width:100%;") -> str:
    """Returns a table of names (text) and values (markup)."""
    row = f"background:transparent;border-top:1px solid {LINE}"
    head = f"text-align:left;vertical-align:top;font-weight:normal;padding:3px 14px 3px 0;{QUIET}"
    cell = "text-align:left;vertical-align:top;padding:3px 0;white-space:pre-wrap"
    lines = "".join(
        f'<tr style="{row}"><th scope="row" style="{head}">{name(key) if code_names else escape(key)}</th>'
        f'<td style="{cell}">{value}</td></tr>'
        for key, value in rows
    )
    table = f"{width}margin:6px 0 0 0;font-size:12px;border-collapse:collapse;table-layout:auto"
    return f'<table style="{table}"><tbody>{lines}</tbody></table>'


def grid_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> str:
    """Returns a table with heads (text) and cells (markup); columns in `right` are right-aligned."""

    def align(column: int) -> str:
        return "right" if column in right else "left"

    head = "".join(
        f'<th scope="col" style="text-align:{align(column)};vertical-align:bottom;font-weight:600;font-size:12px;'
        f'padding:4px 12px 4px 0">{escape(text)}</th>'
        for column, text in enumerate(heads)
    )
    body = "".join(
        f'<tr style="background:transparent;border-top:1px solid {LINE}">'
        + "".join(
            f'<td style="text-align:{align(column)};vertical-align:middle;padding:4px 12px 4px 0">{cell}</td>'
            for column, cell in enumerate(cells)
        )
        + "</tr>"
        for cells in rows
    )
    style = "width:100%;margin:0;border-collapse:collapse;table-layout:auto;font-size:13px;line-height:1.35"
    head_row = f'<thead><tr style="background:transparent">{head}</tr></thead>'
    return f'<table style="{style}">{head_row}<tbody>{body}</tbody></table>'
