"""What was billed, added up: `%wiro spent`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import PurePath

from wiro_nb.errors import InputError
from wiro_nb.ledger.queries import Spending
from wiro_nb.notebook.context import ANY_NOTEBOOK, current_context
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_count, format_usd
from wiro_nb.presentation.html import Child, h, table
from wiro_nb.presentation.output import Block, Output, compose, message, paragraphs

GROUPS = ("model", "day", "notebook")
_MOST_ROWS = 40
_BAR = "#2f80ed"


def spent(by: str = "model") -> Output:
    """Returns what the present service billed, as a table with bars.

    Args:
        by: "model", "day" (UTC) or "notebook".

    Raises:
        InputError: Another word.
    """
    if by not in GROUPS:
        raise InputError(
            f"what was spent can be added up by {', '.join(GROUPS)}, not by {by!r}", hint="%wiro spent --by day"
        )
    manager = session.manager()
    service, notebook = manager.service_name, current_context().notebook
    rows = manager.ledger.spending(by, service=service)
    here = manager.spent(notebook)
    return spent_output(by, rows, here_usd=here, is_sandbox=manager.choice.is_sandbox, service=service)


def spent_output(
    by: str, rows: Sequence[Spending], *, here_usd: Decimal, is_sandbox: bool, service: str
) -> Output:
    """Returns the table of what was billed.

    Args:
        by: What the rows are.
        rows: Largest sum first; days newest first.
        here_usd: Billed in this notebook.
        is_sandbox: True: the money is make-believe.
        service: Its name.
    """
    total = sum((row.spent_usd for row in rows), Decimal(0))
    flying = sum((row.reserved_usd for row in rows), Decimal(0))
    money = "make-believe money of the sandbox" if is_sandbox else service
    about = f"in all notebooks ({money}), {format_usd(here_usd)} of it in this one"
    about += f"; runs in flight may add {format_usd(flying)}" if flying else ""
    head = f"spent {format_usd(total)} {about}"
    if not rows:
        return message(f"nothing was spent yet ({money})")
    shown, more = rows[:_MOST_ROWS], len(rows) - _MOST_ROWS
    most = max((row.spent_usd for row in shown), default=Decimal(0))
    names = [_name(by, row.name) for row in shown]
    sums = table(
        (by.capitalize(), "Runs", "Billed", "Share"),
        [
            [name, f"{row.runs}", format_usd(row.spent_usd), _share(row.spent_usd, most, total)]
            for name, row in zip(names, shown, strict=True)
        ],
        right=frozenset({1, 2}),
    )
    width = max(map(len, names))
    lines = tuple(
        f"  {name:<{width}}  {format_count(row.runs, 'run'):>9}  {format_usd(row.spent_usd):>9}"
        for name, row in zip(names, shown, strict=True)
    )
    return compose(
        Block(h("div", f"{head[0].upper()}{head[1:]}", style="margin:0 0 6px 0"), (f"wiro: {head}",)),
        Block(sums, lines),
        paragraphs([f"and {more} more"] if more > 0 else []),
    )


def _name(by: str, name: str) -> str:
    """Returns a row's name; of a notebook only the last parts of its path, which may end up in a shared file."""
    if by != "notebook":
        return name
    path = PurePath(name)
    if not name:
        return "outside notebooks"
    return f"folder {path.parent.name or path.parent}" if path.name == ANY_NOTEBOOK else path.name


def _share(amount: Decimal, most: Decimal, total: Decimal) -> Child:
    width = max(int(100 * amount / most) if most else 0, 1 if amount else 0)
    bar = h("span", style=f"display:block;width:{width}%;height:8px;background:{_BAR};border-radius:2px")
    frame = "display:inline-block;width:120px;height:8px;background:rgba(127,127,127,.25);border-radius:2px"
    return (h("span", bar, style=frame), f" {100 * amount / total:.0f}%" if total else " 0%")
