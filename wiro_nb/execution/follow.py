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
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat

from wiro_nb.api.answers import ERROR_STATUS, Event, Task
from wiro_nb.api.events import CLOSE_TIMEOUT_S, SocketState
from wiro_nb.errors import ApiError, NotAccessible, RateLimited, WiroError
from wiro_nb.execution.run import Run
from wiro_nb.execution.state_writer import StateWriter, utc_now
from wiro_nb.execution.tracker import TaskEnd, Tracker
from wiro_nb.ledger.queries import expected_seconds
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.services.connection import Connection

_log = logging.getLogger(__name__)
_UNKNOWN_ANSWERS = 3
_FAILURE_CHECK_S = 0.2
_READ_END_S, _LONGEST_READ_END_S = 0.2, 10.0
_CANCEL_PAUSES_S = (0.5, 1.0, 2.0, 4.0, None)
_LIST_LIMIT = 200
_BATCH_WINDOW_S = 0.25
_FEW = 3
_MOST_DETAILS = 16
"""Runs that one poll reads by themselves where the tasks cannot be listed; the others follow as these end."""


@dataclass(eq=False, slots=True)
class _Followed:
    """A run that is followed.

    Attributes:
        run, tracker: The run, and what turns messages into its snapshots.
        over: Set when the task is over, or the service does not know it any more.
        next_poll_at: Monotonic time of the next poll. poll_count: number of polls without news.
        unknown_count: How often the service did not find the task, since `unknown_since`.
        receives_events: Its events come by push.
        may_have_failed: An error line may be the end.
        reader: The task that reads its events. generation: of the connection that it reads from.
    """

    run: Run
    tracker: Tracker
    over: asyncio.Event = field(default_factory=asyncio.Event)
    next_poll_at: float = 0.0
    poll_count: int = 0
    unknown_count: int = 0
    unknown_since: float = 0.0
    receives_events: bool = False
    may_have_failed: bool = False
    reader: asyncio.Task[None] | None = None
    generation: int = 0


class Follower:
    """Follows the tasks of one service.

    Args:
        writer: Takes the changes.
        connection: The service.
    """

    def __init__(self, writer: StateWriter, connection: Connection) -> None:
        self._writer = writer
        self._connection = connection
        self._followed: dict[str, _Followed] = {}
        self._wake = asyncio.Event()
        self._next_poll_at = 0.0
        self._poller: asyncio.Task[None] | None = None
        self._readers: set[asyncio.Task[None]] = set()

    async def follow(self, run: Run) -> TaskEnd:
        """Follows a submitted run to its end."""
        row, ledger = run.snapshot, self._writer.ledger
        assert row.task_id is not None
        past = await self._writer.ledger_call(lambda: ledger.past_runs(row.model, row.service))
        late_looks = len(self._writer.settings.late_outputs_s)
        one = _Followed(run, Tracker(expected_seconds(past, row.parameters), late_looks))
        self._followed[row.task_id] = one
        self._poll_within(one, self._writer.settings.catch_up_s)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll_runs(), name="wiro-poller")
        self._start_reader(one)
        try:
            await one.over.wait()
            return await self._read_end(one)
        finally:
            self._followed.pop(row.task_id, None)
            self._stop_reader(one)

    async def close(self) -> None:
        """Stops polling and waits for the sockets to close; a pending request ends before the client closes.

        Runs are no longer followed, so their readers have been stopped: a second cancel would leave sockets open.
        """
        tasks = [*self._readers]
        if self._poller is not None:
            self._poller.cancel()
            tasks.append(self._poller)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=2 * CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()

    # Events ----------------------------------------------------------------------------------

    def _start_reader(self, one: _Followed) -> None:
        self._stop_reader(one)
        if one.run.snapshot.task_token is not None:  # without it only polling can follow the task
            one.generation = self._connection.generation
            one.reader = asyncio.create_task(self._read_events(one), name="wiro-events")
            self._readers.add(one.reader)
            one.reader.add_done_callback(self._readers.discard)

    def _stop_reader(self, one: _Followed) -> None:
        # After the event that ends the task it closes itself.
        if one.reader is not None and one.tracker.end_seen_at is None:
            one.reader.cancel()
        one.reader = None

    async def _read_events(self, one: _Followed) -> None:
        token = one.run.snapshot.task_token
        assert token is not None
        try:
            events = (await self._connection.connect()).events
            one.generation = self._connection.generation
            async with aclosing(events.stream(token, one.run.task_id or "")) as stream:
                async for item in stream:
                    if isinstance(item, SocketState):
                        self._on_socket_state(one, item)
                    else:
                        self._on_event(one, item)
        except WiroError as error:
            _log.info("run %s receives no events yet: %s", one.run.short_id, error.message)
            self._poll_within(one, 0.0)
        except Exception:
            _log.exception("run %s receives no events any more", one.run.short_id)

    def _on_socket_state(self, one: _Followed, state: SocketState) -> None:
        settings = self._writer.settings
        one.receives_events = False
        if state is SocketState.LOST:
            self._poll_within(one, min(0.5, settings.poll_s[0]))
        else:
            # Events before the registration are not replayed; a new run usually sends its next event soon.
            self._poll_within(one, settings.catch_up_s if one.poll_count == 0 else 0.0)
        one.poll_count = 0

    def _on_event(self, one: _Followed, event: Event) -> None:
        if one.over.is_set():
            return
        self._connection.reached = True
        one.poll_count, one.receives_events = 0, True
        if event.status == ERROR_STATUS and one.run.snapshot.stage.rank < Stage.GENERATING.rank:
            # On the socket a line of stderr and a fatal error look the same; before the model runs only
            # Detail can tell them apart.
            one.may_have_failed = True
            self._poll_within(one, _FAILURE_CHECK_S)
        elif not one.may_have_failed:
            one.next_poll_at = time.monotonic() + self._writer.settings.safety_poll_s
        self._show(one, one.tracker.feed_event(one.run.snapshot, event, utc_now()))
        if one.tracker.needs_detail:
            one.over.set()

    # Polling ---------------------------------------------------------------------------------

    def _poll_within(self, one: _Followed, pause_s: float) -> None:
        """Schedules the next poll of a run no later than `pause_s` from now."""
        moment = time.monotonic() + pause_s
        one.next_poll_at = min(one.next_poll_at, moment) if one.next_poll_at else moment
        if one.next_poll_at < self._next_poll_at:
            self._wake.set()

    async def _poll_runs(self) -> None:
        while self._followed:
            now = time.monotonic()
            waiting = [one for one in self._followed.values() if not one.over.is_set()]
            self._next_poll_at = min((one.next_poll_at for one in waiting), default=now + 1.0)
            if self._next_poll_at <= now:
                # Include runs that are due soon: one list request serves them all.
                await self._poll([one for one in waiting if one.next_poll_at <= now + _BATCH_WINDOW_S])
                continue
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), max(0.02, self._next_poll_at - now))

    async def _poll(self, due: Sequence[_Followed]) -> None:
        for one in due:
            one.next_poll_at = time.monotonic() + self._pause(one)
            one.poll_count += 1
            one.may_have_failed = False
        try:
            await self._connection.connect()
            for one in due:
                if one.reader is not None and one.generation != self._connection.generation:
                    self._start_reader(one)  # the service has other addresses now
            await (self._read_list(due) if len(due) > _FEW else self._read_each(due))
        except WiroError as error:
            self._lose_contact(due, error)
        except Exception:
            _log.exception("polling %d runs failed", len(due))

    def _pause(self, one: _Followed) -> float:
        # An open socket proves nothing before the first event of this very task came over it.
        if one.receives_events:
            return self._writer.settings.safety_poll_s
        pause = self._poll_pause(one.poll_count)
        # Aimed at the end that earlier runs and the run's own pace let expect.
        remaining_s = one.run.snapshot.remaining_s
        return min(pause, max(self._poll_pause(0), remaining_s)) if remaining_s else pause

    def _poll_pause(self, count: int) -> float:
        poll_s = self._writer.settings.poll_s
        return poll_s[min(max(count, 0), len(poll_s) - 1)]

    async def _read_each(self, runs: Sequence[_Followed]) -> None:
        await asyncio.gather(*(self._read_detail(one) for one in runs))  # the client bounds the requests

    async def _read_detail(self, one: _Followed) -> None:
        """Reads one task's Detail; counts it when the service does not know the task."""
        try:
            task = await self._connection.read_task(one.run.snapshot.task_id, one.run.snapshot.task_token)
        except NotAccessible as error:
            if error.code is None:
                raise  # a page of somebody in between, not the service's own word
            self._count_unknown(one, error)
            return
        self._take(one, task)

    async def _read_list(self, due: Sequence[_Followed]) -> None:
        """Reads the newest tasks, page by page while due runs may still come; then reads the rest one by one."""
        missing, seen = {one.run.snapshot.task_id or "": one for one in due}, 0
        reach = len(self._followed) + 20
        limit = min(_LIST_LIMIT, reach)
        while len(missing) > (_FEW if seen else 0) and seen < reach:
            start = seen
            try:
                total, tasks = await self._connection.call(
                    lambda client: client.task_list(limit=limit, start=start)  # noqa: B023
                )
            except RateLimited:
                raise
            except ApiError:  # the key may not list tasks, or something in between answers with a page of its own
                await self._read_each(list(missing.values())[:_MOST_DETAILS])
                return
            for task in tasks:
                missing.pop(task.id, None)
                one = self._followed.get(task.id)
                if one is not None:
                    self._take(one, task)
                    if not one.may_have_failed:  # this answer counts as a run's own poll
                        one.next_poll_at = max(one.next_poll_at, time.monotonic() + self._pause(one))
            seen += len(tasks)
            if not tasks or seen >= total:
                break
        await self._read_each(list(missing.values()))

    def _take(self, one: _Followed, task: Task) -> None:
        self._connection.reached = True
        one.unknown_count = 0
        self._show(one, one.tracker.feed_task(one.run.snapshot, task, utc_now()))
        if one.tracker.end is not None or one.tracker.needs_detail:
            one.over.set()

    def _show(self, one: _Followed, snapshot: Snapshot) -> None:
        if self._followed.get(one.run.task_id or "") is one:  # else an answer came after the end
            self._writer.show(one.run, snapshot)
            self._writer.note_progress(one.run)

    def _count_unknown(self, one: _Followed, error: ApiError) -> None:
        now = time.monotonic()
        if one.unknown_count == 0:
            one.unknown_since = now
        one.unknown_count += 1
        message = f"the service does not find the task ({error.message})"
        self._show(one, one.run.snapshot.with_changes({"message": message}))
        one.next_poll_at = now + self._writer.settings.poll_s[0]
        if self._is_gone(one):
            one.over.set()

    def _is_gone(self, one: _Followed) -> bool:
        """Returns whether a task is really gone: a failing service may not find paid tasks either."""
        patience = 0.0 if one.run.snapshot.is_free else self._writer.settings.unknown_patience_s
        return one.unknown_count >= _UNKNOWN_ANSWERS and time.monotonic() - one.unknown_since >= patience

    def _lose_contact(self, runs: Sequence[_Followed], error: WiroError) -> None:
        _log.info("no contact to %s: %s", self._connection.name, error.message)
        for one in runs:
            pause = self._poll_pause(one.poll_count - 1)
            one.next_poll_at = time.monotonic() + pause
            self._show(one, one.tracker.lost_contact(one.run.snapshot, utc_now(), retry_in_s=pause))

    # The end ---------------------------------------------------------------------------------

    async def _read_end(self, one: _Followed) -> TaskEnd:
        """Reads Detail until the tracker believes the end: files may be listed late, and are paid."""
        pauses = chain([_READ_END_S], self._writer.settings.late_outputs_s, repeat(_LONGEST_READ_END_S))
        while one.tracker.end is None:
            try:
                await self._read_detail(one)
                if self._is_gone(one):
                    unknown = Task(one.run.task_id or "", "", status="")
                    return TaskEnd(unknown, RunState.FAILED, one.run.snapshot.stage, is_unknown=True)
            except WiroError as error:
                self._lose_contact([one], error)
            if one.tracker.end is None:
                await asyncio.sleep(next(pauses))
        return one.tracker.end

    # Stopping --------------------------------------------------------------------------------

    async def cancel(self, run: Run) -> None:
        """Ends a submitted task: cancel while it queues, else kill. Detail tells whether the run ended first."""
        task_id = run.task_id
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
                    self._writer.change(run, message=f"the cancel did not reach the service: {error.message}")
                    break
                await asyncio.sleep(pause)
            if run.state is not RunState.SUBMITTED:
                return
        if task_id in self._followed:
            self._poll_within(self._followed[task_id], 0.0)
