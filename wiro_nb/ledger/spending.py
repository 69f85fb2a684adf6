"""The two rules about paying: which earlier run answers a request, and what a notebook's budget allows.

Both are asked in the transaction that plans the runs, so that nothing is paid twice or over the budget.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from wiro_nb.errors import BudgetExceeded
from wiro_nb.ledger import queries
from wiro_nb.ledger.rows import WHOLE_ROW, money_text, row_from_sql
from wiro_nb.ledger.state import LedgerRow


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which earlier runs may answer a request.

    Attributes:
        also: Ids of runs that count as in scope: those the notebook's file names.
        exclude: Ids of runs that are no answer: the execution of this cell has them already.
        is_rerun: True takes only runs with the same parent: the run that is made again is no answer.
    """

    also: Collection[str] = ()
    exclude: Collection[str] = ()
    is_rerun: bool = False


def answer_plans(
    connection: sqlite3.Connection, rows: Sequence[LedgerRow], reuse: Reuse | None
) -> list[LedgerRow]:
    """Returns for each planned run the earlier run that answers its request, else the planned run itself.

    An earlier run answers one of them only: two equal requests of one call mean two runs.

    Args:
        connection: Of the ledger; inserting asks it inside the transaction.
        rows: Planned, whether they are in the ledger already or not.
        reuse: Which earlier runs may answer; None: none.
    """
    if reuse is None:
        return list(rows)
    result, used = [], set(reuse.exclude)
    for row in rows:
        result.append(_find_answer(connection, row, reuse, used) or row)
        used.add(result[-1].run_id)
    return result


def _find_answer(
    connection: sqlite3.Connection, plan: LedgerRow, reuse: Reuse, used: Collection[str]
) -> LedgerRow | None:
    """Returns the run that already answers a request, or None: the one rule for notebooks, scripts and shells.

    It is a run of the same request, service, account and scope that succeeded, is under way, or is uncertain. One
    that was asked to be cancelled is no answer while it ends. A success comes before one under way, one of the
    scope before one that the notebook's file brought along, one that was made for the same point of a sweep before
    others, and a later one before an earlier one.
    """
    # The plus keeps SQLite from the indexes of columns that nearly all rows share.
    found = connection.execute(
        f"""
        SELECT {WHOLE_ROW} FROM runs
        WHERE request_sha256 = :request AND service = :service AND deleted = 0
        AND (account IS NULL OR account IS :account)
        AND +state NOT IN ('failed', 'cancelled')
        AND (cancel_at IS NULL OR +state IN ('succeeded', 'uncertain'))
        AND (scope = :scope OR (scope IS NULL AND +notebook IS :notebook)
             OR +run_id IN (SELECT value FROM json_each(:also)))
        AND +run_id NOT IN (SELECT value FROM json_each(:used))
        AND (:parent IS NULL OR json_extract(parent, '$.run_id') = :parent)
        ORDER BY +state = 'succeeded' DESC, scope IS :scope DESC, sweep_point IS :point DESC,
            created DESC, run_id DESC
        LIMIT 1
        """,
        {
            "request": plan.request_sha256,
            "service": plan.service,
            "account": plan.account,
            "scope": plan.scope,
            "notebook": plan.notebook,
            "parent": plan.parent["run_id"] if reuse.is_rerun and plan.parent else None,
            "point": plan.sweep_point,
            "also": json.dumps(list(reuse.also)),
            "used": json.dumps(list(used)),
        },
    ).fetchone()
    return None if found is None else row_from_sql(found)


# The budget ----------------------------------------------------------------------------------


def check_budget(connection: sqlite3.Connection, rows: Sequence[LedgerRow], setting_usd: Decimal | None) -> None:
    """Refuses runs that would go over the budget of their notebook and service together.

    Args:
        connection: In the transaction that inserts them.
        rows: To be inserted, of one notebook and service.
        setting_usd: Limit of any one notebook; its own budget counts too, the lower one holds.

    Raises:
        BudgetExceeded: Billed and reserved money with these estimates is over the limit.
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
    # Runs of unknown price may start while anything is left; what they will cost cannot be held back.
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
        details=[f"Billed so far: {_usd(spent)}{in_flight}; {what.lower()}: {estimate}."],
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
