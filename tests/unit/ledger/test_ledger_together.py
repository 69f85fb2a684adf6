"""Calls that wait for the ledger's thread are committed together, and stay apart in everything else."""

from __future__ import annotations

import gc
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.errors import LedgerError
from wiro_nb.ledger.database import Database

WRITERS = 20


class Failing(sqlite3.Connection):
    """A connection that notes its statements and refuses some."""

    statements: list[str]
    broken = ""

    def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
        self.statements.append(sql)
        if self.broken and sql.startswith(self.broken):
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *rest)


class Bench:
    """A database whose statements are listened to."""

    def __init__(self, path: Path) -> None:
        self.statements: list[str] = []
        self.database = Database(path, connect=self._connect)

    def _connect(self, path: Path) -> sqlite3.Connection:
        self.connection = Failing(path, isolation_level=None, check_same_thread=False)
        self.connection.statements = self.statements
        return self.connection

    def at_once(
        self, *calls: Callable[[], Any], meanwhile: Callable[[list[Future[Any]]], object] = id
    ) -> list[Any]:
        """Has calls wait while another one is made; returns what each gave, or the exception it raised."""
        under_way, go_on = threading.Event(), threading.Event()

        def hold_up() -> None:
            under_way.set()
            assert go_on.wait(60)

        first = self.database.submit(hold_up)
        assert under_way.wait(60)
        self.statements.clear()
        futures = [self.database.submit(call) for call in calls]
        meanwhile(futures)
        go_on.set()
        first.result(60)
        return [_outcome(future) for future in futures]

    def put(self, number: int) -> Callable[[], int]:
        """Returns a call that writes a row."""
        return lambda: self.database.write(lambda connection: put(connection, number))

    def count(self) -> int:
        """Returns how many rows there are."""
        query = "SELECT count(*) FROM budgets"
        return int(self.database.read(lambda connection: connection.execute(query).fetchone()[0]))


def _outcome(future: Future[Any]) -> Any:
    try:
        return future.result(60)
    except (Exception, CancelledError) as error:
        return error


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path / "ledger.sqlite3")
    yield made
    made.database.close()


def put(connection: sqlite3.Connection, number: int) -> int:
    connection.execute("INSERT INTO budgets (notebook, budget_usd) VALUES (?, '1')", (f"{number}.ipynb",))
    return number


def test_twenty_writes_that_wait_take_one_commit(bench: Bench) -> None:
    assert bench.at_once(*map(bench.put, range(WRITERS))) == list(range(WRITERS))
    assert bench.statements.count("COMMIT") == 1
    assert bench.count() == WRITERS


def test_a_long_transaction_ends_before_the_calls_that_still_wait(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    now = time.monotonic

    def put_slowly() -> int:
        number = bench.put(0)()
        monkeypatch.setattr(time, "monotonic", lambda: now() + 1.1)  # a busy interpreter makes each statement wait
        return number

    def count_as_others_do() -> None:
        with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as other:
            seen.append(other.execute("SELECT count(*) FROM budgets").fetchone()[0])

    assert bench.at_once(put_slowly, count_as_others_do, bench.put(1)) == [0, None, 1]
    assert (seen, bench.count()) == ([1], 2)


def test_a_call_that_fails_takes_back_its_own_changes_only(bench: Bench) -> None:
    def put_twice_and_fail() -> None:
        bench.put(98)()
        bench.put(99)()
        raise LedgerError("no")

    found = bench.at_once(
        *map(bench.put, range(5)), put_twice_and_fail, bench.put(4), bench.count, lambda: 1 // 0, bench.put(5)
    )
    assert found[:5] == [0, 1, 2, 3, 4]
    assert (str(found[5].message), found[6].reason) == ("no", "constraint")
    assert (found[7], type(found[8]), found[9]) == (5, ZeroDivisionError, 5)
    assert bench.statements.count("COMMIT") == 1
    assert bench.count() == 6


@pytest.mark.parametrize("broken", ["BEGIN", "COMMIT"])
def test_when_the_file_makes_trouble_every_write_fails_and_reads_go_on(bench: Bench, broken: str) -> None:
    bench.connection.broken = broken
    *writes, read = bench.at_once(*map(bench.put, range(3)), lambda: 42)
    assert [type(outcome) for outcome in writes] == [LedgerError] * 3
    assert all("cannot be written" in outcome.message for outcome in writes)
    assert read == 42
    assert bench.statements.count("BEGIN IMMEDIATE") == 1, "nobody waits a second time"
    bench.connection.broken = ""
    assert bench.count() == 0
    assert bench.at_once(*map(bench.put, range(3))) == [0, 1, 2]


@pytest.mark.parametrize("when", ["before it is made", "while it is made"])
def test_a_cancelled_call_writes_nothing_and_the_others_are_made(bench: Bench, when: str) -> None:
    futures: list[Future[Any]] = []

    def put_and_cancel() -> None:
        bench.put(3)()
        futures[3].cancel()

    def keep(given: list[Future[Any]]) -> None:
        futures.extend(given)
        if when.startswith("before"):
            futures[3].cancel()

    found = bench.at_once(*map(bench.put, range(3)), put_and_cancel, bench.put(4), meanwhile=keep)
    assert [*found[:3], found[4]] == [0, 1, 2, 4]
    assert isinstance(found[3], CancelledError)
    assert bench.count() == 4


def test_a_closed_database_makes_what_waits_and_opens_again(bench: Bench) -> None:
    future = bench.database.submit(bench.put(1))
    bench.database.close()
    assert future.result(0) == 1
    bench.put(2)()
    assert bench.count() == 2


def test_the_thread_holds_on_to_nothing_of_the_calls_it_made(bench: Bench) -> None:
    class Held:
        pass

    def call(held: Held) -> weakref.ref[Held]:
        bench.database.call(lambda: held)
        return weakref.ref(held)

    gone = call(Held())
    gc.collect()
    assert gone() is None
