"""The ledger's file as a file: who may read it, its journal, and how a damaged one is moved out of the way."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from wiro_nb.ledger.errors import CORRUPT, primary_code

_RESCUE_WAIT_S = 30.0
_MAKING = threading.Lock()


def open_file(path: Path) -> sqlite3.Connection:
    """Opens a SQLite file as the ledger uses it: transactions are begun by hand."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)


def open_readonly(path: Path) -> sqlite3.Connection:
    """Opens a file that this process may read and not write."""
    address = path.absolute().as_uri()
    connection = _open_address(f"{address}?mode=ro")
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # The companions of its journal cannot be made beside it: what the file itself has must do.
        return _open_address(f"{address}?immutable=1")
    return connection


def _open_address(address: str) -> sqlite3.Connection:
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)


def use_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    """Has the file written in WAL mode, where its folder can have one."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            code = primary_code(error)
            if code == sqlite3.SQLITE_BUSY and time.monotonic() < deadline:
                # Two kernels make the file at the same moment: for this switch SQLite does not wait by itself.
                time.sleep(0.01)
                continue
            # Network folders and read-only files have no WAL; SQLite's older journal is slower but as safe.
            if code not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR):
                raise
            return


def make_private(path: Path) -> bool:
    """Makes the file when it is missing, and closes it to other people; False when it can only be read.

    A file that is there is never opened here. On POSIX, closing any handle of a file gives up every lock that
    this process has on it, also those of SQLite's connections: another process would then take itself for the
    last one and delete the journal that is still written to.
    """
    # Made before SQLite sees it: -wal and -shm take over the mode of the main file.
    with _MAKING:  # no thread of this process may connect between the making and the closing
        if not path.exists():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if not os.access(path, os.W_OK):
        return False
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return True


def identity(path: Path) -> tuple[int, int] | None:
    """Returns what tells this very file from another one under its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_damaged(path: Path) -> bool:
    """True when SQLite finds a fault in the file."""
    try:
        with closing(open_file(path)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            return bool(answer != "ok")
    except sqlite3.DatabaseError as error:
        return primary_code(error) in CORRUPT


def move_aside(path: Path) -> Path:
    """Renames a damaged file with its companions; returns its new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    aside = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
    for ending in ("", "-wal", "-shm"):
        source = path.with_name(path.name + ending)
        if source.exists():
            source.rename(aside.with_name(aside.name + ending))
    return aside


@contextmanager
def alone(marker: Path) -> Iterator[None]:
    """Lets one process at a time rescue a file; a marker left by a dead one is taken over after 30 s."""
    deadline = time.monotonic() + 2 * _RESCUE_WAIT_S
    while True:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            _drop_stale(marker)
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def wait_for_rescue(marker: Path) -> None:
    """Waits while another process replaces the file."""
    deadline = time.monotonic() + _RESCUE_WAIT_S
    while marker.exists() and time.monotonic() < deadline:
        _drop_stale(marker)
        time.sleep(0.02)


def remove(path: Path) -> None:
    """Deletes a file of SQLite with its companions."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _drop_stale(marker: Path) -> None:
    try:
        if time.time() - marker.stat().st_mtime > _RESCUE_WAIT_S:
            marker.unlink(missing_ok=True)
    except FileNotFoundError:
        return
