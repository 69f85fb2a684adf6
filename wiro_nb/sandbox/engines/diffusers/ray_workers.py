"""Workers on a Ray cluster: one actor per GPU, each with one worker process. Needs `wiro_nb[ray]`.

    pool > RayWorker (here) ~ WorkerHost (in an actor) > worker process

The service runs on a machine that has joined the cluster. The cluster's machines have wiro_nb and ray in the same
versions, and the weights under the same paths. Pictures travel to an actor and clips come back as bytes.

Ray never restarts an actor by itself: the pool runs a job again, on an actor that it starts anew, and so a job has
one end whatever happens to the first one. The methods of an actor interleave, so that "cancel" reaches a job.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wiro_nb.sandbox.engines import EngineError, first_line
from wiro_nb.sandbox.engines.diffusers.pool import ProcessWorker, Worker, WorkerDied

_INSTALL = 'python -m pip install "wiro_nb[ray]"'
_CONNECT_S = 5.0
_START_S = 300.0
_CONNECTING = threading.Lock()


class WorkerHost(ProcessWorker):
    """A Ray actor that runs a worker process on its machine.

    A job's pictures come as bytes, and the clip leaves as the `file` of the "done" message.
    """

    def __init__(self, python: str, index: int) -> None:
        super().__init__(python, index)
        self._folder = tempfile.TemporaryDirectory(prefix="wiro-nb-")

    async def send(self, message: dict[str, Any]) -> None:
        """Sends a message; with a job go its pictures."""
        if message["type"] == "run":
            folder, numbers = Path(self._folder.name), itertools.count()

            def write(content: bytes) -> str:
                path = folder / f"picture-{next(numbers)}"
                path.write_bytes(content)
                return str(path)

            message = {**_with_pictures(message, write), "out": str(folder / "0.mp4")}
        await super().send(message)

    async def receive(self) -> dict[str, Any]:
        """Waits for the next message; with the last one comes the clip."""
        message = await super().receive()
        if message["type"] == "done":
            message["file"] = Path(self._folder.name, "0.mp4").read_bytes()  # noqa: ASYNC240
        return message


class RayWorker(Worker):
    """A worker whose process runs on a cluster, on a GPU where the cluster has any.

    Args:
        address: "auto" or HOST:PORT of a cluster that this machine has joined.
        python: Interpreter of the process on the cluster's machines; "" for that of its actor.
        index: Of the worker.
    """

    def __init__(self, address: str, python: str, index: int) -> None:
        super().__init__(index)
        self._address, self._python = address, python
        self._ray: Any = None
        self._actor: Any = None

    async def start(self) -> dict[str, Any]:
        """Starts an actor and its process; waits for a GPU where the cluster has any."""
        await self.end()  # an actor that does not answer may still run
        ray = self._ray = await asyncio.to_thread(_connect, self._address)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        needs = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "scheduling_strategy": "SPREAD"}
        host = ray.remote(max_restarts=0, max_task_retries=0, **needs)(WorkerHost)
        self._actor, self._next = host.remote(self._python, self.index), None
        try:
            async with asyncio.timeout(_START_S):
                facts: dict[str, Any] = await self._actor.start.remote()
        except BaseException as error:
            await self.end()
            if isinstance(error, TimeoutError):
                what = "GPU" if gpus else "processor"
                reason = f"No {what} of the Ray cluster was free within 5 minutes; see: ray status"
                raise EngineError(reason) from None
            if isinstance(error, ray.exceptions.RayError):
                cause = getattr(error, "cause", None)
                reason = str(cause) if isinstance(cause, EngineError) else first_line(error)
                raise EngineError(f"The worker on the Ray cluster cannot start: {reason}") from error
            raise
        return {**facts, "devices": gpus or sum(node["Alive"] for node in ray.nodes())}

    async def is_alive(self) -> bool:
        """Returns whether the actor answers and its process runs."""
        if self._actor is None:
            return False
        try:
            async with asyncio.timeout(_CONNECT_S):
                return bool(await self._actor.is_alive.remote())
        except (self._ray.exceptions.RayError, TimeoutError):
            return False

    async def end(self) -> None:
        """Kills the actor."""
        if self._actor is not None:
            self._ray.kill(self._actor)  # its process ends with it
            self._actor = None

    async def send(self, message: dict[str, Any]) -> None:
        """Sends a message; with a job go its pictures."""
        if message["type"] == "run":
            self._out = Path(message["out"])
            message = await asyncio.to_thread(_with_pictures, message, lambda path: Path(path).read_bytes())
        await self._wait(self._actor.send.remote(message))

    async def receive(self) -> dict[str, Any]:
        """Waits for the next message; with the last one comes the clip."""
        # A cancelled wait leaves its answer to the next one.
        self._next = self._next or self._actor.receive.remote()
        message: dict[str, Any] = await self._wait(self._next)
        self._next = None
        if message["type"] == "done":
            await asyncio.to_thread(self._out.write_bytes, message.pop("file"))
        return message

    async def _wait(self, answer: Any) -> Any:
        """Waits for an answer of the actor.

        Raises:
            WorkerDied: The process ended, or the actor cannot be reached.
        """
        try:
            return await answer
        except self._ray.exceptions.RayError as error:
            await self.end()  # one that cannot be reached may still run; nobody waits for it
            cause = getattr(error, "cause", None)
            reason = cause if isinstance(cause, WorkerDied) else f"its actor is gone: {type(error).__name__}"
            raise WorkerDied(str(reason)) from error


def _connect(address: str) -> Any:
    """Connects this process to a cluster, once, and returns the module. Blocking.

    Raises:
        EngineError: ray is not installed, or there is no such cluster.
    """
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"):
        os.environ.setdefault(name, "0")
    try:
        import ray
    except ImportError:
        raise EngineError(f"--ray needs ray: {_INSTALL}") from None
    with _CONNECTING:
        if ray.is_initialized():
            return ray
        host, _, port = address.rpartition(":")
        try:
            if host:  # ray would try for minutes
                socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
            ray.init(address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # ray raises errors of many classes here
            reason = f"{first_line(error)}; ray start --address HOST:PORT joins this machine to a cluster."
            raise EngineError(f"The Ray cluster {address} cannot be reached: {reason}") from error
    return ray


def _with_pictures(message: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Returns a "run" message with each picture of its call changed; a list stays a list."""
    call = message["call"]
    pictures = {
        name: [change(item) for item in value] if isinstance(value, list) else change(value)
        for name, value in call["pictures"].items()
    }
    return {**message, "call": {**call, "pictures": pictures}}
