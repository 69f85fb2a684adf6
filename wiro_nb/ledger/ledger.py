"""The ledger of all runs, written before each step that may cost money.

The write-ahead rule: a method that writes returns only when the disk has it. What is known after a crash is then
never less than what the service was asked to do.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from wiro_nb.config import ledger_path
from wiro_nb.errors import NOTHING_SENT, LedgerError
from wiro_nb.ledger import queries, writes
from wiro_nb.ledger.budget import check_budget
from wiro_nb.ledger.recovery import (
    check_integrity,
    copy_rows,
    known_folders,
    remember_budget,
    rows_from_sidecars,
)
from wiro_nb.ledger.reuse import Reuse, answer_plans
from wiro_nb.ledger.rows import export_line, insert_missing, insert_row
from wiro_nb.ledger.sqlite_thread import BUSY_TIMEOUT_S, Database
from wiro_nb.ledger.state import LedgerRow, RunState, Stage
from wiro_nb.redaction import redact, redact_value, register_secret

P = ParamSpec("P")
T = TypeVar("T")

_NEXT: Mapping[RunState, frozenset[RunState]] = {
    RunState.PLANNED: frozenset({RunState.SUBMITTING, RunState.CANCELLED, RunState.FAILED}),
    # Back to planned only when the service refused, or when nothing was sent: then it may be sent again.
    RunState.SUBMITTING: frozenset({RunState.SUBMITTED, RunState.UNCERTAIN, RunState.PLANNED, RunState.FAILED}),
    RunState.SUBMITTED: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
    # Never back to planned or submitting: that would pay twice.
    RunState.UNCERTAIN: frozenset({RunState.SUBMITTED, RunState.FAILED, RunState.CANCELLED}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.CANCELLED: frozenset(),
}
_AMENDABLE = frozenset(
    {"outputs", "record", "message", "folder", "starred", "cancel_at", "estimated_usd", "cost_usd"}
)
_TOLD = frozenset({"message", "error", "request"})
"""Texts of the service and the user, which are masked when a step writes them."""
_OF_THE_END = frozenset(
    {
        *("started_at", "finished_at", "compute_s", "exit_code", "cost_usd", "outputs", "record"),
        *("error", "message", "stage", "percent"),
    }
)


def _read(query: Callable[Concatenate[sqlite3.Connection, P], T]) -> Callable[Concatenate[Ledger, P], T]:
    """Makes a method of a function that reads from a connection."""

    def method(self: Ledger, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.read(lambda connection: query(connection, *args, **kwargs))

    method.__name__, method.__doc__ = query.__name__, query.__doc__
    return method


def _write(work: Callable[Concatenate[sqlite3.Connection, P], T]) -> Callable[Concatenate[Ledger, P], T]:
    """Makes a method of a function that writes: one transaction, durable when it returns."""

    def method(self: Ledger, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.write(lambda connection: work(connection, *args, **kwargs))

    method.__name__, method.__doc__ = work.__name__, work.__doc__
    return method


class Ledger:
    """All runs of this user on this machine; for many threads and several processes at once.

    Args:
        path: The SQLite file.
        rebuild: Gives the rows found in sidecars; called when the file is damaged or lost.
        busy_timeout_s: How long a write waits for another process.
        connect: Opens the file; for tests.

    Raises:
        LedgerError: The file cannot be opened, or a later version wrote it.
    """

    def __init__(
        self,
        path: Path,
        *,
        rebuild: Callable[[], Iterable[LedgerRow]] | None = None,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        self.path = path
        self._database = Database(
            path,
            copy_rows=lambda connection, damaged: copy_rows(connection, damaged, rebuild),
            busy_timeout_s=busy_timeout_s,
            connect=connect,
        )

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Hands a call of this ledger's methods to its thread; calls that wait together are committed together."""
        return self._database.submit(call)

    def close(self) -> None:
        """Makes the calls that wait and closes the file; the next use opens it again."""
        self._database.close()

    def take_notices(self) -> tuple[str, ...]:
        """Returns what to tell the user (a damaged or lost ledger was replaced), once."""
        return self._database.take_notices()

    get = _read(queries.get)
    find = _read(queries.find)
    list = _read(queries.select)
    unfinished = _read(queries.unfinished)
    answer_plans = _read(answer_plans)
    incomplete = _read(queries.incomplete)
    find_task = _read(queries.find_task)
    find_maker = _read(queries.find_maker)
    frame_hashes = _read(queries.frame_hashes)
    past_runs = _read(queries.past_runs)
    spent = _read(queries.spent)
    reserved = _read(queries.reserved)
    spending = _read(queries.spending)
    get_budget = _read(queries.get_budget)
    cancel_requests = _read(writes.cancel_requests)

    claim = _write(writes.claim)
    heartbeat = _write(writes.heartbeat)
    release = _write(writes.release)
    request_cancel = _write(writes.request_cancel)
    write_progress = _write(writes.write_progress)
    note_frame = _write(writes.note_frame)
    forget = _write(writes.forget)
    reinsert = _write(insert_missing)

    # The steps of a run ----------------------------------------------------------------------

    def insert_plans(
        self, rows: Sequence[LedgerRow], *, budget_usd: Decimal | None = None, reuse: Reuse | None = None
    ) -> Sequence[LedgerRow]:
        """Writes intents to run: all that no earlier run answers, or none when these go over the budget together.

        Args:
            rows: In state planned, of one notebook and service.
            budget_usd: Limit for the rows' notebook and service. The notebook's own budget counts too; the
                lower one holds.
            reuse: Which earlier runs answer; None inserts every row.

        Returns:
            For each row itself, or the earlier run that answers its request, as `spending.answer_plans` decides.
            The look-up and the insert are one transaction: two kernels cannot both pay for one request.

        Raises:
            BudgetExceeded: Billed and reserved money with these estimates would go over. The check and the
                insert are one transaction: two kernels cannot both take the last of the budget.
            LedgerError: Nothing was written, so nothing may be sent.
        """

        def work(connection: sqlite3.Connection) -> Sequence[LedgerRow]:
            result = answer_plans(connection, rows, reuse)
            new = [row for row, answer in zip(rows, result, strict=True) if answer is row]
            if new:
                check_budget(connection, new, budget_usd)
            for row in new:
                insert_row(connection, row)
            return result

        if any(row.state is not RunState.PLANNED for row in rows):
            raise LedgerError("A new run is planned.", reason="transition", billed=NOTHING_SENT)
        return self._database.write(work, billed=NOTHING_SENT) if rows else []

    def insert_attached(self, row: LedgerRow) -> LedgerRow:
        """Writes a run for a task that exists already; returns the run that owns the task if there is one.

        Args:
            row: In state submitted, with a task id.
        """
        if row.state is not RunState.SUBMITTED or not row.task_id:
            raise LedgerError("Only a submitted task with an id can be attached.", reason="transition")
        task_id = row.task_id
        register_secret(row.task_token)

        def work(connection: sqlite3.Connection) -> LedgerRow:
            known = queries.find_task(connection, row.service, row.base_url, task_id)
            if known is None:
                insert_row(connection, row)
                return writes.change(connection, row.run_id, request=redact_value(row.request))
            return writes.change(connection, known.run_id, deleted=False)

        return self._database.write(work)

    def mark_submitting(self, run_id: str, at: datetime) -> LedgerRow:
        """Records that the request is about to be sent.

        Raises:
            LedgerError: With `reason` "cancelled": it was asked to be cancelled, maybe in another process.
        """

        def work(connection: sqlite3.Connection) -> LedgerRow:
            row = queries.get(connection, run_id)
            # Not even from submitting: of two processes about to send the same run the second must not.
            _check_step(row, RunState.SUBMITTING)
            if row.cancel_at is not None:
                raise LedgerError(
                    f"Run {row.short_id} was cancelled.", reason="cancelled", billed=NOTHING_SENT, run_id=run_id
                )
            return writes.change(connection, run_id, state=RunState.SUBMITTING, submitting_at=at, message="")

        return self._database.write(work, billed=NOTHING_SENT)

    def mark_planned(self, run_id: str) -> LedgerRow:
        """Writes that the service refused for now, or that nothing was sent: the run waits for its turn."""
        return self._step(run_id, RunState.PLANNED, submitting_at=None, message="")

    def mark_submitted(
        self, run_id: str, task_id: str, task_token: str | None, at: datetime | None = None
    ) -> LedgerRow:
        """Writes the service's answer to Run, or the task adopted for an uncertain run.

        Raises:
            LedgerError: An uncertain run asks for a task that another run owns.
        """
        register_secret(task_token)

        def work(connection: sqlite3.Connection) -> LedgerRow:
            row = queries.get(connection, run_id)
            if row.state is RunState.UNCERTAIN:
                owner = queries.find_task(connection, row.service, row.base_url, task_id)
                if owner is not None and owner.run_id != run_id:
                    raise LedgerError(
                        f"Task {task_id} belongs to run {owner.short_id} already.",
                        hint=f"%wiro show {owner.short_id}",
                        reason="task taken",
                        run_id=owner.run_id,
                    )
            if row.state is RunState.SUBMITTED and row.task_id == task_id:
                return row
            _check_step(row, RunState.SUBMITTED)
            return writes.change(
                connection,
                run_id,
                request=redact_value(row.request),  # the service has its presigned addresses
                state=RunState.SUBMITTED,
                task_id=task_id,
                task_token=task_token,
                submitted_at=at or row.submitted_at or row.submitting_at,
                stage=Stage.QUEUED.value,
                message="",
                error=None,
            )

        return self._database.write(work)

    def mark_uncertain(self, run_id: str, message: str = "", error: dict[str, Any] | None = None) -> LedgerRow:
        """Records that the answer to Run was lost: the task may exist."""
        return self._step(run_id, RunState.UNCERTAIN, message=message, error=error)

    def finish(self, run_id: str, state: RunState, **changes: Any) -> LedgerRow:
        """Records the end of a run.

        Args:
            run_id: The run.
            state: How it ended.
            changes: Fields of the row that are known now; what is None stays as it is.

        Raises:
            LedgerError: `state` is not final, the run has ended, or a field is not of the end.
        """
        forbidden = sorted(set(changes) - _OF_THE_END)
        if forbidden or not state.is_final:
            raise LedgerError(f"A run does not end as {state}, {forbidden}.", reason="transition")
        known = {name: value for name, value in changes.items() if value is not None}
        if "compute_s" not in known and {"started_at", "finished_at"} <= known.keys():
            known["compute_s"] = max(0.0, (known["finished_at"] - known["started_at"]).total_seconds())
        known |= {} if state is RunState.FAILED else {"stage": Stage.DONE}
        return self._step(run_id, state, **known, lease_owner=None, lease_until=None)

    def _step(self, run_id: str, state: RunState, **changes: Any) -> LedgerRow:
        def work(connection: sqlite3.Connection) -> LedgerRow:
            row = queries.get(connection, run_id)
            if row.state is not state or state.is_final:
                _check_step(row, state)
            told = {**changes, "request": row.request} if state.is_final else changes
            masked = {name: redact_value(told[name]) for name in _TOLD & told.keys()}
            return writes.change(connection, run_id, state=state, **{**told, **masked})

        return self._database.write(work)

    # Beside the steps ------------------------------------------------------------------------

    def amend(self, run_id: str, **changes: Any) -> LedgerRow:
        """Changes what is not part of the state: outputs, record, folder, star...

        Raises:
            LedgerError: A field that only the steps may change.
        """
        forbidden = sorted(set(changes) - _AMENDABLE)
        if forbidden:
            raise LedgerError(f"Not to be amended: {', '.join(forbidden)}.", reason="transition")
        return self._database.write(lambda connection: writes.change(connection, run_id, **changes))

    def set_budget(self, notebook: str | None, budget_usd: Decimal | None) -> None:
        """Sets or, with None, removes the budget of a notebook."""
        self._database.write(lambda connection: writes.set_budget(connection, notebook, budget_usd))
        remember_budget(self.path, notebook, budget_usd)

    def repair(self, run_id: str, state: RunState, reason: str) -> LedgerRow:
        """Sets a state without checking the transition; the reason is kept in the message."""

        def work(connection: sqlite3.Connection) -> LedgerRow:
            row = queries.get(connection, run_id)
            return writes.change(
                connection, run_id, state=state, message=redact(f"Set from {row.state} by hand: {reason}")
            )

        return self._database.write(work)

    def check_integrity(self) -> str:
        """Returns "ok", or SQLite's first complaint about the file.

        A damaged file is replaced on the way, as at any other moment; `take_notices` then tells of it.
        """
        try:
            self._database.read(check_integrity)
        except LedgerError as error:
            return str(error.__cause__)
        return "ok"

    def export_lines(self) -> Iterator[str]:
        """Yields every run as one line of JSON, without tokens and machine-specific fields."""
        yield from map(export_line, self.list(limit=None))


def open_ledger(out_dir: str = "wiro_outputs") -> Ledger:
    """Opens this user's ledger; a damaged or lost one is replaced, from itself and from the runs' folders.

    Args:
        out_dir: Name of the folder of runs, searched for in the present folder as well.

    Raises:
        LedgerError: As `Ledger`.
    """
    here: dict[str, list[str]] = {}
    with contextlib.suppress(OSError, RuntimeError):  # the present folder was deleted, or "~name" is of nobody
        here[str(Path.cwd() / Path(out_dir).expanduser())] = []
    return Ledger(ledger_path(), rebuild=lambda: rows_from_sidecars({**here, **known_folders()}))


def _check_step(row: LedgerRow, state: RunState) -> None:
    if state not in _NEXT[row.state]:
        raise LedgerError(
            f"Run {row.short_id} is {row.state} and cannot become {state}.",
            hint=f"%wiro show {row.short_id}",
            reason="transition",
            run_id=row.run_id,
        )
