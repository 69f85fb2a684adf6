"""The ledger of all runs, written before each step that may cost money.

The write-ahead rule: a method that writes returns only when the disk has it. What is known after a crash is then
never less than what the service was asked to do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Concatenate, ParamSpec, TypeVar

from wiro_nb.errors import NOTHING_SENT, LedgerError
from wiro_nb.ledger import budget, queries, recovery, reuse, rows, writes
from wiro_nb.ledger.database import Database

P = ParamSpec("P")
T = TypeVar("T")


def _read(query: Callable[Concatenate[sqlite3.Connection, P], T]) -> Callable[Concatenate[Ledger, P], T]:
    """Makes a method of a function that reads from a connection."""

    def method(self: Ledger, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.read(lambda connection: query(connection, *args, **kwargs))

    method.__name__, method.__doc__ = query.__name__, query.__doc__
    return method


def _write(
    work: Callable[Concatenate[sqlite3.Connection, P], T], billed: str = ""
) -> Callable[Concatenate[Ledger, P], T]:
    """Makes a method of a function that writes: one transaction, durable when it returns."""

    def method(self: Ledger, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.write(lambda connection: work(connection, *args, **kwargs), billed=billed)

    method.__name__, method.__doc__ = work.__name__, work.__doc__
    return method


class Ledger(Database):
    """All runs of this user on this machine; for many threads and several processes at once.

    A damaged or lost file is replaced, from itself and from the runs' folders that are noted beside it.
    """

    get = _read(queries.get)
    lookup = _read(queries.lookup)
    find = _read(queries.find)
    list = _read(queries.select)
    unfinished = _read(queries.unfinished)
    answer_plans = _read(reuse.answer_plans)
    incomplete = _read(queries.incomplete)
    find_task = _read(queries.find_task)
    find_maker = _read(queries.find_maker)
    frame_hashes = _read(queries.frame_hashes)
    past_runs = _read(queries.past_runs)
    spending = _read(budget.spending)
    read_budget = _read(budget.read_budget)
    get_budget = _read(budget.get_budget)

    insert_plans = _write(writes.insert_plans, NOTHING_SENT)
    insert_attached = _write(writes.insert_attached)
    mark_submitting = _write(writes.mark_submitting, NOTHING_SENT)
    mark_planned = _write(writes.mark_planned)
    mark_submitted = _write(writes.mark_submitted)
    mark_uncertain = _write(writes.mark_uncertain)
    finish = _write(writes.finish)
    amend = _write(writes.amend)
    reopen = _write(writes.reopen)
    request_cancel = _write(writes.request_cancel)
    write_progress = _write(writes.write_progress)
    note_frame = _write(writes.note_frame)
    forget = _write(writes.forget)
    reinsert = _write(rows.insert_missing)
    claim = _write(writes.claim)
    heartbeat = _write(writes.heartbeat)
    release = _write(writes.release)

    def set_budget(self, notebook: str | None, budget_usd: Decimal | None) -> None:
        """Sets or, with None, removes the budget of a notebook."""
        self.write(lambda connection: budget.set_budget(connection, notebook, budget_usd))
        recovery.remember_budget(self.path, notebook, budget_usd)

    def check_integrity(self) -> str:
        """Returns "ok", or SQLite's first complaint about the file.

        A damaged file is replaced on the way, as at any other moment; `take_notices` then tells of it.
        """
        try:
            self.read(recovery.check_integrity)
        except LedgerError as error:
            return str(error.__cause__)
        return "ok"

    def export_lines(self) -> Iterator[str]:
        """Yields every run as one line of JSON, without tokens and machine-specific fields."""
        yield from map(rows.export_line, self.list(limit=None))
