"""Leases: which process tracks a run. Functions on a connection, called inside the ledger's transactions.

A kernel that dies cannot say so. It holds its runs only until the lease ends, or until another kernel on the
same machine sees that it is gone; then that one may take them.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import sys
from datetime import datetime, timedelta

from wiro_nb.ledger.rows import time_text


def new_owner() -> str:
    """Returns a name for this process that no other has, even after a restart with the same process id."""
    return f"{os.getpid()}-{socket.gethostname()}-{secrets.token_hex(8)}"


def claim(connection: sqlite3.Connection, run_id: str, owner: str, now: datetime, ttl_s: float) -> bool:
    """Takes a run that is free, one's own, or whose lease has ended or whose owner is dead.

    Returns:
        False when another process holds it.
    """
    held = connection.execute("SELECT lease_owner FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    dead = held["lease_owner"] if held is not None and is_dead(held["lease_owner"]) else None
    changed = connection.execute(
        """
        UPDATE runs SET lease_owner = :owner, lease_until = :until
        WHERE run_id = :run_id
        AND (lease_owner IS NULL OR lease_owner = :owner OR lease_owner = :dead OR lease_until <= :now)
        """,
        {
            "run_id": run_id,
            "owner": owner,
            "dead": dead,
            "now": time_text(now),
            "until": time_text(now + timedelta(seconds=ttl_s)),
        },
    )
    return changed.rowcount == 1


def is_dead(owner: str | None) -> bool:
    """True when a process of this machine surely does not live any more: its lease need not be waited for."""
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


def asked_to_cancel(connection: sqlite3.Connection, owner: str) -> frozenset[str]:
    """Returns the ids of an owner's runs whose end somebody asked for."""
    found = connection.execute("SELECT run_id FROM runs WHERE lease_owner = ? AND cancel_at IS NOT NULL", (owner,))
    return frozenset(row["run_id"] for row in found)


def release(connection: sqlite3.Connection, owner: str, run_id: str | None = None) -> int:
    """Gives up one run, or all that the owner holds; returns how many."""
    changed = connection.execute(
        """
        UPDATE runs SET lease_owner = NULL, lease_until = NULL
        WHERE lease_owner = :owner AND (:run_id IS NULL OR run_id = :run_id)
        """,
        {"owner": owner, "run_id": run_id},
    )
    return changed.rowcount
