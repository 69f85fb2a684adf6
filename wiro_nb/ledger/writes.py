"""Writes of the ledger as functions on a connection: the steps of a run, other changes of its row, leases.

A lease names the process that drives a run. The leases of a killed process end when they expire, or when another
process on the same machine finds it gone; then that process may take over its runs.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from wiro_nb.errors import NOTHING_SENT, LedgerError
from wiro_nb.ledger.budget import check_budget
from wiro_nb.ledger.queries import find_task, get
from wiro_nb.ledger.reuse import Reuse, answer_plans
from wiro_nb.ledger.rows import insert_row, time_text, to_sql
from wiro_nb.ledger.state import LedgerRow, RunState, Stage
from wiro_nb.redaction import redact, redact_value, register_secret

_NEXT: Mapping[RunState, frozenset[RunState]] = {
    RunState.PLANNED: frozenset({RunState.SUBMITTING, RunState.CANCELLED, RunState.FAILED}),
    # Back to planned only when the service refused, or when nothing was sent: then it may be sent again.
    RunState.SUBMITTING: frozenset({RunState.SUBMITTED, RunState.UNCERTAIN, RunState.PLANNED, RunState.FAILED}),
    RunState.SUBMITTED: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
    # Never back to planned or submitting: that would pay twice.
    RunState.UNCERTAIN: frozenset({RunState.SUBMITTED, RunState.FAILED, RunState.CANCELLED}),
}
_AMENDABLE = frozenset(
    {"outputs", "record", "message", "folder", "starred", "cancel_at", "estimated_usd", "cost_usd"}
)
_TOLD = frozenset({"message", "error", "request"})
"""Texts of the service and the user, which are masked when a step writes them."""


# The steps of a run ----------------------------------------------------------------------------


def insert_plans(
    connection: sqlite3.Connection,
    rows: Sequence[LedgerRow],
    *,
    budget_usd: Decimal | None = None,
    reuse: Reuse | None = None,
) -> Sequence[LedgerRow]:
    """Writes intents to run: all that no earlier run answers, or none when these go over the budget together.

    The look-up, the check and the insert are one transaction: two kernels cannot both pay for one request, or
    both take the last of the budget.

    Args:
        connection: Of the ledger.
        rows: In state planned, of one notebook and service.
        budget_usd: Limit for the rows' notebook and service. The notebook's own budget counts too; the
            lower one holds.
        reuse: Which earlier runs answer; None inserts every row.

    Returns:
        For each row itself, or the earlier run that answers its request, as `answer_plans` decides.

    Raises:
        BudgetExceeded: Billed and reserved money with these estimates would go over.
        LedgerError: Nothing was written, so nothing may be sent.
    """
    result = answer_plans(connection, rows, reuse)
    new = [row for row, answer in zip(rows, result, strict=True) if answer is row]
    if new:
        check_budget(connection, new, budget_usd)
    for row in new:
        insert_row(connection, row)
    return result


def insert_attached(connection: sqlite3.Connection, row: LedgerRow) -> LedgerRow:
    """Writes a run for a task that exists already; returns the run that owns the task if there is one.

    Args:
        connection: Of the ledger.
        row: In state submitted, with a task id.
    """
    assert row.task_id is not None
    register_secret(row.task_token)
    known = find_task(connection, row.service, row.base_url, row.task_id)
    if known is not None:
        return _change(connection, known.run_id, deleted=False)
    insert_row(connection, row)
    return _change(connection, row.run_id, request=redact_value(row.request))


def mark_submitting(connection: sqlite3.Connection, run_id: str, at: datetime) -> LedgerRow:
    """Records that the request is about to be sent.

    Raises:
        LedgerError: With `reason` "cancelled": it was asked to be cancelled, maybe in another process.
    """
    row = get(connection, run_id)
    # Not even from submitting: of two processes about to send the same run the second must not.
    _check_step(row, RunState.SUBMITTING)
    if row.cancel_at is not None:
        raise LedgerError(
            f"Run {row.short_id} was cancelled.", reason="cancelled", billed=NOTHING_SENT, run_id=run_id
        )
    return _change(connection, run_id, state=RunState.SUBMITTING, submitting_at=at, message="")


def mark_planned(connection: sqlite3.Connection, run_id: str) -> LedgerRow:
    """Writes that the service refused for now, or that nothing was sent: the run waits for its turn."""
    return _step(connection, run_id, RunState.PLANNED, submitting_at=None, message="")


def mark_submitted(
    connection: sqlite3.Connection, run_id: str, task_id: str, task_token: str | None, at: datetime | None = None
) -> LedgerRow:
    """Writes the service's answer to Run, or the task adopted for an uncertain run.

    Raises:
        LedgerError: An uncertain run asks for a task that another run owns.
    """
    register_secret(task_token)
    row = get(connection, run_id)
    if row.state is RunState.UNCERTAIN:
        owner = find_task(connection, row.service, row.base_url, task_id)
        if owner is not None and owner.run_id != run_id:
            raise LedgerError(
                f"Task {task_id} belongs to run {owner.short_id} already.",
                hint=f"%wiro show {owner.short_id}",
                reason="task taken",
                run_id=owner.run_id,
            )
    if row.state is RunState.SUBMITTED and row.task_id == task_id:
        return row
    _check_step(row, RunState.SUBMITTED)
    return _change(
        connection,
        run_id,
        request=redact_value(row.request),  # the service has its presigned addresses
        state=RunState.SUBMITTED,
        task_id=task_id,
        task_token=task_token,
        submitted_at=at or row.submitted_at or row.submitting_at,
        stage=Stage.QUEUED,
        message="",
        error=None,
    )


def mark_uncertain(
    connection: sqlite3.Connection, run_id: str, message: str = "", error: dict[str, Any] | None = None
) -> LedgerRow:
    """Records that the answer to Run was lost: the task may exist."""
    return _step(connection, run_id, RunState.UNCERTAIN, message=message, error=error)


def finish(connection: sqlite3.Connection, /, run_id: str, state: RunState, **changes: Any) -> LedgerRow:
    """Records the end of a run.

    Args:
        connection: Of the ledger.
        run_id: The run.
        state: How it ended.
        changes: Fields of the row that are known now; what is None stays as it is.

    Raises:
        LedgerError: The run has ended, or does not end this way.
    """
    known = {name: value for name, value in changes.items() if value is not None}
    if "compute_s" not in known and {"started_at", "finished_at"} <= known.keys():
        known["compute_s"] = max(0.0, (known["finished_at"] - known["started_at"]).total_seconds())
    known |= {} if state is RunState.FAILED else {"stage": Stage.DONE}
    return _step(connection, run_id, state, **known, lease_owner=None, lease_until=None)


def _step(connection: sqlite3.Connection, run_id: str, state: RunState, **changes: Any) -> LedgerRow:
    row = get(connection, run_id)
    if row.state is not state or state.is_final:
        _check_step(row, state)
    told = {**changes, "request": row.request} if state.is_final else changes
    masked = {name: redact_value(told[name]) for name in _TOLD & told.keys()}
    return _change(connection, run_id, state=state, **{**told, **masked})


def _check_step(row: LedgerRow, state: RunState) -> None:
    if state not in _NEXT.get(row.state, ()):
        raise LedgerError(
            f"Run {row.short_id} is {row.state} and cannot become {state}.",
            hint=f"%wiro show {row.short_id}",
            reason="transition",
            run_id=row.run_id,
        )


# Beside the steps ------------------------------------------------------------------------------


def amend(connection: sqlite3.Connection, /, run_id: str, **changes: Any) -> LedgerRow:
    """Changes what is not part of the state: outputs, record, folder, star...

    Raises:
        LedgerError: A field that only the steps may change.
    """
    forbidden = sorted(set(changes) - _AMENDABLE)
    if forbidden:
        raise LedgerError(f"Not to be amended: {', '.join(forbidden)}.", reason="transition")
    return _change(connection, run_id, **changes)


def reopen(connection: sqlite3.Connection, run_id: str, reason: str) -> LedgerRow:
    """Makes an ended run a submitted one again; error, cost and times of its end go, its message says why."""
    message = redact(f"Set from {get(connection, run_id).state} by hand: {reason}")
    end = dict.fromkeys(("error", "exit_code", "cost_usd", "finished_at", "compute_s", "record"))
    return _change(connection, run_id, state=RunState.SUBMITTED, stage=Stage.QUEUED, message=message, **end)


def _change(connection: sqlite3.Connection, run_id: str, **changes: Any) -> LedgerRow:
    """Changes fields of a run; returns its new row."""
    _assign(connection, run_id, changes)
    return get(connection, run_id)


def _assign(connection: sqlite3.Connection, run_id: str, changes: Mapping[str, Any], condition: str = "") -> None:
    # Column names come from this module, never from outside.
    names = ", ".join(f"{name} = :{name}" for name in changes)
    values = {name: to_sql(name, value) for name, value in changes.items()}
    connection.execute(f"UPDATE runs SET {names} WHERE run_id = :run_id {condition}", {**values, "run_id": run_id})


def request_cancel(connection: sqlite3.Connection, run_id: str, at: datetime) -> LedgerRow:
    """Records a cancel request; the process that drives the run, now or later, performs it."""
    row = get(connection, run_id)
    if row.state.is_final or row.cancel_at is not None:
        return row
    return _change(connection, run_id, cancel_at=at)


def write_progress(connection: sqlite3.Connection, progress: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes stage, percent, message and start of submitted runs, by run id; ended runs stay as they are."""
    for run_id, changes in progress.items():
        _assign(connection, run_id, changes, "AND state = 'submitted'")


def note_frame(connection: sqlite3.Connection, sha256: str, run_id: str, output: int, frame: int) -> None:
    """Records that a picture with this hash is a frame of a run's clip; `frame` as the caller counts it."""
    connection.execute("INSERT OR IGNORE INTO media VALUES (?, ?, ?, ?)", (sha256, run_id, output, frame))


def forget(connection: sqlite3.Connection, run_id: str) -> None:
    """Hides a run from the lists. Its cost still counts as spent; its files are kept.

    Raises:
        LedgerError: The run is in flight.
    """
    row = get(connection, run_id)
    if not row.state.is_final and row.state is not RunState.UNCERTAIN:
        raise LedgerError(
            f"Run {row.short_id} is not over yet.", hint=f"%wiro cancel {row.short_id}", reason="transition"
        )
    _change(connection, run_id, deleted=True)


# Leases --------------------------------------------------------------------------------------


def new_owner() -> str:
    """Returns a name for this process that no other has, even after a restart with the same process id."""
    return f"{os.getpid()}-{socket.gethostname()}-{secrets.token_hex(8)}"


def claim(connection: sqlite3.Connection, run_id: str, owner: str, now: datetime, ttl_s: float) -> bool:
    """Acquires the lease of a run that is free or already held, has expired, or whose owner has exited.

    Returns:
        False when another process holds it, or the run has ended.
    """
    held = connection.execute("SELECT lease_owner FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    values = {
        "run_id": run_id,
        "owner": owner,
        "dead": held["lease_owner"] if held is not None and is_dead(held["lease_owner"]) else None,
        "now": time_text(now),
        "until": time_text(now + timedelta(seconds=ttl_s)),
    }
    changed = connection.execute(
        """
        UPDATE runs SET lease_owner = :owner, lease_until = :until
        WHERE run_id = :run_id AND state NOT IN ('succeeded', 'failed', 'cancelled')
        AND (lease_owner IS NULL OR lease_owner = :owner OR lease_owner = :dead OR lease_until <= :now)
        """,
        values,
    )
    return changed.rowcount == 1


def is_dead(owner: str | None) -> bool:
    """True when the owner is a process of this machine that has certainly exited: its lease is free."""
    process_id, _, rest = (owner or "").partition("-")
    # On Windows asking this way would end the process; there the lease has to run out.
    if rest.rpartition("-")[0] != socket.gethostname() or not process_id.isdecimal() or sys.platform == "win32":
        return False
    try:
        os.kill(int(process_id), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def heartbeat(connection: sqlite3.Connection, owner: str, now: datetime, ttl_s: float) -> dict[str, bool]:
    """Extends the leases of an owner; returns the runs it still holds, and whether their cancel was asked for."""
    until = time_text(now + timedelta(seconds=ttl_s))
    connection.execute("UPDATE runs SET lease_until = ? WHERE lease_owner = ?", (until, owner))
    held = connection.execute("SELECT run_id, cancel_at IS NOT NULL FROM runs WHERE lease_owner = ?", (owner,))
    return {run_id: bool(is_asked) for run_id, is_asked in held}


def release(connection: sqlite3.Connection, owner: str, run_id: str | None = None) -> int:
    """Releases the lease of one run, or of all that the owner holds; returns how many."""
    changed = connection.execute(
        """
        UPDATE runs SET lease_owner = NULL, lease_until = NULL
        WHERE lease_owner = :owner AND (:run_id IS NULL OR run_id = :run_id)
        """,
        {"owner": owner, "run_id": run_id},
    )
    return changed.rowcount
