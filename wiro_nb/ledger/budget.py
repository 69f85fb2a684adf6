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
class Spending:
    """What was billed for one model, day (UTC) or notebook: `runs` counted, and what runs in flight may add."""

    name: str
    runs: int
    spent_usd: Decimal
    reserved_usd: Decimal


def money(
    connection: sqlite3.Connection, *, notebook: str | None, everywhere: bool = False, service: str | None = None
) -> tuple[Decimal, Decimal]:
    """Sums money of a notebook (None: of work outside notebooks), or of all with `everywhere`.

    Returns:
        What was billed, and what may still be: the estimates of runs in flight and of successes not priced yet.
    """
    condition = "1" if everywhere else "notebook IS :notebook"
    found = list(_costs(connection, "''", condition, {"notebook": notebook, "service": service}))
    return sum((cost for _, cost, _ in found), _ZERO), sum((open_ or _ZERO for _, _, open_ in found), _ZERO)


def spent(connection: sqlite3.Connection, notebook: str | None = None, service: str | None = None) -> Decimal:
    """Returns what was billed, in USD; `notebook` None: everywhere. Forgotten runs count."""
    return money(connection, notebook=notebook, everywhere=notebook is None, service=service)[0]


def reserved(connection: sqlite3.Connection, notebook: str | None = None, service: str | None = None) -> Decimal:
    """Returns what runs may still be billed, in USD; `notebook` None: everywhere."""
    return money(connection, notebook=notebook, everywhere=notebook is None, service=service)[1]


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
    is_old = str(row["created"]) < str(time_text(datetime.now(UTC) - COST_KNOWN_WITHIN))
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
        setting_usd: Limit of each notebook in USD; the lower of this and the notebook's own budget applies.

    Raises:
        BudgetExceeded: Billed and reserved amounts plus these estimates exceed the limit.
    """
    own = get_budget(connection, rows[0].notebook)
    limits = [limit for limit in (setting_usd, own) if limit is not None]
    if not limits:
        return
    limit = min(limits)
    billed, may_cost = money(connection, notebook=rows[0].notebook, service=rows[0].service)
    used = billed + may_cost
    known = sum((row.estimated_usd for row in rows if row.estimated_usd is not None), _ZERO)
    is_unknown = any(row.estimated_usd is None for row in rows)
    # Runs of unknown price may start while any budget is left; their cost cannot be reserved.
    over = used + known - limit
    if over < 0 or (over == 0 and not is_unknown):
        return
    what = "This run" if len(rows) == 1 else f"These {len(rows)} runs"
    by = f" by {format_rounded_up(over)}" if over > 0 else ": nothing of it is left, and the price is not known"
    estimate = "unknown" if is_unknown else f"about {format_rounded_up(known)}"
    in_flight = f"; in flight: about {format_rounded_up(may_cost)}" if may_cost else ""
    needed = format((used + known).quantize(Decimal("0.01"), ROUND_UP), "f") if over > 0 else "USD"
    is_setting = own is None or (setting_usd is not None and setting_usd < own)
    raise BudgetExceeded(
        f"{what} would go over the budget of {format_rounded_up(limit)}{by}.",
        details=[f"Spent so far: {format_rounded_up(billed)}{in_flight}; {what.lower()}: {estimate}."],
        hint=f"%config WiroMagics.budget_usd = '{needed}'" if is_setting else f"%wiro budget {needed}",
        budget_usd=money_text(limit),
        spent_usd=money_text(used),
        estimated_usd=None if is_unknown else money_text(known),
        over_usd=money_text(over) if over > 0 else None,
    )


def format_rounded_up(amount: Decimal) -> str:
    """Returns an amount with two to four places, rounded up: a refusal never makes a gap look closed."""
    text = format(amount.quantize(Decimal("0.0001"), ROUND_UP).normalize() if amount else _ZERO, "f")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"
