"""Follows submitted tasks of one service by WebSocket events, and by polling where events are missing.

Each task has a socket of its own. While events arrive a task is polled only after long silence; without a socket
all due tasks are polled together, with growing pauses. The end is always read from Task/Detail: events carry
neither exit code nor cost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import aclosing

from wiro_nb.api.answers import ERROR_STATUS, Event, Task
from wiro_nb.api.events import SocketState
from wiro_nb.errors import ApiError, NotAccessible, WiroError
from wiro_nb.execution.active_run import ActiveRun, StateWriter, utc_now
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.services.connection import Connection

_log = logging.getLogger(__name__)
_UNKNOWN_ANSWERS = 3
_FAILURE_CHECK_S = 0.2
_FINAL_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_CANCEL_PAUSES_S = (0.5, 1.0, 2.0, 4.0, None)
_LIST_LIMIT = 200
_BATCH_WINDOW_S = 0.25
_FEW = 3


class Follower:
    """Follows the tasks of one service.

    Args:
        writer: Takes the changes.
        connection: The service.
    """

    def __init__(self, writer: StateWriter, connection: Connection) -> None:
        self._writer = writer
        self._connection = connection
        self._active: dict[str, ActiveRun] = {}
        self._wake = asyncio.Event()
        self._next_poll_at = 0.0
        self._poller: asyncio.Task[None] | None = None
        self._readers: set[asyncio.Task[None]] = set()

    async def follow(self, active: ActiveRun) -> Task | None:
        """Follows a submitted run to its end.

        Returns:
            The task as the service shows it at the end; None when the service does not know it any more.
        """
        task_id = active.snapshot.task_id
        assert task_id is not None
        self._active[task_id] = active
        self._poll_within(active, self._writer.settings.catch_up_s)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll_runs(), name="wiro-poller")
        self._start_reader(active)
        try:
            await active.ended
            return await self._read_end(active)
        finally:
            self._active.pop(task_id, None)
            self._stop_reader(active)

    async def close(self) -> None:
        """Stops polling and closes all sockets; a pending request is cancelled before the client closes."""
        poller, self._poller = self._poller, None
        tasks = [*self._readers, *([poller] if poller is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Events ----------------------------------------------------------------------------------

    def _start_reader(self, active: ActiveRun) -> None:
        self._stop_reader(active)
        if active.snapshot.task_token is not None:  # without it only polling can follow the task
            active.generation = self._connection.generation
            active.reader = asyncio.create_task(self._read_events(active), name="wiro-events")
            self._readers.add(active.reader)
            active.reader.add_done_callback(self._readers.discard)

    def _stop_reader(self, active: ActiveRun) -> None:
        if (
            active.reader is not None and active.ended_at is None
        ):  # after the event that ends the task it closes itself
            active.reader.cancel()
        active.reader = None

    async def _read_events(self, active: ActiveRun) -> None:
        token = active.snapshot.task_token
        assert token is not None
        try:
            events = await self._connection.events()
            active.generation = self._connection.generation
            async with aclosing(events.stream(token, active.snapshot.task_id or "")) as stream:
                async for item in stream:
                    if isinstance(item, SocketState):
                        self._on_socket_state(active, item)
                    else:
                        self._on_event(active, item)
        except WiroError as error:
            _log.info("run %s receives no events yet: %s", active.run.short_id, error.message)
            self._poll_within(active, 0.0)
        except Exception:
            _log.exception("run %s receives no events any more", active.run.short_id)

    def _on_socket_state(self, active: ActiveRun, state: SocketState) -> None:
        settings = self._writer.settings
        active.receives_events = False
        if state is SocketState.LOST:
            active.poll_count = 0
            self._poll_within(active, min(0.5, settings.poll_s[0]))
        else:
            # Events before the registration are not replayed; a new run usually sends its next event soon.
            self._poll_within(active, settings.catch_up_s if active.poll_count == 0 else 0.0)
            active.poll_count = 0

    def _on_event(self, active: ActiveRun, event: Event) -> None:
        if active.ended.done() or active.tracker is None:
            return
        self._connection.reached = True
        active.poll_count, active.receives_events = 0, True
        if event.status == ERROR_STATUS and active.snapshot.stage.rank < Stage.GENERATING.rank:
            # On the socket a line of stderr and a fatal error look the same; before the model runs only
            # Detail can tell them apart.
            active.may_have_failed = True
            self._poll_within(active, _FAILURE_CHECK_S)
        elif not active.may_have_failed:
            active.next_poll_at = time.monotonic() + self._writer.settings.safety_poll_s
        self._show(active, active.tracker.feed_event(event, utc_now()))
        if active.tracker.needs_detail:
            active.ended_at = utc_now()
            active.end()

    # Polling ---------------------------------------------------------------------------------

    def _poll_within(self, active: ActiveRun, pause_s: float) -> None:
        """Schedules the next poll of a run no later than `pause_s` from now."""
        moment = time.monotonic() + pause_s
        active.next_poll_at = min(active.next_poll_at, moment) if active.next_poll_at else moment
        if active.next_poll_at < self._next_poll_at:
            self._wake.set()

    async def _poll_runs(self) -> None:
        while self._active:
            now = time.monotonic()
            waiting = [active for active in self._active.values() if not active.ended.done()]
            self._next_poll_at = min((active.next_poll_at for active in waiting), default=now + 1.0)
            if self._next_poll_at <= now:
                # Include runs that are due soon: one list request serves them all.
                await self._poll([active for active in waiting if active.next_poll_at <= now + _BATCH_WINDOW_S])
                continue
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.02, self._next_poll_at - now))
            except TimeoutError:
                pass

    async def _poll(self, due: Sequence[ActiveRun]) -> None:
        for active in due:
            active.next_poll_at = time.monotonic() + self._pause(active)
            active.poll_count += 1
            active.may_have_failed = False
        try:
            await self._connection.connect()
            for active in due:
                if active.reader is not None and active.generation != self._connection.generation:
                    self._start_reader(active)  # the service has other addresses now
            await (self._read_list(due) if len(due) > _FEW else self._read_each(due))
        except WiroError as error:
            self._lose_contact(due, error)
        except Exception:
            _log.exception("polling %d runs failed", len(due))

    def _pause(self, active: ActiveRun) -> float:
        settings = self._writer.settings
        # An open socket proves nothing before the first event of this very task came over it.
        if active.receives_events:
            return settings.safety_poll_s
        pause = settings.poll_s[min(active.poll_count, len(settings.poll_s) - 1)]
        # Aimed at the end that earlier runs and the run's own pace let expect.
        remaining_s = active.snapshot.remaining_s
        return min(pause, max(settings.poll_s[0], remaining_s)) if remaining_s else pause

    async def _read_each(self, runs: Sequence[ActiveRun]) -> None:
        await asyncio.gather(*(self._read_detail(active) for active in runs))  # the client bounds the requests

    async def _read_detail(self, active: ActiveRun) -> None:
        """Reads one task's Detail; counts it when the service does not know the task."""
        try:
            task = await self._connection.read_task(active.snapshot.task_id, active.snapshot.task_token)
        except NotAccessible as error:
            if error.code is None:
                raise  # a page of somebody in between, not the service's own word
            self._count_unknown(active, error)
            return
        self._take(active, task)

    async def _read_list(self, due: Sequence[ActiveRun]) -> None:
        """Reads the newest tasks, page by page while due runs may still come; then reads the rest one by one."""
        missing, seen = {active.snapshot.task_id or "": active for active in due}, 0
        reach = len(self._active) + 20
        limit = min(_LIST_LIMIT, reach)
        while len(missing) > (_FEW if seen else 0) and seen < reach:
            start = seen
            total, tasks = await self._connection.call(
                lambda client: client.task_list(limit=limit, start=start)  # noqa: B023
            )
            for task in tasks:
                missing.pop(task.id, None)
                active = self._active.get(task.id)
                if active is not None:
                    self._take(active, task)
                    if not active.may_have_failed:  # this answer counts as a run's own poll
                        active.next_poll_at = max(active.next_poll_at, time.monotonic() + self._pause(active))
            seen += len(tasks)
            if not tasks or seen >= total:
                break
        await self._read_each(list(missing.values()))

    def _take(self, active: ActiveRun, task: Task) -> None:
        self._connection.reached = True
        active.unknown_count = 0
        if active.tracker is None or active.final_task is not None:
            return
        self._show(active, active.tracker.feed_task(task, utc_now()))
        if active.tracker.is_over:
            active.final_task = task
        if active.tracker.is_over or active.tracker.needs_detail:
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
        """Returns whether a task is really gone: a failing service may not find paid tasks either."""
        patience = 0.0 if active.snapshot.is_free else self._writer.settings.unknown_patience_s
        return active.unknown_count >= _UNKNOWN_ANSWERS and time.monotonic() - active.unknown_since >= patience

    def _lose_contact(self, runs: Sequence[ActiveRun], error: WiroError) -> None:
        _log.info("no contact to %s: %s", self._connection.name, error.message)
        poll_s = self._writer.settings.poll_s
        for active in runs:
            pause = poll_s[min(max(active.poll_count - 1, 0), len(poll_s) - 1)]
            active.next_poll_at = time.monotonic() + pause
            if active.tracker is not None:
                self._show(active, active.tracker.lost_contact(utc_now(), retry_in_s=pause))

    # The end ---------------------------------------------------------------------------------

    async def _read_end(self, active: ActiveRun) -> Task | None:
        """Reads Detail until the tracker believes the end: files may be listed a moment later than the success."""
        tries = 0
        while active.final_task is None:
            try:
                await self._read_detail(active)
                if self._is_gone(active):
                    return None
            except WiroError as error:
                self._lose_contact([active], error)
            if active.final_task is None:
                await asyncio.sleep(_FINAL_PAUSES_S[min(tries, len(_FINAL_PAUSES_S) - 1)])
                tries += 1
        return active.final_task

    # Stopping --------------------------------------------------------------------------------

    async def cancel(self, active: ActiveRun) -> None:
        """Ends a submitted task: cancel while it queues, else kill. Detail tells whether the run ended first."""
        task_id = active.snapshot.task_id
        assert task_id is not None
        for pause in _CANCEL_PAUSES_S:
            try:
                try:
                    await self._connection.call(lambda client: client.cancel(task_id))
                except NotAccessible:
                    await self._connection.call(lambda client: client.kill(task_id=task_id))
                break
            except NotAccessible:
                break  # over already: the poll below says how
            except WiroError as error:
                if pause is None:
                    self._writer.change(active, message=f"the cancel did not reach the service: {error.message}")
                    break
                await asyncio.sleep(pause)
            if active.run.state is not RunState.SUBMITTED:
                return
        self._poll_within(active, 0.0)
