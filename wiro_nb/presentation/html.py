"""Builds static HTML: every text is escaped unless it is `Html` already.

Only tags and properties that JupyterLab's sanitizer leaves in an untrusted notebook: it removes `<style>`,
classes, `var()` and inline SVG. So styles are inline, and only status dots have a colour: no fixed text colour is
readable on both a light and a dark page.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

LINE = "rgba(127,127,127,.35)"
MUTED = "opacity:.75"
SMALL = f"font-size:12px;{MUTED}"
PAGE = "font-size:13px;line-height:1.45;max-width:820px"
WIDE = "font-size:13px;line-height:1.35"
CARD = f"border:1px solid {LINE};border-radius:4px;padding:12px 14px;font-size:13px;line-height:1.45"
SHORT_COMMAND = 40
"""A command of at most this many characters stays on one line."""

_VOID = {"img", "br"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_MATHS = re.compile(r"\$|\\(?=[()\[\]])")
_LEADING = re.compile(r"^[\s/\\]+")


class Html(str):
    """Markup: inserted as it is."""

    __slots__ = ()


Child = str | None | Iterable["Child"]
"""Text, markup, nothing, or several of these."""


def escape(text: object) -> Html:
    """Returns text as markup that reads the same.

    JupyterLab typesets `$...$` and `\\(...\\)` as maths, but never across tags: such a sign gets a `<span>` of its
    own.
    """
    if isinstance(text, Html):
        return text
    plain = html.escape(_CONTROL.sub("", str(text)))
    return Html(_MATHS.sub(lambda match: f"<span>{match.group()}</span>", plain))


def join(*children: Child) -> Html:
    """Returns children one after the other."""
    parts = (
        "" if child is None else escape(child) if isinstance(child, str) else join(*child) for child in children
    )
    return Html("".join(parts))


def h(tag: str, *children: Child, **attributes: object) -> Html:
    """Returns an element.

    Args:
        tag: Its name.
        *children: Its content.
        **attributes: None and False leave an attribute out, True gives it no value.
    """
    given = "".join(
        f" {name}" if value is True else f' {name}="{_attribute(value)}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{given}>" if tag in _VOID else f"<{tag}{given}>{join(*children)}</{tag}>")


def _attribute(value: object) -> str:
    return html.escape(_CONTROL.sub(" ", str(value)).replace("\n", " "))


def url(path: str) -> str:
    """Returns a path relative to the notebook as a URL, with every special character encoded."""
    # A path that begins with "//" would lead to another host, one with "/" out of the notebook's folder.
    return quote(_LEADING.sub("", path), safe="/", errors="replace")


def file_link(path: str) -> Html:
    """Returns a link to a file by its path relative to the notebook."""
    return h("a", path, href=url(path), title="Open the file", style="text-decoration:underline")


def muted(*children: Child) -> Html:
    """Returns secondary text."""
    return h("span", *children, style=MUTED)


def line(*children: Child, style: str = "margin:4px 0 0 0") -> Html:
    """Returns a line of its own."""
    return h("div", *children, style=style)


def command(text: str) -> Html:
    """Returns a command to type; a long one breaks rather than leave its frame."""
    return h("code", text, style=f"white-space:{'nowrap' if len(text) <= SHORT_COMMAND else 'normal'}")


def code(text: str, **attributes: object) -> Html:
    """Returns an id or the name of a setting."""
    return h("code", text, style="font-size:12px;background:transparent;padding:0", **attributes)


def chips(texts: Iterable[str]) -> Html:
    """Returns values that can be typed, each in a frame."""
    frame = f"border:1px solid {LINE};border-radius:3px;padding:1px 5px"
    style = f"{frame};font-size:12px;display:inline-block;margin:0 4px 4px 0"
    return join(h("code", text, style=style) for text in texts)


def pre(text: str) -> Html:
    """Returns text with its line breaks."""
    return h("pre", text, style="margin:6px 0 0 0;font-size:12px;white-space:pre-wrap")


def details(summary: str, *children: Child) -> Html:
    """Returns a closed disclosure."""
    head = h("summary", summary, style="cursor:pointer;font-weight:600;font-size:12px")
    return h("details", head, *children, style="margin:8px 0 0 0")


def name_table(rows: Iterable[tuple[Child, Child]], *, width: str = "width:100%;") -> Html:
    """Returns a table of names and values."""
    head = f"text-align:left;vertical-align:top;font-weight:normal;padding:3px 14px 3px 0;{MUTED}"
    cell = "text-align:left;vertical-align:top;padding:3px 0;white-space:pre-wrap"
    body = (
        h("tr", h("th", name, scope="row", style=head), h("td", value, style=cell), style=_ROW)
        for name, value in rows
    )
    style = f"{width}margin:6px 0 0 0;font-size:12px;border-collapse:collapse;table-layout:auto"
    return h("table", h("tbody", body), style=style)


def table(heads: Sequence[str], rows: Iterable[Sequence[Child]], *, right: frozenset[int] = frozenset()) -> Html:
    """Returns a table; columns in `right` are right-aligned."""

    def cell(tag: str, column: int, content: Child, style: str, **attributes: object) -> Html:
        align = f"text-align:{'right' if column in right else 'left'}"
        return h(tag, content, style=f"{align};{style};padding:4px 12px 4px 0", **attributes)

    head = (
        cell("th", column, text, "vertical-align:bottom;font-weight:600;font-size:12px", scope="col")
        for column, text in enumerate(heads)
    )
    body = (
        h("tr", (cell("td", column, item, "vertical-align:middle") for column, item in enumerate(row)), style=_ROW)
        for row in rows
    )
    style = "width:100%;margin:0;border-collapse:collapse;table-layout:auto;font-size:13px;line-height:1.35"
    return h("table", h("thead", h("tr", head, style="background:transparent")), h("tbody", body), style=style)


_ROW = f"background:transparent;border-top:1px solid {LINE}"
