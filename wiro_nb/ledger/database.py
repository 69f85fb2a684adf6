"""The database of the ledger: one thread owns its SQLite connection.

Threads and coroutines hand their calls to it. It makes the calls that wait in one transaction, so that a hundred
writes wait for the disk once, and ends it early where it takes long, because other processes wait. Each call keeps
a savepoint of its own: one that fails takes back its own changes only. Several processes meet in the file, in WAL
mode. A damaged file is replaced on the way, after which the calls are made again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from wiro_nb.errors import NOTHING_SENT, LedgerError
from wiro_nb.ledger.recovery import is_lost, replace_damaged, wait_for_recovery
from wiro_nb.ledger.sqlite_file import file_identity, is_corrupt, ledger_error, open_database

T = TypeVar("T")

_LARGEST_BATCH = 64
_LONGEST_TRANSACTION_S = 1.0


@dataclass(eq=False, slots=True)
class _Call:
    """A queued call. It is `done` after it has returned or raised."""

    work: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    wrote: bool = False
    billed: str = ""
    done: bool = False
    result: Any = None
    error: BaseException | None = None


class Database:
    """A SQLite file, shared by threads and processes.

    Args:
        path: The file; made (0600, as its -wal and -shm files) when missing.
        busy_timeout_s: How long a write waits for another process.
        connect: Opens the file; tests put a full disk or a read-only file here.

    Attributes:
        path: As given.

    Raises:
        LedgerError: The file cannot be opened, or a later version wrote it.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_s: float = 5.0,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._connect = connect
        self._notices: list[str] = []
        self._reset()
        try:
            self.read(lambda connection: connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone())
        except BaseException as error:
            self.close()
            if isinstance(error, LedgerError):
                error.billed = error.billed or NOTHING_SENT
            raise

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._current: _Call | None = None
        self._failure: BaseException | None = None
        self._began_at = 0.0

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queues a call for the thread; it may use `read` and `write`.

        Args:
            work: May be made again: after a damaged file was replaced, or when another call was cancelled.

        Returns:
            Done once everything the call wrote is on the disk. Cancelling it before takes the call back.
        """
        if self._pid != os.getpid():
            self._reset()  # after a fork thread and connection belong to the parent
        call = _Call(work)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wiro-ledger", daemon=True)
                self._thread.start()
            self._calls.put(call)
        return call.future

    def call(self, work: Callable[[], T]) -> T:
        """Makes a call on the thread and waits for it; a nested call runs as part of the outer one.

        Raises:
            LedgerError: As SQLite failed, in plain words; nothing was changed.
        """
        if threading.current_thread() is self._thread:
            return work()
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:  # an interrupt of the waiting thread
            future.cancel()
            raise

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `work` on the connection; see `call`."""
        return self.call(lambda: work(self._opened()))

    def write(self, work: Callable[[sqlite3.Connection], T], *, billed: str = "") -> T:
        """Runs `work` in one atomic write transaction, durable when this returns.

        Args:
            work: Gets the connection.
            billed: What an error says about cost.
        """
        return self.call(lambda: work(self._begin(billed)))

    def take_notices(self) -> tuple[str, ...]:
        """Returns what to tell the user (a damaged or lost file was replaced), once."""
        notices, self._notices = tuple(self._notices), []
        return notices

    def close(self) -> None:
        """Makes the queued calls, then closes the connection; the next use reopens it."""
        if self._pid != os.getpid():
            self._reset()
        with self._lock:
            if self._thread is not None:
                self._calls.put(None)
                self._thread.join()
                self._thread = None

    # On the ledger's thread ------------------------------------------------------------------

    def _run(self) -> None:
        while self._run_next():
            pass
        self._disconnect()

    def _run_next(self) -> bool:
        """Makes the queued calls; False when the thread must stop."""
        waiting = [self._calls.get()]
        with suppress(Empty):
            while waiting[-1] is not None and len(waiting) < _LARGEST_BATCH:
                waiting.append(self._calls.get_nowait())
        self._run_calls([call for call in waiting if call is not None])
        return waiting[-1] is not None

    def _run_calls(self, calls: list[_Call]) -> None:
        is_replaced = False
        while calls := [call for call in calls if not call.future.cancelled()]:
            try:
                if not self._run_batch(calls):
                    continue
            except BaseException as error:
                failure = error
                self._roll_back()
                if is_corrupt(error) and not is_replaced:
                    is_replaced = True
                    try:
                        self._replace_damaged()
                        continue
                    except Exception as second:
                        failure = second
                for call in calls:
                    if not call.done or (call.wrote and call.error is None):
                        call.error = failure
                    call.done = True
            self._current = self._failure = None
            for call in calls:
                if call.done:
                    self._answer(call)
            calls = [call for call in calls if not call.done]

    def _run_batch(self, calls: list[_Call]) -> bool:
        """Makes calls in one transaction until it has taken long; other processes wait for it.

        Returns:
            False when a call was cancelled meanwhile, and nothing was written.
        """
        self._failure = None
        connection = self._open()
        for call in calls:
            call.wrote, call.done, call.error = False, False, None
        for call in calls:
            if connection.in_transaction and time.monotonic() - self._began_at > _LONGEST_TRANSACTION_S:
                break
            self._current = call
            try:
                call.result = call.work()
                if call.wrote:
                    connection.execute("RELEASE one")
            except BaseException as error:
                if is_corrupt(error):
                    raise
                call.error = error
                if call.wrote and connection.in_transaction:
                    connection.execute("ROLLBACK TO one")
                    connection.execute("RELEASE one")
                elif call.wrote:
                    self._failure = error  # SQLite could not begin, or gave the whole transaction up
            call.done = True
        if self._failure is not None:
            raise self._failure
        if any(call.wrote and call.future.cancelled() for call in calls):
            self._roll_back()
            return False
        if connection.in_transaction:
            connection.execute("COMMIT")
        return True

    def _begin(self, billed: str) -> sqlite3.Connection:
        call, connection = self._current, self._opened()
        assert call is not None
        call.billed = billed or call.billed
        if not call.wrote:
            call.wrote = True
            if self._failure is not None:
                raise self._failure  # no second wait for a file that another process holds
            if not connection.in_transaction:
                connection.execute("BEGIN IMMEDIATE")
                self._began_at = time.monotonic()
            connection.execute("SAVEPOINT one")
        return connection

    def _answer(self, call: _Call) -> None:
        error = call.error
        if not call.future.set_running_or_notify_cancel():
            return
        if isinstance(error, (sqlite3.Error, OSError)):
            error = ledger_error(error, self.path, writing=call.wrote, billed=call.billed)
        if error is not None:
            call.future.set_exception(error)
        else:
            call.future.set_result(call.result)

    def _opened(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._identity != file_identity(self.path):
            # The file was moved aside by another process, or deleted: writing on would write into nowhere.
            self._disconnect()
        while self._connection is None:
            wait_for_recovery(self.path)
            if is_lost(self.path):
                self._replace_damaged()
            before = file_identity(self.path)
            self._connection = self._open_file(self.path)
            self._identity = file_identity(self.path)
            if before not in (None, self._identity):
                self._disconnect()  # another process replaced the file while it was opened
        return self._connection

    def _open_file(self, path: Path) -> sqlite3.Connection:
        return open_database(path, self._connect, self._busy_timeout_s)

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _replace_damaged(self) -> None:
        self._disconnect()
        if notice := replace_damaged(self.path, self._open_file):
            self._notices.append(notice)
