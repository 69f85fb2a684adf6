"""An error as a static card: what is wrong, near values, what was billed, one command. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wiro_nb.errors import UnknownRun, WiroError
from wiro_nb.ids import short_id
from wiro_nb.presentation import markup
from wiro_nb.presentation.output import Output


def error_output(error: WiroError) -> Output:
    """Returns the error as HTML with a plain twin."""
    return Output(error_html(error), error_text(error))


def error_text(error: WiroError) -> str:
    """Returns the error in plain text, the first line led by "wiro:"."""
    first, *rest = error.lines()
    return "\n".join([f"wiro: {first}", *rest])


def error_html(error: WiroError) -> str:
    """Returns the card."""
    parts = [
        f'<div style="font-size:14px">{markup.mark(markup.FAILED)}<b>{markup.escape(error.message)}</b></div>',
        *_problems(error),
        _near(error),
        *(markup.block(markup.escape(line)) for line in error.details),
        _looked_in(error),
        _closing(error),
        _choices(error),
    ]
    return markup.card("".join(parts), ";max-width:820px")


def _field(error: WiroError, name: str) -> Any:
    return getattr(error, name, None)


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _problems(error: WiroError) -> list[str]:
    problems = _field(error, "problems")
    if not isinstance(problems, Sequence) or isinstance(problems, str) or len(problems) < 2:
        return []
    rows = [_problem(item) for item in problems]
    return [markup.block("".join(rows))]


def _problem(item: Any) -> str:
    message = item.get("message", "") if isinstance(item, Mapping) else getattr(item, "message", str(item))
    near = _texts(item.get("near") if isinstance(item, Mapping) else getattr(item, "near", None))
    return markup.block(markup.escape(message) + (f" {markup.chips(near)}" if near else ""), "margin:2px 0 0 0")


def _near(error: WiroError) -> str:
    near = _texts(_field(error, "near"))
    if isinstance(error, UnknownRun):
        near = [short_id(run_id) for run_id in near]
    if not near or any(_problems(error)):
        return ""
    return markup.block(f'<span style="margin-right:6px">Nearest:</span>{markup.chips(near)}', "margin:6px 0 0 0")


def _looked_in(error: WiroError) -> str:
    rows = [(str(row[0]), markup.escape(row[1])) for row in _field(error, "looked_in") or () if len(row) == 2]
    return markup.block("Looked in:") + markup.pairs(rows, width="") if rows else ""


def _closing(error: WiroError) -> str:
    billed = markup.escape(error.billed)
    hint = error.hint
    if not hint:
        return markup.block(billed) if billed else ""
    # A hint is either a command alone or a sentence around one; only a bare command is a chip.
    shown = markup.command(hint) if hint.startswith("%") and ", " not in hint else markup.escape(hint)
    return markup.block(f"{billed} Next: {shown}".strip())


def _choices(error: WiroError) -> str:
    allowed = _texts(_field(error, "allowed"))
    return markup.details(f"All {len(allowed)} choices", markup.block(markup.chips(allowed))) if allowed else ""
