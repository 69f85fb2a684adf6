"""The connection to one service: its process, HTTP client and event client, created at first use.

For a service that is a process of this machine a connection also brings it back: when the process is gone, the
next call starts it again, and `generation` says that the addresses are new. It is the sandbox with its
placeholder clips or, with `--engine diffusers`, the models on this machine; on the kernel's loop it would hang
with it. It lives while its standard input is open, so it ends with this process however that ends. One serves
every process that uses the same data folder: a second one prints where the running one is and ends. When its
owner closes, the next one to need it starts it again, and its tasks continue.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from wiro_nb.api import Credentials, Service
from wiro_nb.api.answers import Task
from wiro_nb.config import SANDBOX
from wiro_nb.errors import NOTHING_SENT, ConfigError, ConnectFailed, MissingExtra, NotAccessible
from wiro_nb.services.selection import ServiceChoice

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient

NEEDED = ("av", "numpy", "PIL", "python_multipart", "starlette", "uvicorn")
STDERR_NAME = "stderr.log"
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_LAST_REQUESTS_S = 1.0


class SandboxProcess:
    """The free service of one data folder, started when needed.

    Args:
        folder: Where it stores tasks and clips.
        name: "sandbox" or "local".
        arguments: Further arguments of its command line.
        start_timeout_s: How long it may take to start.
    """

    def __init__(
        self, folder: Path, *, name: str = SANDBOX, arguments: tuple[str, ...] = (), start_timeout_s: float = 30.0
    ) -> None:
        self.folder = folder
        self.name = name
        self._arguments = arguments
        self._start_timeout_s = start_timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._service: Service | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the sandbox when this process owns it."""
        return self._process.pid if self._process is not None else None

    def ensure(self) -> Service:
        """Returns the address of the running sandbox; starts one when there is none. Blocks until it runs.

        Raises:
            MissingExtra: Its packages are not installed.
            ConfigError: It ended at once; the message carries the end of its log.
            ConnectFailed: It did not answer in time.
        """
        with self._lock:
            if self._service is None or not self._is_alive(self._service):
                self._reap()
                self._service = self._start()
            return self._service

    def close(self, timeout_s: float = 3.0) -> None:
        """Ends the sandbox when this process owns it."""
        with self._lock:
            self._service = None
            self._reap(timeout_s)

    def _is_alive(self, service: Service) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        parts = urlsplit(service.base_url)
        try:
            with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=1.0):
                return True
        except OSError:
            return False

    def _start(self) -> Service:
        MissingExtra.require("the sandbox", "sandbox", *NEEDED)
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "wiro_nb", "sandbox", *self._arguments]
        with (self.folder / STDERR_NAME).open("ab") as errors:
            process = subprocess.Popen(
                [*command, "--port", "0", "--data", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.folder,
                env=_child_environment(),
                text=True,
                # An interrupt typed at a terminal goes to the whole process group: the sandbox is not meant.
                start_new_session=True,
            )
        self._process = process
        began, timer = time.monotonic(), threading.Timer(self._start_timeout_s, process.kill)
        timer.start()
        assert process.stdout is not None
        try:
            with process.stdout:
                facts = json.loads(process.stdout.readline())
            credentials = Credentials(facts["api_key"], facts.get("api_secret"))
            service = Service(self.name, facts["base_url"], facts["socket_url"], credentials)
        except (ValueError, KeyError, TypeError):
            is_late = time.monotonic() - began >= self._start_timeout_s
            self._reap()
            if process.returncode == -signal.SIGINT:  # an interrupt came before it had a session of its own
                return self._start()
            if is_late:
                raise ConnectFailed(
                    f"the service {self.name} did not answer within {self._start_timeout_s:g} s"
                ) from None
            raise ConfigError(  # it ended: trying again would not help
                f"the service {self.name} did not start",
                details=_log_end(self.folder / STDERR_NAME),
                hint=shlex.join(["python", *command[1:]]),
                billed=NOTHING_SENT,
            ) from None
        finally:
            timer.cancel()
        if facts.get("shared"):  # it belongs to another process, and this one has ended
            self._reap()
        return service

    def _reap(self, timeout_s: float = 3.0) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        for end in (process.terminate, process.kill, process.kill):
            try:
                process.wait(timeout_s)
                break
            except subprocess.TimeoutExpired:
                end()


def _child_environment() -> dict[str, str]:
    # The user's keys are not for the sandbox.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WIRO_API_")}
    package_home = str(Path(__file__).resolve().parents[2])
    if "site-packages" in package_home or "dist-packages" in package_home:
        return environment  # found without help, and must not come before the standard library
    present = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([package_home, present]) if present else package_home
    return environment


def _log_end(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")[-4000:]
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-5:]


# The connection ------------------------------------------------------------------------------


class Connection:
    """One service this process talks to. Every coroutine here runs on the I/O thread.

    Args:
        choice: The service.
        process: The process to keep alive, for a free service.

    Attributes:
        choice, process: As given.
        generation: Counts the clients made so far; event streams of an earlier one lead to an old address.
        reached: True once the service answered in this process.
    """

    def __init__(self, choice: ServiceChoice, process: SandboxProcess | None = None) -> None:
        self.choice = choice
        self.process = process
        self.generation = 0
        self.reached = False
        self._lock = asyncio.Lock()
        self._service: Service | None = None
        self._client: WiroClient | None = None
        self._closed = False
        self._requests: set[asyncio.Task[Any]] = set()

    @property
    def name(self) -> str:
        """The service's name."""
        return self.choice.name

    async def connect(self) -> WiroClient:
        """Returns a client of the running service; starts or restarts its process when needed.

        Raises:
            MissingExtra, ConfigError, ConnectFailed: The process cannot be started, or this is closed.
        """
        from wiro_nb.api.client import WiroClient

        if self._client is not None and self.process is None and self._service is self.choice.service:
            return self._client  # nothing to start and nothing changed: no need to wait for others
        async with self._lock:
            self._check_open()
            process = self.process
            service = self.choice.service if process is None else await asyncio.to_thread(process.ensure)
            self._check_open()
            assert service is not None
            if self._client is None or service != self._service:
                await self._drop()
                self._client = WiroClient(service)
                self.generation += 1
            self._service = service
            return self._client

    def _check_open(self) -> None:
        if self._closed:  # nobody would close a client that is made now
            raise ConfigError("wiro_nb was closed in this process", hint="%load_ext wiro_nb")

    async def call(self, work: Callable[[WiroClient], Coroutine[Any, Any, _Result]]) -> _Result:
        """Makes a request through a client of the running service.

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

    async def close(self) -> None:
        """Closes the client permanently, after pending requests. The owner of a service's process closes it."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_REQUESTS_S):
                await asyncio.gather(*self._requests, return_exceptions=True)
        async with self._lock:
            await self._drop()

    async def _drop(self) -> None:
        client, self._client = self._client, None
        with contextlib.suppress(Exception):
            if client is not None:
                await client.close()
