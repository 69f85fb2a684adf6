"""The state of a run that this process drives, and the writer that updates its ledger row, handle and listeners.

Everything here happens on the I/O thread unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from wiro_nb.api.answers import Task
from wiro_nb.config import Settings
from wiro_nb.errors import NOTHING_SENT, LedgerError, RunCancelled, StreamLost, UnknownRun, WiroError
from wiro_nb.execution.run import Run
from wiro_nb.execution.tracker import Tracker
from wiro_nb.ledger.history import expected_seconds
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import LedgerRow, RunState, Snapshot, Stage
from wiro_nb.schema.values import Prepared
from wiro_nb.services.connection import Connection

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_PROGRESS_INTERVAL_S = 1.0


def utc_now() -> datetime:
    """Returns the present moment in UTC."""
    return datetime.now(UTC)


def _new_future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False, slots=True)
class ActiveRun:
    """The state of a run on the I/O thread.

    Attributes:
        run: The handle people hold.
        connection: The service it goes to.
        notebook_dir: Folder of the notebook; output paths are relative to it.
        prepared: The request; None when only the task is known (attached).
        tracker: Once there is a task.
        ended: Done when the service says the task is over, or a look finds it so.
        cancelled: Done when the user has asked to cancel.
        held_until: How long this process's lease lasts, as its last heartbeat made it.
        next_poll_at: Monotonic time of the next poll. poll_count: number of polls without news.
        unknown_count: How often the service did not find the task, since `unknown_since`.
        receives_events: its events come by push.
        may_have_failed: An error line may be the end.
        generation: Of the connection whose events `reader` receives.
        is_marked: It is sent with a marker, by which its task is recognised.
        final_task: The whole answer that showed the end. ended_at: when the end was seen, if it was.
        notified_at: Monotonic time when the listeners were called last. notify_timer: calls them next.
    """

    run: Run
    connection: Connection
    notebook_dir: Path
    prepared: Prepared | None = None
    tracker: Tracker | None = None
    ended: asyncio.Future[None] = field(default_factory=_new_future)
    cancelled: asyncio.Future[None] = field(default_factory=_new_future)
    task: asyncio.Task[None] | None = None
    held_until: datetime | None = None
    next_poll_at: float = 0.0
    poll_count: int = 0
    unknown_count: int = 0
    unknown_since: float = 0.0
    receives_events: bool = False
    may_have_failed: bool = False
    generation: int = 0
    reader: asyncio.Task[None] | None = None
    is_marked: bool = True
    final_task: Task | None = None
    ended_at: datetime | None = None
    notified_at: float = 0.0
    notify_timer: asyncio.TimerHandle | None = None

    def is_surely_held_by(self, owner: str, lease_s: float) -> bool:
        """True while a lease lasts that this process knows of, so the ledger need not be read.

        A lease that seems to last longer than any can is one from before the clock was set back.
        """
        row = self.snapshot
        of_row = row.lease_until if row.lease_owner == owner else None
        until = self.held_until or of_row
        return until is not None and 0.0 < (until - utc_now()).total_seconds() <= lease_s

    def end(self) -> None:
        """Marks the task as ended."""
        if not self.ended.done():
            self.ended.set_result(None)

    def cancel(self) -> None:
        """Records that the user asked to cancel."""
        if not self.cancelled.done():
            self.cancelled.set_result(None)

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def snapshot(self) -> Snapshot:
        """The run at this moment."""
        return self.run.snapshot


class LeaseLost(Exception):
    """Another process has taken over the run; this one must not change its files or its row."""


class StateWriter:
    """Writes the changes of runs to ledger, handle and listeners.

    Args:
        ledger: Keeps every step.
        settings: Gives the present settings.
    """

    def __init__(self, ledger: Ledger, settings: Callable[[], Settings]) -> None:
        self.ledger = ledger
        self._settings = settings
        self._moved: set[ActiveRun] = set()
        self._progress_timer: asyncio.TimerHandle | None = None

    @property
    def settings(self) -> Settings:
        """The present settings."""
        return self._settings()

    def change(self, active: ActiveRun, **fields: Any) -> None:
        """Changes fields of the run's snapshot and notifies the listeners."""
        if active.tracker is None:
            self.show(active, active.snapshot.with_changes(fields))
        elif not (snapshot := active.tracker.update(utc_now(), **fields)).state.is_final:
            self.show(active, snapshot)  # the end is shown when its record is written, not before

    def show(self, active: ActiveRun, snapshot: Snapshot) -> None:
        """Publishes a newer snapshot; listeners get it at once, or after a short pause."""
        before = active.snapshot
        if snapshot.version <= before.version:
            return
        active.run._publish(snapshot)
        if not active.run._has_listeners:
            return
        pause = 1.0 / self.settings.callbacks_per_s
        since = time.monotonic() - active.notified_at
        is_known = snapshot.stage is Stage.FETCHING and before.stage is not Stage.FETCHING
        if snapshot.state is not before.state or is_known or since >= pause:
            self._notify_listeners(active)
        elif active.notify_timer is None:
            loop = asyncio.get_running_loop()
            active.notify_timer = loop.call_later(pause - since, self._notify_listeners, active)

    def _notify_listeners(self, active: ActiveRun) -> None:
        if active.notify_timer is not None:
            active.notify_timer.cancel()
        active.notify_timer, active.notified_at = None, time.monotonic()
        active.run._notify()

    async def step(self, active: ActiveRun, call: Callable[[], LedgerRow], **live: Any) -> None:
        """Takes a step of the run in the ledger, durable when this returns; then shows the new row.

        Args:
            active: The run, not tracked.
            call: Takes the step; returns the new row.
            live: Fields of the snapshot that change with it.
        """
        self.show(active, active.snapshot.with_row(await self._write(active, call)).with_changes(live))

    async def end(self, active: ActiveRun, call: Callable[[], LedgerRow], error: WiroError | None) -> None:
        """Takes the last step of the run as `step` does, and marks it as done here."""
        row = await self._write(active, call)
        latest = active.snapshot if active.tracker is None else active.tracker.snapshot
        self.conclude(active, latest.with_row(row), error)

    async def _write(self, active: ActiveRun, call: Callable[[], LedgerRow]) -> LedgerRow:
        try:
            return await self.ledger_call(call)
        except UnknownRun:
            await self.reinsert(active)
            return await self.ledger_call(call)

    async def reinsert(self, active: ActiveRun) -> None:
        """Inserts a run again after its ledger was deleted or moved away: it may have been paid."""
        row = active.snapshot
        if not row.state.is_final:  # of the end the ledger learns by `finish`
            row = row.with_changes({"finished_at": None, "exit_code": None, "cost_usd": None, "outputs": ()})
        if await self.ledger_call(lambda: self.ledger.reinsert([row])):
            _log.warning("the ledger no longer knew run %s: it was written down again", active.run.short_id)

    def note_progress(self, active: ActiveRun) -> None:
        """Notes where the run stands, for other processes; a crash may lose this, never a state."""
        self._moved.add(active)
        if self._progress_timer is None:
            loop = asyncio.get_running_loop()
            self._progress_timer = loop.call_later(_PROGRESS_INTERVAL_S, self._write_progress)

    def _write_progress(self) -> None:
        moved, self._moved, self._progress_timer = self._moved, set(), None
        progress = {
            active.id: {
                name: value
                for name in ("stage", "percent", "message", "started_at")
                if (value := getattr(active.snapshot, name)) is not None
            }
            for active in moved
            if not active.run.done
        }
        self.ledger.submit(lambda: self.ledger.write_progress(progress))  # one that fails is not missed

    async def ledger_call(self, call: Callable[[], _Result]) -> _Result:
        """Calls the ledger on its own thread; the call completes even when this task is cancelled."""
        return await asyncio.shield(asyncio.wrap_future(self.ledger.submit(call)))

    async def expected_s(self, row: LedgerRow) -> float | None:
        """Forecasts a run's seconds of work; None where no earlier run compares."""
        past = await self.ledger_call(lambda: self.ledger.past_runs(row.model, row.service))
        return expected_seconds(past, row.parameters)

    def conclude(self, active: ActiveRun, final: Snapshot, error: WiroError | None) -> None:
        """Marks the run as done: notifies the listeners, then wakes the waiters."""
        active.tracker = None
        active.run._publish(final)
        active.run._conclude(error)
        self._notify_listeners(active)
        active.run._complete(error)

    async def end_without_task(self, active: ActiveRun, state: RunState, error: WiroError) -> None:
        """Ends a run that has no task to follow: refused, cancelled before it was sent, or uncertain."""
        now, kept, message = utc_now(), error.to_dict(), error.message

        def write() -> LedgerRow:
            if state is RunState.UNCERTAIN:
                return self.ledger.mark_uncertain(active.id, message, kept)
            return self.ledger.finish(active.id, state, finished_at=now, error=kept, message=message)

        await self.end(active, write, error)


def cancelled_before_sending(run: Run) -> RunCancelled:
    """Returns the error of a run that the user cancelled before it was sent."""
    return RunCancelled(
        f"run {run.short_id} was cancelled before it was sent",
        billed="Nothing was sent and nothing was billed.",
        run_id=run.id,
        task_id=None,
    )


def session_closed_error(run: Run) -> WiroError:
    """Returns the error that waiters get when this process closes."""
    return StreamLost(
        f"this session no longer follows run {run.short_id}; it continues at the service",
        hint=f"%load_ext wiro_nb, then %wiro wait {run.short_id}",
        billed="",
        run_id=run.id,
    )


def no_longer_followed(run: Run, error: BaseException) -> WiroError:
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
