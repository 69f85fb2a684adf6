"""Events of many tasks, over one socket if the service allows it, over one socket a task if not.

Registering several tasks on one socket is undocumented. So it is tried, and watched: a task that stays
silent while others on the same socket move gets a socket of its own beside the shared one. If events
come there and not here, sharing does not work and every task moves to its own socket, up to a bound;
the rest is found out by asking. If events of two tasks come over one socket, sharing works, and the
question is settled.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from wiro_nb.api.answers import Event, read_event
from wiro_nb.api.line import Line
from wiro_nb.api.service import Service

_log = logging.getLogger(__name__)

SILENCE_S = 5.0
IDLE_S = 60.0
MAX_OWN_SOCKETS = 48
MAX_PROBES = 4
_SHORT_LIFE_S = 2.0
_SHORT_LIVES = 2


@dataclass(frozen=True, slots=True)
class StreamState:
    """What `on_state` is told.

    Attributes:
        connected: True when events arrive again: read Detail for what was missed.
        retry_in_s: Seconds until the next try after a loss, else None.
    """

    connected: bool
    retry_in_s: float | None = None


@dataclass(slots=True)
class _Watch:
    token: str
    task_id: str
    on_event: Callable[[Event], None]
    quiet_since: float
    own: Line | None = None
    own_heard_at: float | None = None


class TaskStream:
    """Follows tasks by push. Belongs to the loop it is used on; call `close` at the end.

    Args:
        service: Whose events.
        on_state: Told when contact is made, lost, and made again.
        silence_s: A task silent for so long while others move is doubted.
        idle_s: A socket without tasks is closed after so long.
        max_own_sockets: Most sockets when each task needs its own.
        sleep, random: For the pauses between tries to connect.
        first_delay_s, longest_delay_s: Bounds of these pauses.
    """

    def __init__(
        self,
        service: Service,
        *,
        on_state: Callable[[StreamState], None] | None = None,
        silence_s: float = SILENCE_S,
        idle_s: float = IDLE_S,
        max_own_sockets: int = MAX_OWN_SOCKETS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        first_delay_s: float = 0.5,
        longest_delay_s: float = 30.0,
    ) -> None:
        self._service = service
        self._on_state = on_state
        self._silence_s = silence_s
        self._idle_s = idle_s
        self._max_own = max_own_sockets
        self._sleep = sleep
        self._random = random
        self._delay_bounds = (first_delay_s, longest_delay_s)
        self._watches: dict[str, _Watch] = {}
        self._by_task: dict[str, _Watch] = {}
        self._shared = self._make_line()
        self._heard: set[str] = set()
        self._last_event_at: float | None = None
        self._short_lives = 0
        self._told: bool | None = None
        self._chores: set[asyncio.Task[None]] = set()
        self._guard: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False
        self.sharing: bool | None = None
        """True: several tasks on one socket work; False: they do not; None: not known yet."""

    @property
    def connected(self) -> bool:
        """True while a socket is open and none of those in use is lost."""
        lines = self._lines()
        return any(line.is_open for line in lines) and not any(line.is_lost for line in lines)

    @property
    def socket_count(self) -> int:
        """Sockets open or being opened."""
        own = sum(watch.own is not None for watch in self._watches.values())
        return own + (1 if self._shared.tokens or self._shared.is_open else 0)

    async def watch(self, token: str, task_id: str, on_event: Callable[[Event], None]) -> None:
        """Has events of a task passed on. Read Detail once afterwards: earlier events are not replayed.

        Returns when the registration was sent, or when the service could not be reached at the first
        try; the stream goes on trying.

        Args:
            token: The task's token.
            task_id: Its id, for events that carry no token.
            on_event: Called on this loop with each event; what it raises is logged and dropped.
        """
        if self._closed:
            return
        await self.unwatch(token)
        watch = _Watch(token, task_id, on_event, quiet_since=_now())
        self._watches[token] = watch
        self._by_task[task_id] = watch
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self.sharing is False:
            await self._give_own(watch)
            return
        # Which registrations the socket still honours is open again with each new one.
        self._heard.clear()
        await self._shared.add(token)
        self._plan_guard()

    async def unwatch(self, token: str) -> None:
        """Stops passing on a task's events. Unknown tokens are ignored."""
        watch = self._watches.pop(token, None)
        if watch is None:
            return
        if self._by_task.get(watch.task_id) is watch:
            del self._by_task[watch.task_id]
        self._shared.remove(token)
        self._heard.discard(token)
        if watch.own is not None:
            await watch.own.close()
            watch.own = None
            self._serve_waiting()
        if not self._watches and not self._closed:
            self._told = None
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._drop_idle)

    async def close(self) -> None:
        """Closes every socket and waits for their ends."""
        self._closed = True
        for timer in (self._guard, self._idle):
            if timer is not None:
                timer.cancel()
        lines = [self._shared, *(watch.own for watch in self._watches.values() if watch.own is not None)]
        self._watches.clear()
        self._by_task.clear()
        await asyncio.gather(*(line.close() for line in lines))
        await asyncio.gather(*self._chores)

    # ---- frames --------------------------------------------------------------------------------

    def _on_frame(self, line: Line, frame: str | bytes) -> None:
        event = read_event(frame)
        if event is None or self._closed:
            return
        watch = self._find(line, event)
        if watch is None:
            return
        if not event.result and event.status in ("", "task_info"):
            self._on_refusal(line, watch)
            return
        if line is not self._shared and line is not watch.own:
            return  # a socket on its way out: the other one tells the same
        self._note_event(line, watch)
        try:
            watch.on_event(event)
        except Exception:
            _log.exception("a listener of task events failed")

    def _find(self, line: Line, event: Event) -> _Watch | None:
        if event.token is not None:
            return self._watches.get(event.token)
        if event.task_id is not None:
            return self._by_task.get(event.task_id)
        # An event that names nobody can be told apart only where one task listens.
        tokens = list(line.tokens)
        return self._watches.get(tokens[0]) if len(tokens) == 1 else None

    def _note_event(self, line: Line, watch: _Watch) -> None:
        now = _now()
        if line is not self._shared:
            watch.own_heard_at = watch.own_heard_at or now
            return
        watch.quiet_since = self._last_event_at = now
        if watch.own is not None:
            # It was silent because nothing happened: the shared socket does carry it.
            self._start(watch.own.close)
            watch.own = None
        if self.sharing is None:
            self._heard.add(watch.token)
            if len(self._heard) > 1:
                self._settle(True)

    def _on_refusal(self, line: Line, watch: _Watch) -> None:
        _log.info("the socket refused to follow a task")
        if line is self._shared and self.sharing is None and len(line.tokens) > 1:
            self._probe(watch)

    # ---- sharing or not ------------------------------------------------------------------------

    def _plan_guard(self) -> None:
        wanted = self.sharing is None and len(self._watches) > 1 and not self._closed
        if wanted and self._guard is None:
            self._guard = asyncio.get_running_loop().call_later(self._silence_s / 2, self._check_silence)

    def _check_silence(self) -> None:
        self._guard = None
        if self.sharing is not None:
            return
        now = _now()
        for watch in list(self._watches.values()):
            if (
                watch.own is not None
                and watch.own_heard_at is not None
                and now - watch.own_heard_at > self._silence_s / 4
            ):
                self._settle(False)
                return
            is_silent = now - watch.quiet_since > self._silence_s
            others_move = self._last_event_at is not None and self._last_event_at > watch.quiet_since
            if is_silent and others_move:
                self._probe(watch)
        self._plan_guard()

    def _probe(self, watch: _Watch) -> None:
        probes = sum(other.own is not None for other in self._watches.values())
        if watch.own is None and probes < MAX_PROBES:
            watch.own, watch.own_heard_at = self._make_line(), None
            self._start(partial(watch.own.add, watch.token))

    def _settle(self, works: bool) -> None:
        self.sharing = works
        if works:
            spare = [watch.own for watch in self._watches.values() if watch.own is not None]
            for watch in self._watches.values():
                watch.own = None
            for line in spare:
                self._start(line.close)
            return
        _log.info("%s serves one task a socket: each gets its own", self._service.name)
        old, self._shared = self._shared, self._make_line()
        self._start(old.close)
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        if self.sharing is False and not self._closed:
            for watch in self._watches.values():
                if watch.own is None:
                    self._start(partial(self._give_own, watch))

    async def _give_own(self, watch: _Watch) -> None:
        in_use = sum(other.own is not None for other in self._watches.values())
        if watch.own is None and in_use < self._max_own and self._watches.get(watch.token) is watch:
            watch.own = self._make_line()
            await watch.own.add(watch.token)

    # ---- lines ---------------------------------------------------------------------------------

    def _make_line(self) -> Line:
        return Line(
            self._service,
            on_frame=self._on_frame,
            on_change=self._on_line_change,
            sleep=self._sleep,
            random=self._random,
            first_delay_s=self._delay_bounds[0],
            longest_delay_s=self._delay_bounds[1],
        )

    def _lines(self) -> list[Line]:
        if self.sharing is False:
            return [watch.own for watch in self._watches.values() if watch.own is not None]
        return [self._shared] if self._watches else []

    def _on_line_change(self, line: Line) -> None:
        if line is self._shared and not line.is_open:
            self._note_loss(line)
        now_connected = self.connected
        if self._closed or not self._watches or now_connected == self._told:
            return
        self._told = now_connected
        if self._on_state is not None:
            try:
                self._on_state(StreamState(now_connected, None if now_connected else line.retry_in_s))
            except Exception:
                _log.exception("a listener of the stream's state failed")

    def _note_loss(self, line: Line) -> None:
        """A socket that is closed as soon as several tasks register is a way to say no, too."""
        self._heard.clear()
        if self.sharing is not None or len(line.tokens) < 2 or line.lived_s is None:
            return
        self._short_lives = self._short_lives + 1 if line.lived_s < _SHORT_LIFE_S else 0
        if self._short_lives >= _SHORT_LIVES:
            self._settle(False)

    def _drop_idle(self) -> None:
        self._idle = None
        if not self._watches:
            old, self._shared = self._shared, self._make_line()
            self._start(old.close)

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await work()
            except Exception:
                _log.exception("a socket could not be opened or closed")

        chore = asyncio.get_running_loop().create_task(run(), name="wiro-stream-chore")
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


def _now() -> float:
    return asyncio.get_running_loop().time()
