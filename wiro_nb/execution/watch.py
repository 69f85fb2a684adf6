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
from wiro_nb.execution.active_run import ActiveRun, StateWriter, utc_now
from wiro_nb.execution.tracker import Tracker
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.services.connection import Connection
from wiro_nb.services.selection import SANDBOX

_log = logging.getLogger(__name__)
_UNKNOWN_ANSWERS = 3
_SUSPECT_PAUSE_S = 0.2
_FINAL_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_LIST_LIMIT = 200
_GATHER_S = 0.25
_FEW = 3


class Watcher:
    """Follows the tasks of one service.

    Args:
        writer: Where changes pass.
        connection: The service.
    """

    def __init__(self, writer: StateWriter, connection: Connection) -> None:
        self._writer = writer
        self._connection = connection
        self._active: dict[str, ActiveRun] = {}
        self._wake = asyncio.Event()
        self._next_poll_at = 0.0
        self._poller: asyncio.Task[None] | None = None
        connection.on_state(self._on_link_state)

    async def follow(self, active: ActiveRun) -> Task | None:
        """Follows a submitted run to its end.

        Returns:
            The task as the service shows it at the end; None when the service does not know it any more.
        """
        task_id = active.row.task_id
        assert task_id is not None
        self._active[task_id] = active
        active.next_poll_at = time.monotonic() + self._writer.settings.catch_up_s
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll_runs(), name="wiro-looker")
        elif active.next_poll_at < self._next_poll_at:
            self._wake.set()  # it sleeps until the turn of a run that may have ended since
        try:
            await self._register(active)
            await active.ended
            return await self._read_end(active)
        finally:
            self._active.pop(task_id, None)
            await self._unregister(active)

    def poll_now(self, active: ActiveRun) -> None:
        """Has the service asked about a run at once."""
        active.next_poll_at = 0.0
        self._wake.set()

    async def close(self) -> None:
        """Ends the questions; one under way is given up before the client goes."""
        looker, self._poller = self._poller, None
        if looker is not None:
            looker.cancel()
            await asyncio.gather(looker, return_exceptions=True)

    # Events ----------------------------------------------------------------------------------

    async def _register(self, active: ActiveRun) -> None:
        if active.token is None or active.row.task_id is None:
            return  # known by its id only: questions alone follow it
        try:
            stream = await self._connection.stream()
            active.generation = self._connection.generation
            await stream.watch(active.token, active.row.task_id, lambda event: self._on_event(active, event))
        except WiroError as error:
            _log.info("run %s cannot be watched by push yet: %s", active.run.short_id, error.message)
            self.poll_now(active)

    async def _unregister(self, active: ActiveRun) -> None:
        if active.token is None or active.generation != self._connection.generation:
            return
        try:
            await (await self._connection.stream()).unwatch(active.token)
        except WiroError as error:
            _log.debug("run %s: %s", active.run.short_id, error.message)

    def _on_event(self, active: ActiveRun, event: Event) -> None:
        if active.ended.done() or active.tracker is None:
            return
        self._connection.reached = True
        active.poll_count, active.receives_events = 0, True
        now = time.monotonic()
        if event.status == ERROR_STATUS and active.snapshot.stage.rank < Stage.GENERATING.rank:
            # On the socket a line of stderr and a fatal error look the same; before the model runs only
            # Detail can tell them apart.
            active.may_have_failed = True
            active.next_poll_at = min(active.next_poll_at, now + _SUSPECT_PAUSE_S)
            self._wake.set()
        elif not active.may_have_failed:
            active.next_poll_at = now + self._writer.settings.safety_poll_s
        self._show(active, active.tracker.feed_event(event, utc_now()))
        if active.tracker.needs_detail:
            active.ended_at = utc_now()
            active.end()

    def _on_link_state(self) -> None:
        # Up again: events were missed. Down: questions take over soon.
        now = time.monotonic()
        pause = 0.0 if self._connection.socket_is_up else min(0.5, self._writer.settings.poll_s[0])
        for active in self._active.values():
            active.poll_count, active.receives_events = 0, False
            active.next_poll_at = min(active.next_poll_at, now + pause)
        self._wake.set()

    # Questions -------------------------------------------------------------------------------

    async def _poll_runs(self) -> None:
        while self._active:
            now = time.monotonic()
            soonest = min((active.next_poll_at for active in self._waiting()), default=now + 1.0)
            if soonest <= now:
                # Those whose turn is near go along: one answer serves them all.
                await self._look([active for active in self._waiting() if active.next_poll_at <= now + _GATHER_S])
                continue
            self._wake.clear()
            self._next_poll_at = soonest
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.02, soonest - now))
            except TimeoutError:
                pass

    def _waiting(self) -> Iterator[ActiveRun]:
        return (active for active in self._active.values() if not active.ended.done())

    async def _look(self, due: Sequence[ActiveRun]) -> None:
        for active in due:
            active.next_poll_at = time.monotonic() + self._pause(active)
            active.poll_count += 1
            active.may_have_failed = False
        try:
            await self._connection.connect()
            for active in due:
                if active.generation != self._connection.generation:
                    await self._register(active)
                    active.next_poll_at = max(active.next_poll_at, time.monotonic() + 0.02)
            await (self._ask_many(due) if self._is_list_better(due) else self._ask_each(due))
        except WiroError as error:
            self._lose_contact(due, error)
        except Exception:
            _log.exception("a look at %d runs failed", len(due))

    def _pause(self, active: ActiveRun) -> float:
        settings = self._writer.settings
        if self._is_pushed(active):
            return settings.safety_poll_s
        pause = settings.poll_s[min(active.poll_count, len(settings.poll_s) - 1)]
        # Aimed at the end that earlier runs and the run's own pace let expect.
        remaining_s = active.snapshot.remaining_s
        return min(pause, max(settings.poll_s[0], remaining_s)) if remaining_s else pause

    def _is_pushed(self, active: ActiveRun) -> bool:
        # An open socket proves nothing before the first event of this very task came over it.
        return self._connection.socket_is_up and active.receives_events

    def _is_list_better(self, due: Sequence[ActiveRun]) -> bool:
        """True when one long answer costs less than many short ones."""
        if len(due) > _FEW:
            return True
        asked = sum(not self._is_pushed(active) for active in self._active.values())
        return asked > _FEW and asked * 4 >= len(self._active)

    async def _ask_each(self, active_runs: Sequence[ActiveRun]) -> None:
        # The client keeps the number in flight small.
        await asyncio.gather(*(self._ask_one(active) for active in active_runs))

    async def _ask_one(self, active: ActiveRun) -> None:
        try:
            task = await self._connection.read_task(active.row.task_id, active.token)
        except NotAccessible as error:
            if error.code is None:
                raise  # a page of somebody in between, not the service's own word
            self._count_unknown(active, error)
            return
        self._take(active, task)

    async def _ask_many(self, due: Sequence[ActiveRun]) -> None:
        """Reads the newest tasks, page by page while runs that are due may still come; then asks for the rest."""
        missing, seen = {active.row.task_id or "": active for active in due}, 0
        reach = len(self._active) + 20
        limit = min(_LIST_LIMIT, reach)
        while len(missing) > (_FEW if seen else 0) and seen < reach:
            start = seen
            total, tasks = await self._connection.call(lambda client: client.task_list(limit=limit, start=start))  # noqa: B023
            for task in tasks:
                missing.pop(task.id, None)
                active = self._active.get(task.id)
                if active is not None:
                    self._take(active, task)
                    self._put_off(active)
            seen += len(tasks)
            if not tasks or seen >= total:
                break
        await self._ask_each(list(missing.values()))

    def _put_off(self, active: ActiveRun) -> None:
        """Counts an answer that came along as this run's look, too."""
        if not active.may_have_failed:
            active.next_poll_at = max(active.next_poll_at, time.monotonic() + self._pause(active))

    def _take(self, active: ActiveRun, task: Task) -> None:
        self._connection.reached = True
        active.unknown_count = 0
        if active.tracker is None or active.ended.done():
            return
        self._show(active, active.tracker.feed_task(task, utc_now()))
        if _is_over(active.tracker):
            active.final_task = task
            active.end()
        elif active.tracker.needs_detail:
            active.end()

    def _show(self, active: ActiveRun, snapshot: Snapshot) -> None:
        # The end is shown when its record is written, not before.
        if not snapshot.state.is_final:
            self._writer.show(active, snapshot)
            self._writer.note_progress(active)

    def _count_unknown(self, active: ActiveRun, error: ApiError) -> None:
        now = time.monotonic()
        if active.unknown_count == 0:
            active.unknown_since = now
        active.unknown_count += 1
        self._writer.change(active, message=f"the service does not find the task ({error.message})")
        active.next_poll_at = now + self._writer.settings.poll_s[0]
        if self._is_gone(active):
            active.end()

    def _is_gone(self, active: ActiveRun) -> bool:
        """Says whether to believe that a task is gone: a service in trouble knows nothing of paid tasks either."""
        patience = 0.0 if active.row.service == SANDBOX else self._writer.settings.unknown_patience_s
        return active.unknown_count >= _UNKNOWN_ANSWERS and time.monotonic() - active.unknown_since >= patience

    def _lose_contact(self, active_runs: Sequence[ActiveRun], error: WiroError) -> None:
        _log.info("no contact to %s: %s", self._connection.name, error.message)
        now = time.monotonic()
        for active in active_runs:
            pause = self._writer.settings.poll_s[
                min(max(active.poll_count - 1, 0), len(self._writer.settings.poll_s) - 1)
            ]
            active.next_poll_at = now + pause
            if active.tracker is not None:
                self._show(active, active.tracker.lost_contact(utc_now(), retry_in_s=pause))

    # The end ---------------------------------------------------------------------------------

    async def _read_end(self, active: ActiveRun) -> Task | None:
        """Reads Detail until the tracker believes the end: files may be listed a moment later than the success."""
        tries = 0
        while active.final_task is None:
            try:
                with self._writer.urgent():
                    task = await self._connection.read_task(active.row.task_id, active.token)
                    self._take_end(active, task)
            except WiroError as error:
                if isinstance(error, NotAccessible) and error.code is not None:
                    self._count_unknown(active, error)
                    if self._is_gone(active):
                        return None
                else:
                    self._lose_contact([active], error)
            if active.final_task is None:
                await asyncio.sleep(_FINAL_PAUSES_S[min(tries, len(_FINAL_PAUSES_S) - 1)])
                tries += 1
        return active.final_task

    def _take_end(self, active: ActiveRun, task: Task) -> None:
        assert active.tracker is not None
        self._show(active, active.tracker.feed_task(task, utc_now()))
        if _is_over(active.tracker):
            active.final_task = task

    # Stopping --------------------------------------------------------------------------------

    async def cancel(self, active: ActiveRun) -> None:
        """Ends a submitted task: cancel while it queues, else kill. Who was first, the run or we, Detail tells."""
        task_id = active.row.task_id
        assert task_id is not None
        for pause in (0.5, 1.0, 2.0, 4.0, None):
            try:
                try:
                    await self._connection.call(lambda client: client.cancel(task_id))
                except NotAccessible:
                    await self._connection.call(lambda client: client.kill(task_id=task_id))
                break
            except NotAccessible:
                break  # over already: the look below says how
            except WiroError as error:
                if pause is None:
                    self._writer.change(active, message=f"the cancel did not reach the service: {error.message}")
                    break
                await asyncio.sleep(pause)
            if active.run.state is not RunState.SUBMITTED:
                return
        self.poll_now(active)


def _is_over(tracker: Tracker) -> bool:
    return tracker.succeeded or tracker.snapshot.state.is_final
