"""The ledger: every run, written down before each step that may cost money.

The write-ahead rule: `insert_plan`, `mark_submitting` and `mark_submitted` return only when the disk has the
row. What is known after a crash is then never less than what the service was asked to do. Progress is
cheap talk: it is collected and written now and then, and never fails a run.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Any

from wiro_nb.errors import NOTHING_SENT, BudgetExceeded, LedgerError
from wiro_nb.ids import short_id
from wiro_nb.ledger import leases, queries, salvage
from wiro_nb.ledger.database import BUSY_TIMEOUT_S, Database
from wiro_nb.ledger.reader import LedgerReader, get_row, unknown_run
from wiro_nb.ledger.rows import LedgerRow, money_text, to_sql
from wiro_nb.ledger.state import RunOutput, RunState, Stage
from wiro_nb.redaction import redact, redact_value, register_secret

PROGRESS_INTERVAL_S = 1.0
_PROGRESS_WAIT_S = 0.05

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
    {"outputs", "record", "cost_usd", "exit_code", "folder", "message", "starred", "uploaded", "error", "notebook"}
    | {
        "cell_id",
        "source_sha256",
        "elapsed_s",
        "cancel_at",
        "estimated_usd",
        "stage",
        "started_at",
        "finished_at",
    }
)


class Ledger(LedgerReader):
    """All runs of this person on this machine; for many threads and several processes at once.

    Args:
        path: The SQLite file.
        rebuild: Gives the rows found in sidecars; asked when the file is damaged.
        monotonic: Seconds, for the rhythm in which progress is written.
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
        monotonic: Callable[[], float] = time.monotonic,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        connect: Callable[[Path], sqlite3.Connection] | None = None,
    ) -> None:
        self.path = path
        self._rebuild = rebuild
        self._monotonic = monotonic
        self._pending: dict[str, dict[str, Any]] = {}
        self._pending_lock = threading.Lock()
        self._last_flush = -PROGRESS_INTERVAL_S
        super().__init__(Database(path, refill=self._refill, busy_timeout_s=busy_timeout_s, connect=connect))

    # The steps of a run's life

    def insert_plan(self, row: LedgerRow, *, budget_usd: Decimal | None = None) -> LedgerRow:
        """Writes the intent to run, if the money allows. Durable when it returns.

        Args:
            row: In state planned.
            budget_usd: Limit for the row's notebook and service. The notebook's own budget counts too; the
                lower one holds.

        Raises:
            BudgetExceeded: Billed and reserved money with this estimate would go over. The check and the
                insert are one transaction: two kernels cannot both take the last of the budget.
            LedgerError: Nothing was written, so nothing may be sent.
        """
        self.insert_plans([row], budget_usd=budget_usd)
        return row

    def insert_plans(self, rows: Sequence[LedgerRow], *, budget_usd: Decimal | None = None) -> None:
        """Writes several intents at once: all of them, or none when they go over the budget together.

        Args:
            rows: In state planned, of one notebook and service.
            budget_usd: As in `insert_plan`.

        Raises:
            BudgetExceeded, LedgerError: As `insert_plan`.
        """
        for row in rows:
            if row.state is not RunState.PLANNED:
                raise LedgerError(
                    f"A new run is planned, not {row.state}.", reason="transition", billed=NOTHING_SENT
                )

        def work(connection: sqlite3.Connection) -> None:
            _check_budget(connection, rows, budget_usd)
            for row in rows:
                salvage.insert(connection, row)

        if rows:
            self._database.write(work, billed=NOTHING_SENT)

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
                salvage.insert(connection, row)
                return row
            _change(connection, known.run_id, deleted=False)
            return replace(known, deleted=False)

        return self._database.write(work)

    def mark_submitting(self, run_id: str, at: datetime) -> LedgerRow:
        """Writes that the request is about to leave. Durable when it returns.

        Raises:
            LedgerError: With `reason` "cancelled": the person asked for its end, maybe in another process.
        """
        return self._step(run_id, RunState.SUBMITTING, billed=NOTHING_SENT, submitting_at=at, message="")

    def ask_to_cancel(self, run_id: str, at: datetime) -> LedgerRow:
        """Writes that the person wants the end of a run; whichever process has it, now or later, sees to it."""

        def work(connection: sqlite3.Connection) -> LedgerRow:
            row = get_row(connection, run_id)
            if row.state.is_final or row.cancel_at is not None:
                return row
            return _change(connection, run_id, cancel_at=at)

        return self._database.write(work)

    def mark_planned(self, run_id: str) -> LedgerRow:
        """Writes that the service refused for now, or that nothing was sent: the run waits for its turn."""
        return self._step(run_id, RunState.PLANNED, submitting_at=None, message="")

    def mark_submitted(
        self, run_id: str, task_id: str, task_token: str | None, at: datetime | None = None
    ) -> LedgerRow:
        """Writes the service's answer to Run, or the task adopted for an uncertain run. Durable when it returns.

        Raises:
            LedgerError: An uncertain run asks for a task that another run owns.
        """
        register_secret(task_token)

        def work(connection: sqlite3.Connection) -> LedgerRow:
            row = get_row(connection, run_id)
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
            _check_step(run_id, row.state, RunState.SUBMITTED)
            return _change(
                connection,
                run_id,
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
        """Writes that the answer to Run was lost: the task may exist. Durable when it returns."""
        return self._step(run_id, RunState.UNCERTAIN, message=redact(message), error=redact_value(error))

    def finish(
        self,
        run_id: str,
        state: RunState,
        *,
        finished_at: datetime | None = None,
        started_at: datetime | None = None,
        elapsed_s: float | None = None,
        exit_code: str | None = None,
        cost_usd: Decimal | None = None,
        outputs: tuple[RunOutput, ...] | None = None,
        record: str | None = None,
        error: dict[str, Any] | None = None,
        message: str | None = None,
        stage: str | None = None,
    ) -> LedgerRow:
        """Writes the end of a run; what is None stays as it is. Saying the same end again only fills in more.

        Raises:
            LedgerError: `state` is not final, or the run has ended in another way.
        """
        if not state.is_final:
            raise LedgerError(f"A run does not end as {state}.", reason="transition")
        with self._pending_lock:
            self._pending.pop(run_id, None)
        given: dict[str, Any] = {
            "finished_at": finished_at,
            "started_at": started_at,
            "elapsed_s": elapsed_s,
            "exit_code": exit_code,
            "cost_usd": cost_usd,
            "outputs": outputs,
            "record": record,
            "error": redact_value(error),
            "message": None if message is None else redact(message),
            "stage": stage,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        if "elapsed_s" not in changes and started_at is not None and finished_at is not None:
            changes["elapsed_s"] = max(0.0, (finished_at - started_at).total_seconds())
        row = self._step(run_id, state, **changes, lease_owner=None, lease_until=None)
        self._past.clear()
        return row

    def amend(self, run_id: str, **changes: Any) -> LedgerRow:
        """Changes what is not part of the state: outputs, record, folder, star, message, notebook...

        Raises:
            LedgerError: A field that only the steps above may change.
        """
        forbidden = sorted(set(changes) - _AMENDABLE)
        if forbidden:
            raise LedgerError(f"Not to be amended: {', '.join(forbidden)}.", reason="transition")
        self._past.clear()
        return self._database.write(lambda connection: _change(connection, run_id, **changes))

    def note_frame(self, sha256: str, run_id: str, output: int, frame: int) -> None:
        """Notes that a picture of this content is a frame of a run's clip; `frame` counts as it was asked for."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO media VALUES (?, ?, ?, ?)", (sha256, run_id, output, frame))

        self._database.write(work, durable=False)

    def repair(self, run_id: str, state: RunState, reason: str) -> LedgerRow:
        """Sets a state against the rules, by the person's word; the reason is kept in the message."""

        def work(connection: sqlite3.Connection) -> LedgerRow:
            row = get_row(connection, run_id)
            return _change(
                connection, run_id, state=state, message=redact(f"Set from {row.state} by hand: {reason}")
            )

        return self._database.write(work)

    def progress(
        self,
        run_id: str,
        *,
        stage: str | None = None,
        percent: float | None = None,
        message: str | None = None,
        started_at: datetime | None = None,
    ) -> None:
        """Notes progress of a submitted run and writes it about once a second. Never raises."""
        if self.note(run_id, stage=stage, percent=percent, message=message, started_at=started_at):
            self.flush()

    def note(
        self,
        run_id: str,
        *,
        stage: str | None = None,
        percent: float | None = None,
        message: str | None = None,
        started_at: datetime | None = None,
    ) -> bool:
        """Notes progress in memory; True when it is time for `flush`, which may wait for the disk."""
        given = {"stage": stage, "percent": percent, "message": message, "started_at": started_at}
        with self._pending_lock:
            self._pending.setdefault(run_id, {}).update({k: v for k, v in given.items() if v is not None})
            now = self._monotonic()
            due = now - self._last_flush >= PROGRESS_INTERVAL_S
            if due:
                self._last_flush = now
        return due

    def flush(self) -> None:
        """Writes the progress noted so far; what cannot be written now waits for the next time."""
        with self._pending_lock:
            pending, self._pending = self._pending, {}
            self._last_flush = self._monotonic()
        if not pending:
            return

        def work(connection: sqlite3.Connection) -> None:
            for run_id, changes in pending.items():
                _assign(connection, run_id, changes, "AND state = 'submitted'")

        try:
            self._database.write(work, durable=False, busy_timeout_s=_PROGRESS_WAIT_S)
        except LedgerError:
            with self._pending_lock:
                self._pending = {**pending, **self._pending}

    def forget(self, run_id: str) -> None:
        """Takes a run off the lists. Its cost still counts as spent; its files stay.

        Raises:
            LedgerError: The run is in flight.
        """

        def work(connection: sqlite3.Connection) -> None:
            row = get_row(connection, run_id)
            if not row.state.is_final and row.state is not RunState.UNCERTAIN:
                raise LedgerError(
                    f"Run {row.short_id} is not over yet.",
                    hint=f"%wiro cancel {row.short_id}",
                    reason="transition",
                )
            _change(connection, run_id, deleted=True)

        self._database.write(work)

    def set_budget(self, notebook: str | None, budget_usd: Decimal | None) -> None:
        """Sets or, with None, removes the budget of a notebook."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM budgets WHERE notebook = ?", (notebook or "",))
            if budget_usd is not None:
                connection.execute("INSERT INTO budgets VALUES (?, ?)", (notebook or "", money_text(budget_usd)))

        self._database.write(work)

    # Leases

    def claim(self, run_id: str, owner: str, now: datetime, ttl_s: float) -> bool:
        """Takes a run for tracking; False when another process holds it."""
        # Seen by every process at once; after a power cut nobody holds a lease anyway.
        return self._database.write(
            lambda connection: leases.claim(connection, run_id, owner, now, ttl_s), durable=False
        )

    def heartbeat(self, owner: str, now: datetime, ttl_s: float) -> frozenset[str]:
        """Extends the owner's leases and writes progress; returns the ids it still holds."""
        self.flush()
        return self._database.write(
            lambda connection: leases.heartbeat(connection, owner, now, ttl_s), durable=False
        )

    def asked_to_cancel(self, owner: str) -> frozenset[str]:
        """Returns the ids of the owner's runs whose end somebody asked for."""
        return self._database.read(lambda connection: leases.asked_to_cancel(connection, owner))

    def release(self, owner: str, run_id: str | None = None) -> int:
        """Gives up one run, or all that the owner holds; returns how many."""
        return self._database.write(lambda connection: leases.release(connection, owner, run_id), durable=False)

    # Upkeep

    def restore(self, rows: Iterable[LedgerRow]) -> int:
        """Adds rows that are not there yet (from sidecars); returns how many were new."""
        found = tuple(rows)
        self._past.clear()
        return self._database.write(lambda connection: salvage.insert_missing(connection, found))

    def close(self) -> None:
        """Writes what is pending and closes the file."""
        self.flush()
        self._database.close()

    def _step(self, run_id: str, state: RunState, *, billed: str = "", **changes: Any) -> LedgerRow:
        def work(connection: sqlite3.Connection) -> LedgerRow:
            before, is_cancelled = _where_it_stands(connection, run_id)
            # Saying "submitting" twice is two processes about to send the same run: the second must not.
            if before is not state or state is RunState.SUBMITTING:
                _check_step(run_id, before, state)
            if state is RunState.SUBMITTING and is_cancelled:
                raise LedgerError(
                    f"Run {short_id(run_id)} was cancelled.",
                    reason="cancelled",
                    billed=NOTHING_SENT,
                    run_id=run_id,
                )
            return _change(connection, run_id, state=state, **changes)

        return self._database.write(work, billed=billed)

    def _refill(self, connection: sqlite3.Connection, damaged: Path) -> str:
        return salvage.refill(connection, damaged, self._rebuild)


def _where_it_stands(connection: sqlite3.Connection, run_id: str) -> tuple[RunState, bool]:
    """Returns a run's state, and whether its end was asked for: a step needs no more of its row."""
    found = connection.execute("SELECT state, cancel_at FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    if found is None:
        raise unknown_run(run_id)
    return RunState(found["state"]), found["cancel_at"] is not None


def _check_step(run_id: str, before: RunState, state: RunState) -> None:
    if state not in _NEXT[before]:
        raise LedgerError(
            f"Run {short_id(run_id)} is {before} and cannot become {state}.",
            hint=f"%wiro show {short_id(run_id)}",
            reason="transition",
            run_id=run_id,
        )


def _check_budget(connection: sqlite3.Connection, rows: Sequence[LedgerRow], budget_usd: Decimal | None) -> None:
    notebook, service = rows[0].notebook, rows[0].service
    own = queries.budget(connection, notebook)
    limits = [limit for limit in (budget_usd, own) if limit is not None]
    if not limits:
        return
    limit = min(limits)
    spent, reserved = queries.money(connection, notebook=notebook, service=service)
    used = spent + reserved
    known = sum((row.estimated_usd for row in rows if row.estimated_usd is not None), Decimal(0))
    unknown = sum(row.estimated_usd is None for row in rows)
    # Runs of unknown price may start while anything is left; what they will cost cannot be held back.
    if used + known <= limit and (not unknown or used + known < limit):
        return
    what = "This run" if len(rows) == 1 else f"These {len(rows)} runs"
    over = used + known - limit
    by = f" by {_usd(over)}" if over > 0 else ": nothing of it is left, and the price is not known"
    asked = f"{what.lower()}: about {_usd(known)}" if not unknown else f"{what.lower()}: unknown"
    flying = f"; in flight: about {_usd(reserved)}" if reserved else ""
    needed = format((used + known).quantize(Decimal("0.01"), ROUND_UP), "f") if over > 0 else "USD"
    is_setting = own is None or (budget_usd is not None and budget_usd < own)
    raise BudgetExceeded(
        f"{what} would go over the budget of {_usd(limit)}{by}.",
        details=[f"Billed so far: {_usd(spent)}{flying}; {asked}."],
        hint=f"%config WiroMagics.budget_usd = '{needed}'" if is_setting else f"%wiro budget {needed}",
        budget_usd=money_text(limit),
        spent_usd=money_text(used),
        estimated_usd=None if unknown else money_text(known),
        over_usd=money_text(over) if over > 0 else None,
    )


def _usd(amount: Decimal) -> str:
    """Returns an amount with two to four places, rounded up: a refusal never makes a gap look closed."""
    text = format(amount.quantize(Decimal("0.0001"), ROUND_UP).normalize() if amount else Decimal(0), "f")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"


def _change(connection: sqlite3.Connection, run_id: str, **changes: Any) -> LedgerRow:
    _assign(connection, run_id, changes)
    return get_row(connection, run_id)


def _assign(connection: sqlite3.Connection, run_id: str, changes: Mapping[str, Any], condition: str = "") -> None:
    if not changes:
        return
    # Column names come from this module, never from outside.
    names = ", ".join(f"{name} = :{name}" for name in changes)
    values = {name: to_sql(name, value) for name, value in changes.items()}
    connection.execute(f"UPDATE runs SET {names} WHERE run_id = :run_id {condition}", {**values, "run_id": run_id})
