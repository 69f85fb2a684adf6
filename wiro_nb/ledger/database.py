"""The ledger's SQLite file: opening, transactions, plain words for errors, and a corrupt file.

One connection behind a lock serves all threads of a process; several processes meet in the file, in WAL
mode. Writes that come while the disk takes its time with another are committed together: each waits for the
disk as long as it has to, and a hundred wait no longer than one; one thread does the same with calls that it
makes `together`. Work is handed over as a function and not as a `with` block, because after a rescue it runs
again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from wiro_nb.errors import NOTHING_SENT, LedgerError
from wiro_nb.ledger.errors import CORRUPT, ledger_error, primary_code
from wiro_nb.ledger.files import (
    alone,
    identity,
    is_damaged,
    make_private,
    move_aside,
    open_file,
    open_readonly,
    remove,
    use_wal,
    wait_for_rescue,
)
from wiro_nb.ledger.migrations import migrate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Refill = Callable[[sqlite3.Connection, Path], str]

BUSY_TIMEOUT_S = 5.0


@dataclass(eq=False, slots=True)
class _Write:
    """A write that waits for its turn, and how it came out."""

    work: Work[Any]
    durable: bool
    busy_ms: int
    done: bool = False
    result: Any = None
    error: Exception | None = field(default=None, repr=False)


class Database:
    """A SQLite file shared by threads and processes.

    Args:
        path: The file; made (0600, as its -wal and -shm files) when missing.
        refill: Fills the tables of a new file from the damaged one, which was moved aside; returns a sentence.
        busy_timeout_s: How long a write waits for another process.
        connect: Opens the file; tests put a full disk or a read-only file here.

    Raises:
        LedgerError: The file cannot be opened, or was written by a later version.
    """

    def __init__(
        self,
        path: Path,
        *,
        refill: Refill,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        self.path = path
        self._refill = refill
        self._busy_timeout_s = busy_timeout_s
        self._connect = connect or open_file
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._pid = os.getpid()
        self._notices: list[str] = []
        self._waiting: list[_Write] = []
        self._queue_lock = threading.Lock()
        self._pragmas: dict[str, str | int] = {}
        self._group: tuple[int, sqlite3.Connection] | None = None
        try:
            self.read(lambda connection: connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone())
        except LedgerError as error:
            error.billed = error.billed or NOTHING_SENT
            raise

    def read(self, work: Work[T]) -> T:
        """Runs `work` on the connection outside a transaction.

        Raises:
            LedgerError: As SQLite failed, in plain words.
        """
        if self._group is not None and self._group[0] == threading.get_ident():
            return _along(work, self._group[1])

        def look(connection: sqlite3.Connection) -> T:
            self._set(connection, "busy_timeout", int(self._busy_timeout_s * 1000))
            return work(connection)

        try:
            return self._with_rescue(look)
        except (sqlite3.Error, OSError) as error:
            raise ledger_error(error, self.path, writing=False) from error

    def write(
        self, work: Work[T], *, durable: bool = True, billed: str = "", busy_timeout_s: float | None = None
    ) -> T:
        """Runs `work` in a write transaction; all of it happens or nothing.

        Args:
            work: Gets the connection. May run twice when the file had to be rescued in between.
            durable: True returns only when the disk has it; False leaves that to the next durable write.
            billed: What an error says about cost.
            busy_timeout_s: In place of the usual wait for other processes.

        Raises:
            LedgerError: As SQLite failed, in plain words; nothing was changed.
        """
        if self._group is not None and self._group[0] == threading.get_ident():
            return self._write_along(work, self._group[1])
        wait_s = self._busy_timeout_s if busy_timeout_s is None else busy_timeout_s
        own = _Write(work, durable, int(wait_s * 1000))
        with self._queue_lock:
            self._waiting.append(own)
        try:
            with self._lock:
                if not own.done:  # else whoever held the lock before took it along
                    self._commit(own)
        except BaseException:
            with self._queue_lock:
                self._waiting = [write for write in self._waiting if write is not own]
            raise
        if own.error is not None:
            if isinstance(own.error, (sqlite3.Error, OSError)):
                raise ledger_error(own.error, self.path, writing=True, billed=billed) from own.error
            raise own.error
        result: T = own.result
        return result

    def together(self, calls: Sequence[Callable[[], Any]]) -> list[Any] | None:
        """Makes calls that read and write here in one transaction: they wait for the disk once, not each.

        Args:
            calls: They use `read` and `write` of this object as ever.

        Returns:
            What each gave, or the exception it raised, which took back its own changes only. None when the file
            made trouble: then nothing was changed, and each call is to be made by itself, to fail by itself.
        """
        with self._lock:
            try:
                return self._make_calls(self._open(), calls)
            except Exception:  # whatever it is, it comes again to the call whose doing it is
                return None

    def _make_calls(self, connection: sqlite3.Connection, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        self._set(connection, "synchronous", "FULL")
        self._set(connection, "busy_timeout", int(self._busy_timeout_s * 1000))
        connection.execute("BEGIN IMMEDIATE")
        self._group = (threading.get_ident(), connection)
        try:
            found = [_outcome(call) for call in calls]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        finally:
            self._group = None
        return found

    def _write_along(self, work: Work[T], connection: sqlite3.Connection) -> T:
        """Writes as part of the transaction of `together`."""
        _along(lambda inner: inner.execute("SAVEPOINT one"), connection)
        try:
            result = _along(work, connection)
        except _GroupBroken:
            raise
        except BaseException:
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
            raise
        _along(lambda inner: inner.execute("RELEASE one"), connection)
        return result

    def _commit(self, own: _Write) -> None:
        """Writes all that waits in one transaction; a write that fails takes back its own changes only."""
        with self._queue_lock:
            batch, self._waiting = self._waiting, []
        try:
            self._with_rescue(lambda connection: self._transact(connection, batch))
        except (sqlite3.Error, OSError) as error:
            for write in batch:
                write.error = error
        except BaseException:
            # An interrupt is for the thread that happens to write; the others' work is still to be done.
            with self._queue_lock:
                self._waiting = [write for write in batch if write is not own] + self._waiting
            raise
        for write in batch:
            write.done = True

    def _transact(self, connection: sqlite3.Connection, batch: list[_Write]) -> None:
        durable = any(write.durable for write in batch)
        self._set(connection, "synchronous", "FULL" if durable else "NORMAL")
        self._set(connection, "busy_timeout", max(write.busy_ms for write in batch))
        connection.execute("BEGIN IMMEDIATE")
        try:
            for write in batch:
                _run_one(connection, write)
            connection.execute("COMMIT")
        except BaseException:
            # Also on KeyboardInterrupt: an open transaction would lock every other kernel out.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _set(self, connection: sqlite3.Connection, name: str, value: str | int) -> None:
        if self._pragmas.get(name) != value:
            connection.execute(f"PRAGMA {name} = {value}")
            self._pragmas[name] = value

    def take_notices(self) -> tuple[str, ...]:
        """Returns what must be told to the person (a damaged file was moved aside), and forgets it."""
        with self._lock:
            notices, self._notices = tuple(self._notices), []
        return notices

    def rescue(self) -> None:
        """Replaces the file if it is damaged; `take_notices` then tells what came back.

        Raises:
            LedgerError: It cannot be replaced; the damaged file is still in its place.
        """
        with self._lock:
            try:
                self._rescue()
            except (sqlite3.Error, OSError) as error:
                raise ledger_error(error, self.path, writing=True) from error

    def close(self) -> None:
        """Closes the connection; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            self._pragmas = {}
            if connection is not None:
                connection.close()

    def _with_rescue(self, work: Work[T]) -> T:
        """Runs `work` on the connection, and once more on a new file where this one is damaged."""
        with self._lock:
            try:
                return work(self._open())
            except sqlite3.DatabaseError as error:
                if primary_code(error) not in CORRUPT:
                    raise
            self._rescue()
            return work(self._open())

    def _open(self) -> sqlite3.Connection:
        if self._pid != os.getpid():
            # After a fork the connection belongs to the parent; closing it here would disturb its locks.
            self._connection, self._pid, self._pragmas = None, os.getpid(), {}
        if self._connection is not None and self._identity != identity(self.path):
            # The file was moved aside by another process, or deleted: writing on would write into nowhere.
            self.close()
        if self._connection is None:
            wait_for_rescue(self._marker)
            self._connection = self._prepare(self.path)
            self._identity = identity(self.path)
        return self._connection

    @property
    def _marker(self) -> Path:
        return self.path.with_name(self.path.name + ".rescue")

    def _prepare(self, path: Path) -> sqlite3.Connection:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = self._connect(path) if make_private(path) else open_readonly(path)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")
            use_wal(connection, self._busy_timeout_s)
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _rescue(self) -> None:
        """Puts a new file in place of a damaged one, filled from what can be read of it and from the sidecars.

        The new file is whole before it takes the old one's place: dying half-way loses nothing.
        """
        self.close()
        with alone(self._marker):
            if not is_damaged(self.path):
                return
            fresh = self.path.with_name(self.path.name + ".new")
            remove(fresh)
            with closing(self._prepare(fresh)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                sentence = self._refill(connection, self.path)
                connection.execute("COMMIT")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            aside = move_aside(self.path)
            fresh.replace(self.path)
        self._notices.append(f"The ledger was damaged. The old file was kept as {aside.name}. {sentence}")


class _GroupBroken(Exception):
    """SQLite failed under one of several calls: what happens to the others is no longer their own doing."""


def _along(work: Work[T], connection: sqlite3.Connection) -> T:
    try:
        return work(connection)
    except (sqlite3.Error, OSError) as error:
        raise _GroupBroken from error


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except _GroupBroken:
        raise
    except Exception as error:
        return error


def _run_one(connection: sqlite3.Connection, write: _Write) -> None:
    """Runs one write of a batch; what it raises is kept for its caller, save what concerns the whole file."""
    write.result, write.error = None, None
    connection.execute("SAVEPOINT one")
    try:
        write.result = write.work(connection)
    except Exception as error:
        code = primary_code(error) if isinstance(error, sqlite3.Error) else 0
        if code in CORRUPT or not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO one")
        write.error = error
    connection.execute("RELEASE one")
