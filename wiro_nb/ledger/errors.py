"""What SQLite's errors mean, in plain words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from wiro_nb.errors import LedgerError

CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_FOREIGN_FOLDER = "set WIRO_DATA_DIR to a folder you can write to, then restart the kernel"
_WORDS: dict[int, tuple[str, str, str]] = {
    sqlite3.SQLITE_BUSY: (
        "busy",
        "another program has held it for too long",
        "try again; close other kernels if it stays so",
    ),
    sqlite3.SQLITE_LOCKED: ("locked", "another part of this program is using it", "try again"),
    sqlite3.SQLITE_READONLY: ("read-only", "the file or its disk is read-only", _FOREIGN_FOLDER),
    sqlite3.SQLITE_PERM: ("read-only", "access to it was denied", _FOREIGN_FOLDER),
    sqlite3.SQLITE_CANTOPEN: ("cannot open", "the file cannot be opened", _FOREIGN_FOLDER),
    sqlite3.SQLITE_FULL: ("full", "the disk is full", "free some space, then try again"),
    sqlite3.SQLITE_IOERR: ("disk", "the disk answered with an error", f"check the disk, or {_FOREIGN_FOLDER}"),
    sqlite3.SQLITE_CORRUPT: ("corrupt", "the file is damaged", "%wiro verify"),
    sqlite3.SQLITE_NOTADB: ("corrupt", "the file is damaged", "%wiro verify"),
    sqlite3.SQLITE_CONSTRAINT: ("constraint", "the row is there already", "%wiro runs"),
}


def primary_code(error: sqlite3.Error) -> int:
    """Returns the primary code of an error: the low byte of SQLite's extended ones."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def ledger_error(error: sqlite3.Error | OSError, path: Path, *, writing: bool, billed: str = "") -> LedgerError:
    """Returns an error of SQLite or the file system in plain words, with what to do next."""
    if isinstance(error, sqlite3.Error):
        reason, words, hint = _WORDS.get(primary_code(error), ("sqlite", f"SQLite says: {error}", "%wiro verify"))
    else:
        reason, words, hint = "cannot open", error.strerror or str(error), _FOREIGN_FOLDER
    verb = "written" if writing else "read"
    return LedgerError(
        f"The ledger {path.name} cannot be {verb}: {words}.",
        hint=hint,
        billed=billed,
        path_name=path.name,
        reason=reason,
    )
