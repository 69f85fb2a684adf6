"""Writes the changes of runs to ledger, handle and listeners; the errors of runs that end or stop without a task.

Everything here happens on the I/O thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from wiro_nb.errors import NOTHING_SENT, LedgerError, RunCancelled, StreamLost, UnknownRun, WiroError
from wiro_nb.execution.run import Run
from wiro_nb.execution.settings import Settings
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import LedgerRow, RunState, Snapshot

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_PROGRESS_INTERVAL_S = 1.0


def utc_now() -> datetime:
    """Returns the present moment in UTC."""
    return datetime.now(UTC)


class LeaseLost(Exception):
    """Another process has taken over the run; this one must not change its files or its row."""


class StateWriter:
    """Writes the changes of runs that this process drives.

    Args:
        ledger: Keeps every step.
        settings: Gives the present settings.
    """

    def __init__(self, ledger: Ledger, settings: Callable[[], Settings]) -> None:
        self.ledger = ledger
        self._settings = settings
        self._moved: set[Run] = set()
        self._progress_timer: asyncio.TimerHandle | None = None

    @property
    def settings(self) -> Settings:
        """The present settings."""
        return self._settings()

    def change(self, run: Run, **fields: Any) -> None:
        """Changes fields of the run's snapshot and notifies the listeners."""
        self.show(run, run.snapshot.with_changes(fields))

    def show(self, run: Run, snapshot: Snapshot) -> None:
        """Publishes a newer snapshot; listeners get it at once, or after a short pause."""
        run._show(snapshot, 1.0 / self.settings.callbacks_per_s)

    async def step(self, run: Run, call: Callable[[], LedgerRow]) -> None:
        """Takes a step of the run in the ledger, durable when this returns; then shows the new row.

        Args:
            run: The run.
            call: Takes the step; returns the new row.

        Raises:
            LeaseLost: The ledger refuses it, as another process or a person took a step meanwhile.
        """
        self.show(run, run.snapshot.with_row(await self._write(run, call)))

    async def end(self, run: Run, call: Callable[[], LedgerRow], error: WiroError | None) -> None:
        """Takes the last step of the run as `step` does, and marks it as done here."""
        run._end(run.snapshot.with_row(await self._write(run, call)), error)

    async def end_without_task(self, run: Run, state: RunState, error: WiroError) -> None:
        """Ends a run that has no task to follow: refused, cancelled before it was sent, or uncertain."""
        now, kept, message = utc_now(), error.to_dict(), error.message

        def write() -> LedgerRow:
            if state is RunState.UNCERTAIN:
                return self.ledger.mark_uncertain(run.id, message, kept)
            if self.ledger.amend(run.id, message=message).task_id is not None:  # takes the write lock
                raise LeaseLost  # another process has sent it meanwhile; the message is rolled back
            return self.ledger.finish(run.id, state, finished_at=now, error=kept, message=message)

        await self.end(run, write, error)

    async def cancel_unsent(self, run: Run) -> None:
        """Ends a planned run that the user cancelled."""
        error = RunCancelled(
            f"run {run.short_id} was cancelled before it was sent",
            billed=NOTHING_SENT,
            run_id=run.id,
            task_id=None,
        )
        await self.end_without_task(run, RunState.CANCELLED, error)

    async def _write(self, run: Run, call: Callable[[], LedgerRow]) -> LedgerRow:
        try:
            return await self.ledger_call(call)
        except UnknownRun:
            await self.reinsert(run)
            return await self.ledger_call(call)
        except LedgerError as error:
            if getattr(error, "reason", "") == "transition":
                raise LeaseLost from None
            raise

    async def reinsert(self, run: Run) -> None:
        """Inserts a run again after its ledger was deleted or moved away: it may have been paid."""
        row = run.snapshot
        if not row.state.is_final:  # of the end the ledger learns by `finish`
            row = row.with_changes({"finished_at": None, "exit_code": None, "cost_usd": None, "outputs": ()})
        if await self.ledger_call(lambda: self.ledger.reinsert([row])):
            _log.warning("the ledger no longer knew run %s: it was written down again", run.short_id)

    def note_progress(self, run: Run) -> None:
        """Notes where the run stands, for other processes; a crash may lose this, never a state."""
        self._moved.add(run)
        if self._progress_timer is None:
            loop = asyncio.get_running_loop()
            self._progress_timer = loop.call_later(_PROGRESS_INTERVAL_S, self._write_progress)

    def _write_progress(self) -> None:
        moved, self._moved, self._progress_timer = self._moved, set(), None
        progress = {
            run.id: {
                name: value
                for name in ("stage", "percent", "message", "started_at")
                if (value := getattr(run.snapshot, name)) is not None
            }
            for run in moved
            if not run.done
        }
        self.ledger.submit(lambda: self.ledger.write_progress(progress))  # one that fails is not missed

    async def ledger_call(self, call: Callable[[], _Result]) -> _Result:
        """Calls the ledger on its own thread; the call completes even when this task is cancelled."""
        return await asyncio.shield(asyncio.wrap_future(self.ledger.submit(call)))


def session_closed_error(run: Run) -> WiroError:
    """Returns the error that waiters get when this process closes."""
    return StreamLost(
        f"this session no longer follows run {run.short_id}; it continues at the service",
        hint=f"%load_ext wiro_nb, then %wiro wait {run.short_id}",
        billed="",
        run_id=run.id,
    )


def no_longer_followed(run: Run, error: Exception) -> WiroError:
    """Completes an error that ends the following of a run and not the run: what it costs, how to come back."""
    is_known = isinstance(error, WiroError)
    _log.error("run %s stopped being followed: %s", run.short_id, error, exc_info=None if is_known else error)
    if not isinstance(error, WiroError):  # a defect
        message = f"run {run.short_id} stopped being followed: {type(error).__name__}: {error}"
        error = StreamLost(message, hint=f"%wiro wait {run.short_id}", run_id=run.id)
    if run.state is RunState.PLANNED:
        error.billed = error.billed or NOTHING_SENT
    elif error.billed in ("", NOTHING_SENT):
        error.billed = "The run continues; it is billed once if it succeeds."
    if isinstance(error, LedgerError):
        # Another data folder has another ledger: there the run is known by its task only.
        moves = "WIRO_DATA_DIR" in error.hint and run.task_id
        back = f"%wiro attach {run.task_id}" if moves else f"%wiro wait {run.short_id}"
        error.hint = (
            error.hint.replace("try again", back) if "try again" in error.hint else f"{error.hint}, {back}"
        )
    return error
