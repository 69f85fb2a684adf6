"""Displayable results of commands: the same content as HTML and as plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wiro_nb.errors import UnknownRun, WiroError
from wiro_nb.formatting import FAILED, Status
from wiro_nb.ids import short_id
from wiro_nb.presentation.html import (
    CARD,
    PAGE,
    Child,
    Html,
    chips,
    command,
    escape,
    h,
    join,
    line,
    muted,
    name_table,
    table,
)
from wiro_nb.terminal import wrap_terminal


class Displayable:
    """Base of values that show themselves as `output()`, in a notebook and in a terminal."""

    def output(self) -> Output:
        """Returns what is displayed."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.output().text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = self.output()
        return shown.data, dict(shown.metadata)


@dataclass(frozen=True, slots=True, repr=False)
class Output(Displayable):
    """One static output.

    Attributes:
        html: Readable without scripts or style sheets, in an untrusted notebook too.
        text: The same for terminals and for viewers without HTML.
        jpeg: A picture as base64 text for viewers that show no HTML, or "".
        metadata: Metadata of the output.
        view: Data of a live widget by MIME type; front ends that know it prefer it to the HTML.
    """

    html: str
    text: str
    jpeg: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)

    def output(self) -> Output:
        """Returns itself."""
        return self

    @property
    def data(self) -> dict[str, Any]:
        """The MIME bundle."""
        picture = {"image/jpeg": self.jpeg} if self.jpeg else {}
        text = wrap_terminal(self.text, sys.stdout)
        return {"text/html": self.html, "text/plain": text, **picture, **self.view}


def status_dot(status: Status) -> Html:
    """Returns the dot before a status in static output."""
    style = f"display:inline-block;box-sizing:border-box;width:9px;height:9px;margin-right:6px;{status.dot}"
    return h("span", style=style)


# Blocks: each yields its HTML and its lines of text ---------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an output, twice: as HTML and as lines of text."""

    html: Html
    lines: tuple[str, ...] = ()


NOTHING = Block(Html(""))


def compose(*blocks: Block, style: str = PAGE) -> Output:
    """Returns an output made of blocks; `style` is that of its frame: `PAGE`, `WIDE` or `CARD`."""
    text = "\n".join(text for block in blocks for text in block.lines)
    return Output(h("div", (block.html for block in blocks), style=style), text)


def card(*blocks: Block) -> Output:
    """Returns an output in a frame."""
    return compose(*blocks, style=CARD)


def heading(title: str, about: str = "", *, status: Status | None = None, text: str | None = None) -> Block:
    """Returns the first line: a title and, muted, what it is about.

    Args:
        title: In bold.
        about: The rest of the line.
        status: Puts a status dot before it.
        text: The line as text, where it is not title and rest with a comma between them.
    """
    dot = status_dot(status) if status is not None else ""
    plain = text or ", ".join(filter(None, (f"{title[:1].lower()}{title[1:]}", about)))
    return Block(
        h("div", dot, h("b", title), " " if about else "", muted(about) if about else ""), (f"wiro: {plain}",)
    )


def text_table(rows: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Returns rows as lines of text with aligned columns; the last column may be long."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=False) if width] for row in rows)
    return tuple(f"  {'  '.join([*cells, row[-1]])}".rstrip() for cells, row in zip(padded, rows, strict=True))


def row_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Child]],
    texts: Iterable[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
) -> Block:
    """Returns a table; `texts` are its rows in plain text, columns in `right` are right-aligned in HTML."""
    return Block(line(table(heads, rows, right=right), style="margin:6px 0 0 0"), text_table(texts))


def paragraphs(texts: Iterable[str], *, label: str = "") -> Block:
    """Returns lines of prose; `label` stands before each in the text."""
    shown = [text for text in texts if text]
    return Block(join(line(text) for text in shown), tuple(f"  {label}{text}" for text in shown))


def facts(rows: Iterable[tuple[str, str]]) -> Block:
    """Returns a table of names and values."""
    rows = tuple(rows)
    return Block(name_table(rows), tuple(f"  {name.lower()}: {value}" for name, value in rows))


def next_steps(*steps: tuple[str, str]) -> Block:
    """Returns commands to type next, each with what it is for."""
    shown = [(command(typed), f" {why}" if why else "") for typed, why in steps]
    parts: list[Child] = [part for step in shown for part in (", ", *step)]
    lines = tuple(f"  next: {typed} {why}".rstrip() for typed, why in steps)
    return Block(line("Next: ", parts[1:], ".", style="margin:8px 0 0 0;font-size:12px;opacity:.75"), lines)


def message(text: str, *blocks: Block) -> Output:
    """Returns one line of text as an output, with blocks below it."""
    return compose(Block(escape(f"{text[:1].upper()}{text[1:]}"), (f"wiro: {text}",)), *blocks)


# Errors --------------------------------------------------------------------------------------


def error_output(error: WiroError) -> Output:
    """Returns the error as HTML and text; the first line of the text is led by "wiro:"."""
    said = "\n".join([error.message, *error.details])
    is_run = isinstance(error, UnknownRun)
    named = [short_id(value) if is_run else str(value) for value in getattr(error, "near", ())]
    near = chips(value for value in named if value not in said) if "Did you mean" not in said else ""
    looked_in = getattr(error, "looked_in", ())
    # A hint is either a command alone or a sentence around one; only a bare command is a chip.
    is_command = error.hint.startswith("%") and ", " not in error.hint
    billed = f"{error.billed} Next: ".lstrip() if error.hint else error.billed
    html = h(
        "div",
        h("div", status_dot(FAILED), h("b", error.sentence), style="font-size:14px"),
        line(h("span", "Did you mean:", style="margin-right:6px"), near, style="margin:6px 0 0 0") if near else "",
        (line(text) for text in error.details),
        (line("Looked in:"), name_table(looked_in, width="")) if looked_in else "",
        line(billed, command(error.hint) if is_command else error.hint) if billed else "",
        style=f"{CARD};max-width:820px",
    )
    first, *rest = error.lines()
    return Output(html, "\n".join([f"wiro: {first}", *rest]))
