"""What a notebook's budget allows; checked in the transaction that plans the runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

from wiro_nb.errors import BudgetExceeded
from wiro_nb.ledger import queries
from wiro_nb.ledger.rows import money_text
from wiro_nb.ledger.state import LedgerRow


def check_budget(connection: sqlite3.Connection, rows: Sequence[LedgerRow], setting_usd: Decimal | None) -> None:
    """Refuses runs that together would exceed the budget of their notebook and service.

    Args:
        connection: A connection in the transaction that inserts the runs.
        rows: The runs to be inserted, of one notebook and service.
        setting_usd: Limit of each notebook in USD; the lower of this and the notebook's own budget applies.

    Raises:
        BudgetExceeded: Billed and reserved amounts plus these estimates exceed the limit.
    """
    own = queries.get_budget(connection, rows[0].notebook)
    limits = [limit for limit in (setting_usd, own) if limit is not None]
    if not limits:
        return
    limit = min(limits)
    spent, reserved = queries.money(connection, notebook=rows[0].notebook, service=rows[0].service)
    used = spent + reserved
    known = sum((row.estimated_usd for row in rows if row.estimated_usd is not None), Decimal(0))
    is_unknown = any(row.estimated_usd is None for row in rows)
    # Runs of unknown price may start while any budget is left; their cost cannot be reserved.
    over = used + known - limit
    if over < 0 or (over == 0 and not is_unknown):
        return
    what = "This run" if len(rows) == 1 else f"These {len(rows)} runs"
    by = f" by {_usd(over)}" if over > 0 else ": nothing of it is left, and the price is not known"
    estimate = "unknown" if is_unknown else f"about {_usd(known)}"
    in_flight = f"; in flight: about {_usd(reserved)}" if reserved else ""
    needed = format((used + known).quantize(Decimal("0.01"), ROUND_UP), "f") if over > 0 else "USD"
    is_setting = own is None or (setting_usd is not None and setting_usd < own)
    raise BudgetExceeded(
        f"{what} would go over the budget of {_usd(limit)}{by}.",
        details=[f"Spent so far: {_usd(spent)}{in_flight}; {what.lower()}: {estimate}."],
        hint=f"%config WiroMagics.budget_usd = '{needed}'" if is_setting else f"%wiro budget {needed}",
        budget_usd=money_text(limit),
        spent_usd=money_text(used),
        estimated_usd=None if is_unknown else money_text(known),
        over_usd=money_text(over) if over > 0 else None,
    )


def _usd(amount: Decimal) -> str:
    """Returns an amount with two to four places, rounded up: a refusal never makes a gap look closed."""
    text = format(amount.quantize(Decimal("0.0001"), ROUND_UP).normalize() if amount else Decimal(0), "f")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"
