"""A pool of worker processes, one per device with one job at a time, on this machine or a Ray cluster.

A job waits for a worker that has its model; another one takes it when that one is busy. Jobs pass each other by
a few places at most. When a worker dies, its job is retried once on a new worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol

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


def worker_command(python: str = "") -> Sequence[str]:
    """Returns the command of a worker, without its index. Modules in the working folder are not imported."""
    return (python or sys.executable, "-P", "-m", "wiro_nb.sandbox.engines.diffusers.worker")


class Connection(Protocol):
    """Carries the messages of `worker` to and from one worker process, here or on another machine."""

    async def send(self, message: dict[str, Any]) -> None:
        """Sends a message; that the process has ended shows when the answer is received."""
        ...

    async def receive(self) -> dict[str, Any]:
        """Waits for the next message; a cancelled call loses none.

        Raises:
            WorkerDied: The process ended.
        """
        ...

    async def is_alive(self) -> bool:
        """Returns whether the process can take a job."""
        ...

    async def end(self) -> None:
        """Ends the process at once, also when it ended before."""
        ...


class Worker:
    """A worker process that runs one job at a time.

    Args:
        connection: To the process.
        facts: Its "ready" message.

    Attributes:
        models: Keys of the models it holds.
        grace_s: How long it may take to answer that a job is cancelled.
    """

    def __init__(self, connection: Connection, facts: dict[str, Any]) -> None:
        self.connection, self.facts = connection, facts
        self.models: frozenset[str] = frozenset()
        self.grace_s = _GRACE_S
        self._jobs = 0

    async def run(self, call: dict[str, Any], out: Path, on_progress: OnProgress) -> dict[str, Any]:
        """Runs a job to its end and returns the worker's "done" message.

        Raises:
            EngineError: The job failed; the text says why.
            WorkerDied: The worker ended.
            CancelledError: The job was cancelled; nothing writes to `out` any more.
        """
        self._jobs += 1
        job = self._jobs
        try:
            await self.connection.send({"type": "run", "job": job, "call": call, "out": str(out)})
            while (message := await self.connection.receive())["type"] == "progress":
                await on_progress(message)
        except WorkerDied:
            raise
        except BaseException:
            await self._stop(job)
            raise
        self.models = frozenset(message.get("models", ()))
        if message["type"] == "done":
            return message
        raise EngineError(str(message.get("message") or "the worker gave no reason"))

    async def _stop(self, job: int) -> None:
        """Cancels a job; a worker that does not answer in time is ended."""
        try:
            async with asyncio.timeout(self.grace_s):
                await self.connection.send({"type": "cancel", "job": job})
                while (message := await self.connection.receive())["type"] == "progress":
                    pass
            self.models = frozenset(message.get("models", ()))
        except (TimeoutError, WorkerDied):
            await self.connection.end()


StartWorker = Callable[[int], Awaitable[Worker]]
"""Starts the worker of an index and waits until it is ready; raises `EngineError` when it cannot work."""


async def start_process(command: Sequence[str], index: int) -> Worker:
    """Starts a worker as a process of this machine and waits until it is ready.

    Raises:
        EngineError: It cannot work; the text says why.
    """
    pipe = asyncio.subprocess.PIPE
    pipes: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": pipe, "limit": _MAX_LINE_BYTES}
    try:
        process = await asyncio.create_subprocess_exec(
            *command, str(index), **pipes, env={**os.environ, **_ENVIRONMENT}
        )
    except OSError as error:
        raise EngineError(f"The worker {command[0]} cannot be started: {error.strerror}. {DOCTOR}") from error
    connection = _ProcessConnection(process)
    try:
        return Worker(connection, await connection.receive())
    except WorkerDied as error:
        raise EngineError(f"The worker {command[0]} ended while it started: {error} {DOCTOR}") from error
    except BaseException:
        await connection.end()
        raise


class _ProcessConnection:
    """A connection over the pipes of a process of this machine."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process: Any = process
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._drain = asyncio.ensure_future(self._read_stderr())

    async def is_alive(self) -> bool:
        return self.process.returncode is None

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self._drain
        await self.process.wait()

    async def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            self.process.stdin.write(json.dumps(message).encode() + b"\n")

    async def receive(self) -> dict[str, Any]:
        try:
            line = await self.process.stdout.readline()
            message = json.loads(line) if line else None
        except ValueError:
            message = None
        if not isinstance(message, dict):
            code = await self._exit_code()
            reason = next((line for line in reversed(self._stderr) if line.strip()), "")
            raise WorkerDied(f"{reason[:300]} (exit code {code})".strip())
        return message

    async def _exit_code(self) -> int:
        """Returns the exit code of a process that closed its output; one that does not end is killed.

        A signal to a process that has ended takes its exit code away from the one who waits for it.
        """
        try:
            async with asyncio.timeout(_GRACE_S):
                await self.process.wait()
        except TimeoutError:
            await self.end()
        await self._drain
        return int(self.process.returncode or 0)

    async def _read_stderr(self) -> None:
        with contextlib.suppress(ValueError):
            async for line in self.process.stderr:
                self._stderr.append(line.decode(errors="replace").rstrip())


@dataclass
class _Slot:
    """A place for one worker, which is started when it is needed first, and again after its end.

    `timer` ends a worker that is idle.
    """

    index: int
    worker: Worker | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def models(self) -> frozenset[str]:
        """Keys of the models that its worker holds."""
        return self.worker.models if self.worker is not None else frozenset()


@dataclass(eq=False)
class _Waiting:
    """A job that waits for a slot."""

    key: str
    slot: asyncio.Future[_Slot]
    passed: int = 0


class Pool:
    """Runs jobs on workers.

    Args:
        start: Starts a worker.
        size: Number of workers; 0 for one a device, as the first worker counts them.
        idle_s: A worker without a job for so long is ended, which frees the memory of its models; 0 for never.

    Attributes:
        facts: What the worker started last says about itself; empty before the first one.
    """

    def __init__(self, start: StartWorker, size: int = 0, idle_s: float = 0.0) -> None:
        self._start, self._size, self._idle_s = start, size, idle_s
        self.facts: dict[str, Any] = {}
        self._free: list[_Slot] = [_Slot(index) for index in range(max(size, 1))]
        self._slots = list(self._free)
        self._waiting: list[_Waiting] = []
        self._ends: set[asyncio.Task[None]] = set()

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
                async with self._slot(call["key"]) as slot:
                    worker = await self._ready(slot)
                    return await worker.run(call, out, on_progress)
            except WorkerDied as error:
                if attempt == _ATTEMPTS:
                    raise EngineError(f"The worker died {attempt} times while it ran this. {error}") from error
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Ends all workers."""
        for slot in self._slots:
            self._end(slot)
        await asyncio.gather(*self._ends)

    async def _ready(self, slot: _Slot) -> Worker:
        if slot.worker is not None and not await slot.worker.connection.is_alive():
            former, slot.worker = slot.worker, None
            await former.connection.end()
        if slot.worker is None:
            slot.worker = await self._start(slot.index)
            self.facts = slot.worker.facts
            if self._size == 0:
                self._size = max(1, int(slot.worker.facts.get("devices", 1)))
                more = [_Slot(index) for index in range(len(self._slots), self._size)]
                self._slots += more
                self._free += more
                self._assign()
        return slot.worker

    @asynccontextmanager
    async def _slot(self, key: str) -> AsyncIterator[_Slot]:
        """Waits for a slot, and gives it back at the end."""
        job = _Waiting(key, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._assign()
        try:
            yield await job.slot
        finally:
            if job in self._waiting:
                self._waiting.remove(job)
            else:
                slot = job.slot.result()
                self._free.append(slot)
                if slot.worker is not None and self._idle_s:
                    slot.timer = asyncio.get_running_loop().call_later(self._idle_s, self._end, slot)
                self._assign()

    def _assign(self) -> None:
        """Gives free slots to waiting jobs: to the first job whose model a slot holds, or to the first one."""
        while self._free and (jobs := [job for job in self._waiting if not job.slot.done()]):
            first = jobs[0]
            slots = sorted(self._free, key=lambda slot: (len(slot.models), slot.index))
            pairs = product(jobs if first.passed < _MAX_PASSED else [first], slots)
            job, slot = max(pairs, key=lambda pair: pair[0].key in pair[1].models)
            first.passed += job is not first
            self._waiting.remove(job)
            self._free.remove(slot)
            if slot.timer is not None:
                slot.timer.cancel()
            job.slot.set_result(slot)

    def _end(self, slot: _Slot) -> None:
        """Has the worker of a slot ended; the next job starts another one."""
        if slot.timer is not None:
            slot.timer.cancel()
        if slot.worker is not None:
            self._ends.add(end := asyncio.ensure_future(slot.worker.connection.end()))
            end.add_done_callback(self._ends.discard)
            slot.worker = None
