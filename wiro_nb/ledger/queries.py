"""Questions to the ledger. Functions on a connection that only read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from wiro_nb.errors import UnknownRun
from wiro_nb.ids import match_ids, normalise_query
from wiro_nb.ledger.history import PastRun
from wiro_nb.ledger.rows import WHOLE_ROW, LedgerRow, read_money, row_from_sql, time_text
from wiro_nb.ledger.state import RunState


@dataclass(frozen=True, slots=True)
class Spending:
    """What was billed for one model, day (UTC) or notebook: `runs` counted, and what runs in flight may add."""

    name: str
    runs: int
    spent_usd: Decimal
    reserved_usd: Decimal


UNFINISHED = tuple(state.value for state in RunState if not state.is_final)
_NEAR = 5


@dataclass(frozen=True, slots=True)
class Made:
    """Where a content comes from: the run, which of its outputs, and the frame (None: the whole file)."""

    run_id: str
    output: int
    frame: int | None


def get(connection: sqlite3.Connection, run_id: str) -> LedgerRow | None:
    """Returns the row of a whole id, also a forgotten one; None when there is none."""
    found = connection.execute(f"SELECT {WHOLE_ROW} FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    return None if found is None else row_from_sql(found)


def find(connection: sqlite3.Connection, query: str, notebook: str | None) -> LedgerRow:
    """Returns the one run that a query means, looking in the notebook first.

    Raises:
        UnknownRun: None, or several; `near` has the ids to choose from.
    """
    candidates = _candidates(connection, normalise_query(query))
    everywhere = match_ids(query, candidates)
    matches = [
        run_id for run_id in everywhere if notebook is not None and candidates[run_id] == notebook
    ] or everywhere
    if len(matches) == 1:
        row = get(connection, matches[0])
        if row is not None:
            return row
    if matches:
        latest = sorted(matches, reverse=True)[:_NEAR]
        raise UnknownRun(
            f"{query!r} fits {len(matches)} runs: give more of the id.",
            details=[f"{run_id[-5:].lower()}  {run_id}" for run_id in latest],
            query=query,
            near=latest,
        )
    raise _no_run(connection, query, notebook)


def _no_run(connection: sqlite3.Connection, query: str, notebook: str | None) -> UnknownRun:
    latest = select(connection, notebook=notebook, limit=_NEAR) or select(connection, limit=_NEAR)
    return UnknownRun(
        f"No run {query!r} in the ledger.",
        details=["The latest runs:", *(f"{row.short_id}  {row.model}  {row.state}" for row in latest)]
        if latest
        else [],
        query=query,
        near=[row.run_id for row in latest],
    )


def select(
    connection: sqlite3.Connection,
    *,
    notebook: str | None = None,
    model: str | None = None,
    states: Iterable[str] = (),
    text: str | None = None,
    since: datetime | None = None,
    service: str | None = None,
    parent: str | None = None,
    limit: int | None = None,
) -> tuple[LedgerRow, ...]:
    """Returns the rows that fit all that is given, latest first, without the forgotten ones."""
    wanted = tuple(states)
    where, values = ["deleted = 0"], dict[str, Any]()
    for clause, value in (
        ("notebook = :notebook", notebook),
        ("model = :model COLLATE NOCASE", model),
        ("instr(search_text, :text) > 0", text.strip().casefold() if text else None),
        ("created >= :since", time_text(since)),
        ("service = :service", service),
    ):
        if value is not None:
            where.append(clause)
            values[clause.split(":")[1].split()[0].rstrip(")")] = value
    if wanted:
        where.append(f"state IN ({', '.join(f':state{number}' for number in range(len(wanted)))})")
        values |= {f"state{number}": str(state) for number, state in enumerate(wanted)}
    if parent is not None:
        where.append("json_extract(parent, '$.run_id') = :parent")
        values["parent"] = parent
    found = connection.execute(
        f"""
        SELECT {WHOLE_ROW} FROM runs WHERE {" AND ".join(where)}
        ORDER BY created DESC, run_id DESC LIMIT :limit
        """,
        {**values, "limit": -1 if limit is None else limit},
    )
    return tuple(row_from_sql(row) for row in found)


def find_done(
    connection: sqlite3.Connection, request_sha256: str, service: str, notebook: str | None
) -> LedgerRow | None:
    """Returns the latest success of this very request in this notebook, or None."""
    # The plus keeps SQLite from the indexes of columns that nearly all rows share.
    found = connection.execute(
        f"""
        SELECT {WHOLE_ROW} FROM runs
        WHERE request_sha256 = ? AND service = ? AND +notebook IS ? AND +state = 'succeeded' AND deleted = 0
        ORDER BY created DESC, run_id DESC LIMIT 1
        """,
        (request_sha256, service, notebook),
    ).fetchone()
    return None if found is None else row_from_sql(found)


def find_task(connection: sqlite3.Connection, service: str, base_url: str, task_id: str) -> LedgerRow | None:
    """Returns the run that owns a task of a service, also a forgotten one; None when there is none."""
    found = connection.execute(
        f"""
        SELECT {WHOLE_ROW} FROM runs WHERE task_id = ? AND service = ? AND base_url = ?
        ORDER BY created DESC LIMIT 1
        """,
        (task_id, service, base_url),
    ).fetchone()
    return None if found is None else row_from_sql(found)


def find_maker(connection: sqlite3.Connection, sha256: str) -> Made | None:
    """Returns which run made this content first, also a forgotten one; None when none did."""
    found = connection.execute(
        "SELECT run_id, output, frame FROM media WHERE sha256 = ? ORDER BY run_id LIMIT 1", (sha256,)
    ).fetchone()
    return None if found is None else Made(found["run_id"], found["output"], found["frame"])


def find_output_url(connection: sqlite3.Connection, url: str) -> LedgerRow | None:
    """Returns the latest run with an output that the service served at this address, or None."""
    found = connection.execute(
        f"""
        SELECT {WHOLE_ROW} FROM runs
        WHERE instr(outputs, ?) AND deleted = 0
        AND EXISTS (SELECT 1 FROM json_each(outputs) AS made WHERE json_extract(made.value, '$.url') = ?)
        ORDER BY created DESC, run_id DESC LIMIT 1
        """,
        (json.dumps(url, ensure_ascii=False), url),
    ).fetchone()
    return None if found is None else row_from_sql(found)


def money(
    connection: sqlite3.Connection,
    *,
    notebook: str | None,
    everywhere: bool = False,
    service: str | None = None,
    since: datetime | None = None,
) -> tuple[Decimal, Decimal]:
    """Sums money of a notebook (None: of work outside notebooks), or of all with `everywhere`.

    Returns:
        What was billed, and what may still be: the estimates of runs in flight and of successes not priced yet.
    """
    where, values = ["1 = 1"], list[Any]()
    if not everywhere:
        where.append("notebook IS ?")
        values.append(notebook)
    for clause, value in (
        ("service = ?", service),
        ("created >= ?", time_text(since)),
    ):
        if value is not None:
            where.append(clause)
            values.append(value)
    found = connection.execute(
        f"SELECT state, deleted, cost_usd, estimated_usd FROM runs WHERE {' AND '.join(where)}", values
    )
    spent = reserved = Decimal(0)
    for row in found:
        cost = read_money(row["cost_usd"])
        if cost is not None:
            spent += cost
        elif _may_still_cost(row):
            reserved += read_money(row["estimated_usd"]) or Decimal(0)
    return spent, reserved


def _may_still_cost(row: sqlite3.Row) -> bool:
    if row["state"] == RunState.UNCERTAIN and row["deleted"]:
        return False  # the person looked, and says that it never got there
    return row["state"] in (*UNFINISHED, RunState.SUCCEEDED)


_GROUPS = {"model": "model", "day": "substr(created, 1, 10)", "notebook": "coalesce(notebook, '')"}


def spending(connection: sqlite3.Connection, by: str, service: str | None) -> tuple[Spending, ...]:
    """Adds up what was billed by model, day (UTC) or notebook; forgotten runs count.

    Returns:
        Largest sum first; days newest first. Runs that cost nothing and cannot any more are not counted.
    """
    sums: dict[str, list[Any]] = {}
    # Summed here, not in SQL: amounts are exact decimals, kept as text.
    found = connection.execute(
        f"SELECT {_GROUPS[by]} AS name, state, deleted, cost_usd, estimated_usd FROM runs "
        "WHERE :service IS NULL OR service = :service",
        {"service": service},
    )
    for row in found:
        cost = read_money(row["cost_usd"])
        reserved = None
        if cost is None and _may_still_cost(row):
            reserved = read_money(row["estimated_usd"]) or Decimal(0)
        if not cost and reserved is None:
            continue
        group = sums.setdefault(row["name"], [0, Decimal(0), Decimal(0)])
        group[0] += 1
        group[1] += cost or Decimal(0)
        group[2] += reserved or Decimal(0)
    listed = [Spending(name, *values) for name, values in sums.items()]
    if by == "day":
        return tuple(sorted(listed, key=lambda item: item.name, reverse=True))
    return tuple(sorted(listed, key=lambda item: (-item.spent_usd, item.name)))


def budget(connection: sqlite3.Connection, notebook: str | None) -> Decimal | None:
    """Returns the budget of a notebook (None: of all work outside notebooks), or None when none is set."""
    found = connection.execute("SELECT budget_usd FROM budgets WHERE notebook = ?", (notebook or "",)).fetchone()
    return None if found is None else read_money(found["budget_usd"])


def past_runs(connection: sqlite3.Connection, model: str, service: str, limit: int) -> tuple[PastRun, ...]:
    """Returns how long the latest successful runs of a model took, latest first."""
    found = connection.execute(
        """
        SELECT elapsed_s, signature, work FROM runs
        WHERE model = ? COLLATE NOCASE AND service = ? AND +state = 'succeeded' AND elapsed_s > 0
        ORDER BY created DESC LIMIT ?
        """,
        (model, service, limit),
    )
    return tuple(PastRun(row["elapsed_s"], row["signature"], row["work"]) for row in found)


def _candidates(connection: sqlite3.Connection, wanted: str) -> dict[str, str | None]:
    """Returns run id and notebook of the runs that may be meant: by index first, by a scan of the ids last."""
    if not wanted.isalnum():
        return {}
    found = connection.execute(
        """
        SELECT run_id, notebook FROM runs
        WHERE deleted = 0 AND ((run_id >= :wanted AND run_id < :wanted || '~') OR short_id = :short)
        """,
        {"wanted": wanted, "short": wanted.lower()},
    ).fetchall()
    if not found:
        found = connection.execute(
            """
            SELECT run_id, notebook FROM runs
            WHERE deleted = 0 AND run_id IN (SELECT run_id FROM runs WHERE run_id LIKE '%' || ?)
            """,
            (wanted,),
        ).fetchall()
    return {row["run_id"]: row["notebook"] for row in found}
