"""Reads of the ledger: functions on a connection, which `Ledger` offers as methods and its writes use as well."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import index
from statistics import median
from typing import Any

from wiro_nb.errors import InputError, UnknownRun
from wiro_nb.ids import match_ids, normalise_query
from wiro_nb.ledger.budget import COST_KNOWN_WITHIN
from wiro_nb.ledger.rows import WHOLE_ROW, clean_text, row_from_sql, time_text, work_signature, work_units
from wiro_nb.ledger.state import LedgerRow, RunState

_UNFINISHED = tuple(state for state in RunState if not state.is_final)
_NEAR = 5
_BY_ID = (
    "((run_id >= :wanted AND run_id < :wanted || '~') OR short_id = :short)",
    "run_id IN (SELECT run_id FROM runs WHERE run_id LIKE '%' || :wanted)",
)
"""How runs are found by part of an id: by index first, by a scan of the ids last."""


@dataclass(frozen=True, slots=True)
class Made:
    """The origin of a file's content: the run, the index of its output, and the frame (None: the whole file)."""

    run_id: str
    output: int
    frame: int | None


def get(connection: sqlite3.Connection, run_id: str) -> LedgerRow:
    """Returns the row of a whole id, also of a forgotten run.

    Raises:
        UnknownRun: There is none.
    """
    row = lookup(connection, run_id)
    if row is None:
        raise UnknownRun(f"No run {run_id!r} in the ledger.", query=run_id, near=[])
    return row


def lookup(connection: sqlite3.Connection, run_id: str) -> LedgerRow | None:
    """Returns the row of a whole id as `get` does, or None."""
    return _first(connection, "run_id = ?", run_id)


def find(connection: sqlite3.Connection, query: str, notebook: str | None = None) -> LedgerRow:
    """Returns the one run that an id, a prefix or a short id means; the notebook's own runs come first.

    Raises:
        UnknownRun: None, or several; `near` has the ids to choose from.
    """
    wanted, notebooks = normalise_query(query), {}
    for condition in _BY_ID if wanted.isalnum() else ():
        values = {"wanted": wanted, "short": wanted.lower()}
        found = connection.execute(f"SELECT run_id, notebook FROM runs WHERE deleted = 0 AND {condition}", values)
        if notebooks := dict(map(tuple, found)):
            break
    fitting = match_ids(query, notebooks)
    matches = [run_id for run_id in fitting if notebook is not None and notebooks[run_id] == notebook] or fitting
    if len(matches) == 1:
        return get(connection, matches[0])
    if matches:
        latest = sorted(matches, reverse=True)[:_NEAR]
        raise UnknownRun(
            f"{query!r} fits {len(matches)} runs: give more of the id.",
            details=[f"{run_id[-5:].lower()}  {run_id}" for run_id in latest],
            query=query,
            near=latest,
        )
    rows = select(connection, notebook=notebook, limit=_NEAR) or select(connection, limit=_NEAR)
    listed = [f"{row.short_id}  {row.model}  {row.state}" for row in rows]
    raise UnknownRun(
        f"No run {query!r} in the ledger.",
        details=["The latest runs:", *listed] if listed else [],
        query=query,
        near=[row.run_id for row in rows],
    )


def select(
    connection: sqlite3.Connection,
    *,
    notebook: str | None = None,
    model: str | None = None,
    state: str | Collection[str] | None = None,
    text: str | None = None,
    since: datetime | None = None,
    service: str | None = None,
    parent: str | None = None,
    sweep_id: str | None = None,
    limit: int | None = 50,
) -> tuple[LedgerRow, ...]:
    """Returns the runs that fit all that is given, latest first, without the forgotten ones.

    Args:
        connection: Of the ledger.
        notebook: Path as the host gives it.
        model: Slug, in any case.
        state: One, or several of which a run has one.
        text: Is searched for in ids, model and parameters.
        since: When they were planned at the earliest.
        service: Its name.
        parent: Id of the run they continue.
        sweep_id: The sweep they were started for.
        limit: Most runs; None for all.
    """
    states = [state] if isinstance(state, str) else list(state or ())
    given = {
        "notebook = ?": notebook,
        "model = ? COLLATE NOCASE": model,
        "instr(search_text, ?) > 0": clean_text(text).strip().casefold() if text else None,
        "created >= ?": time_text(since) if since is not None else None,
        "service = ?": service,
        "json_extract(parent, '$.run_id') = ?": parent,
        "sweep_id = ?": sweep_id,
    }
    used = {clause: value for clause, value in given.items() if value is not None}
    of_states = [f"state IN ({', '.join('?' * len(states))})"] if states else []
    found = connection.execute(
        f"""
        SELECT {WHOLE_ROW} FROM runs WHERE {" AND ".join(["deleted = 0", *used, *of_states])}
        ORDER BY created DESC, run_id DESC LIMIT ?
        """,
        [*used.values(), *map(str, states), _most_rows(limit)],
    )
    return tuple(map(row_from_sql, found))


def _most_rows(limit: int | None) -> int:
    if limit is None:
        return -1
    try:
        return min(max(index(limit), 0), 2**62)
    except TypeError:
        raise InputError(f"limit is a whole number, not {limit!r:.80}", hint="limit=50") from None


def unfinished(
    connection: sqlite3.Connection, notebook: str | None = None, service: str | None = None
) -> tuple[LedgerRow, ...]:
    """Returns the runs that are not over, oldest first."""
    return select(connection, notebook=notebook, service=service, state=_UNFINISHED, limit=None)[::-1]


def incomplete(connection: sqlite3.Connection, service: str | None = None) -> tuple[LedgerRow, ...]:
    """Returns the runs of a service that ended in the last 30 days and lack their cost or a file, latest first.

    Free services bill nothing: of their runs only files are missed. `service` None stands for all.
    """
    found = connection.execute(
        f"""
        SELECT {WHOLE_ROW} FROM runs
        WHERE state IN ('succeeded', 'failed', 'cancelled') AND service = coalesce(?, service) AND finished_at >= ?
        AND task_id IS NOT NULL
        AND (cost_usd IS NULL OR replace(outputs, '"problem":""', '') LIKE '%"problem":"%')
        ORDER BY created DESC, run_id DESC
        """,
        (service, time_text(datetime.now(UTC) - COST_KNOWN_WITHIN)),
    )
    rows = map(row_from_sql, found)
    return tuple(row for row in rows if row.lacks_downloads or (row.is_cost_open and not row.is_free))


def find_task(connection: sqlite3.Connection, service: str, base_url: str, task_id: str) -> LedgerRow | None:
    """Returns the run that owns a task of a service, also a forgotten one; None when there is none."""
    condition = "task_id = ? AND service = ? AND base_url = ? ORDER BY created DESC"
    return _first(connection, condition, task_id, service, base_url)


def find_maker(connection: sqlite3.Connection, sha256: str) -> Made | None:
    """Returns which run first made a file of this content, or the clip it is a frame of; None when none did."""
    found = connection.execute(
        "SELECT run_id, output, frame FROM media WHERE sha256 = ? ORDER BY run_id LIMIT 1", (sha256,)
    ).fetchone()
    return None if found is None else Made(*found)


def frame_hashes(
    connection: sqlite3.Connection, run_id: str, output: int, frames: Collection[int]
) -> tuple[str, ...]:
    """Returns the SHA-256 of the pictures that were taken from a clip as one of these frames."""
    found = connection.execute(
        "SELECT sha256 FROM media WHERE run_id = ? AND output = ? AND frame IN (SELECT value FROM json_each(?))",
        (run_id, output, json.dumps(list(frames))),
    )
    return tuple(row["sha256"] for row in found)


def _first(connection: sqlite3.Connection, condition: str, *values: str) -> LedgerRow | None:
    found = connection.execute(f"SELECT {WHOLE_ROW} FROM runs WHERE {condition} LIMIT 1", values).fetchone()
    return None if found is None else row_from_sql(found)


# How long earlier runs took ----------------------------------------------------------------------

_LATEST_RUNS = 9


@dataclass(frozen=True, slots=True)
class PastRun:
    """How long one run took.

    Attributes:
        compute_s: Seconds of work, without the queue.
        signature: What of its parameters makes work (see `work_signature`).
        work: Relative amount of work (see `work_units`), or None when it is unknown.
    """

    compute_s: float
    signature: str
    work: float | None


def past_runs(connection: sqlite3.Connection, model: str, service: str) -> tuple[PastRun, ...]:
    """Returns how long the latest successful runs of a model took, latest first."""
    found = connection.execute(
        """
        SELECT compute_s, signature, work FROM runs
        WHERE model = ? COLLATE NOCASE AND service = ? AND +state = 'succeeded' AND compute_s > 0
        ORDER BY created DESC LIMIT 50
        """,
        (model, service),
    )
    return tuple(PastRun(*row) for row in found)


def expected_seconds(past: Sequence[PastRun], parameters: Mapping[str, Any]) -> float | None:
    """Forecasts the seconds of work of a run.

    Args:
        past: Earlier successful runs of the same model on the same service, latest first.
        parameters: Of the run to come.

    Returns:
        The median of the latest runs with the same work; else the median of the latest ones scaled by the
        amount of work; None without any that compares.
    """
    signature = work_signature(parameters)
    alike = [run.compute_s for run in past if run.signature == signature][:_LATEST_RUNS]
    if alike:
        return median(alike)
    work = work_units(parameters)
    if not work:
        return None
    rates = [run.compute_s / run.work for run in past if run.work][:_LATEST_RUNS]
    return median(rates) * work if rates else None
