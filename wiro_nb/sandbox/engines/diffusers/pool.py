"""A pool of worker processes, one per device with one job at a time, on this machine or a Ray cluster.

A job waits for a worker that has its model; another one takes it when that one is busy. Jobs pass each other by
a few places at most. When a worker dies, its job is retried once on a new process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from wiro_nb.sandbox.engines import EngineError

DOCTOR = "Type: wiro-nb local doctor"
_GRACE_S = 3.0
_ATTEMPTS = 2
_MAX_PASSED = 4
_MAX_LINE_BYTES = 1 << 20
_STDERR_LINES = 40
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Keeps the libraries of a worker from network access and telemetry."""

OnProgress = Callable[[dict[str, Any]], Awaitable[None]]


class WorkerDied(Exception):
    """A worker ended without being asked to. The text is the last line it printed."""


class Worker(ABC):
    """Runs one job at a time in a process, which is started when it is needed, and again after its end.

    Args:
        index: Of the worker; with several cards each takes the next one.

    Attributes:
        models: Keys of the models that its process holds.
        grace_s: How long it may take to answer that a job is cancelled, and to end.
    """

    def __init__(self, index: int) -> None:
        self.index, self.grace_s = index, _GRACE_S
        self.models: frozenset[str] = frozenset()
        self._jobs = 0

    @abstractmethod
    async def start(self) -> dict[str, Any]:
        """Starts the process and returns its "ready" message.

        Raises:
            EngineError: It cannot work; the text says why.
        """

    @abstractmethod
    async def send(self, message: dict[str, Any]) -> None:
        """Sends a message; that the process has ended shows when the answer is received."""

    @abstractmethod
    async def receive(self) -> dict[str, Any]:
        """Waits for the next message; a cancelled call loses none.

        Raises:
            WorkerDied: The process ended.
        """

    @abstractmethod
    async def is_alive(self) -> bool:
        """Returns whether the process can take a job."""

    @abstractmethod
    async def end(self) -> None:
        """Ends the process at once, where there is one."""

    async def run(self, call: dict[str, Any], out: Path, on_progress: OnProgress) -> dict[str, Any]:
        """Runs a job to its end and returns the process's "done" message.

        Raises:
            EngineError: The job failed; the text says why.
            WorkerDied: The process ended.
            CancelledError: The job was cancelled; nothing writes to `out` any more.
        """
        self._jobs += 1
        job = self._jobs
        try:
            await self.send({"type": "run", "job": job, "call": call, "out": str(out)})
            while (message := await self.receive())["type"] == "progress":
                await on_progress(message)
        except WorkerDied:
            raise
        except BaseException:
            await self._stop(job)
            raise
        self.models = frozenset(message["models"])
        if message["type"] == "failed":
            raise EngineError(message["message"])
        return message

    async def _stop(self, job: int) -> None:
        """Cancels a job; a process that does not answer in time is ended."""
        try:
            async with asyncio.timeout(self.grace_s):
                await self.send({"type": "cancel", "job": job})
                while (message := await self.receive())["type"] == "progress":
                    pass
            self.models = frozenset(message["models"])
        except (TimeoutError, WorkerDied):
            await self.end()


class ProcessWorker(Worker):
    """A worker whose process runs on this machine.

    Args:
        python: Its interpreter; "" for this one.
        index: Of the worker.
    """

    def __init__(self, python: str, index: int) -> None:
        super().__init__(index)
        self.process: Any = None
        self._python = python or sys.executable
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)

    async def start(self) -> dict[str, Any]:
        """Starts the process and returns its "ready" message; raises `EngineError` where it cannot work."""
        # With -P modules in the working folder are not imported.
        command = (self._python, "-P", "-m", "wiro_nb.sandbox.engines.diffusers.worker", str(self.index))
        pipe = asyncio.subprocess.PIPE
        pipes: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "limit": _MAX_LINE_BYTES}
        try:
            self.process = await asyncio.create_subprocess_exec(
                *command, **pipes, env={**os.environ, **_ENVIRONMENT}
            )
        except OSError as error:
            raise EngineError(
                f"The worker {self._python} cannot be started: {error.strerror}. {DOCTOR}"
            ) from error
        self._drain = asyncio.ensure_future(self._read_stderr())
        try:
            return await self.receive()
        except WorkerDied as error:
            raise EngineError(f"The worker {self._python} ended while it started: {error} {DOCTOR}") from error
        except asyncio.CancelledError:
            await self.end()
            raise

    async def is_alive(self) -> bool:
        """Returns whether the process runs."""
        return self.process is not None and self.process.returncode is None

    async def end(self) -> None:
        """Kills the process and waits for its end."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await asyncio.wait([self._drain])
            await self.process.wait()

    async def send(self, message: dict[str, Any]) -> None:
        """Writes a message to the process."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any]:
        """Reads the next message of the process."""
        try:
            return dict(json.loads(await self.process.stdout.readline()))
        except (ValueError, TypeError):  # its output has ended, or is no message
            # A signal to a process that has ended takes its exit code away from the one who waits for it.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.grace_s):
                    await self.process.wait()
            await self.end()
            reason = next((line for line in reversed(self._stderr) if line.strip()), "")
            raise WorkerDied(f"{reason[:300]} (exit code {self.process.returncode})".strip()) from None

    async def _read_stderr(self) -> None:
        self._stderr.clear()
        with contextlib.suppress(ValueError):
            async for line in self.process.stderr:
                self._stderr.append(line.decode(errors="replace").rstrip())


@dataclass(eq=False)
class _Waiting:
    """A job that waits for a worker."""

    key: str
    worker: asyncio.Future[Worker]
    passed: int = 0


class Pool:
    """Runs jobs on workers.

    Args:
        create: Returns the worker of an index.
        size: Number of workers; 0 for one a device, as the first worker counts them.
        idle_s: A worker without a job for so long is ended, which frees the memory of its models; 0 for never.

    Attributes:
        facts: What the worker started last says about itself; empty before the first one.
    """

    def __init__(self, create: Callable[[int], Worker], size: int = 0, idle_s: float = 0.0) -> None:
        self._create, self._size, self._idle_s = create, size, idle_s
        self.facts: dict[str, Any] = {}
        self._workers = [create(index) for index in range(max(size, 1))]
        self._free = list(self._workers)
        self._waiting: list[_Waiting] = []
        self._idle: dict[Worker, asyncio.Task[None]] = {}

    async def run(self, call: dict[str, Any], out: Path, on_progress: OnProgress) -> dict[str, Any]:
        """Runs a job when a worker is free.

        Args:
            call: What the worker is sent; its `key` names the model that the job needs.
            out: The file to write.
            on_progress: Receives the worker's progress messages, in order.

        Raises:
            EngineError: It failed, or its worker died in both attempts.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._worker_for(call["key"]) as worker:
                    await self._ensure_started(worker)
                    return await worker.run(call, out, on_progress)
            except WorkerDied as error:
                if attempt == _ATTEMPTS:
                    raise EngineError(f"The worker died {attempt} times while it ran this. {error}") from error
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Ends all workers."""
        for task in self._idle.values():
            task.cancel()
        await asyncio.gather(*(worker.end() for worker in self._workers))

    async def _ensure_started(self, worker: Worker) -> None:
        if await worker.is_alive():
            return
        self.facts = await worker.start()
        if self._size == 0:
            self._size = int(self.facts["devices"])
            more = [self._create(index) for index in range(1, self._size)]
            self._workers += more
            self._free += more
            self._assign()

    @asynccontextmanager
    async def _worker_for(self, key: str) -> AsyncIterator[Worker]:
        """Waits for a worker, and gives it back at the end."""
        job = _Waiting(key, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._assign()
        try:
            yield await job.worker
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
            else:
                worker = job.worker.result()
                self._free.append(worker)
                if self._idle_s:
                    self._idle[worker] = asyncio.create_task(self._end_when_idle(worker))
                self._assign()

    def _assign(self) -> None:
        """Gives free workers to waiting jobs: to the first job whose model one holds, or to the first one."""
        while self._free and (jobs := [job for job in self._waiting if not job.worker.done()]):
            first = jobs[0]
            workers = sorted(self._free, key=lambda worker: (len(worker.models), worker.index))
            pairs = product(jobs if first.passed < _MAX_PASSED else [first], workers)
            job, worker = max(pairs, key=lambda pair: pair[0].key in pair[1].models)
            first.passed += job is not first
            self._waiting.remove(job)
            self._free.remove(worker)
            if worker in self._idle:
                self._idle.pop(worker).cancel()
            job.worker.set_result(worker)

    async def _end_when_idle(self, worker: Worker) -> None:
        await asyncio.sleep(self._idle_s)
        self._free.remove(worker)
        await worker.end()
        self._free.append(worker)
        self._assign()
