"""What runs were billed, what they may still be, and what a notebook's budget allows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_UP, Decimal

from wiro_nb.errors import BudgetExceeded
from wiro_nb.json_values import as_decimal
from wiro_nb.ledger.rows import money_text, time_text
from wiro_nb.ledger.state import LedgerRow, RunState

COST_KNOWN_WITHIN = timedelta(days=30)
"""The service says within this time what a run without a result cost; then it cost nothing."""
_ZERO = Decimal(0)
_FINAL = frozenset(state for state in RunState if state.is_final)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """The budget of a notebook on a service, and what of it is used.

    Attributes:
        limit_usd: The most to spend: the lower of the notebook's own budget and the setting; None without either.
        spent_usd: What was billed; forgotten runs count.
        reserved_usd: What may still be billed: the estimates of runs in flight and of successes not priced yet.
        service: Name of the service.
        is_setting: True when the limit is the setting `budget_usd`, not a budget of the notebook.
    """

    limit_usd: Decimal | None
    spent_usd: Decimal
    reserved_usd: Decimal
    service: str
    is_setting: bool = False

    @property
    def left_usd(self) -> Decimal | None:
        """What further runs may cost; None without a budget, below 0 when it is exceeded."""
        return None if self.limit_usd is None else self.limit_usd - self.spent_usd - self.reserved_usd

    def how_to_raise(self, usd: str = "USD") -> str:
        """Returns what to type for a higher limit."""
        return f"%config WiroMagics.budget_usd = '{usd}'" if self.is_setting else f"%wiro budget {usd}"

    def check(self, what: str, cost_usd: Decimal, estimate: str, *, is_whole: bool = True) -> None:
        """Refuses runs that together would exceed the budget.

        Args:
            what: The runs as the message begins: "This film".
            cost_usd: The known part of their price.
            estimate: Their price as text.
            is_whole: False when the price of one is unknown. It may start while any budget is left, since its cost
                cannot be reserved.

        Raises:
            BudgetExceeded: Billed and reserved amounts and this cost exceed the limit.
        """
        limit, left = self.limit_usd, self.left_usd
        if limit is None or left is None or left > cost_usd or (left == cost_usd and is_whole):
            return
        used, over = self.spent_usd + self.reserved_usd, cost_usd - left
        by = f" by {format_rounded_up(over)}" if over else ": nothing of it is left, and the price is not known"
        in_flight = f"; in flight: about {format_rounded_up(self.reserved_usd)}" if self.reserved_usd else ""
        needed = format((used + cost_usd).quantize(Decimal("0.01"), ROUND_UP), "f") if over else "USD"
        raise BudgetExceeded(
            f"{what} would go over the budget of {format_rounded_up(limit)}{by}.",
            details=[f"Spent so far: {format_rounded_up(self.spent_usd)}{in_flight}; {what.lower()}: {estimate}."],
            hint=self.how_to_raise(needed),
            budget_usd=money_text(limit),
            spent_usd=money_text(used),
            estimated_usd=money_text(cost_usd) if is_whole else None,
            over_usd=money_text(over) if over else None,
        )


@dataclass(frozen=True, slots=True)
class Spending:
    """What was billed for one model, day (UTC) or notebook: `runs` counted, and what runs in flight may add."""

    name: str
    runs: int
    spent_usd: Decimal
    reserved_usd: Decimal


def read_budget(
    connection: sqlite3.Connection, notebook: str | None, service: str, setting_usd: Decimal | None = None
) -> BudgetState:
    """Returns the budget of a notebook (None: of work outside notebooks) on a service, and what of it is used.

    Args:
        connection: Of the ledger.
        notebook: Path as the host gives it.
        service: Whose runs count.
        setting_usd: The limit of each notebook in USD; the lower of this and the notebook's own budget applies.
    """
    own = get_budget(connection, notebook)
    limit = min((usd for usd in (own, setting_usd) if usd is not None), default=None)
    found = list(_costs(connection, "''", "notebook IS :notebook", {"notebook": notebook, "service": service}))
    spent = sum((cost for _, cost, _ in found), _ZERO)
    reserved = sum((may_cost or _ZERO for _, _, may_cost in found), _ZERO)
    return BudgetState(limit, spent, reserved, service, is_setting=limit != own)


def spending(connection: sqlite3.Connection, by: str, *, service: str | None = None) -> tuple[Spending, ...]:
    """Adds up what was billed by "model", "day" (UTC) or "notebook"; forgotten runs count.

    Returns:
        Largest sum first; days newest first. Runs that cost nothing and cannot any more are not counted.
    """
    sums: dict[str, Spending] = {}
    for name, cost, may_cost in _costs(connection, _GROUPS[by], "1", {"service": service}):
        if cost or may_cost is not None:
            old = sums.get(name, Spending(name, 0, _ZERO, _ZERO))
            sums[name] = Spending(name, old.runs + 1, old.spent_usd + cost, old.reserved_usd + (may_cost or _ZERO))
    if by == "day":
        return tuple(sorted(sums.values(), key=lambda item: item.name, reverse=True))
    return tuple(sorted(sums.values(), key=lambda item: (-item.spent_usd, item.name)))


_GROUPS = {"model": "model", "day": "substr(created, 1, 10)", "notebook": "coalesce(notebook, '')"}


def _costs(
    connection: sqlite3.Connection, name: str, condition: str, values: dict[str, str | None]
) -> Iterator[tuple[str, Decimal, Decimal | None]]:
    """Yields of each run its group's name and its cost. Summed in Python: amounts are exact decimals, as text."""
    of_service = "1" if values["service"] is None else "service = :service"
    for row in connection.execute(
        f"""
        SELECT {name} AS name, state, deleted, cost_usd, estimated_usd, task_id, created FROM runs
        WHERE {condition} AND {of_service}
        """,
        values,
    ):
        yield row["name"], *_cost(row)


def _cost(row: sqlite3.Row) -> tuple[Decimal, Decimal | None]:
    """Returns what a run was billed, and what it may still be; None when it cannot cost anything any more."""
    cost = as_decimal(row["cost_usd"])
    if cost is not None:
        return cost, None
    if row["state"] == RunState.UNCERTAIN and row["deleted"]:
        return _ZERO, None  # the user forgot it: it never reached the service
    if row["state"] in _FINAL and row["task_id"] is None:
        return _ZERO, None  # it never reached the service
    is_old = str(row["created"]) < time_text(datetime.now(UTC) - COST_KNOWN_WITHIN)
    if row["state"] in (RunState.FAILED, RunState.CANCELLED) and is_old:
        return _ZERO, None
    return _ZERO, as_decimal(row["estimated_usd"]) or _ZERO


def get_budget(connection: sqlite3.Connection, notebook: str | None) -> Decimal | None:
    """Returns a notebook's budget in USD (None: of all work outside notebooks), or None when none is set."""
    found = connection.execute("SELECT budget_usd FROM budgets WHERE notebook = ?", (notebook or "",)).fetchone()
    return None if found is None else as_decimal(found["budget_usd"])


def set_budget(connection: sqlite3.Connection, notebook: str | None, budget_usd: Decimal | None) -> None:
    """Sets or, with None, removes the budget of a notebook."""
    connection.execute("DELETE FROM budgets WHERE notebook = ?", (notebook or "",))
    if budget_usd is not None:
        connection.execute("INSERT INTO budgets VALUES (?, ?)", (notebook or "", money_text(budget_usd)))


def check_budget(connection: sqlite3.Connection, rows: Sequence[LedgerRow], setting_usd: Decimal | None) -> None:
    """Refuses runs that together would exceed the budget of their notebook and service.

    Args:
        connection: A connection in the transaction that inserts the runs.
        rows: The runs to be inserted, of one notebook and service.
        setting_usd: As in `read_budget`.

    Raises:
        BudgetExceeded: As `BudgetState.check`.
    """
    notebook, service = rows[0].notebook, rows[0].service
    if setting_usd is None and get_budget(connection, notebook) is None:
        return  # nothing has to be added up
    known = sum((row.estimated_usd for row in rows if row.estimated_usd is not None), _ZERO)
    is_whole = all(row.estimated_usd is not None for row in rows)
    what = "This run" if len(rows) == 1 else f"These {len(rows)} runs"
    estimate = f"about {format_rounded_up(known)}" if is_whole else "unknown"
    read_budget(connection, notebook, service, setting_usd).check(what, known, estimate, is_whole=is_whole)


def format_rounded_up(amount: Decimal) -> str:
    """Returns an amount with two to four places, rounded up: a refusal never makes a gap look closed."""
    text = format(amount.quantize(Decimal("0.0001"), ROUND_UP).normalize() if amount else _ZERO, "f")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"
