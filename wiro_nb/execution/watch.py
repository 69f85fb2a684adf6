"""Following submitted tasks of one service: events push, and questions fill what events leave out.

While the socket is up a task is asked about once, when nothing was heard of it after registering, and
then only after long silence. While it is down all tasks are asked about together, with growing pauses.
The end is always read from Task/Detail: events carry neither exit code nor cost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence

from wiro_nb.api.answers import ERROR_STATUS, Event, Task
from wiro_nb.errors import ApiError, NotAccessible, WiroError
from wiro_nb.execution.active_run import Desk, Job, utc_now
from wiro_nb.execution.tracker import Tracker
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.services.connection import Link
from wiro_nb.services.selection import SANDBOX

_log = logging.getLogger(__name__)
_UNKNOWN_LOOKS = 3
_SUSPECT_PAUSE_S = 0.2
_FINAL_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LIST_LIMIT = 200
_GATHER_S = 0.25
_FEW = 3


class Watcher:
    """Follows the tasks of one service.

    Args:
        desk: Where changes pass.
        link: The service.
    """

    def __init__(self, desk: Desk, link: Link) -> None:
        self._desk = desk
        self._link = link
        self._jobs: dict[str, Job] = {}
        self._wake = asyncio.Event()
        self._next_look = 0.0
        self._looker: asyncio.Task[None] | None = None
        link.on_state(self._on_link_state)

    async def follow(self, job: Job) -> Task | None:
        """Follows a submitted run to its end.

        Returns:
            The task as the service shows it at the end; None when the service does not know it any more.
        """
        task_id = job.row.task_id
        assert task_id is not None
        self._jobs[task_id] = job
        job.look_at = time.monotonic() + self._desk.settings.catch_up_s
        if self._looker is None or self._looker.done():
            self._looker = asyncio.create_task(self._keep_looking(), name="wiro-looker")
        elif job.look_at < self._next_look:
            self._wake.set()  # it sleeps until the turn of a run that may have ended since
        try:
            await self._register(job)
            await job.ended
            return await self._read_end(job)
        finally:
            self._jobs.pop(task_id, None)
            await self._unregister(job)

    def look_now(self, job: Job) -> None:
        """Has the service asked about a run at once."""
        job.look_at = 0.0
        self._wake.set()

    async def close(self) -> None:
        """Ends the questions; one under way is given up before the client goes."""
        looker, self._looker = self._looker, None
        if looker is not None:
            looker.cancel()
            await asyncio.gather(looker, return_exceptions=True)

    # Events ----------------------------------------------------------------------------------

    async def _register(self, job: Job) -> None:
        if job.token is None or job.row.task_id is None:
            return  # known by its id only: questions alone follow it
        try:
            stream = await self._link.stream()
            job.generation = self._link.generation
            await stream.watch(job.token, job.row.task_id, lambda event: self._on_event(job, event))
        except WiroError as error:
            _log.info("run %s cannot be watched by push yet: %s", job.run.short_id, error.message)
            self.look_now(job)

    async def _unregister(self, job: Job) -> None:
        if job.token is None or job.generation != self._link.generation:
            return
        try:
            await (await self._link.stream()).unwatch(job.token)
        except WiroError as error:
            _log.debug("run %s: %s", job.run.short_id, error.message)

    def _on_event(self, job: Job, event: Event) -> None:
        if job.ended.done() or job.tracker is None:
            return
        self._link.reached = True
        job.looks, job.is_heard = 0, True
        now = time.monotonic()
        if event.status == ERROR_STATUS and job.snapshot.stage.rank < Stage.GENERATING.rank:
            # On the socket a line of stderr and a fatal error look the same; before the model runs only
            # Detail can tell them apart.
            job.is_suspect = True
            job.look_at = min(job.look_at, now + _SUSPECT_PAUSE_S)
            self._wake.set()
        elif not job.is_suspect:
            job.look_at = now + self._desk.settings.safety_poll_s
        self._show(job, job.tracker.feed_event(event, utc_now()))
        if job.tracker.needs_detail:
            job.ended_at = utc_now()
            job.end()

    def _on_link_state(self) -> None:
        # Up again: events were missed. Down: questions take over soon.
        now = time.monotonic()
        pause = 0.0 if self._link.socket_is_up else min(0.5, self._desk.settings.poll_s[0])
        for job in self._jobs.values():
            job.looks, job.is_heard = 0, False
            job.look_at = min(job.look_at, now + pause)
        self._wake.set()

    # Questions -------------------------------------------------------------------------------

    async def _keep_looking(self) -> None:
        while self._jobs:
            now = time.monotonic()
            soonest = min((job.look_at for job in self._waiting()), default=now + 1.0)
            if soonest <= now:
                # Those whose turn is near go along: one answer serves them all.
                await self._look([job for job in self._waiting() if job.look_at <= now + _GATHER_S])
                continue
            self._wake.clear()
            self._next_look = soonest
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.02, soonest - now))
            except TimeoutError:
                pass

    def _waiting(self) -> Iterator[Job]:
        return (job for job in self._jobs.values() if not job.ended.done())

    async def _look(self, due: Sequence[Job]) -> None:
        for job in due:
            job.look_at = time.monotonic() + self._pause(job)
            job.looks += 1
            job.is_suspect = False
        try:
            await self._link.connect()
            for job in due:
                if job.generation != self._link.generation:
                    await self._register(job)
                    job.look_at = max(job.look_at, time.monotonic() + 0.02)
            await (self._ask_many(due) if self._is_list_better(due) else self._ask_each(due))
        except WiroError as error:
            self._lose_contact(due, error)
        except Exception:
            _log.exception("a look at %d runs failed", len(due))

    def _pause(self, job: Job) -> float:
        settings = self._desk.settings
        if self._is_pushed(job):
            return settings.safety_poll_s
        pause = settings.poll_s[min(job.looks, len(settings.poll_s) - 1)]
        # Aimed at the end that earlier runs and the run's own pace let expect.
        remaining_s = job.snapshot.remaining_s
        return min(pause, max(settings.poll_s[0], remaining_s)) if remaining_s else pause

    def _is_pushed(self, job: Job) -> bool:
        # An open socket proves nothing before the first event of this very task came over it.
        return self._link.socket_is_up and job.is_heard

    def _is_list_better(self, due: Sequence[Job]) -> bool:
        """True when one long answer costs less than many short ones."""
        if len(due) > _FEW:
            return True
        asked = sum(not self._is_pushed(job) for job in self._jobs.values())
        return asked > _FEW and asked * 4 >= len(self._jobs)

    async def _ask_each(self, jobs: Sequence[Job]) -> None:
        # The client keeps the number in flight small.
        await asyncio.gather(*(self._ask_one(job) for job in jobs))

    async def _ask_one(self, job: Job) -> None:
        try:
            task = await self._link.read_task(job.row.task_id, job.token)
        except NotAccessible as error:
            if error.code is None:
                raise  # a page of somebody in between, not the service's own word
            self._count_unknown(job, error)
            return
        self._take(job, task)

    async def _ask_many(self, due: Sequence[Job]) -> None:
        """Reads the newest tasks, page by page while runs that are due may still come; then asks for the rest."""
        missing, seen = {job.row.task_id or "": job for job in due}, 0
        reach = len(self._jobs) + 20
        limit = min(_LIST_LIMIT, reach)
        while len(missing) > (_FEW if seen else 0) and seen < reach:
            start = seen
            total, tasks = await self._link.call(lambda client: client.task_list(limit=limit, start=start))  # noqa: B023
            for task in tasks:
                missing.pop(task.id, None)
                job = self._jobs.get(task.id)
                if job is not None:
                    self._take(job, task)
                    self._put_off(job)
            seen += len(tasks)
            if not tasks or seen >= total:
                break
        await self._ask_each(list(missing.values()))

    def _put_off(self, job: Job) -> None:
        """Counts an answer that came along as this run's look, too."""
        if not job.is_suspect:
            job.look_at = max(job.look_at, time.monotonic() + self._pause(job))

    def _take(self, job: Job, task: Task) -> None:
        self._link.reached = True
        job.unknown_looks = 0
        if job.tracker is None or job.ended.done():
            return
        self._show(job, job.tracker.feed_task(task, utc_now()))
        if _is_over(job.tracker):
            job.final_task = task
            job.end()
        elif job.tracker.needs_detail:
            job.end()

    def _show(self, job: Job, snapshot: Snapshot) -> None:
        # The end is shown when its record is written, not before.
        if not snapshot.state.is_final:
            self._desk.show(job, snapshot)
            self._desk.note_progress(job)

    def _count_unknown(self, job: Job, error: ApiError) -> None:
        now = time.monotonic()
        if job.unknown_looks == 0:
            job.unknown_since = now
        job.unknown_looks += 1
        self._desk.change(job, message=f"the service does not find the task ({error.message})")
        job.look_at = now + self._desk.settings.poll_s[0]
        if self._is_gone(job):
            job.end()

    def _is_gone(self, job: Job) -> bool:
        """Says whether to believe that a task is gone: a service in trouble knows nothing of paid tasks either."""
        patience = 0.0 if job.row.service == SANDBOX else self._desk.settings.unknown_patience_s
        return job.unknown_looks >= _UNKNOWN_LOOKS and time.monotonic() - job.unknown_since >= patience

    def _lose_contact(self, jobs: Sequence[Job], error: WiroError) -> None:
        _log.info("no contact to %s: %s", self._link.name, error.message)
        now = time.monotonic()
        for job in jobs:
            pause = self._desk.settings.poll_s[min(max(job.looks - 1, 0), len(self._desk.settings.poll_s) - 1)]
            job.look_at = now + pause
            if job.tracker is not None:
                self._show(job, job.tracker.lost_contact(utc_now(), retry_in_s=pause))

    # The end ---------------------------------------------------------------------------------

    async def _read_end(self, job: Job) -> Task | None:
        """Reads Detail until the tracker believes the end: files may be listed a moment later than the success."""
        tries = 0
        while job.final_task is None:
            try:
                with self._desk.urgent():
                    task = await self._link.read_task(job.row.task_id, job.token)
                    self._take_end(job, task)
            except WiroError as error:
                if isinstance(error, NotAccessible) and error.code is not None:
                    self._count_unknown(job, error)
                    if self._is_gone(job):
                        return None
                else:
                    self._lose_contact([job], error)
            if job.final_task is None:
                await asyncio.sleep(_FINAL_PAUSES_S[min(tries, len(_FINAL_PAUSES_S) - 1)])
                tries += 1
        return job.final_task

    def _take_end(self, job: Job, task: Task) -> None:
        assert job.tracker is not None
        self._show(job, job.tracker.feed_task(task, utc_now()))
        if _is_over(job.tracker):
            job.final_task = task

    # Stopping --------------------------------------------------------------------------------

    async def cancel(self, job: Job) -> None:
        """Ends a submitted task: cancel while it queues, else kill. Who was first, the run or we, Detail tells."""
        task_id = job.row.task_id
        assert task_id is not None
        for pause in (0.5, 1.0, 2.0, 4.0, None):
            try:
                try:
                    await self._link.call(lambda client: client.cancel(task_id))
                except NotAccessible:
                    await self._link.call(lambda client: client.kill(task_id=task_id))
                break
            except NotAccessible:
                break  # over already: the look below says how
            except WiroError as error:
                if pause is None:
                    self._desk.change(job, message=f"the cancel did not reach the service: {error.message}")
                    break
                await asyncio.sleep(pause)
            if job.run.state is not RunState.SUBMITTED:
                return
        self.look_now(job)


def _is_over(tracker: Tracker) -> bool:
    return tracker.succeeded or tracker.snapshot.state.is_final
