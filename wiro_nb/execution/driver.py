"""Drives runs on the I/O thread: submit, follow, finalize; holds leases; takes over runs of ended processes.

Everything here is called on the I/O thread only; the manager is the interface for other threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

from wiro_nb.errors import LedgerError, WiroError
from wiro_nb.execution.finalize import Finisher
from wiro_nb.execution.follow import Follower
from wiro_nb.execution.requests import notebook_dir_of_row, prepared_from_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.state_writer import (
    LeaseLost,
    StateWriter,
    no_longer_followed,
    session_closed_error,
    utc_now,
)
from wiro_nb.execution.submit import Submitter
from wiro_nb.ledger.state import LedgerRow, RunState
from wiro_nb.ledger.writes import new_owner
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared
from wiro_nb.services.connection import Connection

_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class ActiveRun:
    """A run that this process drives, or observes while another one does.

    Attributes:
        run: The handle people hold.
        prepared: The request of a planned run that is driven.
        held_until: How long this process's lease lasts, as far as it knows; None while the run is observed.
        cancelled: Done when the user has asked to cancel.
        task: Drives or observes it.
    """

    run: Run
    prepared: Prepared | None = None
    held_until: datetime | None = None
    cancelled: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    task: asyncio.Task[None] | None = None

    def is_surely_held(self, lease_s: float) -> bool:
        """Returns True while a lease lasts that this process knows of, so the ledger need not be read.

        A lease that seems to last longer than any can is one from before the clock was set back.
        """
        return self.held_until is not None and 0.0 < (self.held_until - utc_now()).total_seconds() <= lease_s

    def cancel(self) -> None:
        """Records that the user asked to cancel."""
        if not self.cancelled.done():
            self.cancelled.set_result(None)


class ServiceRuntime(NamedTuple):
    """What submits and follows the runs of one service."""

    submitter: Submitter
    follower: Follower


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
        self.finisher = Finisher(writer, connection_for)
        self._connection_for = connection_for
        self._schema_for = schema_for
        self._price_of = price_of
        self._runtimes: dict[str, ServiceRuntime] = {}
        self._active: dict[str, ActiveRun] = {}
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._heart: asyncio.Task[None] | None = None
        self._closing = False

    # Starting --------------------------------------------------------------------------------

    def own(self, row: LedgerRow) -> LedgerRow:
        """Returns a new row with this process's lease on it, so that no other kernel takes it before it starts."""
        lease = timedelta(seconds=self.writer.settings.lease_s)
        return replace(row, lease_owner=self.owner, lease_until=utc_now() + lease)

    def follow(self, run: Run, prepared: Prepared | None = None) -> None:
        """Starts driving a run, or observing it while another process drives it.

        Args:
            run: The run.
            prepared: The request of a run that was just planned, with this process's lease on it.
        """
        if run.done or run.id in self._active:
            return
        if self._closing:
            run._complete(session_closed_error(run))  # nothing else would wake its waiters
            return
        held_until = None if prepared is None else run.snapshot.lease_until
        active = self._active[run.id] = ActiveRun(run, prepared, held_until)
        active.task = self._spawn(self._drive(active), f"wiro-run-{run.short_id}")

    def runtime(self, run: Run) -> ServiceRuntime:
        """Returns what submits and follows the runs of a run's service, made at first use."""
        service = run.snapshot.service
        if service not in self._runtimes:
            connection = self._connection_for(service)
            self._runtimes[service] = ServiceRuntime(
                Submitter(self.writer, connection), Follower(self.writer, connection)
            )
        return self._runtimes[service]

    # Driving ---------------------------------------------------------------------------------

    async def _drive(self, active: ActiveRun) -> None:
        """Observes a run until its lease is free; then takes it to its end, or until another process has it."""
        run = active.run
        try:
            while not run.done:
                if active.held_until is None:
                    await self._take_over(active)
                if active.held_until is not None:
                    if await self._steps(active):
                        return  # whoever reopens it from now on asks for its files
                elif not run.done:
                    await asyncio.sleep(self.writer.settings.observe_s)
        except Exception as stopped:  # whatever it is, waiters must be woken
            error = no_longer_followed(run, stopped)
            await self._release_lease(run.id)  # any process may take it over
            run._end(run.snapshot.with_changes({"message": error.message}), error)
        finally:
            self._active.pop(run.id, None)

    async def _take_over(self, active: ActiveRun) -> None:
        """Takes what the ledger says of a run, and its lease where that is free."""
        run, ledger = active.run, self.writer.ledger
        async with self._turn:  # one after the other: plans are taken over in the order they were made
            moment = utc_now()
            acquired = await self._acquire_lease(run.id)
            if run._take_row(await self.writer.ledger_call(lambda: ledger.get(run.id))) or not acquired:
                return
            row = run.snapshot
            if row.cancel_at is not None:
                active.cancel()
            if row.state is RunState.PLANNED and active.cancelled.done():
                with contextlib.suppress(LeaseLost):
                    await self.writer.cancel_unsent(run)
                return
            if row.state is RunState.PLANNED:  # its model or an input file may be gone: then this raises
                schema = await asyncio.to_thread(self._schema_for, run.model)
                folder = notebook_dir_of_row(row)
                active.prepared = await asyncio.to_thread(prepared_from_row, row, schema, folder)
            active.held_until = moment + timedelta(seconds=self.writer.settings.lease_s)

    async def _steps(self, active: ActiveRun) -> bool:
        """Takes a run from where it is to its end, while this process has its lease; True once it is there."""
        run, runtime = active.run, self.runtime(active.run)  # this raises when there is no key for its service
        if self._heart is None or self._heart.done():
            self._heart = self._spawn(self._heartbeat(), "wiro-heartbeat")
        try:
            if not await self._ensure_lease(active):
                return False
            if run.state is RunState.PLANNED:
                assert active.prepared is not None
                await runtime.submitter.submit(run, active.prepared, active.cancelled)
            elif run.state in (RunState.SUBMITTING, RunState.UNCERTAIN):
                await runtime.submitter.recover(run)
            if run.state is not RunState.SUBMITTED:
                await self._release_lease(run.id)
                return False
            if active.prepared is not None and run.estimate is None:
                self._spawn(self._forecast_price(run, active.prepared))
            active.prepared = None  # the service has it; a thousand runs in flight need not hold theirs
            if active.cancelled.done():
                self._spawn(self._cancel_here(active))
            end = await runtime.follower.follow(run)
            if await self._ensure_lease(active):
                await self.finisher.finalize(run, end)
                if run.snapshot.is_cost_open and not run.snapshot.is_free:
                    self.finisher.complete(run, self.writer.settings.late_checks_s)
                return True
        except LeaseLost:
            _log.warning("run %s is followed by another process now", run.short_id)
        finally:
            active.held_until = active.prepared = None
            runtime.submitter.queue.slot_freed()
        return False

    async def _ensure_lease(self, active: ActiveRun) -> bool:
        """Confirms or acquires the lease; False when another process holds the run or has finished it."""
        if active.is_surely_held(self.writer.settings.lease_s):
            return True
        await self.writer.reinsert(active.run)
        return await self._acquire_lease(active.run.id)

    async def _acquire_lease(self, run_id: str) -> bool:
        ledger, lease_s = self.writer.ledger, self.writer.settings.lease_s
        return await self.writer.ledger_call(lambda: ledger.claim(run_id, self.owner, utc_now(), lease_s))

    async def _release_lease(self, run_id: str) -> None:
        """Releases the lease of a run, so that any process may take it over."""
        try:
            await self.writer.ledger_call(partial(self.writer.ledger.release, self.owner, run_id))
        except LedgerError as error:
            _log.warning("the lease of run %s was not given back: %s", run_id, error.message)

    async def _forecast_price(self, run: Run, prepared: Prepared) -> None:
        """Forecasts the price of a run whose model's page was not known yet when it was planned."""
        ledger = self.writer.ledger
        try:
            price = await self._price_of(prepared)
            if price is not None and not run.done:
                self.writer.change(run, estimated_usd=price)
                await self.writer.ledger_call(lambda: ledger.amend(run.id, estimated_usd=price))
        except WiroError as error:
            _log.info("no forecast for run %s: %s", run.short_id, error.message)

    # Cancelling ------------------------------------------------------------------------------

    def cancel(self, run: Run) -> None:
        """Ends a run: before it is sent here, after that at the service; in another process through the ledger."""
        if run.done and not run.state.is_final:
            run._reopen()  # an error stopped it
        self.follow(run)
        active = self._active.get(run.id)
        if active is not None:  # else it ended just now
            active.cancel()  # at once: it may be about to leave
            self._spawn(self._request_cancel(active))

    async def _request_cancel(self, active: ActiveRun) -> None:
        run, ledger = active.run, self.writer.ledger
        try:
            # It outlives this process and reaches the driving one. The handle keeps its row: the step that the
            # run takes at this moment may be newer than this one.
            await self.writer.ledger_call(lambda: ledger.request_cancel(run.id, utc_now()))
        except WiroError as error:  # a ledger that was deleted too: the task is cancelled all the same
            _log.warning("the cancel of run %s was not written down: %s", run.short_id, error.message)
        await self._cancel_here(active)

    async def _cancel_here(self, active: ActiveRun) -> None:
        run = active.run
        active.cancel()
        if active.held_until is not None and not run.done:
            self.writer.change(run, cancel_at=run.snapshot.cancel_at or utc_now(), message="cancelling")
        if run.state is RunState.SUBMITTED and not run.done:
            await self.runtime(run).follower.cancel(run)

    async def star(self, run: Run, is_starred: bool) -> None:
        """Updates whether the user has picked a run as the best."""
        self.writer.change(run, starred=is_starred)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Leases ----------------------------------------------------------------------------------

    async def _heartbeat(self) -> None:
        ledger = self.writer.ledger
        while any(active.held_until is not None for active in self._active.values()):
            await asyncio.sleep(self.writer.settings.heartbeat_s)
            before = {run_id for run_id, active in self._active.items() if active.held_until is not None}
            now, lease_s = utc_now(), self.writer.settings.lease_s
            try:
                held = await self.writer.ledger_call(partial(ledger.heartbeat, self.owner, now, lease_s))
                for run_id in before & held.keys() & self._active.keys():
                    if self._active[run_id].held_until is not None:
                        self._active[run_id].held_until = now + timedelta(seconds=lease_s)
                for run_id in before - held.keys():
                    await self._reacquire_lease(run_id)
            except LedgerError as error:
                _log.warning("leases could not be extended: %s", error.message)
                continue
            for active in [active for run_id, active in self._active.items() if held.get(run_id)]:
                if not active.cancelled.done():
                    self._spawn(self._cancel_here(active))

    async def _reacquire_lease(self, run_id: str) -> None:
        """Checks the lease after the machine slept: another process may have taken over the run."""
        active = self._active.get(run_id)
        if active is None or active.held_until is None or active.run.state is RunState.SUBMITTING:
            return  # the answer of a run that is being sent says more than the service could
        await self.writer.reinsert(active.run)
        if await self._acquire_lease(run_id):
            return
        _log.warning("run %s is followed by another process now", active.run.short_id)
        if active.task is not None:
            active.task.cancel()
            await asyncio.wait({active.task})
        self.follow(active.run)

    # Closing ---------------------------------------------------------------------------------

    async def close(self, timeout_s: float) -> None:
        """Waits for pending answers, releases all leases and wakes waiters."""
        self._closing = True
        await asyncio.gather(*(runtime.submitter.drain(timeout_s / 2) for runtime in self._runtimes.values()))
        left, tasks = list(self._active.values()), list(self._tasks)
        await self.finisher.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for active in left:
            if not active.run.done:
                active.run._complete(session_closed_error(active.run))
        try:
            self.writer.ledger.release(self.owner)
        except LedgerError as error:  # the leases end by themselves; the connections still have to be closed
            _log.warning("leases were not given back: %s", error.message)
        for runtime in self._runtimes.values():
            await runtime.follower.close()
