"""Streams task events over WebSockets, one connection per task, as the service documents.

The websockets library reconnects a lost socket; the task is then registered again. Events sent in between are not
replayed, so the stream says when its socket opened and when it was lost, and the caller reads Task/Detail.

Source: https://wiro.ai/docs (WebSocket), https://websockets.readthedocs.io/en/stable/reference/asyncio/client.html
"""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import random
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from wiro_nb.api import Service
from wiro_nb.api.answers import Event, read_event
from wiro_nb.api.transport import jittered_delays

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
STEADY_AFTER_S = 10.0
LARGEST_FRAME_BYTES = 16 * 1024 * 1024
MAX_OPENING = 16
MAX_SOCKETS = 2000

_log = logging.getLogger(__name__)
# At level DEBUG websockets logs whole frames, which hold tokens.
_frames_log = logging.getLogger(f"{__name__}.frames")
_frames_log.setLevel(logging.WARNING)


class SocketState(enum.Enum):
    """State changes in a stream: the task was registered on a new socket, or the socket closed."""

    OPENED = "opened"
    LOST = "lost"


class EventClient:
    """Streams the events of tasks. Belongs to the event loop it is used on.

    Args:
        service: The service that sends the events.
        max_opening: Maximum number of concurrent handshakes.
        max_sockets: Maximum number of open sockets; None derives it from the limit of open files.
    """

    def __init__(
        self, service: Service, *, max_opening: int = MAX_OPENING, max_sockets: int | None = None
    ) -> None:
        self._service = service
        self._opening = asyncio.Semaphore(max_opening)
        self._sockets = asyncio.Semaphore(max_sockets or _socket_limit())

    async def stream(self, token: str, task_id: str) -> AsyncGenerator[Event | SocketState, None]:
        """Yields a task's events until the one that ends it; cancel the reading task to stop earlier.

        Args:
            token: The task's token.
            task_id: Its id; frames of other tasks are dropped.

        Yields:
            Events; `SocketState.OPENED` when the registration was sent, `SocketState.LOST` when the socket that
            carried it is gone. Failed attempts to connect yield nothing.
        """
        from websockets.exceptions import WebSocketException

        loop = asyncio.get_running_loop()
        delays = jittered_delays(random.random)
        async with self._sockets, aclosing(self._connect()) as connections:
            async for connection in connections:
                opened_at = loop.time()
                try:
                    await connection.send(json.dumps({"type": "task_info", "tasktoken": token}))
                    yield SocketState.OPENED
                    while True:
                        event = _parse_event(await connection.recv(), token, task_id)
                        if event is not None:
                            yield event
                            if event.is_terminal:
                                return
                except (OSError, WebSocketException, UnicodeDecodeError) as error:
                    _log.info("the socket of task %s was lost (%s)", task_id, type(error).__name__)
                yield SocketState.LOST
                # websockets delays only after a failed attempt; one that closes at once needs a delay too.
                if loop.time() - opened_at > STEADY_AFTER_S:
                    delays = jittered_delays(random.random)
                else:
                    await asyncio.sleep(next(delays))

    def _connect(self) -> AsyncGenerator[ClientConnection, None]:
        """Yields an open connection, and a new one for each further iteration."""
        connecting = _connector()(
            self._service.socket_url,
            opening=self._opening,
            compression=None,  # a deflate window takes more memory than all frames of a task
            proxy=None if self._service.is_local else True,
            ssl=_ssl_context() if self._service.socket_url.startswith("wss:") else None,
            user_agent_header="wiro_nb",
            process_exception=_retry_connection_errors,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=LARGEST_FRAME_BYTES,
            logger=_frames_log,
        )
        return cast("AsyncGenerator[ClientConnection, None]", aiter(connecting))


def _parse_event(frame: str | bytes, token: str, task_id: str) -> Event | None:
    """Parses a frame; None unless it is an event of the task."""
    event = read_event(frame)
    if event is None or event.task_id not in (None, task_id) or event.token not in (None, token):
        return None
    if not event.result and event.status in ("", "task_info"):
        _log.info("the service refuses to send events of task %s", task_id)
        return None
    return event


def _retry_connection_errors(error: Exception) -> Exception | None:
    """Makes websockets retry after any connection error: polling continues meanwhile."""
    from websockets.exceptions import WebSocketException

    retry = isinstance(error, (OSError, TimeoutError, EOFError, WebSocketException))
    return None if retry else error


@cache
def _connector() -> Any:
    """Returns the connection class, created at first use because importing websockets is slow."""
    from websockets.asyncio.client import connect

    class BoundedConnect(connect):
        """Limits concurrent handshakes and follows no redirect, so that tokens reach only the service."""

        def __init__(self, uri: str, *, opening: asyncio.Semaphore, **options: Any) -> None:
            super().__init__(uri, **options)
            self._bound = opening

        async def __aenter__(self) -> ClientConnection:
            async with self._bound:
                return await super().__aenter__()

        def process_redirect(self, exc: Exception) -> Exception | str:
            return exc

    return BoundedConnect


@cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _socket_limit() -> int:
    """Returns half of the limit of open files; the ledger, downloads and the kernel need the rest."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MAX_SOCKETS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_SOCKETS if soft == resource.RLIM_INFINITY else max(1, min(MAX_SOCKETS, soft // 2))
