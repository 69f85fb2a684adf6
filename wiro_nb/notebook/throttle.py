"""Limits the message rate of all cards together, so that a kernel with a thousand runs stays responsive.

Each run notifies its listeners at most ten times a second; with many runs that is still too much for the
connection to the page. Moving cards therefore take turns, the one that waited longest first, each with its newest
state. The end of a run never waits here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable

_log = logging.getLogger(__name__)
CARD_MESSAGES_PER_S = 50


class Throttle:
    """Forwards updates at a bounded rate. Not thread-safe: use it only on the loop on which runs change.

    Args:
        per_s: Most updates in any second.
        clock: Monotonic seconds.
        call_later: Calls a function after some seconds; the running loop's by default.
    """

    def __init__(
        self,
        per_s: int = CARD_MESSAGES_PER_S,
        *,
        clock: Callable[[], float] = time.monotonic,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        self._per_s = per_s
        self._clock = clock
        self._call_later = call_later
        self._sent_at: deque[float] = deque(maxlen=per_s)
        self._waiting: dict[Hashable, Callable[[], None]] = {}
        self._timer_until: float | None = None

    def offer(self, key: Hashable, send: Callable[[], None]) -> None:
        """Sends now or as soon as the rate allows; a newer update of the same key replaces the older one."""
        self._waiting[key] = send
        self._send_some()

    def drop(self, key: Hashable) -> None:
        """Drops the pending update of a key."""
        self._waiting.pop(key, None)

    def _send_some(self) -> None:
        now = self._clock()
        while self._waiting and (len(self._sent_at) < self._per_s or now - self._sent_at[0] >= 1.0):
            send = self._waiting.pop(next(iter(self._waiting)))
            self._sent_at.append(now)
            try:
                send()
            except Exception:
                _log.exception("a card could not be updated")
        # A timer whose moment is long past died with its loop.
        if self._waiting and (self._timer_until is None or now > self._timer_until + 1.0):
            pause = max(0.0, self._sent_at[0] + 1.0 - now)
            self._timer_until = now + pause
            (self._call_later or asyncio.get_running_loop().call_later)(pause, self._on_timer)

    def _on_timer(self) -> None:
        self._timer_until = None
        self._send_some()


throttle = Throttle()
