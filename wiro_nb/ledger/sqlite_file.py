"""Opens the ledger's SQLite file, readable by its owner alone, and says what SQLite's errors mean."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from wiro_nb.errors import LedgerError
from wiro_nb.ledger.migrations import migrate

_CREATING = threading.Lock()
_OTHER_FOLDER = "set WIRO_DATA_DIR to a folder you can write to, then restart the kernel"
_MEANINGS: dict[int, tuple[str, str, str]] = {
    sqlite3.SQLITE_BUSY: (
        "busy",
        "another program has held it for too long",
        "try again; close other kernels if it stays so",
    ),
    sqlite3.SQLITE_LOCKED: ("locked", "another part of this program is using it", "try again"),
    sqlite3.SQLITE_READONLY: ("read-only", "the file or its disk is read-only", _OTHER_FOLDER),
    sqlite3.SQLITE_PERM: ("read-only", "access to it was denied", _OTHER_FOLDER),
    sqlite3.SQLITE_CANTOPEN: ("cannot open", "the file cannot be opened", _OTHER_FOLDER),
    sqlite3.SQLITE_FULL: ("full", "the disk is full", "free some space, then try again"),
    sqlite3.SQLITE_IOERR: ("disk", "the disk answered with an error", f"check the disk, or {_OTHER_FOLDER}"),
    sqlite3.SQLITE_CORRUPT: ("corrupt", "the file is damaged", "%wiro verify"),
    sqlite3.SQLITE_NOTADB: ("corrupt", "the file is damaged", "%wiro verify"),
    sqlite3.SQLITE_CONSTRAINT: ("constraint", "the row is there already", "%wiro runs"),
}


def open_database(
    path: Path, connect: Callable[[Path], sqlite3.Connection] | None, busy_timeout_s: float
) -> sqlite3.Connection:
    """Opens the ledger's file, creates it if missing, and migrates its tables to the latest version.

    Args:
        path: The file; it and its -wal and -shm files are readable by their owner alone (0600).
        connect: Opens the file in place of `connect_sqlite`, for tests.
        busy_timeout_s: How long a statement waits for another process.

    Raises:
        LedgerError: A later version wrote the file.
        sqlite3.Error, OSError: It cannot be opened.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = (connect or connect_sqlite)(path) if _make_private(path) else _open_readonly(path)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        _use_wal(connection, busy_timeout_s)
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_sqlite(address: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    """Connects in autocommit mode: the ledger begins its transactions itself."""
    return sqlite3.connect(address, uri=uri, isolation_level=None, check_same_thread=False)


def file_identity(path: Path) -> tuple[int, int] | None:
    """Returns the device and inode of a file; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_corrupt(error: BaseException) -> bool:
    """True for SQLite's errors about a damaged file."""
    return _primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def ledger_error(error: sqlite3.Error | OSError, path: Path, *, writing: bool, billed: str = "") -> LedgerError:
    """Translates an error of SQLite or the file system into a `LedgerError` that says what to do next."""
    if isinstance(error, sqlite3.Error):
        unknown = ("sqlite", f"SQLite says: {error}", "%wiro verify")
        reason, meaning, hint = _MEANINGS.get(_primary_code(error), unknown)
    else:
        reason, meaning, hint = "cannot open", error.strerror or str(error), _OTHER_FOLDER
    named = LedgerError(
        f"The ledger {path.name} cannot be {'written' if writing else 'read'}: {meaning}.",
        hint=hint,
        billed=billed,
        path_name=path.name,
        reason=reason,
    )
    named.__cause__ = error
    return named


def _primary_code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF  # the low byte of an extended code


def _open_readonly(path: Path) -> sqlite3.Connection:
    address = path.absolute().as_uri()
    connection = connect_sqlite(f"{address}?mode=ro", uri=True)
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # The files of its journal cannot be made beside it: what the file itself has must do.
        return connect_sqlite(f"{address}?immutable=1", uri=True)
    return connection


def _use_wal(connection: sqlite3.Connection, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            code = _primary_code(error)
            if code == sqlite3.SQLITE_BUSY and time.monotonic() < deadline:
                # Two kernels make the file at the same moment: for this switch SQLite does not wait by itself.
                time.sleep(0.01)
                continue
            # Network folders and read-only files have no WAL; SQLite's older journal is slower but as safe.
            if code not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR):
                raise
            return


def _make_private(path: Path) -> bool:
    """Creates the file if missing and restricts it to its owner; False when it is read-only.

    An existing file is never opened here. On POSIX, closing any handle of a file gives up every lock that
    this process has on it, those of SQLite's connections included: another process would then take itself for
    the last one and delete the journal that is still written to.
    """
    # Made before SQLite opens it: -wal and -shm take over the mode of the main file.
    with _CREATING:  # no thread of this process may connect between the making and the closing
        if not path.exists():
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if not os.access(path, os.W_OK):
        return False
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return True
