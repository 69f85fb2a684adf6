"""Submits planned runs to one service in order, each at most once.

Nothing is retried once a byte of Run may have left. When the answer is lost, `submission_recovery` looks for the
task among those of the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import heapq
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from wiro_nb.api.answers import Submitted
from wiro_nb.api.envelope import CALLBACK_WORDS
from wiro_nb.api.transport import jittered_delays
from wiro_nb.config import LOCAL
from wiro_nb.errors import (
    ApiError,
    ConnectFailed,
    LedgerError,
    MissingExtra,
    SlotsFull,
    TransportError,
    WiroError,
)
from wiro_nb.execution.active_run import ActiveRun, StateWriter, cancelled_before_sending, utc_now
from wiro_nb.execution.submission_recovery import SubmissionRecovery, marker_of
from wiro_nb.ledger.state import RunState
from wiro_nb.schema import WireBody, encode
from wiro_nb.services.connection import Connection
from wiro_nb.services.selection import ServiceChoice

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient

_SEND_WITHIN = timedelta(seconds=10)
_WRITE_TRIES = 5


class _Outcome(enum.Enum):
    ENDED = "submitted, refused or uncertain"
    FULL = "no slot"
    NOT_SENT = "no connection"
    UNMARKED = "refused because of its marker"


class SubmitQueue:
    """The order in which the runs of one service are sent, a few at a time; used on the I/O thread only.

    One run is sent at first, then two at once, then four: when the slots turn out to be full, the refused runs are
    still in order. While the slots are full (code 96) only the first run tries, when a run of this service ends or
    after a growing pause.

    Args:
        in_flight: Most sends at once.
        retry_s: Seconds between tries while the slots are full; the last one repeats.
        on_places: Called with the waiting keys in order while the slots are full and the order changes, and with
            an empty list when they are free again.
    """

    def __init__(
        self,
        *,
        in_flight: int = 8,
        retry_s: Sequence[float] = (2.0, 5.0, 10.0),
        on_places: Callable[[list[str]], None] = lambda keys: None,
    ) -> None:
        self._most = in_flight
        self._limit = 1
        self._retry_s = tuple(retry_s)
        self._on_places = on_places
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._sending = 0
        self._full = False
        self._failed_tries = 0
        self._may_try = True
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """True while the service takes no more."""
        return self._full

    async def enter(self, key: str, *, unless: asyncio.Future[None] | None = None) -> bool:
        """Waits for this key's turn. Cancelling the caller gives up its place.

        Args:
            key: Sorts in the order of sending; a ULID does.
            unless: When it is done first, the place is given up, too.

        Returns:
            True when it is the key's turn, and `leave` must follow; False when `unless` is done.
        """
        if unless is not None and unless.done():
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (key, turn))
        self._advance()
        try:
            if not turn.done():
                await asyncio.wait({turn, unless or turn}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._give_up(turn)
            raise
        if turn.done() and not (unless is not None and unless.done()):
            return True
        self._give_up(turn)
        return False

    def leave(self, *, sent: bool, full: bool = False) -> None:
        """Notes how the try of a key that entered came out.

        Args:
            sent: The service took it.
            full: The service has no slot; the key is expected to enter again.
        """
        self._sending -= 1
        if full:
            self._failed_tries += 1
            self._full, self._may_try, self._limit = True, False, 1
        elif self._full:
            self._failed_tries = 0 if sent else self._failed_tries
            self._may_try = True
            if not self._waiting and not self._sending:
                self._full = False
                self._on_places([])
        elif sent:
            self._limit = min(self._most, 2 * self._limit)
        self._advance()

    def skip_ahead(self) -> None:
        """Lets other runs send while this one uploads large files."""
        if not self._full:
            self._limit = self._most
            self._advance()

    def slot_freed(self) -> None:
        """Lets the first waiter try at once, because a run of this service has ended."""
        self._may_try = True
        self._advance()

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done():
            self.leave(sent=False)  # its turn had come: the next one must have it
        else:
            self._waiting = [place for place in self._waiting if place[1] is not turn]
            heapq.heapify(self._waiting)
            self._advance()

    def _advance(self) -> None:
        while self._waiting and self._sending < (1 if self._full else self._limit) and self._may_try:
            _, turn = heapq.heappop(self._waiting)
            self._sending += 1
            self._may_try = not self._full
            turn.set_result(None)
        if self._full:
            self._on_places([key for key, _ in sorted(self._waiting, key=lambda place: place[0])])
            if self._waiting and not self._sending and self._timer is None:
                pause = self._retry_s[min(max(self._failed_tries - 1, 0), len(self._retry_s) - 1)]
                self._timer = asyncio.get_running_loop().call_later(pause, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self.slot_freed()


class Submitter:
    """Submits the planned runs of one service.

    Args:
        writer: Takes the changes.
        connection: The service.
    """

    def __init__(self, writer: StateWriter, connection: Connection) -> None:
        self._writer = writer
        self._connection = connection
        self._active: dict[str, ActiveRun] = {}
        self._under_way: set[str] = set()
        self._is_closing = False
        self._all_answered = asyncio.Event()
        self._takes_no_marker: ServiceChoice | None = None
        self._recovery = SubmissionRecovery(writer, connection)
        self.queue = SubmitQueue(retry_s=writer.settings.slot_retry_s, on_places=self._show_places)

    async def submit(self, active: ActiveRun) -> None:
        """Submits a planned run; returns when it has a task, or has ended or is uncertain without one."""
        started = time.monotonic()
        pauses = jittered_delays(random.random, first_s=1.0)
        self._active[active.id] = active
        try:
            while True:
                # False when the user cancelled it before its turn.
                if not await self.queue.enter(active.id, unless=active.cancelled):
                    await self._writer.end_without_task(
                        active, RunState.CANCELLED, cancelled_before_sending(active.run)
                    )
                    return
                outcome = await self._try(active)
                if outcome is _Outcome.ENDED:
                    return
                if outcome is _Outcome.NOT_SENT and not await self._wait_to_retry(active, started, next(pauses)):
                    return
        finally:
            self._active.pop(active.id, None)

    async def recover(self, active: ActiveRun, cause: WiroError | None = None) -> None:
        """Adopts the task of a run whose answer was lost, or leaves the run uncertain; sends nothing."""
        task = await self._recovery.find_task(active, cause)
        if task is not None:
            await self._adopt(active, task.id, task.token)
        with contextlib.suppress(LedgerError):  # the next list shows them again
            await self._recovery.claim_doubles()

    async def drain(self, deadline: float) -> None:
        """Stops sending and waits for pending answers.

        A Run that is cut off may be billed although its task is unknown, and one that was about to leave would be
        uncertain.

        Args:
            deadline: By the loop's clock.
        """
        self._is_closing = True
        if self._under_way:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._all_answered.wait()

    async def _try(self, active: ActiveRun) -> _Outcome:
        outcome = _Outcome.ENDED
        try:
            outcome = await self._send_once(active)
            return outcome
        finally:
            self.queue.leave(sent=active.snapshot.state is RunState.SUBMITTED, full=outcome is _Outcome.FULL)

    async def _send_once(self, active: ActiveRun) -> _Outcome:
        writer = self._writer
        assert active.prepared is not None
        try:
            await self._connection.connect()
            # Without files encoding is a matter of microseconds, and a thread's turn costs more.
            body = (
                await asyncio.to_thread(encode, active.prepared)
                if active.prepared.files
                else encode(active.prepared)
            )
        except ConnectFailed:
            return _Outcome.NOT_SENT
        except (MissingExtra, WiroError) as error:
            await writer.end_without_task(active, RunState.FAILED, error)
            return _Outcome.ENDED
        if self._is_closing:
            await asyncio.get_running_loop().create_future()  # given up in a moment; its plan stays as it is
        self._under_way.add(active.id)
        self._all_answered.clear()
        try:
            return await self._deliver(active, body)
        finally:
            self._is_answered(active)

    def _is_answered(self, active: ActiveRun) -> None:
        self._under_way.discard(active.id)
        if not self._under_way:
            self._all_answered.set()

    async def _deliver(self, active: ActiveRun, body: WireBody) -> _Outcome:
        """Sends a request; the intent is on disk before, the answer after."""
        writer = self._writer
        assert active.prepared is not None
        moment = utc_now()
        # On disk before a byte leaves: whatever happens now, a later process knows to ask before it sends.
        try:
            await writer.step(
                active,
                lambda: writer.ledger.mark_submitting(active.id, moment),
                **dict.fromkeys(("ahead", "lost_since", "retry_in_s")),
            )
        except LedgerError as error:
            if getattr(error, "reason", "") != "cancelled":
                raise
            await writer.end_without_task(active, RunState.CANCELLED, cancelled_before_sending(active.run))
            return _Outcome.ENDED
        if any(file.path is not None for files in active.prepared.files.values() for file in files):
            self.queue.skip_ahead()
        try:
            submitted = await self._connection.call(lambda client: self._run(client, active, body, moment))
        except ConnectFailed:
            await self._back_to_planned(active)
            return _Outcome.NOT_SENT
        except SlotsFull:
            self._connection.reached = True
            await self._back_to_planned(active)
            return _Outcome.FULL
        except WiroError as error:
            if is_ambiguous(error):
                self._is_answered(active)  # as far as possible: any process can continue from here
                await self.recover(active, error)
            elif active.is_marked and any(map(CALLBACK_WORDS.search, [error.message, *error.details])):
                active.is_marked = False
                await self._back_to_planned(active)
                return _Outcome.UNMARKED
            else:
                await writer.end_without_task(active, RunState.FAILED, _refused(active, error))
            return _Outcome.ENDED
        self._connection.reached = True
        if not active.is_marked:
            self._takes_no_marker = self._connection.choice
        await self._adopt(active, submitted.task_id, submitted.token, moment=utc_now())
        return _Outcome.ENDED

    async def _run(self, client: WiroClient, active: ActiveRun, body: WireBody, moment: datetime) -> Submitted:
        if utc_now() - moment > _SEND_WITHIN:
            # The machine slept in between: another kernel may have asked for the task, found none, and said so.
            raise ConnectFailed("this machine was asleep before the run was sent", host=active.snapshot.service)
        active.is_marked = active.is_marked and self._takes_no_marker != self._connection.choice
        return await client.run(
            active.snapshot.run_path,
            body,
            callback_url=marker_of(active.id) if active.is_marked else None,
            on_progress=lambda sent, total: self._show_upload(active, sent, total),
        )

    async def _adopt(self, active: ActiveRun, task_id: str, token: str, *, moment: datetime | None = None) -> None:
        moment = moment or active.snapshot.submitting_at or utc_now()
        for attempt in range(_WRITE_TRIES):
            try:
                await self._writer.step(
                    active, lambda: self._writer.ledger.mark_submitted(active.id, task_id, token, moment)
                )
                break
            except LedgerError:
                # The task exists by now and may be billed: a disk that is full for a moment must not lose it.
                if attempt == _WRITE_TRIES - 1:
                    raise
                await asyncio.sleep(1.0)

    async def _back_to_planned(self, active: ActiveRun) -> None:
        await self._writer.step(active, lambda: self._writer.ledger.mark_planned(active.id))

    async def _wait_to_retry(self, active: ActiveRun, started: float, pause: float) -> bool:
        """Waits before the next try; fails the run and returns False when it has waited too long already."""
        settings = self._writer.settings
        patience = settings.outage_patience_s if self._connection.reached else settings.connect_patience_s
        waited = time.monotonic() - started
        if waited + pause > patience:
            error = ConnectFailed(
                f"{active.snapshot.service} could not be reached for {waited:.0f} s",
                hint=f"%wiro, then %wiro rerun {active.run.short_id}",
                run_id=active.id,
            )
            await self._writer.end_without_task(active, RunState.FAILED, error)
            return False
        self._writer.change(
            active,
            lost_since=active.snapshot.lost_since or utc_now(),
            retry_in_s=pause,
            message=f"{active.snapshot.service} cannot be reached: nothing was sent, trying again",
        )
        await asyncio.wait({active.cancelled}, timeout=pause)
        return True

    def _show_places(self, keys: list[str]) -> None:
        for ahead, key in enumerate(keys):
            active = self._active.get(key)
            if active is not None and active.snapshot.state is RunState.PLANNED and active.snapshot.ahead != ahead:
                before = f"{ahead} of yours ahead" if ahead else "next in line"
                self._writer.change(active, ahead=ahead, message=f"all slots of your balance are taken: {before}")

    def _show_upload(self, active: ActiveRun, sent: int, total: int | None) -> None:
        if total and active.snapshot.state is RunState.SUBMITTING:
            self._writer.change(active, percent=min(100.0, 100.0 * sent / total), message="uploading")


def is_ambiguous(error: WiroError) -> bool:
    """True when the service may have started a task: everything but its own documented refusals."""
    return isinstance(error, (ApiError, TransportError)) and getattr(error, "ambiguous", True)


def _refused(active: ActiveRun, error: WiroError) -> WiroError:
    if isinstance(error, ApiError) and not error.billed:
        error.billed = "Nothing was billed."
    if active.snapshot.service == LOCAL and (
        pull := error.message.partition(" Type: ")[2]
    ):  # its weights are not here
        error.hint = f"{pull}, then %wiro rerun {active.run.short_id}"
    return error
