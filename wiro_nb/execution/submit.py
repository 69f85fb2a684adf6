"""Submits planned runs to one service in order, each at most once.

Nothing is retried once a byte of Run may have left. When the answer is lost, `submission_recovery` looks for the
task among those of the service.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from wiro_nb.api.answers import Submitted
from wiro_nb.api.envelope import CALLBACK_WORDS
from wiro_nb.api.transport import jittered_delays
from wiro_nb.config import LOCAL
from wiro_nb.errors import (
    ApiError,
    ConnectFailed,
    LedgerError,
    SlotsFull,
    TransportError,
    WiroError,
)
from wiro_nb.execution.run import Run
from wiro_nb.execution.state_writer import StateWriter, utc_now
from wiro_nb.execution.submission_recovery import SubmissionRecovery, marker_of
from wiro_nb.ledger.state import RunState
from wiro_nb.schema import WireBody, encode
from wiro_nb.schema.values import Prepared
from wiro_nb.services.connection import Connection
from wiro_nb.services.selection import ServiceChoice

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient

_SEND_WITHIN = timedelta(seconds=10)
_WRITE_TRIES = 5
_OUTAGE_PATIENCE_S = 3600.0
"""How long a planned run waits for a service that did answer before."""


class _Place(NamedTuple):
    key: str
    turn: asyncio.Future[None]
    on_place: Callable[[int], None] | None


class SubmitQueue:
    """The order in which the runs of one service are sent, a few at a time; used on the I/O thread only.

    One run is sent at first, then two at once, then four: when the slots turn out to be full, the refused runs are
    still in order. While the slots are full (code 96) only the first run tries, when a run of this service ends or
    after a growing pause.

    Args:
        retry_s: Seconds between tries while the slots are full; the last one repeats.
        in_flight: Most sends at once.
    """

    def __init__(self, retry_s: Sequence[float], in_flight: int = 8) -> None:
        self._retry_s = retry_s
        self._most = in_flight
        self._limit = 1  # of sends at once; while the slots are full 1 lets one run try, 0 none
        self._waiting: list[_Place] = []
        self._sending = 0
        self._is_full = False
        self._failed_tries = 0
        self._timer: asyncio.TimerHandle | None = None

    async def enter(
        self,
        key: str,
        *,
        unless: asyncio.Future[None] | None = None,
        on_place: Callable[[int], None] | None = None,
    ) -> bool:
        """Waits for this key's turn. Cancelling the caller gives up its place.

        Args:
            key: Sorts in the order of sending; a ULID does.
            unless: When it is done first, the place is given up, too.
            on_place: Called with the number of keys before this one while the slots are full.

        Returns:
            True when it is the key's turn, and `leave` must follow; False when `unless` is done.
        """
        if unless is not None and unless.done():
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = _Place(key, turn, on_place)
        bisect.insort(self._waiting, place, key=attrgetter("key"))
        self._advance()
        has_turn = False
        try:
            if not turn.done():
                await asyncio.wait({turn, unless or turn}, return_when=asyncio.FIRST_COMPLETED)
            has_turn = turn.done() and not (unless is not None and unless.done())
        finally:
            if not has_turn and turn.done():
                self.leave(sent=False)  # its turn had come: the next one must have it
            elif not has_turn:
                self._waiting.remove(place)
                self._advance()
        return has_turn

    def leave(self, *, sent: bool, full: bool = False) -> None:
        """Notes how the try of a key that entered came out.

        Args:
            sent: The service took it.
            full: The service has no slot; the key is expected to enter again.
        """
        self._sending -= 1
        if full:
            self._failed_tries += 1
            self._is_full, self._limit = True, 0
        elif self._is_full:
            self._failed_tries = 0 if sent else self._failed_tries
            self._limit = 1
            self._is_full = bool(self._waiting or self._sending)
        elif sent:
            self._limit = min(self._most, 2 * self._limit)
        self._advance()

    def skip_ahead(self) -> None:
        """Lets other runs send while this one uploads large files."""
        if not self._is_full:
            self._limit = self._most
            self._advance()

    def slot_freed(self) -> None:
        """Lets the first waiter try at once, because a run of this service has ended."""
        if self._is_full:
            self._limit = 1
            self._advance()

    def _advance(self) -> None:
        while self._waiting and self._sending < self._limit:
            self._sending += 1
            self._limit = 0 if self._is_full else self._limit
            self._waiting.pop(0).turn.set_result(None)
        if self._is_full:
            for ahead, place in enumerate(self._waiting):
                if place.on_place is not None:
                    place.on_place(ahead)
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
        self._unanswered: set[asyncio.Future[None]] = set()
        self._is_closing = False
        self._takes_no_marker: ServiceChoice | None = None
        self._recovery = SubmissionRecovery(writer, connection)
        self.queue = SubmitQueue(writer.settings.slot_retry_s)

    async def submit(self, run: Run, prepared: Prepared, cancelled: asyncio.Future[None]) -> None:
        """Submits a planned run; returns when it has a task, or has ended or is uncertain without one.

        Args:
            run: The run.
            prepared: Its request.
            cancelled: Done when the user has asked to cancel.
        """
        started, pauses, is_marked = time.monotonic(), jittered_delays(random.random, first_s=1.0), True
        while await self.queue.enter(run.id, unless=cancelled, on_place=partial(self._show_place, run)):
            refusal: WiroError | None = None
            try:
                refusal = await self._send_once(run, prepared, is_marked)
            finally:
                self.queue.leave(sent=run.state is RunState.SUBMITTED, full=isinstance(refusal, SlotsFull))
            if refusal is None:
                return
            if isinstance(refusal, ConnectFailed):
                pause = next(pauses)
                if not await self._may_retry(run, time.monotonic() - started, pause):
                    return
                await asyncio.wait({cancelled}, timeout=pause)
            elif not isinstance(refusal, SlotsFull):
                is_marked = False
        await self._writer.cancel_unsent(run)

    async def recover(self, run: Run, cause: WiroError | None = None) -> None:
        """Adopts the task of a run whose answer was lost, or leaves the run uncertain; sends nothing."""
        task = await self._recovery.find_task(run, cause)
        if task is not None:
            await self._adopt(run, task.id, task.token, run.snapshot.submitting_at or utc_now())
        with contextlib.suppress(LedgerError):  # the next list shows them again
            await self._recovery.claim_doubles()

    async def drain(self, timeout_s: float) -> None:
        """Stops sending and waits for pending answers, for at most `timeout_s` seconds.

        A Run that is cut off may be billed although its task is unknown, and one that was about to leave would be
        uncertain.
        """
        self._is_closing = True
        if self._unanswered:
            await asyncio.wait(self._unanswered, timeout=timeout_s)

    async def _send_once(self, run: Run, prepared: Prepared, is_marked: bool) -> WiroError | None:
        """Sends a run; returns why it was not taken yet: no connection, no slot, or the marker."""
        try:
            await self._connection.connect()
            # Without files encoding is a matter of microseconds, and a thread's turn costs more.
            body = await asyncio.to_thread(encode, prepared) if prepared.files else encode(prepared)
        except ConnectFailed as error:
            return error
        except WiroError as error:
            await self._writer.end_without_task(run, RunState.FAILED, error)
            return None
        answered = asyncio.get_running_loop().create_future()
        if self._is_closing:
            await answered  # given up in a moment; its plan stays as it is
        self._unanswered.add(answered)
        try:
            has_files = any(file.path is not None for files in prepared.files.values() for file in files)
            refusal = await self._deliver(run, body, is_marked, has_files)
        finally:  # from here any process can continue with the run
            self._unanswered.discard(answered)
            answered.set_result(None)
        if refusal is not None and _is_ambiguous(refusal):
            await self.recover(run, refusal)
            return None
        return refusal

    async def _deliver(self, run: Run, body: WireBody, is_marked: bool, has_files: bool) -> WiroError | None:
        """Sends a request, the intent on disk before, the answer after; returns why there is no answer."""
        writer, connection, moment = self._writer, self._connection, utc_now()
        # On disk before a byte leaves: whatever happens now, a later process knows to ask before it sends.
        try:
            await writer.step(run, lambda: writer.ledger.mark_submitting(run.id, moment))
        except LedgerError as error:
            if getattr(error, "reason", "") != "cancelled":
                raise
            await writer.cancel_unsent(run)
            return None
        writer.change(run, ahead=None, lost_since=None, retry_in_s=None)
        if has_files:
            self.queue.skip_ahead()
        is_marked = is_marked and self._takes_no_marker != connection.choice
        try:
            submitted = await connection.call(lambda client: self._run(client, run, body, moment, is_marked))
        except WiroError as error:
            if _is_ambiguous(error):
                return error
            is_full = isinstance(error, SlotsFull)
            connection.reached = connection.reached or is_full
            is_mark_refused = is_marked and any(map(CALLBACK_WORDS.search, [error.message, *error.details]))
            if not (is_full or is_mark_refused or isinstance(error, ConnectFailed)):
                await writer.end_without_task(run, RunState.FAILED, _refused(run, error))
                return None
            await writer.step(run, lambda: writer.ledger.mark_planned(run.id))
            return error
        connection.reached = True
        if not is_marked:
            self._takes_no_marker = connection.choice
        await self._adopt(run, submitted.task_id, submitted.token, utc_now())
        return None

    async def _run(
        self, client: WiroClient, run: Run, body: WireBody, moment: datetime, is_marked: bool
    ) -> Submitted:
        if utc_now() - moment > _SEND_WITHIN:
            # The machine slept in between: another kernel may have asked for the task, found none, and said so.
            raise ConnectFailed("this machine was asleep before the run was sent", host=run.snapshot.service)
        return await client.run(
            run.snapshot.run_path,
            body,
            callback_url=marker_of(run.id) if is_marked else None,
            on_progress=lambda sent, total: self._show_upload(run, sent, total),
        )

    async def _adopt(self, run: Run, task_id: str, token: str, moment: datetime) -> None:
        call = partial(self._writer.ledger.mark_submitted, run.id, task_id, token, moment)
        for attempt in range(_WRITE_TRIES):
            try:
                await self._writer.step(run, call)
                return
            except LedgerError:
                # The task exists by now and may be billed: a disk that is full for a moment must not lose it.
                if attempt == _WRITE_TRIES - 1:
                    raise
                await asyncio.sleep(1.0)

    async def _may_retry(self, run: Run, waited_s: float, pause_s: float) -> bool:
        """Says that the run is tried again; fails it and returns False when it has waited too long already."""
        settings, service = self._writer.settings, run.snapshot.service
        patience_s = _OUTAGE_PATIENCE_S if self._connection.reached else settings.connect_patience_s
        if waited_s + pause_s > patience_s:
            error = ConnectFailed(
                f"{service} could not be reached for {waited_s:.0f} s",
                hint=f"%wiro, then %wiro rerun {run.short_id}",
                run_id=run.id,
            )
            await self._writer.end_without_task(run, RunState.FAILED, error)
            return False
        self._writer.change(
            run,
            lost_since=run.snapshot.lost_since or utc_now(),
            retry_in_s=pause_s,
            message=f"{service} cannot be reached: nothing was sent, trying again",
        )
        return True

    def _show_place(self, run: Run, ahead: int) -> None:
        if run.snapshot.ahead != ahead:
            before = f"{ahead} of yours ahead" if ahead else "next in line"
            self._writer.change(run, ahead=ahead, message=f"all slots of your balance are taken: {before}")

    def _show_upload(self, run: Run, sent: int, total: int | None) -> None:
        if total and run.state is RunState.SUBMITTING:
            self._writer.change(run, percent=min(100.0, 100.0 * sent / total), message="uploading")


def _is_ambiguous(error: WiroError) -> bool:
    """True when the service may have started a task: everything but its own documented refusals."""
    is_of_service = isinstance(error, (ApiError, TransportError)) and not isinstance(
        error, (ConnectFailed, SlotsFull)
    )
    return is_of_service and getattr(error, "ambiguous", True)


def _refused(run: Run, error: WiroError) -> WiroError:
    if isinstance(error, ApiError) and not error.billed:
        error.billed = "Nothing was billed."
    if run.snapshot.service == LOCAL and (
        pull := error.message.partition(" Type: ")[2]
    ):  # its weights are not here
        error.hint = f"{pull}, then %wiro rerun {run.short_id}"
    return error
