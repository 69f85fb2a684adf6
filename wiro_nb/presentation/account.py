"""Static outputs of `%wiro`, `%wiro budget` and `%wiro spent`: service, account, budget and spending."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePath

from wiro_nb.config import LOCAL, SANDBOX
from wiro_nb.formatting import DONE, format_budget, format_count, format_place, format_usd, tally
from wiro_nb.ledger.budget import BudgetState, Spending
from wiro_nb.ledger.state import Snapshot
from wiro_nb.presentation.html import Child, h, line, table
from wiro_nb.presentation.output import (
    Block,
    Displayable,
    Output,
    compose,
    facts,
    heading,
    message,
    next_steps,
    paragraphs,
    text_table,
)

_SERVICES = {SANDBOX: "sandbox: placeholder clips, free, no account", LOCAL: "local: models on this machine, free"}
_MAX_ROWS = 40
_BAR = "#2f80ed"


@dataclass(frozen=True, slots=True, repr=False)
class Budget(Displayable, BudgetState):
    """The budget of a notebook; it shows itself as one line."""

    def __str__(self) -> str:
        return format_budget(self)

    @property
    def sentence(self) -> str:
        """What was spent and is left, and what this means."""
        simulated = " (simulated prices: the sandbox costs nothing)" if self.service == SANDBOX else ""
        return f"{self}{simulated}{'; the limit is the setting budget_usd' if self.is_setting else ''}"

    def output(self) -> Output:
        """Returns one line."""
        return message(self.sentence)


@dataclass(frozen=True, slots=True, repr=False)
class AccountStatus(Displayable):
    """Service and account of a notebook.

    Attributes:
        budget: Of the notebook, with the name of the service.
        is_free: True when nothing costs money.
        account: Where the key comes from.
        in_flight: Unfinished runs of this notebook.
        files: What its finished runs keep on disk.
    """

    budget: Budget
    is_free: bool
    account: str
    in_flight: Sequence[Snapshot]
    files: str

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Service, account, money, runs in flight and files, each with its name."""
        service = self.budget.service
        has_budget = not self.is_free or self.budget.limit_usd is not None
        return [
            ("Service", _SERVICES.get(service, service)),
            ("Account", self.account),
            ("Budget", self.budget.sentence if has_budget else f"nothing to spend {format_place(service)}"),
            ("Now", tally(self.in_flight) or "no runs in flight"),
            ("Files", self.files),
        ]

    @property
    def next_steps(self) -> list[tuple[str, str]]:
        """Commands to type next, each with what it is for."""
        login, sandbox = ("%wiro login", "to use your Wiro account"), ("%wiro use sandbox", "for free practice")
        form = ("%wiro form MODEL", "to fill in a form")
        other = login if self.is_free else sandbox
        return [("%wiro models", "to browse"), form, other, ("%wiro help", "for everything")]

    def output(self) -> Output:
        """Returns the answer of `%wiro`."""
        return compose(heading("Ready", status=DONE), facts(self.facts), next_steps(*self.next_steps))


@dataclass(frozen=True, slots=True, repr=False)
class Spent(Displayable):
    """What a service billed.

    Attributes:
        by: What the rows are: "model", "day" or "notebook".
        rows: Largest sum first; days newest first.
        notebook_usd: Billed in this notebook.
        service: Its name.
    """

    by: str
    rows: tuple[Spending, ...]
    notebook_usd: Decimal
    service: str

    @property
    def total_usd(self) -> Decimal:
        """Billed in all notebooks."""
        return sum((row.spent_usd for row in self.rows), Decimal(0))

    @property
    def reserved_usd(self) -> Decimal:
        """What runs in flight may add."""
        return sum((row.reserved_usd for row in self.rows), Decimal(0))

    def output(self) -> Output:
        """Returns a table with bars."""
        money = "simulated prices of the sandbox" if self.service == SANDBOX else self.service
        if not self.rows:
            return message(f"nothing spent yet ({money})")
        head = f"spent {format_usd(self.total_usd)} in all notebooks ({money})"
        head += f", {format_usd(self.notebook_usd)} of it in this one"
        head += f"; runs in flight may add {format_usd(self.reserved_usd)}" if self.reserved_usd else ""
        shown = self.rows[:_MAX_ROWS]
        most = max(row.spent_usd for row in shown)
        names = [_row_name(self.by, row.name) for row in shown]
        cells: list[list[Child]] = [
            [name, str(row.runs), format_usd(row.spent_usd), _bar(row.spent_usd, most, self.total_usd)]
            for name, row in zip(names, shown, strict=True)
        ]
        lines = text_table(
            (name, f"{format_count(row.runs, 'run'):>9}", f"{format_usd(row.spent_usd):>9}")
            for name, row in zip(names, shown, strict=True)
        )
        more = len(self.rows) - len(shown)
        rows = table((self.by.capitalize(), "Runs", "Billed", "Share"), cells, right=frozenset({1, 2}))
        return compose(
            Block(line(f"{head[0].upper()}{head[1:]}", style="margin:0 0 6px 0"), (f"wiro: {head}",)),
            Block(rows, lines),
            paragraphs([f"and {more} more"] if more else []),
        )


def _row_name(by: str, name: str) -> str:
    """Returns a row's name; of a notebook only the last part of its path, which may end up in a shared file."""
    if by != "notebook":
        return name
    path = PurePath(name)
    if not name:
        return "outside notebooks"
    return f"folder {path.parent.name or path.parent}" if path.name == "*" else path.name


def _bar(amount: Decimal, most: Decimal, total: Decimal) -> Child:
    percent = max(int(100 * amount / most) if most else 0, 1 if amount else 0)
    common = "height:8px;border-radius:2px"
    bar = h("span", style=f"display:block;width:{percent}%;background:{_BAR};{common}")
    frame = f"display:inline-block;width:120px;background:rgba(127,127,127,.25);{common}"
    return h("span", bar, style=frame), f" {100 * amount / total:.0f}%" if total else " 0%"
