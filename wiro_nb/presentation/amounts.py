"""Amounts of money that people type. Standard library only: read while the extension loads."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

MOST_USD = 1_000_000
"""More than this is a slip of the keys."""


def read_usd(typed: Decimal | float | str) -> Decimal | None:
    """Returns an amount in US dollars, from 0 to `MOST_USD`, with or without its sign; None for what is none."""
    try:
        amount = Decimal(str(typed).strip().removeprefix("$"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount <= MOST_USD else None
