"""Putting rows into the ledger's table, and getting back what a damaged file still gives."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from wiro_nb.ledger.rows import COLUMNS, LedgerRow, row_from_sql, row_to_sql

_ALL = (*COLUMNS, "short_id", "search_text", "signature", "work")
_INSERT = f"INTO runs ({', '.join(_ALL)}) VALUES ({', '.join(':' + name for name in _ALL)})"


def insert(connection: sqlite3.Connection, row: LedgerRow) -> None:
    """Adds a row; SQLite refuses an id that is there already."""
    connection.execute(f"INSERT {_INSERT}", row_to_sql(row))


def insert_missing(connection: sqlite3.Connection, rows: Iterable[LedgerRow]) -> int:
    """Adds the rows whose ids are not there yet; returns how many."""
    return sum(connection.execute(f"INSERT OR IGNORE {_INSERT}", row_to_sql(row)).rowcount for row in rows)


def refill(
    connection: sqlite3.Connection, damaged: Path, rebuild: Callable[[], Iterable[LedgerRow]] | None
) -> str:
    """Fills a new ledger from a damaged one first, and from sidecars for what is missing.

    The damaged file comes first because only it knows the tasks in flight and their tokens.

    Returns:
        A sentence that says how much came back.
    """
    read_back = insert_missing(connection, _readable_rows(damaged))
    for notebook, budget_usd in _readable_budgets(damaged):
        connection.execute("INSERT OR IGNORE INTO budgets VALUES (?, ?)", (notebook, budget_usd))
    from_sidecars = insert_missing(connection, rebuild()) if rebuild is not None else 0
    return (
        f"The new one has {_runs(read_back)} read from it and {_runs(from_sidecars)} from the run folders. "
        "Runs that were under way may be missing: %wiro attach TASK brings them back."
    )


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _readable_rows(damaged: Path) -> Iterator[LedgerRow]:
    # A broken page stops a scan where it lies; from both ends all but that page can be reached.
    for order in ("ASC", "DESC"):
        for stored in _scan(damaged, f"SELECT * FROM runs ORDER BY rowid {order}"):
            try:
                # A file that could not be migrated lacks the columns of later versions.
                row = row_from_sql(map(dict(stored).get, COLUMNS))
            except (ValueError, TypeError, KeyError, IndexError):
                continue
            yield row


def _readable_budgets(damaged: Path) -> Iterator[tuple[str, str]]:
    for stored in _scan(damaged, "SELECT notebook, budget_usd FROM budgets"):
        yield stored["notebook"], stored["budget_usd"]


def _scan(damaged: Path, query: str) -> Iterator[sqlite3.Row]:
    try:
        with closing(sqlite3.connect(damaged, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            yield from connection.execute(query)
    except sqlite3.DatabaseError:
        return
