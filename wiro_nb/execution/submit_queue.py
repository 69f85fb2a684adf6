"""Who may send next: runs of one service in the order they were asked for, a few at a time.

The first is sent alone, then two at once, then four: when the slots turn out to be full, those that are refused
are still in order. While they are full (code 96) only the first one tries, when a run of ours ends or after a
growing pause; the others know how many are ahead. Lives on the I/O thread; no locks.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Callable, Sequence


class SubmitQueue:
    """An ordered queue.

    Args:
        in_flight: Sends at once at most while there is room.
        retry_s: Seconds between tries while the slots are full; the last one repeats.
        on_places: Told the waiting keys in order whenever the slots are full and their order changed;
            told an empty list when they are free again.
    """

    def __init__(
        self,
        *,
        in_flight: int = 8,
        retry_s: Sequence[float] = (2.0, 5.0, 10.0),
        on_places: Callable[[list[str]], None] = lambda keys: None,
    ) -> None:
        self._most = in_flight
        self._room = 1
        self._reserved: list[str] = []  # in order
        self._exclusive: set[str] = set()
        self._is_exclusive = False
        self._retry_s = tuple(retry_s)
        self._on_places = on_places
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._sending = 0
        self._full = False
        self._try_now = True
        self._failed_tries = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_full(self) -> bool:
        """True while the service takes no more."""
        return self._full

    def reserve(self, key: str, *, exclusive: bool = False) -> None:
        """Says that a key will enter soon: those behind it wait for it. `withdraw` must follow some day.

        Args:
            key: As in `enter`.
            exclusive: True sends it while no other is sent: a run taken over from an earlier process probably
                waited for a slot there, and must not be overtaken on the wire.
        """
        self._forget(key)
        bisect.insort(self._reserved, key)
        if exclusive:
            self._exclusive.add(key)

    def withdraw(self, key: str) -> None:
        """Says that a key will not enter any more; nothing happens when it was not announced."""
        self._exclusive.discard(key)
        if self._forget(key):
            self._advance()

    def _forget(self, key: str) -> bool:
        """Takes a key off the announced ones; True when it was there."""
        place = bisect.bisect_left(self._reserved, key)
        was_there = self._reserved[place : place + 1] == [key]
        if was_there:
            del self._reserved[place]
        return was_there

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
        place = (key, turn)
        bisect.insort(self._waiting, place, key=_key_of)
        self._forget(key)
        self._advance()
        self._tell()
        try:
            if not turn.done():
                await asyncio.wait({turn, unless or turn}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._give_up(place)
            raise
        if turn.done() and not (unless is not None and unless.done()):
            return True
        self._give_up(place)
        return False

    def _give_up(self, place: tuple[str, asyncio.Future[None]]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
            self._tell()
        else:
            self.leave(sent=False)  # its turn had come: the next one must have it

    def leave(self, *, sent: bool, full: bool = False) -> None:
        """Says how the try of a key that entered came out.

        Args:
            sent: The service took it.
            full: The service has no slot; the key is expected to enter again.
        """
        self._sending -= 1
        if full:
            self._failed_tries += 1
            self._full, self._try_now = True, False
            self._room = 1
        elif sent and not self._full:
            self._room = min(self._most, 2 * self._room)
        elif sent:
            self._failed_tries = 0
            self._try_now = True
        elif self._full:
            self._try_now = True
        if self._full and not full and not self._waiting and not self._sending:
            self._full = False
            self._on_places([])
        self._advance()
        self._tell()

    def make_room(self) -> None:
        """What is being sent takes long (it uploads files): others need not wait for it."""
        if not self._full:
            self._room, self._is_exclusive = self._most, False
            self._advance()

    def slot_freed(self) -> None:
        """A run of this service ended: the first one waiting may try at once."""
        if self._full:
            self._try_now = True
            self._advance()

    def _advance(self) -> None:
        while self._waiting and self._may_go():
            key, turn = self._waiting.pop(0)
            self._sending += 1
            self._is_exclusive = key in self._exclusive
            if self._full:
                self._try_now = False
            turn.set_result(None)
        if self._full and self._waiting and not self._try_now and self._timer is None and not self._sending:
            pause = self._retry_s[min(max(self._failed_tries - 1, 0), len(self._retry_s) - 1)]
            self._timer = asyncio.get_running_loop().call_later(pause, self._retry)

    def _may_go(self) -> bool:
        first = self._waiting[0][0]
        if self._reserved and self._reserved[0] < first:
            return False
        if self._full:
            return self._try_now and self._sending == 0
        if self._is_exclusive or first in self._exclusive:
            return self._sending == 0
        return self._sending < self._room

    def _retry(self) -> None:
        self._timer = None
        if self._full:
            self._try_now = True
            self._advance()

    def _tell(self) -> None:
        if self._full:
            self._on_places([key for key, _ in self._waiting])


def _key_of(place: tuple[str, asyncio.Future[None]]) -> str:
    return place[0]
