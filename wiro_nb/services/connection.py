"""The connection to one service: its HTTP client and its event client, made at first use on the I/O thread.

For a service that is a process of this machine a connection also brings it back: when the process is gone, the
next call starts it again, and `generation` says that the addresses are new.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from wiro_nb.api.answers import Task
from wiro_nb.api.service import Service
from wiro_nb.errors import NotAccessible
from wiro_nb.services.sandbox_process import SandboxProcess
from wiro_nb.services.selection import ServiceChoice

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient
    from wiro_nb.api.events import EventClient

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_LAST_REQUESTS_S = 1.0


class Connection:
    """One service this process talks to. Every coroutine here runs on the I/O thread.

    Args:
        choice: The service.
        process: The process to keep alive, for a free service.

    Attributes:
        generation: Counts the clients made so far; event streams of an earlier one lead to an old address.
        reached: True once the service answered in this process.
    """

    def __init__(self, choice: ServiceChoice, process: SandboxProcess | None = None) -> None:
        self.choice = choice
        self.generation = 0
        self.reached = False
        self._process = process
        self._lock = asyncio.Lock()
        self._service: Service | None = None
        self._made_for: ServiceChoice | None = None
        self._client: WiroClient | None = None
        self._events: EventClient | None = None
        self._requests: set[asyncio.Task[Any]] = set()

    @property
    def name(self) -> str:
        """The service's name."""
        return self.choice.name

    async def connect(self) -> WiroClient:
        """Returns a client of the living service; starts or restarts its process when needed.

        Raises:
            MissingExtra, ConfigError, ConnectFailed: The process cannot be started.
        """
        if self._client is not None and self._process is None and self._made_for is self.choice:
            return self._client  # nothing to start and nothing changed: no need to wait for others
        async with self._lock:
            service = await self._living_service()
            if self._client is None or service != self._service:
                await self._replace(service)
            self._made_for = self.choice
            assert self._client is not None
            return self._client

    async def call(self, work: Callable[[WiroClient], Coroutine[Any, Any, _Result]]) -> _Result:
        """Makes a request through a client of the living service.

        Cancelling the caller does not cancel a request that has begun: a connection given up while it opens would
        leak, and a Run given up would be uncertain. `close` waits for it.

        Raises:
            WiroError: As the client's method.
        """
        client = await self.connect()
        request = asyncio.create_task(work(client), name="wiro-request")
        self._requests.add(request)
        request.add_done_callback(self._forget_request)
        return await asyncio.shield(request)

    async def read_task(self, task_id: str | None, token: str | None) -> Task:
        """Reads Task/Detail, by the token when it is known.

        Raises:
            NotAccessible: The service does not know the task, or answers with another one.
        """
        task = await self.call(lambda client: client.task_detail(task_id=None if token else task_id, token=token))
        if task_id is not None and task.id != task_id:
            raise NotAccessible(
                f"The service answers with task {task.id} in place of task {task_id}.",
                hint="%wiro runs", code=1, status=200, ambiguous=False,
            )  # fmt: skip
        return task

    def _forget_request(self, request: asyncio.Task[Any]) -> None:
        self._requests.discard(request)
        if not request.cancelled():
            request.exception()  # marks it as retrieved: its caller may be gone

    async def events(self) -> EventClient:
        """Returns the event client of the living service; its streams end with the tasks that read them."""
        await self.connect()
        assert self._events is not None
        return self._events

    async def close(self) -> None:
        """Closes the client, after the requests under way. A service's process is closed by its keeper."""
        if self._requests:
            await asyncio.wait(self._requests, timeout=_LAST_REQUESTS_S)
        for request in list(self._requests):
            request.cancel()
        async with self._lock:
            await self._drop()

    async def _living_service(self) -> Service:
        if self._process is None:
            return self.choice.to_service()
        return await asyncio.to_thread(self._process.ensure)

    async def _replace(self, service: Service) -> None:
        from wiro_nb.api.client import WiroClient
        from wiro_nb.api.events import EventClient

        await self._drop()
        client = WiroClient(service)
        await client.__aenter__()
        self._service, self._client = service, client
        self._events = EventClient(service)
        self.generation += 1

    async def _drop(self) -> None:
        client, self._client, self._events = self._client, None, None
        with contextlib.suppress(Exception):
            if client is not None:
                await client.__aexit__(None, None, None)
