"""When a request counts as made already, so that nothing is paid twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from wiro_nb.ledger.rows import WHOLE_ROW, row_from_sql
from wiro_nb.ledger.state import LedgerRow


@dataclass(frozen=True, slots=True)
class Reuse:
    """Which earlier runs may answer a request, so that it is not paid again.

    The one rule for notebooks, scripts and shells. It is applied in the transaction that plans the runs.

    Attributes:
        also: Ids of runs that count as in scope: those recorded in the notebook's file.
        exclude: Ids of runs that are not reused, because this execution of the cell has returned them already.
        is_rerun: True reuses only runs with the same parent, never the run that is made again.
    """

    also: Collection[str] = ()
    exclude: Collection[str] = ()
    is_rerun: bool = False


def answer_plans(
    connection: sqlite3.Connection, rows: Sequence[LedgerRow], reuse: Reuse | None
) -> list[LedgerRow]:
    """Returns for each planned run the earlier run that answers its request, else the planned run itself.

    An earlier run answers only one of them: two equal requests in one call mean two runs.

    Args:
        connection: The ledger's connection; inserts call this inside their transaction.
        rows: Planned runs, in the ledger or not yet.
        reuse: Which earlier runs may be reused; None for none.
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
    """Returns the run that already answers a request, or None.

    It has the same request, service, account and scope, and succeeded, is in progress, or is uncertain. A run with
    a pending cancel request is not reused. Preference, in this order: succeeded runs, runs of the same scope over
    those recorded in the notebook's file, runs of the same sweep point, the latest run.
    """
    # The unary plus keeps SQLite from using indexes of columns with few distinct values.
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
