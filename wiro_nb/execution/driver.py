"""Drives runs on the I/O thread: submit, follow, finalize; holds leases; takes over runs of ended processes.

Everything here is called on the I/O thread only; the manager is the interface for other threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from wiro_nb.errors import LedgerError, WiroError
from wiro_nb.execution.active_run import (
    ActiveRun,
    LeaseLost,
    StateWriter,
    cancelled_before_sending,
    no_longer_followed,
    session_closed_error,
    utc_now,
)
from wiro_nb.execution.download import Downloader
from wiro_nb.execution.ended_runs import EndedRuns
from wiro_nb.execution.finalize import Finisher
from wiro_nb.execution.follow import Follower
from wiro_nb.execution.requests import prepared_from_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.submit import Submitter
from wiro_nb.execution.tracker import Tracker
from wiro_nb.ledger.state import LedgerRow, RunState
from wiro_nb.ledger.writes import new_owner
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared
from wiro_nb.services.connection import Connection

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServiceRuntime:
    """The collaborators that drive the runs of one service."""

    connection: Connection
    submitter: Submitter
    follower: Follower
    finisher: Finisher


class Worker:
    """Drives runs from the planned row to the finished record.

    Args:
        writer: Takes the changes.
        connection_for: Gives the connection of a service by name; raises MissingCredentials and the like.
        schema_for: Finds a model's schema again for a planned run after a restart.
        price_of: Forecasts a request's price in USD, or None; asks the service when it has to.
    """

    def __init__(
        self,
        writer: StateWriter,
        *,
        connection_for: Callable[[str], Connection],
        schema_for: Callable[[str], ModelSchema],
        price_of: Callable[[Prepared], Coroutine[Any, Any, Decimal | None]],
    ) -> None:
        self.writer = writer
        self.owner = new_owner()
        self._connection_for = connection_for
        self._schema_for = schema_for
        self._price_of = price_of
        self._runtimes: dict[str, ServiceRuntime] = {}
        self._downloader: Downloader | None = None
        self._active: dict[str, ActiveRun] = {}
        self._turn = asyncio.Lock()
        self._observers: dict[str, tuple[asyncio.Task[None], Run]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self.ended = EndedRuns(lambda service: self.runtime(service).finisher, lambda: writer.settings)
        self._heart: asyncio.Task[None] | None = None
        self._closing = False

    # Starting --------------------------------------------------------------------------------

    def own(self, row: LedgerRow) -> LedgerRow:
        """Returns a new row with this process's lease on it, so that no other kernel takes it before it starts."""
        lease = timedelta(seconds=self.writer.settings.lease_s)
        return replace(row, lease_owner=self.owner, lease_until=utc_now() + lease)

    def start(self, run: Run, prepared: Prepared, notebook_dir: Path) -> None:
        """Starts driving a run that was just planned."""
        if run.id in self._active or self._closing:
            return
        self._begin(run, self.runtime(run.snapshot.service), notebook_dir, prepared)

    async def follow(self, run: Run, notebook_dir: Path) -> None:
        """Takes a run of the ledger over, or observes it while another process drives it."""
        self._follow(run, notebook_dir)

    def _follow(self, run: Run, notebook_dir: Path) -> None:
        if self._closing and not run.done and run.id not in self._active:
            run._complete(session_closed_error(run))  # nothing else would wake its waiters
        if run.done or self._closing or run.id in self._active or run.id in self._observers:
            return
        task = asyncio.create_task(self._observe(run, notebook_dir), name=f"wiro-observe-{run.short_id}")
        self._observers[run.id] = task, run

        def ended(observer: asyncio.Task[None]) -> None:
            self._observers.pop(run.id, None)
            if not observer.cancelled() and observer.exception() is None:
                self._follow(run, notebook_dir)  # does nothing when the run was taken over

        task.add_done_callback(ended)

    def runtime(self, service: str) -> ServiceRuntime:
        """Returns the collaborators for a service, made at first use."""
        found = self._runtimes.get(service)
        if found is None:
            connection = self._connection_for(service)
            if self._downloader is None:
                self._downloader = Downloader(lambda: self.writer.settings)
            found = ServiceRuntime(
                connection,
                Submitter(self.writer, connection),
                Follower(self.writer, connection),
                Finisher(self.writer, connection, self._downloader),
            )
            self._runtimes[service] = found
        return found

    def _begin(self, run: Run, runtime: ServiceRuntime, notebook_dir: Path, prepared: Prepared | None) -> None:
        active = ActiveRun(
            run=run,
            connection=runtime.connection,
            notebook_dir=notebook_dir,
            prepared=prepared,
        )
        if run.snapshot.cancel_at is not None:
            active.cancel()
        self._active[run.id] = active
        active.task = asyncio.create_task(self._drive(active, runtime), name=f"wiro-run-{run.short_id}")
        if self._heart is None or self._heart.done():
            self._heart = asyncio.create_task(self._heartbeat(), name="wiro-heartbeat")

    async def _observe(self, run: Run, notebook_dir: Path) -> None:
        """Follows a run in the ledger until its lease is free, then takes it over; or until it is over."""
        ledger = self.writer.ledger
        try:
            while not run.done:
                async with self._turn:  # one after the other: plans are taken over in the order they were made
                    acquired = await self._acquire_lease(run.id)
                    is_over = run._take_row(await self.writer.ledger_call(lambda: ledger.get(run.id)))
                    if acquired and not is_over:
                        await self._take_over(run, notebook_dir)
                if acquired or is_over:
                    return
                await asyncio.sleep(self.writer.settings.observe_s)
        except Exception as error:  # whatever it is, waiters must be woken
            await self._release_lease(run.id)
            run._complete(no_longer_followed(run, error))

    async def _take_over(self, run: Run, notebook_dir: Path) -> None:
        if run.state is RunState.PLANNED and run.snapshot.cancel_at is not None:
            await self._cancel_unsent(run)
            return
        # No key for its service, or an input file is gone: this raises, and the run stays as it is.
        runtime = self.runtime(run.snapshot.service)
        prepared = None
        if run.state is RunState.PLANNED:
            schema = await asyncio.to_thread(self._schema_for, run.model)
            prepared = await asyncio.to_thread(prepared_from_row, run.snapshot, schema, notebook_dir)
        run._reopen()
        self._begin(run, runtime, notebook_dir, prepared)

    # Driving ---------------------------------------------------------------------------------

    async def _drive(self, active: ActiveRun, runtime: ServiceRuntime) -> None:
        try:
            await self._steps(active, runtime)
        except asyncio.CancelledError:
            raise
        except LeaseLost:
            _log.warning("run %s is followed by another process now", active.run.short_id)
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever it is, waiters must be woken
            await self._stop_following(active, no_longer_followed(active.run, error))
        finally:
            self._active.pop(active.id, None)
            runtime.submitter.queue.slot_freed()
            if not self._closing:
                # A handle may have asked again while this task was ending.
                self._follow(active.run, active.notebook_dir)

    async def _stop_following(self, active: ActiveRun, error: WiroError) -> None:
        """Stops driving a run before its end: its waiters get the error, and any process may take it over."""
        await self._release_lease(active.id)
        self.writer.conclude(active, active.snapshot.with_changes({"message": error.message}), error)

    async def _steps(self, active: ActiveRun, runtime: ServiceRuntime) -> None:
        if not await self._ensure_lease(active):
            return  # another process was faster: `_drive` observes it from here
        state = active.snapshot.state
        if state is RunState.PLANNED:
            await runtime.submitter.submit(active)
        elif state in (RunState.SUBMITTING, RunState.UNCERTAIN):
            await runtime.submitter.recover(active)
        if active.snapshot.state is not RunState.SUBMITTED:
            await self._release_lease(active.id)
            return
        active.tracker = Tracker(active.snapshot, expected_s=await self.writer.expected_s(active.snapshot))
        if active.prepared is not None and active.snapshot.estimated_usd is None:
            self._spawn(self._forecast_price(active, active.prepared))
        active.prepared = None  # the service has it; a thousand runs in flight need not hold theirs
        if active.cancelled.done():
            self._spawn(runtime.follower.cancel(active))
        task = await runtime.follower.follow(active)
        if not await self._ensure_lease(active):
            return
        await runtime.finisher.finalize(active, task)
        if active.snapshot.is_cost_open and not active.snapshot.is_free:
            self.ended.complete_later(active.run, active.notebook_dir)

    async def _ensure_lease(self, active: ActiveRun) -> bool:
        """Acquires or confirms the lease; False when another process holds the run or has finished it."""
        if active.is_surely_held_by(self.owner, self.writer.settings.lease_s):
            return not active.snapshot.state.is_final
        await self.writer.reinsert(active)
        ledger = self.writer.ledger
        row = await self.writer.ledger_call(lambda: ledger.get(active.id))
        if row.state.is_final:
            return False
        if row.lease_owner == self.owner and row.lease_until is not None and row.lease_until > utc_now():
            return True
        return await self._acquire_lease(active.id)

    async def _acquire_lease(self, run_id: str) -> bool:
        ledger, lease_s = self.writer.ledger, self.writer.settings.lease_s
        return await self.writer.ledger_call(lambda: ledger.claim(run_id, self.owner, utc_now(), lease_s))

    async def _release_lease(self, run_id: str) -> None:
        """Releases the lease of a run, so that any process may take it over."""
        try:
            await self.writer.ledger_call(partial(self.writer.ledger.release, self.owner, run_id))
        except LedgerError as error:
            _log.warning("the lease of run %s was not given back: %s", run_id, error.message)

    async def _forecast_price(self, active: ActiveRun, prepared: Prepared) -> None:
        """Forecasts the price of a run whose model's page was not known yet when it was planned."""
        ledger = self.writer.ledger
        try:
            price = await self._price_of(prepared)
            if price is not None and not active.run.done:
                self.writer.change(active, estimated_usd=price)
                await self.writer.ledger_call(lambda: ledger.amend(active.id, estimated_usd=price))
        except WiroError as error:
            _log.info("no forecast for run %s: %s", active.run.short_id, error.message)

    # Cancelling, downloading -----------------------------------------------------------------

    async def cancel(self, run: Run, notebook_dir: Path) -> None:
        """Ends a run: before it is sent here, after that at the service; in another process through the ledger."""
        active = self._active.get(run.id)
        if active is not None:
            active.cancel()  # at once: it may be about to leave
        await self._request_cancel(run)
        self._follow(run, notebook_dir)
        for _ in range(50):
            active = self._active.get(run.id)
            if active is not None or run.done:
                break
            await asyncio.sleep(0.02)
        if run.done:
            await self._cancel_unsent(run)
        elif active is None:
            await self._cancel_elsewhere(run)
        else:
            await self._cancel_here(active)

    async def _request_cancel(self, run: Run) -> None:
        """Writes the request into the ledger: it outlives this process and reaches the driving one."""
        ledger = self.writer.ledger
        try:
            # The handle keeps its row: the step that the run takes at this moment may be newer than this one.
            await self.writer.ledger_call(lambda: ledger.request_cancel(run.id, utc_now()))
        except LedgerError as error:
            _log.warning("the cancel of run %s was not written down: %s", run.short_id, error.message)

    async def _cancel_unsent(self, run: Run) -> None:
        """Ends a planned run that no process drives; does nothing when one does, or when it was sent."""
        ledger = self.writer.ledger
        if run.snapshot.state is not RunState.PLANNED or not await self._acquire_lease(run.id):
            return
        error = cancelled_before_sending(run)
        changes = {"finished_at": utc_now(), "error": error.to_dict(), "message": error.message}
        run._take_row(await self.writer.ledger_call(lambda: ledger.finish(run.id, RunState.CANCELLED, **changes)))

    async def _cancel_here(self, active: ActiveRun) -> None:
        active.cancel()
        self.writer.change(active, cancel_at=active.snapshot.cancel_at or utc_now(), message="cancelling")
        if active.snapshot.state is RunState.SUBMITTED and active.tracker is not None:
            await self.runtime(active.snapshot.service).follower.cancel(active)

    async def _cancel_elsewhere(self, run: Run) -> None:
        if run.snapshot.task_id is None:
            return
        runtime = self.runtime(run.snapshot.service)
        await runtime.follower.cancel(ActiveRun(run=run, connection=runtime.connection, notebook_dir=Path()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def star(self, run: Run, is_starred: bool) -> None:
        """Updates whether the user has picked a run as the best."""
        active = self._active.get(run.id)
        if active is not None:
            self.writer.change(active, starred=is_starred)
        else:
            run._publish(run.snapshot.with_changes({"starred": is_starred}))
            run._notify()

    # Leases ----------------------------------------------------------------------------------

    async def _heartbeat(self) -> None:
        ledger = self.writer.ledger
        while self._active:
            await asyncio.sleep(self.writer.settings.heartbeat_s)
            before, now, lease_s = set(self._active), utc_now(), self.writer.settings.lease_s
            try:
                held = await self.writer.ledger_call(partial(ledger.heartbeat, self.owner, now, lease_s))
                asked = await self.writer.ledger_call(lambda: ledger.cancel_requests(self.owner))
                for run_id in held & self._active.keys():
                    self._active[run_id].held_until = now + timedelta(seconds=lease_s)
                for run_id in before - held:
                    await self._reacquire_lease(run_id)
            except LedgerError as error:
                _log.warning("leases could not be extended: %s", error.message)
                continue
            for active in [self._active[run_id] for run_id in asked & self._active.keys()]:
                if not active.cancelled.done():
                    self._spawn(self._cancel_here(active))

    async def _reacquire_lease(self, run_id: str) -> None:
        """Checks the lease after the machine slept: another process may have taken over the run."""
        active = self._active.get(run_id)
        if (
            active is None
            or active.snapshot.state.is_final
            or active.run.done
            or active.snapshot.state is RunState.SUBMITTING
        ):
            return  # the answer of a run that is being sent says more than the service could
        await self.writer.reinsert(active)
        if await self._acquire_lease(run_id):
            return
        _log.warning("run %s is followed by another process now", active.run.short_id)
        if active.task is not None:
            active.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await active.task
        self._follow(active.run, active.notebook_dir)

    # Closing ---------------------------------------------------------------------------------

    async def close(self, timeout_s: float) -> None:
        """Waits for pending answers, releases all leases and wakes waiters."""
        self._closing = True
        deadline = asyncio.get_running_loop().time() + timeout_s / 2
        await asyncio.gather(*(runtime.submitter.drain(deadline) for runtime in self._runtimes.values()))
        left = [*(active.run for active in self._active.values()), *(run for _, run in self._observers.values())]
        observers = [task for task, _ in self._observers.values()]
        drivers = [active.task for active in self._active.values() if active.task is not None]
        heart = [self._heart] if self._heart is not None else []
        await self.ended.close()
        for task in [*drivers, *observers, *self._background, *heart]:
            task.cancel()
        await asyncio.gather(*drivers, *observers, *self._background, *heart, return_exceptions=True)
        for run in left:
            if not run.done:
                run._complete(session_closed_error(run))
        try:
            self.writer.ledger.release(self.owner)
        except LedgerError as error:  # the leases end by themselves; the connections still have to be closed
            _log.warning("leases were not given back: %s", error.message)
        for runtime in self._runtimes.values():
            await runtime.follower.close()
