"""Writes that wait for the disk at the same time are committed together, and stay apart in everything else."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.errors import LedgerError
from wiro_nb.ledger.database import Database

WRITERS = 20


class Bench:
    """A database whose statements are listened to, and a first write that waits while others queue."""

    def __init__(self, path: Path) -> None:
        self.statements: list[str] = []
        self.database = Database(path, refill=lambda *_: "", connect=self._connect)
        self.results: dict[int, Any] = {}

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.set_trace_callback(self.statements.append)
        return connection

    def write_at_once(self, work: Any) -> int:
        """Has `WRITERS` threads write while another write is under way; returns how many commits that took."""
        under_way, go_on = threading.Event(), threading.Event()

        def hold_up(_: sqlite3.Connection) -> None:
            under_way.set()
            assert go_on.wait(60)

        def write(number: int) -> None:
            try:
                self.results[number] = self.database.write(lambda connection: work(connection, number))
            except Exception as error:
                self.results[number] = error

        first = threading.Thread(target=self.database.write, args=(hold_up,))
        first.start()
        assert under_way.wait(60)
        before = self.statements.count("COMMIT")
        writers = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 60
        while len(self.database._waiting) < WRITERS and time.monotonic() < deadline:
            threading.Event().wait(0.005)
        go_on.set()
        for thread in (first, *writers):
            thread.join(60)
        return self.statements.count("COMMIT") - before


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path / "ledger.sqlite3")
    yield made
    made.database.close()


def put(connection: sqlite3.Connection, number: int) -> int:
    connection.execute("INSERT INTO budgets (notebook, budget_usd) VALUES (?, '1')", (f"{number}.ipynb",))
    return number


def kept(bench: Bench) -> int:
    return int(
        bench.database.read(lambda connection: connection.execute("SELECT count(*) FROM budgets").fetchone()[0])
    )


def test_twenty_writes_that_wait_take_one_more_commit(bench: Bench) -> None:
    assert bench.write_at_once(put) == 2
    assert bench.results == {number: number for number in range(WRITERS)}
    assert kept(bench) == WRITERS


def test_a_write_that_fails_takes_back_its_own_changes_only(bench: Bench) -> None:
    def work(connection: sqlite3.Connection, number: int) -> int:
        put(connection, number)
        if number == 3:
            raise LedgerError("no")
        if number == 4:
            connection.execute("INSERT INTO budgets (notebook, budget_usd) VALUES ('4.ipynb', '2')")
        return number

    bench.write_at_once(work)
    assert kept(bench) == WRITERS - 2
    assert str(bench.results[3].message) == "no"
    assert isinstance(bench.results[4], LedgerError)
    assert bench.results[4].reason == "constraint"
    assert sum(isinstance(result, Exception) for result in bench.results.values()) == 2


def test_an_interrupt_hits_one_thread_and_the_others_writes_are_done(bench: Bench) -> None:
    struck: list[int] = []

    def work(connection: sqlite3.Connection, number: int) -> int:
        if number == 5 and not struck:
            struck.append(number)
            raise KeyboardInterrupt
        return put(connection, number)

    interrupted: list[threading.ExceptHookArgs] = []
    hook, threading.excepthook = threading.excepthook, interrupted.append
    try:
        bench.write_at_once(work)
    finally:
        threading.excepthook = hook
    assert struck == [5]
    assert [args.exc_type for args in interrupted] == [KeyboardInterrupt]
    assert kept(bench) == WRITERS - 1


def test_calls_of_one_thread_take_one_commit_and_fail_by_themselves(bench: Bench) -> None:
    def refuse(_: sqlite3.Connection) -> None:
        raise LedgerError("no")

    def put_and_refuse(connection: sqlite3.Connection) -> None:
        put(connection, 98)
        refuse(connection)

    before = bench.statements.count("COMMIT")
    writes = [lambda number=number: bench.database.write(lambda one: put(one, number)) for number in range(5)]
    found = bench.database.together(
        [*writes, lambda: bench.database.write(put_and_refuse), lambda: kept(bench), lambda: 1 // 0]
    )
    assert found is not None
    assert found[:5] == [0, 1, 2, 3, 4]
    assert [str(found[5].message), found[6], type(found[7])] == ["no", 5, ZeroDivisionError]
    assert bench.statements.count("COMMIT") - before == 1
    assert kept(bench) == 5


@pytest.mark.parametrize("trouble", ["a statement that fails", "a commit that fails"])
def test_calls_are_handed_back_undone_when_the_file_makes_trouble(tmp_path: Path, trouble: str) -> None:
    class Failing(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            if broken and sql.startswith(broken):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *rest)

    broken = ""
    database = Database(
        tmp_path / "ledger.sqlite3",
        refill=lambda *_: "",
        connect=lambda path: sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=Failing),
    )
    broken = "COMMIT" if "commit" in trouble else "RELEASE"
    calls = [lambda number=number: database.write(lambda one: put(one, number)) for number in range(3)]
    assert database.together(calls) is None
    broken = ""
    assert database.read(lambda one: one.execute("SELECT count(*) FROM budgets").fetchone()[0]) == 0
    assert database.together(calls) == [0, 1, 2]
    database.close()
