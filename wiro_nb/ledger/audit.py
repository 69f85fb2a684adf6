"""Checks of the ledger against the disk, and its export."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wiro_nb.files import hash_file
from wiro_nb.ledger.rows import LedgerRow, export_row
from wiro_nb.ledger.state import RunOutput
from wiro_nb.redaction import redact_value


@dataclass(frozen=True, slots=True)
class MediaProblem:
    """A saved output that is not what the ledger says. `kind`: "missing", "changed" or "unreadable"."""

    run_id: str
    name: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        runs: Rows looked at. files: outputs read and hashed.
        integrity: "ok", or SQLite's first complaint about the file.
        problems: Of the outputs.
    """

    runs: int
    files: int
    integrity: str
    problems: tuple[MediaProblem, ...]

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return self.integrity == "ok" and not self.problems


def check_integrity(connection: sqlite3.Connection) -> str:
    """Returns "ok", or SQLite's first complaint about the file."""
    (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return str(answer)


def check_media(rows: Iterable[LedgerRow], integrity: str = "ok") -> Report:
    """Reads and hashes every output that was saved.

    Args:
        rows: Of the ledger.
        integrity: What `check_integrity` said.
    """
    runs = files = 0
    problems: list[MediaProblem] = []
    for row in rows:
        runs += 1
        for output in row.outputs:
            if output.path and (output.stored_sha256 or output.sha256):
                files += 1
                problem = _check_output(row, output)
                if problem is not None:
                    problems.append(problem)
    return Report(runs, files, integrity, tuple(problems))


def locate_output(row: LedgerRow, output: RunOutput) -> Path | None:
    """Returns where an output of a run lies on this machine, or None when it is not known."""
    if not output.path:
        return None
    relative = PurePosixPath(output.path)
    if row.folder is None:
        return Path(relative) if relative.is_absolute() else None
    folder = Path(row.folder)
    # The folder is the run's own; the path begins at the notebook's folder, which holds the run's.
    beside = folder / relative.name
    return beside if beside.exists() or not (folder / relative).exists() else folder / relative


def export_line(row: LedgerRow) -> str:
    """Returns a row as one line of JSON, without tokens, secrets and paths of this machine."""
    return json.dumps(redact_value(export_row(row)), sort_keys=True, ensure_ascii=False)


def _check_output(row: LedgerRow, output: RunOutput) -> MediaProblem | None:
    path = locate_output(row, output)
    if path is None or not path.is_file():
        return MediaProblem(row.run_id, output.name, "missing", f"{output.path} is not there any more.")
    try:
        found = hash_file(path)
    except OSError as error:
        return MediaProblem(row.run_id, output.name, "unreadable", f"{output.path}: {error.strerror or error}.")
    # Writing the record into a clip changes its bytes, so the file has a hash of its own beside the service's.
    if found != (output.stored_sha256 or output.sha256):
        return MediaProblem(row.run_id, output.name, "changed", f"{output.path} was changed after it was saved.")
    return None
