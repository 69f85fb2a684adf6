"""An error as a static output: what is wrong, near values, what was billed, one command."""

from __future__ import annotations

from collections.abc import Sequence

from wiro_nb.errors import UnknownRun, WiroError
from wiro_nb.ids import short_id
from wiro_nb.presentation.html import CARD, Child, chips, command, h, line, name_table
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.status import FAILED, status_dot


def error_output(error: WiroError) -> Output:
    """Returns the error as HTML and text; the first line of the text is led by "wiro:"."""
    html = h(
        "div",
        h("div", status_dot(FAILED), h("b", error.sentence), style="font-size:14px"),
        _near(error),
        (line(text) for text in error.details),
        _looked_in(error),
        _closing(error),
        style=f"{CARD};max-width:820px",
    )
    first, *rest = error.lines()
    return Output(html, "\n".join([f"wiro: {first}", *rest]))


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _near(error: WiroError) -> Child:
    """Returns the near values, unless message or details name them already."""
    said = "\n".join([error.message, *error.details])
    if "Did you mean" in said:
        return ""
    near = _texts(getattr(error, "near", None))
    if isinstance(error, UnknownRun):
        near = [short_id(run_id) for run_id in near]
    near = [value for value in near if value not in said]
    label = h("span", "Did you mean:", style="margin-right:6px")
    return line(label, chips(near), style="margin:6px 0 0 0") if near else ""


def _looked_in(error: WiroError) -> Child:
    rows = [(str(row[0]), str(row[1])) for row in getattr(error, "looked_in", None) or () if len(row) == 2]
    return (line("Looked in:"), name_table(rows, width="")) if rows else ""


def _closing(error: WiroError) -> Child:
    if not error.hint:
        return line(error.billed) if error.billed else ""
    # A hint is either a command alone or a sentence around one; only a bare command is a chip.
    is_command = error.hint.startswith("%") and ", " not in error.hint
    return line(f"{error.billed} Next: ".lstrip(), command(error.hint) if is_command else error.hint)
