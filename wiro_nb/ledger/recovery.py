"""Rebuilds a damaged or lost ledger from its readable rows and from the records in the runs' folders.

Every finished run has its record in its folder. The folders and budgets are also listed in text files beside the
ledger, because they cannot be read from a damaged one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.config import ANY_NOTEBOOK, ledger_path
from wiro_nb.errors import BadRecord
from wiro_nb.files import hash_file, relative_path
from wiro_nb.json_values import as_decimal
from wiro_nb.ledger.rows import DAMAGE, insert_missing, money_text, read_output, read_row, read_time
from wiro_nb.ledger.sqlite_file import connect_sqlite, is_corrupt
from wiro_nb.ledger.state import ROW_FIELDS, LedgerRow, RunOutput, RunState, Stage
from wiro_nb.provenance.record import SIDECAR_NAME, canonical_json, read_sidecar
from wiro_nb.schema import hash_request

_log = logging.getLogger(__name__)
_WAIT_S = 60.0
_FOLDERS_NAME, _BUDGETS_NAME = "folders.txt", "budgets.txt"


# Replacing the file -------------------------------------------------------------------------


def replace_damaged(path: Path, open_database: Callable[[Path], sqlite3.Connection]) -> str | None:
    """Replaces a damaged or lost file with a new one; one process at a time.

    The new file is complete before it replaces the old one, which is kept under another name, so a crash in
    between loses nothing.

    Args:
        path: The file.
        open_database: Opens the new file.

    Returns:
        A sentence for the user; None when the file is sound (again).

    Raises:
        sqlite3.Error, OSError: It cannot be replaced; the damaged file is still in its place.
    """
    with _locked(path):
        how = ("empty" if path.exists() else "missing") if is_lost(path) else ""
        if not how and not _is_damaged(path):
            return None
        new = path.with_name(path.name + ".new")
        for file in _with_journal(new):
            file.unlink(missing_ok=True)
        with closing(open_database(new)) as connection:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                sentence = copy_rows(connection, path)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = path.with_name(f"{path.stem}.damaged-{stamp}{path.suffix}")
        for source, target in zip(_with_journal(path), _with_journal(aside), strict=True):
            # A journal that outlived its file must go as well: SQLite would apply it to the new one.
            if source.exists() and source.stat().st_size:
                source.rename(target)
        new.replace(path)
    how = how or f"damaged. The old file was kept as {aside.name}"
    return f"The ledger was {how}. {sentence}"


def is_lost(path: Path) -> bool:
    """True when the file is missing or empty although run folders are listed beside it: not a first start."""
    return not (path.exists() and path.stat().st_size) and path.with_name(_FOLDERS_NAME).exists()


def wait_for_recovery(path: Path) -> None:
    """Waits while another process replaces the file."""
    if _lock_path(path).exists():
        with _locked(path):
            pass


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # The lock of an empty SQLite file ends with its process. The file stays: others may wait for it.
    with closing(sqlite3.connect(_lock_path(path), timeout=_WAIT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".rescue")


def _with_journal(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")]


def check_integrity(connection: sqlite3.Connection) -> None:
    """Raises SQLite's error of a damaged file, with its first complaint, unless the whole file is sound."""
    (answer,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        error = sqlite3.DatabaseError(answer)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _is_damaged(path: Path) -> bool:
    try:
        with closing(connect_sqlite(path)) as connection:
            check_integrity(connection)
    except sqlite3.DatabaseError as error:
        return is_corrupt(error)
    return False


# Rows from the damaged file -----------------------------------------------------------------


def copy_rows(connection: sqlite3.Connection, damaged: Path) -> str:
    """Fills a new ledger from the readable rows of the old one, then from sidecars for runs that are missing.

    The damaged file comes first because only it knows the tasks in flight and their tokens.

    Returns:
        A sentence that says how much came back.
    """
    read, budgets = "", _noted_budgets(damaged)
    if not is_lost(damaged):
        read = f"{_count_runs(_insert_each(connection, _readable_rows(damaged)))} read from it and "
        budgets = [*map(tuple, _scan(damaged, "SELECT notebook, budget_usd FROM budgets")), *budgets]
    connection.executemany("INSERT OR IGNORE INTO budgets VALUES (?, ?)", budgets)
    from_sidecars = _insert_each(connection, rows_from_sidecars(known_folders(damaged)))
    return (
        f"The new one has {read}{_count_runs(from_sidecars)} from the run folders. "
        "Runs that were under way may be missing: %wiro attach TASK brings them back."
    )


def _insert_each(connection: sqlite3.Connection, rows: Iterable[LedgerRow]) -> int:
    """Adds the rows whose ids are not there yet, except those SQLite cannot take; returns how many."""
    count = 0
    for row in rows:
        try:
            count += insert_missing(connection, [row])
        except (*DAMAGE, ArithmeticError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
            _log.warning("run %s was not taken over: %s", row.run_id, type(error).__name__)
    return count


def _count_runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _readable_rows(damaged: Path) -> Iterator[LedgerRow]:
    # A broken page stops a scan where it lies; from both ends all but that page can be reached.
    for order in ("ASC", "DESC"):
        for stored in _scan(damaged, f"SELECT * FROM runs ORDER BY rowid {order}"):
            # A file that could not be migrated lacks the columns of later versions, or has their older names.
            values = dict(stored)
            values.setdefault("compute_s", values.get("elapsed_s"))
            row, damaged_fields = read_row(map(values.get, ROW_FIELDS))
            if not damaged_fields:
                yield row


def _scan(damaged: Path, query: str) -> Iterator[sqlite3.Row]:
    try:
        with closing(connect_sqlite(damaged)) as connection:
            connection.row_factory = sqlite3.Row
            yield from connection.execute(query)
    except sqlite3.DatabaseError:
        return


# Rows from the runs' folders ----------------------------------------------------------------


def remember_folder(folder: Path, scope: str) -> None:
    """Notes a folder of runs and what they were made for: a notebook, or `FOLDER/*`.

    One that cannot be noted is only missed when the ledger is lost one day.
    """
    path, note = ledger_path().with_name(_FOLDERS_NAME), (str(folder.absolute()), scope)
    if note not in _read_notes(path):
        _add_note(path, *note)


def known_folders(ledger: Path) -> dict[str, list[str]]:
    """Returns the folders noted beside the ledger so far, each with what its runs were made for."""
    folders: dict[str, list[str]] = {}
    for folder, scope in _read_notes(ledger.with_name(_FOLDERS_NAME)):
        folders.setdefault(folder, []).extend([scope] if scope else [])
    return folders


def remember_budget(ledger: Path, notebook: str | None, budget_usd: Decimal | None) -> None:
    """Writes a budget to the list beside the ledger; None removes it."""
    _add_note(
        ledger.with_name(_BUDGETS_NAME), "" if budget_usd is None else money_text(budget_usd), notebook or ""
    )


def _noted_budgets(ledger: Path) -> list[tuple[Any, ...]]:
    latest = {notebook: amount for amount, notebook in _read_notes(ledger.with_name(_BUDGETS_NAME))}
    return [(notebook, amount) for notebook, amount in latest.items() if as_decimal(amount) is not None]


def _add_note(path: Path, first: str, second: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"{first}\t{second}\n")
    except OSError as error:
        _log.info("%s was not written: %s", path.name, error.strerror)


def _read_notes(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return []
    pairs = (line.partition("\t") for line in lines if line)
    return [(first, second) for first, _, second in pairs]


def rows_from_sidecars(folders: Mapping[str, Sequence[str]]) -> Iterator[LedgerRow]:
    """Yields a row for every record in the runs' folders; unreadable ones are skipped.

    Args:
        folders: Each with what its runs may have been made for, as `known_folders` returns them.
    """
    for folder, scopes in folders.items():
        notebooks = _read_notebooks(Path(folder), scopes)
        for path in sorted(Path(folder).glob(f"*/{SIDECAR_NAME}")):
            try:
                yield _row_from_record(read_sidecar(path), path.parent, scopes, notebooks)
            except (BadRecord, OSError, *DAMAGE, LookupError, ArithmeticError) as error:
                _log.warning("%s was not read: %s", path.parent.name, type(error).__name__)


def _read_notebooks(folder: Path, scopes: Sequence[str]) -> dict[str, bytes]:
    """Returns the notebooks that may have made the runs of a folder, with their content."""
    paths = [*sorted(folder.parent.glob("*.ipynb")), *(Path(scope) for scope in scopes)]
    found = {}
    for path in paths:
        with suppress(OSError, ValueError):
            found[str(path)] = path.read_bytes()
    return found


def _row_from_record(
    record: Mapping[str, Any], folder: Path, scopes: Sequence[str], notebooks: Mapping[str, bytes]
) -> LedgerRow:
    """Returns the row of a finished run; raises LookupError or one of `DAMAGE` for any other record."""
    model, service, seed = record["model"], record["service"], record.get("seed")
    cell, price = record.get("cell") or {}, record.get("price") or {}
    times = {name: read_time(text) for name, text in record["times"].items() if text}
    started_at, finished_at = times.get("started"), times.get("finished")
    state = RunState(record["status"])
    if not state.is_final:
        raise ValueError("a run that was not over has no whole record")
    scope = _find_scope(str(record["run_id"]), scopes, notebooks) or str(folder.parent.parent / ANY_NOTEBOOK)
    notebook = None if Path(scope).name == ANY_NOTEBOOK else scope
    notebook_dir = Path(scope).parent
    parameters, files = record.get("parameters") or {}, record.get("files") or {}
    contents = {name: [item.get("sha256") or item.get("url") for item in items] for name, items in files.items()}
    open_seed = str(seed["parameter"]) if seed and not seed.get("pinned") else None
    return LedgerRow(
        run_id=str(record["run_id"]),
        state=state,
        model=str(model["slug"]),
        run_path=str(model["run_path"]),
        service=str(service["name"]),
        base_url=str(service["base_url"]),
        created=times.get("created") or datetime.now(UTC),
        request_sha256=hash_request(str(model["run_path"]), parameters, contents, open_seed),
        request={name: record.get(name) for name in ("parameters", "files", "seed")},
        notebook=notebook,
        scope=scope,
        cell_id=cell.get("id"),
        source_sha256=cell.get("source_sha256"),
        schema_sha256=model.get("schema_sha256"),
        task_id=record.get("task_id"),
        exit_code=record.get("exit_code"),
        estimated_usd=as_decimal(price.get("estimated_usd")),
        cost_usd=as_decimal(price.get("cost_usd")),
        submitted_at=times.get("submitted"),
        started_at=started_at,
        finished_at=finished_at,
        # The record's own `elapsed_s` counts from submission: it includes the queue.
        compute_s=(finished_at - started_at).total_seconds() if started_at and finished_at else None,
        stage=Stage.DONE,
        outputs=tuple(_read_output(item, folder, notebook_dir) for item in record.get("outputs") or ()),
        record=canonical_json(dict(record)),
        folder=str(folder),
        parent=record.get("parent"),
    )


def _find_scope(run_id: str, scopes: Sequence[str], notebooks: Mapping[str, bytes]) -> str | None:
    """Returns the notebook whose outputs or metadata name the run, else the only scope of its folder.

    A record names none, for privacy.
    """
    named = [notebook for notebook, content in notebooks.items() if run_id.encode() in content]
    return next(iter(named), scopes[0] if len(scopes) == 1 else None)


def _read_output(item: Mapping[str, Any], folder: Path, notebook_dir: Path) -> RunOutput:
    name = Path(str(item.get("name") or "")).name  # a record from outside must not lead out of the folder
    path = folder / name
    here: dict[str, Any] = {"name": name, "path": None}
    if name and path.is_file():
        poster = path.with_name(f"{path.stem}.poster.jpg")
        here |= {
            "path": relative_path(path, notebook_dir),
            "poster_path": relative_path(poster, notebook_dir) if poster.is_file() else None,
            "stored_sha256": hash_file(path),
        }
    return read_output({**item, **here})
