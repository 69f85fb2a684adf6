"""Writes of the ledger as functions on a connection: changes of a row, leases, budgets.

A lease names the process that drives a run. The leases of a killed process end when they expire, or when another
process on the same machine finds it gone; then that process may take over its runs.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from wiro_nb.errors import LedgerError
from wiro_nb.ledger import queries
from wiro_nb.ledger.rows import money_text, time_text, to_sql
from wiro_nb.ledger.state import LedgerRow, RunState


def change(connection: sqlite3.Connection, run_id: str, **changes: Any) -> LedgerRow:
    """Changes fields of a run; returns its new row."""
    _assign(connection, run_id, changes)
    return queries.get(connection, run_id)


def _assign(connection: sqlite3.Connection, run_id: str, changes: Mapping[str, Any], condition: str = "") -> None:
    # Column names come from this module, never from outside.
    names = ", ".join(f"{name} = :{name}" for name in changes)
    values = {name: to_sql(name, value) for name, value in changes.items()}
    connection.execute(f"UPDATE runs SET {names} WHERE run_id = :run_id {condition}", {**values, "run_id": run_id})


def request_cancel(connection: sqlite3.Connection, run_id: str, at: datetime) -> LedgerRow:
    """Records a cancel request; the process that drives the run, now or later, performs it."""
    row = queries.get(connection, run_id)
    if row.state.is_final or row.cancel_at is not None:
        return row
    return change(connection, run_id, cancel_at=at)


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
    row = queries.get(connection, run_id)
    if not row.state.is_final and row.state is not RunState.UNCERTAIN:
        raise LedgerError(
            f"Run {row.short_id} is not over yet.", hint=f"%wiro cancel {row.short_id}", reason="transition"
        )
    change(connection, run_id, deleted=True)


def set_budget(connection: sqlite3.Connection, notebook: str | None, budget_usd: Decimal | None) -> None:
    """Sets or, with None, removes the budget of a notebook."""
    connection.execute("DELETE FROM budgets WHERE notebook = ?", (notebook or "",))
    if budget_usd is not None:
        connection.execute("INSERT INTO budgets VALUES (?, ?)", (notebook or "", money_text(budget_usd)))


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


def heartbeat(connection: sqlite3.Connection, owner: str, now: datetime, ttl_s: float) -> frozenset[str]:
    """Extends all leases of an owner; returns the ids of the runs it still holds."""
    until = time_text(now + timedelta(seconds=ttl_s))
    connection.execute("UPDATE runs SET lease_until = ? WHERE lease_owner = ?", (until, owner))
    held = connection.execute("SELECT run_id FROM runs WHERE lease_owner = ?", (owner,))
    return frozenset(row["run_id"] for row in held)


def cancel_requests(connection: sqlite3.Connection, owner: str) -> frozenset[str]:
    """Returns the ids of an owner's runs that were asked to be cancelled."""
    found = connection.execute("SELECT run_id FROM runs WHERE lease_owner = ? AND cancel_at IS NOT NULL", (owner,))
    return frozenset(row["run_id"] for row in found)


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
