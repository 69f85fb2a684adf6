"""Workers on a Ray cluster: an actor a GPU, each with one worker process. Needs `wiro_nb[ray]` in the service.

    pool > RayWorker (here) ~ WorkerHost (in an actor) > WorkerProcess

The service runs on a machine that has joined the cluster. The cluster's machines have wiro_nb and ray in the same
versions, and the weights under the same paths. Pictures travel to an actor and clips come back as bytes.

Ray never restarts an actor by itself: the pool runs a job again, on an actor that it starts anew, and so a job has
one end whatever happens to the first one. The methods of an actor interleave, so that `cancel` reaches a job.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.diffusers.pool import GRACE_S, OnProgress, WorkerDied, WorkerProcess, worker_command
from wiro_nb.sandbox.engines.diffusers.worker import first_line

__all__ = ["RayCluster", "RayWorker", "WorkerHost"]

_INSTALL = 'python -m pip install "wiro_nb[ray]"'
_CONNECT_S = 5.0
_START_S = 300.0


class WorkerHost:
    """Runs jobs in a worker process of its machine, one at a time; an instance is a Ray actor.

    Args:
        python: Interpreter of the process; "" for the actor's own.
    """

    def __init__(self, python: str) -> None:
        self._command = worker_command(python)
        self._worker: WorkerProcess | None = None
        self._job: asyncio.Future[dict[str, Any]] | None = None

    async def start(self, index: int) -> dict[str, Any]:
        """Starts the process and returns its "ready" message."""
        self._worker = await WorkerProcess.start(self._command, index)
        return self._worker.facts

    async def is_alive(self) -> bool:
        """Returns whether the process runs."""
        return self._worker is not None and await self._worker.is_alive()

    async def run(self, call: dict[str, Any], pictures: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yields a job's progress, then its end: "done" with the clip as `file`, "failed", "died", "cancelled"."""
        assert self._worker is not None
        if absent := _absent(call):
            yield {"type": "failed", "message": absent}
            return
        with tempfile.TemporaryDirectory(prefix="wiro-nb-") as folder:
            out, messages = Path(folder, "0.mp4"), asyncio.Queue[dict[str, Any] | None]()
            local = {**call, "pictures": _write_pictures(pictures, Path(folder))}
            self._job = asyncio.ensure_future(self._worker.run(local, out, messages.put))
            self._job.add_done_callback(lambda _: messages.put_nowait(None))
            while (message := await messages.get()) is not None:
                yield message
            try:
                end = {**await self._job, "file": out.read_bytes()}  # noqa: ASYNC240
            except EngineError as error:
                end = {"type": "failed", "message": str(error)}
            except WorkerDied as error:
                end = {"type": "died", "message": str(error)}
            except asyncio.CancelledError:
                end = {"type": "cancelled"}
            yield {**end, "models": sorted(self._worker.models)}

    async def cancel(self) -> None:
        """Cancels the job under way."""
        if self._job is not None:
            self._job.cancel()


class RayWorker:
    """A worker in an actor.

    Args:
        ray: The module.
        actor: Handle of a `WorkerHost`.
        facts: Its "ready" message.
    """

    def __init__(self, ray: Any, actor: Any, facts: dict[str, Any]) -> None:
        self._ray, self._actor, self.facts = ray, actor, facts
        self.models: frozenset[str] = frozenset()

    async def is_alive(self) -> bool:
        """Returns whether the actor answers and its process runs."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                return bool(await self._actor.is_alive.remote())
        except (self._ray.exceptions.RayError, TimeoutError):
            return False

    async def end(self) -> None:
        """Ends the actor; its process ends with it."""
        self._ray.kill(self._actor)

    async def run(self, call: dict[str, Any], out: Path, on_progress: OnProgress) -> dict[str, Any]:
        """Runs a job; see `Worker.run`."""
        pictures = await asyncio.to_thread(_read_pictures, call.get("pictures", {}))
        stream = self._actor.run.remote(call, pictures)
        try:
            end = await self._follow(stream, on_progress)
        except self._ray.exceptions.RayError as error:
            await self.end()  # one that cannot be reached may still run; nobody waits for it
            raise WorkerDied(f"its machine or actor is gone: {type(error).__name__}") from error
        except BaseException:
            await self._stop(stream)
            raise
        self.models = frozenset(end.get("models", ()))
        if end["type"] == "done":
            await asyncio.to_thread(out.write_bytes, end.pop("file"))
            return end
        if end["type"] == "died":
            raise WorkerDied(end["message"])
        raise EngineError(str(end.get("message") or "the job was cancelled on the cluster"))

    async def _follow(self, stream: Any, on_progress: OnProgress) -> dict[str, Any]:
        end: dict[str, Any] = {"type": "died", "message": "it gave no answer"}
        async for reference in stream:
            message = await reference
            if message["type"] == "progress":
                await on_progress(message)
            else:
                end = message
        return end

    async def _stop(self, stream: Any) -> None:
        """Cancels the job; an actor that does not end it in time is ended."""
        try:
            async with asyncio.timeout(2 * GRACE_S):  # within it the actor ends a process that does not answer
                await self._actor.cancel.remote()
                end = await self._follow(stream, _ignore)
            self.models = frozenset(end.get("models", ()))
        except (self._ray.exceptions.RayError, TimeoutError):
            await self.end()


class RayCluster:
    """Starts workers on a cluster.

    Args:
        address: "auto" or HOST:PORT of a cluster that this machine has joined.
        python: Interpreter of the workers on the cluster's machines; "" for that of its actors.
    """

    def __init__(self, address: str, python: str = "") -> None:
        self._address, self._python = address, python
        self._lock = asyncio.Lock()

    async def start(self, index: int) -> RayWorker:
        """Starts an actor and waits until it is ready; on a GPU where the cluster has any.

        Raises:
            EngineError: The cluster cannot be reached, none of its GPUs is free, or the worker cannot work.
        """
        async with self._lock:
            ray = await asyncio.to_thread(_connect, self._address)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        needs = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "scheduling_strategy": "SPREAD"}
        actor = ray.remote(max_restarts=0, max_task_retries=0, **needs)(WorkerHost).remote(self._python)
        worker = RayWorker(ray, actor, {})
        try:
            async with asyncio.timeout(_START_S):
                worker.facts = await actor.start.remote(index)
        except TimeoutError:
            await worker.end()
            what = "GPU" if gpus else "processor"
            raise EngineError(f"No {what} of the Ray cluster was free within 5 minutes; see: ray status") from None
        except ray.exceptions.RayError as error:
            await worker.end()
            cause = getattr(error, "cause", None)
            reason = cause if isinstance(cause, EngineError) else f"{type(error).__name__}: {first_line(error)}"
            raise EngineError(f"The worker on the Ray cluster cannot start: {reason}") from error
        except BaseException:
            await worker.end()
            raise
        worker.facts["devices"] = gpus or sum(node["Alive"] for node in ray.nodes())
        return worker


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
    if ray.is_initialized():
        return ray
    host, _, port = address.rpartition(":")
    try:
        if host:  # ray would try for minutes
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # ray raises errors of many classes here
        join = "ray start --address HOST:PORT joins this machine to a cluster"
        raise EngineError(f"The Ray cluster {address} cannot be reached: {first_line(error)}; {join}.") from error
    return ray


def _absent(call: Mapping[str, Any]) -> str | None:
    """Returns a sentence when this machine does not have the weights of a call."""
    named = {**call.get("folders", {}), **{lora["id"]: lora["folder"] for lora in call.get("loras", ())}}
    missing = [name for name, folder in named.items() if not Path(folder).is_dir()]
    if not missing:
        return None
    return (
        f"A machine of the Ray cluster has no weights for {', '.join(missing)}. Set WIRO_LOCAL_WEIGHTS to a "
        "folder that all machines share, and pull again."
    )


def _read_pictures(pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the files of a call's pictures; a list stays a list."""
    return {
        name: [Path(path).read_bytes() for path in value] if isinstance(value, list) else Path(value).read_bytes()
        for name, value in pictures.items()
    }


def _write_pictures(pictures: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Writes what `_read_pictures` returned into a folder, and returns the paths."""
    paths: dict[str, Any] = {}
    for name, value in pictures.items():
        files = value if isinstance(value, list) else [value]
        written = [folder / f"{name}-{number}" for number in range(len(files))]
        for path, content in zip(written, files, strict=True):
            path.write_bytes(content)
        paths[name] = [str(path) for path in written] if isinstance(value, list) else str(written[0])
    return paths


async def _ignore(message: dict[str, Any]) -> None:
    """Takes progress that nobody waits for."""
