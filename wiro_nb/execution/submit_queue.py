"""The order in which runs of one service are sent, a few at a time.

One run is sent at first, then two at once, then four: when the slots turn out to be full, the refused runs are
still in order. While the slots are full (code 96) only the first run tries, when a run of this service ends or
after a growing pause. Used on the I/O thread only, so there are no locks.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence


class SubmitQueue:
    """A priority queue of runs that wait for their turn to send.

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
        """Waits for this key's turn. Cancelling the caller gives its place up.

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
        """Lets others send beside a run whose files take long to upload."""
        if not self._full:
            self._limit = self._most
            self._advance()

    def slot_freed(self) -> None:
        """Lets the first one try at once: a run of this service ended."""
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
