"""The way of a run to the service: in order, once, and never twice.

Nothing is retried once a byte of Run may have left. When the answer is lost, the service is asked which
tasks it has; exactly one that fits is taken on, anything else is left to the person.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from wiro_nb.api.answers import Submitted
from wiro_nb.errors import (
    ApiError,
    ConnectFailed,
    LedgerError,
    MissingExtra,
    RateLimited,
    SlotsFull,
    TransportError,
    WiroError,
)
from wiro_nb.execution.active_run import Desk, Job, cancelled_before_sending, utc_now
from wiro_nb.execution.submission_recovery import Resolver
from wiro_nb.execution.submit_queue import Gate
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.schema.encode import WireBody, encode
from wiro_nb.services.connection import Link

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient

_SEND_WITHIN = timedelta(seconds=10)
_WRITE_TRIES = 5


class _Outcome(enum.Enum):
    ENDED = "submitted, refused or uncertain"
    FULL = "no slot"
    NOT_SENT = "no connection"


class Submitter:
    """Sends the planned runs of one service.

    Args:
        desk: Where changes pass.
        link: The service.
    """

    def __init__(self, desk: Desk, link: Link) -> None:
        self._desk = desk
        self._link = link
        self._jobs: dict[str, Job] = {}
        self._under_way: set[str] = set()
        self._is_closing = False
        self._all_answered = asyncio.Event()
        self.resolver = Resolver(desk, link, self._take_on)
        self.gate = Gate(retry_s=desk.settings.slot_retry_s, on_places=self._tell_places)

    async def send(self, job: Job) -> None:
        """Brings a planned run to the service; returns when it is submitted or settled without a task."""
        started = time.monotonic()
        pauses = _growing(1.0, 30.0)
        self._jobs[job.id] = job
        try:
            while True:
                # False when the person cancelled it before its turn.
                if not await self.gate.enter(job.id, unless=job.cancelled):
                    await self._desk.end_without_task(job, RunState.CANCELLED, cancelled_before_sending(job.run))
                    return
                outcome = await self._try(job)
                if outcome is _Outcome.ENDED:
                    return
                if outcome is _Outcome.NOT_SENT and not await self._may_try_again(job, started, next(pauses)):
                    return
        finally:
            self._jobs.pop(job.id, None)

    async def settle(self, deadline: float) -> None:
        """Sends nothing more, and waits for the answers that are under way.

        A Run that is cut off may be billed without anybody knowing its task, and one that was only about to leave
        would have to be asked about.

        Args:
            deadline: By the loop's clock.
        """
        self._is_closing = True
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._all_answered.wait()

    async def _try(self, job: Job) -> _Outcome:
        outcome = _Outcome.ENDED
        try:
            outcome = await self._send_once(job)
            return outcome
        finally:
            self.gate.leave(sent=job.row.state is RunState.SUBMITTED, full=outcome is _Outcome.FULL)

    async def _send_once(self, job: Job) -> _Outcome:
        desk = self._desk
        assert job.prepared is not None
        try:
            await self._link.connect()
            # Without files encoding is a matter of microseconds, and a thread's turn costs more.
            body = await asyncio.to_thread(encode, job.prepared) if job.prepared.files else encode(job.prepared)
        except ConnectFailed:
            return _Outcome.NOT_SENT
        except (MissingExtra, WiroError) as error:
            await desk.end_without_task(job, RunState.FAILED, error)
            return _Outcome.ENDED
        if self._is_closing:
            await asyncio.get_running_loop().create_future()  # given up in a moment; its plan stays as it is
        self._under_way.add(job.id)
        self._all_answered.clear()
        try:
            return await self._deliver(job, body)
        finally:
            self._is_answered(job)

    def _is_answered(self, job: Job) -> None:
        self._under_way.discard(job.id)
        if not self._under_way:
            self._all_answered.set()

    async def _deliver(self, job: Job, body: WireBody) -> _Outcome:
        """Takes a request from its intent to its answer, both on disk."""
        desk = self._desk
        assert job.prepared is not None
        moment = utc_now()
        # On disk before a byte leaves: whatever happens now, a later process knows to ask before it sends.
        try:
            await desk.step(job, lambda: desk.ledger.mark_submitting(job.id, moment))
        except LedgerError as error:
            if getattr(error, "reason", "") != "cancelled":
                raise
            await desk.end_without_task(job, RunState.CANCELLED, cancelled_before_sending(job.run))
            return _Outcome.ENDED
        desk.change(job, state=RunState.SUBMITTING, message="", ahead=None, lost_since=None, retry_in_s=None)
        if any(file.path is not None for files in job.prepared.files.values() for file in files):
            self.gate.make_room()
        try:
            submitted = await self._link.call(lambda client: self._run(client, job, body, moment))
        except ConnectFailed:
            await self._back_to_planned(job)
            return _Outcome.NOT_SENT
        except (SlotsFull, RateLimited):
            self._link.reached = True
            await self._back_to_planned(job)
            return _Outcome.FULL
        except WiroError as error:
            if is_ambiguous(error):
                self._is_answered(job)  # as far as it will be: any process can go on from here
                await self.resolver.resolve(job)
            else:
                await desk.end_without_task(job, RunState.FAILED, _refused(job, error))
            return _Outcome.ENDED
        self._link.reached = True
        await self._take_on(job, submitted.task_id, submitted.token, moment=utc_now())
        return _Outcome.ENDED

    async def _run(self, client: WiroClient, job: Job, body: WireBody, moment: datetime) -> Submitted:
        if utc_now() - moment > _SEND_WITHIN:
            # The machine slept in between: another kernel may have asked for the task, found none, and said so.
            raise ConnectFailed("this machine was asleep before the run was sent", host=job.row.service)
        return await client.run(
            job.row.run_path, body, on_progress=lambda sent, total: self._tell_upload(job, sent, total)
        )

    async def _take_on(self, job: Job, task_id: str, token: str, *, moment: datetime | None = None) -> None:
        moment = moment or job.row.submitting_at or utc_now()
        job.token = token
        for attempt in range(_WRITE_TRIES):
            try:
                await self._desk.step(
                    job, lambda: self._desk.ledger.mark_submitted(job.id, task_id, token, moment)
                )
                break
            except LedgerError:
                # The task exists by now and may be billed: a disk that is full for a moment must not lose it.
                if attempt == _WRITE_TRIES - 1:
                    raise
                await asyncio.sleep(1.0)
        self._desk.change(
            job,
            state=RunState.SUBMITTED,
            stage=Stage.QUEUED,
            task_id=task_id,
            submitted=moment,
            message="",
            percent=None,
        )

    async def _back_to_planned(self, job: Job) -> None:
        await self._desk.step(job, lambda: self._desk.ledger.mark_planned(job.id))
        self._desk.change(job, state=RunState.PLANNED)

    async def _may_try_again(self, job: Job, started: float, pause: float) -> bool:
        """Waits and says True, or settles the run: nothing was sent, and patience is over."""
        settings = self._desk.settings
        patience = settings.outage_patience_s if self._link.reached else settings.connect_patience_s
        waited = time.monotonic() - started
        if waited + pause > patience:
            error = ConnectFailed(
                f"{job.row.service} could not be reached for {waited:.0f} s",
                hint=f"%wiro, then %wiro rerun {job.run.short_id}",
                run_id=job.id,
            )
            await self._desk.end_without_task(job, RunState.FAILED, error)
            return False
        self._desk.change(
            job,
            lost_since=job.snapshot.lost_since or utc_now(),
            retry_in_s=pause,
            message=f"{job.row.service} cannot be reached: nothing was sent, trying again",
        )
        await asyncio.wait({job.cancelled}, timeout=pause)
        return True

    def _tell_places(self, keys: list[str]) -> None:
        for ahead, key in enumerate(keys):
            job = self._jobs.get(key)
            if job is not None and job.snapshot.state is RunState.PLANNED and job.snapshot.ahead != ahead:
                before = f"{ahead} of yours ahead" if ahead else "next in line"
                self._desk.change(job, ahead=ahead, message=f"all slots of your balance are taken: {before}")

    def _tell_upload(self, job: Job, sent: int, total: int | None) -> None:
        if total and job.snapshot.state is RunState.SUBMITTING:
            self._desk.change(job, percent=min(100.0, 100.0 * sent / total), message="uploading")


def is_ambiguous(error: WiroError) -> bool:
    """True when the service may have started a task although no good answer came back."""
    if getattr(error, "ambiguous", False):
        return True
    return isinstance(error, TransportError) and not isinstance(error, ConnectFailed)


def _refused(job: Job, error: WiroError) -> WiroError:
    if isinstance(error, ApiError) and not error.billed:
        error.billed = "Nothing was billed."
    return error


def _growing(first: float, most: float) -> Any:
    pause = first
    while True:
        yield pause
        pause = min(most, pause * 2)
