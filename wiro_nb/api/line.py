"""One WebSocket that comes back: registers its tokens, reads frames, and reconnects while it has tokens."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from wiro_nb.api.backoff import jittered_delays
from wiro_nb.api.service import Service

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
STEADY_AFTER_S = 10.0
LARGEST_FRAME_BYTES = 16 * 1024 * 1024

_log = logging.getLogger(__name__)
# websockets writes whole frames to its log at level DEBUG, and ours hold tokens.
_quiet = logging.getLogger(f"{__name__}.frames")
_quiet.setLevel(logging.WARNING)


class Line:
    """A connection with its registrations.

    Args:
        service: Where to connect.
        on_frame: Called with the line and each frame.
        on_change: Called with the line when it opens, is lost, or a try to open it fails.
        sleep, random: For the pauses between tries.
        first_delay_s, longest_delay_s: Bounds of these pauses.
    """

    def __init__(
        self,
        service: Service,
        *,
        on_frame: Callable[[Line, str | bytes], None],
        on_change: Callable[[Line], None],
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
        first_delay_s: float = 0.5,
        longest_delay_s: float = 30.0,
    ) -> None:
        self._service = service
        self._on_frame = on_frame
        self._on_change = on_change
        self._sleep = sleep
        self._random = random
        self._delay_bounds = (first_delay_s, longest_delay_s)
        self._socket: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._closing = False
        self.tokens: dict[str, None] = {}
        self.lived_s: float | None = None
        self.retry_in_s: float | None = None

    @property
    def is_open(self) -> bool:
        """True while frames can arrive."""
        return self._socket is not None

    @property
    def is_lost(self) -> bool:
        """True after a loss or a failed try, until the line opens; False while the first try is under way."""
        return self._socket is None and self.retry_in_s is not None

    async def add(self, token: str) -> None:
        """Registers a token, and again after each reconnect until it is removed.

        Returns when the registration was sent, or when the connection could not be made at the first
        try; it is then sent as soon as there is one.
        """
        if self._closing:
            return
        self.tokens[token] = None
        if self._socket is not None:
            await self._register(self._socket, token)
            return
        if self._task is None or self._task.done():
            self._tried = asyncio.Event()
            self._task = asyncio.create_task(self._run(), name="wiro-socket")
        await self._tried.wait()

    def remove(self, token: str) -> None:
        """Forgets a token. The service has no word for it, so its events are ignored from now on."""
        self.tokens.pop(token, None)

    async def close(self) -> None:
        """Closes the connection and waits for its end. The line cannot be used again."""
        self._closing = True
        self.tokens.clear()
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait({task})

    async def _run(self) -> None:
        try:
            await self._keep_open()
        finally:
            self._tried.set()

    async def _keep_open(self) -> None:
        loop = asyncio.get_running_loop()
        delays = jittered_delays(self._random, first_s=self._delay_bounds[0], longest_s=self._delay_bounds[1])
        while self.tokens and not self._closing:
            self.lived_s = None
            connection = await self._open()
            if connection is not None:
                opened_at, self.retry_in_s = loop.time(), None
                try:
                    await self._serve(connection)
                finally:
                    self._socket = None
                    await _close(connection)
                self.lived_s = loop.time() - opened_at
                if self.lived_s > STEADY_AFTER_S:
                    delays = jittered_delays(
                        self._random, first_s=self._delay_bounds[0], longest_s=self._delay_bounds[1]
                    )
            if not self.tokens:
                return
            self.retry_in_s = next(delays)
            self._on_change(self)
            self._tried.set()
            await self._sleep(self.retry_in_s)

    async def _open(self) -> ClientConnection | None:
        from websockets.exceptions import WebSocketException

        problem = ""
        try:
            return await _connect(self._service)
        except (OSError, TimeoutError, WebSocketException, EOFError) as error:
            problem = type(error).__name__
        _log.info("no socket to %s yet (%s)", self._service.name, problem)
        return None

    async def _serve(self, connection: ClientConnection) -> None:
        from websockets.exceptions import WebSocketException

        with contextlib.suppress(OSError, WebSocketException, UnicodeDecodeError):
            # Tokens added while this sends are sent by `add` only once the line counts as open.
            for token in _unsent(self.tokens):
                await self._register(connection, token)
            self._socket = connection
            self._on_change(self)
            self._tried.set()
            async for frame in connection:
                self._on_frame(self, frame)

    async def _register(self, connection: ClientConnection, token: str) -> None:
        from websockets.exceptions import WebSocketException

        with contextlib.suppress(OSError, WebSocketException):  # the reader notices and comes back
            await connection.send(json.dumps({"type": "task_info", "tasktoken": token}))


def _unsent(tokens: dict[str, None]) -> Iterator[str]:
    """Yields each token once, those added meanwhile included."""
    sent: set[str] = set()
    while rest := [token for token in tokens if token not in sent]:
        for token in rest:
            sent.add(token)
            if token in tokens:
                yield token


async def _connect(service: Service) -> ClientConnection:
    from websockets.asyncio.client import connect

    class StraightConnect(connect):
        """Follows no redirect: tokens go to the service's own address only."""

        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    connection = await StraightConnect(
        service.socket_url,
        compression=None,  # a deflate window costs more memory than all the frames of a task
        proxy=None if service.is_local else True,
        ssl=_ssl_context() if service.socket_url.startswith("wss:") else None,
        user_agent_header="wiro_nb",
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        max_size=LARGEST_FRAME_BYTES,
        logger=_quiet,
    )
    raw = connection.transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


@cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _close(connection: ClientConnection) -> None:
    with contextlib.suppress(Exception):
        await connection.close()
