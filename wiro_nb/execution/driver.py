"""The lives of runs on the I/O thread: submit, follow, finish; leases; taking over what another process left.

The manager is the face for every other thread; this is what it hands work to. Nothing here is called
from outside the I/O thread.
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

from wiro_nb.errors import DownloadFailed, LedgerError, StreamLost, UnknownRun, WiroError
from wiro_nb.execution.active_run import (
    Desk,
    Job,
    NoLongerOurs,
    left_behind,
    no_longer_followed,
    settle_from_row,
    utc_now,
)
from wiro_nb.execution.cancel import drop_plan, note_wish
from wiro_nb.execution.download import Downloader
from wiro_nb.execution.finalize import Finisher
from wiro_nb.execution.requests import prepared_from_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.submit import Submitter
from wiro_nb.execution.tracker import Tracker
from wiro_nb.execution.watch import Watcher
from wiro_nb.ledger.leases import new_owner
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.ledger.state import RunState
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared
from wiro_nb.services.connection import Link

_log = logging.getLogger(__name__)
LEASE_S = 20.0
_HEARTBEAT_S = 5.0
_SPECTATE_S = 1.0


@dataclass(frozen=True, slots=True)
class Branch:
    """What works for one service."""

    link: Link
    submitter: Submitter
    watcher: Watcher
    finisher: Finisher


class Worker:
    """Carries runs from their intent to their record.

    Args:
        desk: Where changes pass.
        link_for: Gives the link of a service by name; raises MissingCredentials and the like.
        schema_for: Finds a model's schema again for a planned run after a restart.
        price_of: Forecasts a request's price in USD, or None; asks the service when it has to.
    """

    def __init__(
        self,
        desk: Desk,
        *,
        link_for: Callable[[str], Link],
        schema_for: Callable[[str], ModelSchema],
        price_of: Callable[[Prepared], Coroutine[Any, Any, Decimal | None]],
    ) -> None:
        self.desk = desk
        self.owner = new_owner()
        self._link_for = link_for
        self._schema_for = schema_for
        self._price_of = price_of
        self._branches: dict[str, Branch] = {}
        self._downloader: Downloader | None = None
        self._jobs: dict[str, Job] = {}
        self._turn = asyncio.Lock()
        self._spectators: dict[str, tuple[asyncio.Task[None], Run]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._heart: asyncio.Task[None] | None = None
        self._closing = False

    # Taking on -------------------------------------------------------------------------------

    def own(self, row: LedgerRow) -> LedgerRow:
        """Returns a new row with this process's lease on it, so that no other kernel takes it before it starts."""
        return replace(row, lease_owner=self.owner, lease_until=utc_now() + timedelta(seconds=LEASE_S))

    def start(self, run: Run, prepared: Prepared, home: Path) -> None:
        """Begins the life of a run that was just planned."""
        if run.id in self._jobs or self._closing:
            return
        branch = self.branch(run.row.service)
        branch.submitter.gate.announce(run.id)
        self._begin(run, branch, home, prepared)

    async def follow(self, run: Run, home: Path) -> None:
        """Takes a run of the ledger on, or looks on while another process works on it."""
        self._look_on(run, home)

    def _look_on(self, run: Run, home: Path) -> None:
        if self._closing and not run.done and run.id not in self._jobs:
            run._settle(left_behind(run))  # asked about while this closes: nobody else would wake who waits
        if run.done or self._closing or run.id in self._jobs or run.id in self._spectators:
            return
        task = asyncio.create_task(self._spectate(run, home), name=f"wiro-spectate-{run.short_id}")
        self._spectators[run.id] = task, run

        def ended(spectator: asyncio.Task[None]) -> None:
            self._spectators.pop(run.id, None)
            if not spectator.cancelled() and spectator.exception() is None:
                self._look_on(run, home)  # unless it is taken over, or was asked about again meanwhile

        task.add_done_callback(ended)

    def branch(self, service: str) -> Branch:
        """Returns what works for a service, made at first use."""
        found = self._branches.get(service)
        if found is None:
            link = self._link_for(service)
            if self._downloader is None:
                self._downloader = Downloader(lambda: self.desk.settings)
            found = Branch(
                link,
                Submitter(self.desk, link),
                Watcher(self.desk, link),
                Finisher(self.desk, link, self._downloader, self._claim),
            )
            self._branches[service] = found
        return found

    def _begin(self, run: Run, branch: Branch, home: Path, prepared: Prepared | None) -> None:
        job = Job(run=run, link=branch.link, home=home, prepared=prepared, token=run.row.task_token)
        if run.row.cancel_at is not None:
            job.cancel()
        self._jobs[run.id] = job
        job.life = asyncio.create_task(self._live(job, branch), name=f"wiro-run-{run.short_id}")
        if self._heart is None or self._heart.done():
            self._heart = asyncio.create_task(self._beat(), name="wiro-heartbeat")

    async def _spectate(self, run: Run, home: Path) -> None:
        """Follows a run in the ledger until its lease is free, then takes it over; or until it is over."""
        ledger = self.desk.ledger
        try:
            while not run.done:
                async with self._turn:  # one after the other: plans are taken over in the order they were made
                    claimed = await self.desk.ledger_call(
                        lambda: ledger.claim(run.id, self.owner, utc_now(), LEASE_S)
                    )
                    run._row = await self.desk.ledger_call(lambda: ledger.get(run.id))
                    is_over = settle_from_row(run)
                    if claimed and not is_over:
                        await self._take_over(run, home)
                if claimed or is_over:
                    return
                await asyncio.sleep(_SPECTATE_S)
        except (LedgerError, UnknownRun) as error:
            _log.warning("run %s cannot be looked up: %s", run.short_id, error.message)
            run._settle(no_longer_followed(run, error))

    async def _take_over(self, run: Run, home: Path) -> None:
        if run.state is RunState.PLANNED and run.row.cancel_at is not None:
            await drop_plan(self.desk, run, self.owner, LEASE_S)
            return
        try:
            branch = self.branch(run.row.service)
            prepared = None
            if run.state is RunState.PLANNED:
                schema = await asyncio.to_thread(self._schema_for, run.model)
                prepared = await asyncio.to_thread(prepared_from_row, run.row, schema, home)
                branch.submitter.gate.announce(run.id, alone=True)
        except WiroError as error:
            # No key for its service, or an input file is gone: the run stays as it is, and says why.
            _log.warning("run %s cannot go on: %s", run.short_id, error.message)
            await self.desk.ledger_call(lambda: self.desk.ledger.release(self.owner, run.id))
            run._settle(no_longer_followed(run, error))
            return
        run._unsettle()
        self._begin(run, branch, home, prepared)

    # A life ----------------------------------------------------------------------------------

    async def _live(self, job: Job, branch: Branch) -> None:
        try:
            await self._steps(job, branch)
        except asyncio.CancelledError:
            raise
        except NoLongerOurs:
            _log.warning("run %s is followed by another process now", job.run.short_id)
        except WiroError as error:
            _log.error("run %s stopped being followed: %s", job.run.short_id, error.message)
            await self._let_go(job)
            told = no_longer_followed(job.run, error)
            self.desk.conclude(job, replace(job.snapshot, message=error.message), told)
        except Exception as error:
            _log.exception("run %s stopped being followed by a defect", job.run.short_id)
            await self._let_go(job)
            lost = StreamLost(
                f"run {job.run.short_id} stopped being followed: {type(error).__name__}: {error}",
                hint=f"%wiro wait {job.run.short_id}",
                run_id=job.id,
            )
            self.desk.conclude(job, replace(job.snapshot, message=lost.message), lost)
        finally:
            self._jobs.pop(job.id, None)
            branch.submitter.gate.withdraw(job.id)
            branch.submitter.gate.slot_freed()
            if not self._closing:
                self._look_on(job.run, job.home)  # if it was asked about again while this life was ending

    async def _steps(self, job: Job, branch: Branch) -> None:
        if not await self._claim(job):
            return  # another process was faster: `_live` has it looked at from here
        state = job.row.state
        if state is RunState.PLANNED:
            await branch.submitter.send(job)
        elif state in (RunState.SUBMITTING, RunState.UNCERTAIN):
            await branch.submitter.resolver.resolve(job)
        if job.row.state is not RunState.SUBMITTED:
            await self.desk.ledger_call(partial(self.desk.ledger.release, self.owner, job.id))
            return
        job.tracker = Tracker(job.snapshot, expected_s=await self.desk.expected_s(job.row))
        if job.prepared is not None and job.row.estimated_usd is None:
            self._spawn(self._tell_price(job, job.prepared))
        job.prepared = None  # the service has it; a thousand runs in flight need not hold theirs
        if job.cancelled.done():
            self._spawn(branch.watcher.cancel(job))
        task = await branch.watcher.follow(job)
        if not await self._claim(job):
            return
        await branch.finisher.finish(job, task)

    async def _claim(self, job: Job) -> bool:
        """Makes sure of the lease; False when another process has the run, or has brought it to its end."""
        if job.is_surely_held_by(self.owner, LEASE_S):
            return not job.row.state.is_final
        await self.desk.put_back(job)
        ledger = self.desk.ledger
        row = await self.desk.ledger_call(lambda: ledger.get(job.id))
        if row.state.is_final:
            return False
        if row.lease_owner == self.owner and row.lease_until is not None and row.lease_until > utc_now():
            return True
        return await self.desk.ledger_call(lambda: ledger.claim(job.id, self.owner, utc_now(), LEASE_S))

    async def _let_go(self, job: Job) -> None:
        """Gives the lease of a run back, so that any process may go on with it."""
        try:
            await self.desk.ledger_call(partial(self.desk.ledger.release, self.owner, job.id))
        except LedgerError as error:
            _log.warning("the lease of run %s was not given back: %s", job.run.short_id, error.message)

    async def _tell_price(self, job: Job, prepared: Prepared) -> None:
        """Forecasts the price of a run whose model's page was not known yet when it was planned."""
        try:
            price = await self._price_of(prepared)
        except WiroError as error:
            _log.info("no forecast for run %s: %s", job.run.short_id, error.message)
            return
        if price is not None and not job.run.done:
            self.desk.change(job, estimated_usd=price)
            ledger = self.desk.ledger
            await self.desk.step(job, lambda: ledger.amend(job.id, estimated_usd=price))

    # Acting ----------------------------------------------------------------------------------

    async def cancel(self, run: Run, home: Path) -> None:
        """Ends a run: before it is sent here, after that at the service; in another process through the ledger."""
        job = self._jobs.get(run.id)
        if job is not None:
            job.cancel()  # at once: it may be about to leave
        await note_wish(self.desk, run)
        await self.follow(run, home)
        for _ in range(50):
            job = self._jobs.get(run.id)
            if job is not None or run.done:
                break
            await asyncio.sleep(0.02)
        if run.done:
            await drop_plan(self.desk, run, self.owner, LEASE_S)
        elif job is None:
            _log.info("run %s is followed by another process, which is told by the ledger", run.short_id)
            await self._cancel_elsewhere(run)
        else:
            await self._cancel_here(job)

    async def _cancel_here(self, job: Job) -> None:
        job.cancel()
        self.desk.change(job, cancel_requested=True, message="cancelling")
        if job.row.state is RunState.SUBMITTED and job.tracker is not None:
            await self.branch(job.row.service).watcher.cancel(job)

    async def _cancel_elsewhere(self, run: Run) -> None:
        if run.row.task_id is None:
            return
        branch = self.branch(run.row.service)
        await branch.watcher.cancel(Job(run=run, link=branch.link, home=Path()))

    async def fetch(self, run: Run, home: Path) -> None:
        """Downloads the files of a run that succeeded once more.

        Raises:
            DownloadFailed: It did not succeed, or a file cannot be had.
        """
        if run.state is not RunState.SUCCEEDED:
            raise DownloadFailed(
                f"run {run.short_id} has no files: it is {run.status}",
                hint=f"%wiro show {run.short_id}",
                run_id=run.id,
            )
        branch = self.branch(run.row.service)
        job = Job(run=run, link=branch.link, home=home, token=run.row.task_token)
        task = await branch.link.read_task(run.task_id, job.token)
        outputs = await branch.finisher.fetch(job, task)
        await branch.finisher.rewrite(job, outputs)
        problems = [output for output in outputs if output.problem]
        if problems:
            raise DownloadFailed(
                f"{problems[0].name} of run {run.short_id} could not be fetched: {problems[0].problem}",
                hint="the service keeps files for a limited time only",
                url=problems[0].url,
                reason=problems[0].problem,
                run_id=run.id,
            )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # Leases ----------------------------------------------------------------------------------

    async def _beat(self) -> None:
        ledger = self.desk.ledger
        while self._jobs:
            await asyncio.sleep(_HEARTBEAT_S)
            before, now = set(self._jobs), utc_now()
            try:
                held = await self.desk.ledger_call(partial(ledger.heartbeat, self.owner, now, LEASE_S))
                asked = await self.desk.ledger_call(lambda: ledger.asked_to_cancel(self.owner))
                for run_id in held & self._jobs.keys():
                    self._jobs[run_id].held_until = now + timedelta(seconds=LEASE_S)
                for run_id in before - held:
                    await self._regain(run_id)
            except LedgerError as error:
                _log.warning("leases could not be extended: %s", error.message)
                continue
            for job in [self._jobs[run_id] for run_id in asked & self._jobs.keys()]:
                if not job.cancelled.done():
                    self._spawn(self._cancel_here(job))

    async def _regain(self, run_id: str) -> None:
        """After a long sleep of the machine another process may have taken a run: then it is no longer ours."""
        job = self._jobs.get(run_id)
        if job is None or job.row.state.is_final or job.run.done or job.row.state is RunState.SUBMITTING:
            return  # the answer of one being sent, when it comes, says more than anybody could find out
        ledger = self.desk.ledger
        await self.desk.put_back(job)
        if await self.desk.ledger_call(lambda: ledger.claim(run_id, self.owner, utc_now(), LEASE_S)):
            return
        _log.warning("run %s is followed by another process now", job.run.short_id)
        if job.life is not None:
            job.life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await job.life
        await self.follow(job.run, job.home)

    # The end ---------------------------------------------------------------------------------

    async def close(self, timeout_s: float) -> None:
        """Lets requests under way come to an answer, gives up all leases and wakes whoever waits."""
        self._closing = True
        deadline = asyncio.get_running_loop().time() + timeout_s / 2
        await asyncio.gather(*(branch.submitter.settle(deadline) for branch in self._branches.values()))
        left = [*(job.run for job in self._jobs.values()), *(run for _, run in self._spectators.values())]
        watched = [task for task, _ in self._spectators.values()]
        lives = [job.life for job in self._jobs.values() if job.life is not None]
        heart = [self._heart] if self._heart is not None else []
        for task in [*lives, *watched, *self._background, *heart]:
            task.cancel()
        await asyncio.gather(*lives, *watched, *self._background, *heart, return_exceptions=True)
        for run in left:
            if not run.done:
                run._settle(left_behind(run))
        for branch in self._branches.values():
            await branch.watcher.close()
        try:
            self.desk.ledger.release(self.owner)
        except LedgerError as error:  # the leases end by themselves; the connections still have to be closed
            _log.warning("leases were not given back: %s", error.message)
