"""A task's way from the queue to its end.

Every task is one coroutine; only rendering takes a thread, and of those there are `workers` at most (the
rest waits as `task_queue`). A kill sets a flag that every pause and the engine look at. The clock is
scaled: `speed` 2 is twice as fast, `inf` never waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.sandbox import callbacks
from wiro_nb.sandbox.engine import Engine, EngineCancelled, EngineError, Job, Step
from wiro_nb.sandbox.files import Files
from wiro_nb.sandbox.hub import Hub
from wiro_nb.sandbox.instant import INSTANT_STEPS, InstantEngine, make_png
from wiro_nb.sandbox.models import Model
from wiro_nb.sandbox.prices import Usage, clip_seconds, cost_usd
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.task import Task
from wiro_nb.sandbox.wire import Failure

__all__ = ["Runner", "Timings"]

NOT_CANCELLABLE = "Task is not in a cancellable state."
_KILLABLE = frozenset(
    {"task_accept", "task_preprocess_start", "task_preprocess_end", "task_assign", "task_start", "task_output"}
)


@dataclass(frozen=True)
class Timings:
    """Seconds each stage takes at speed 1."""

    speed: float = 1.0
    queue_s: float = 0.3
    accept_s: float = 0.1
    preprocess_s: float = 0.2
    assign_s: float = 0.5
    step_s: float = 0.15
    store_s: float = 0.2
    slow_factor: int = 10
    slow_floor_s: float = 0.2

    def scaled(self, seconds: float) -> float:
        """Returns what a stage really takes."""
        return seconds / self.speed


class _Stopped(Exception):
    """The task was cancelled or killed, or the process ends."""


@dataclass
class _Live:
    """A task under way, with the means to stop it."""

    task: Task
    model: Model
    stop: threading.Event = field(default_factory=threading.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    made: list[Path] = field(default_factory=list)
    started: float = 0.0


class Runner:
    """Drives all tasks.

    Args:
        store, files, hub: Where state, bytes and events go.
        engine: What makes the clips.
        timings: How long stages take.
        workers: How many tasks run at once; the rest is queued.
        origin: `http://host:port` for URLs in events and callbacks.
    """

    def __init__(
        self, store: Store, files: Files, hub: Hub, engine: Engine, timings: Timings, workers: int, origin: str
    ) -> None:
        self._store, self._files, self._hub = store, files, hub
        self._engine, self._timings, self._origin = engine, timings, origin
        self._plays_steps = isinstance(engine, InstantEngine)
        self._free = asyncio.Semaphore(workers)
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="render")
        self._live: dict[int, _Live] = {}
        self._running: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """How many tasks hold a slot."""
        return len(self._live)

    def resume(self, find_model: Callable[[str], Model | None]) -> int:
        """Puts what a former process left unfinished back into the queue; returns how many."""
        tasks = self._store.unfinished_tasks()
        for task in tasks:
            model = find_model(task.slug)
            task.requeue()
            if model is None:
                task.move_to("task_error", time.time())
                task.error_log = "The sandbox no longer has this model.\n"
                self._store.end_task(task, time.time(), Decimal(0))
            else:
                self.add(task, model)
        return len(tasks)

    def add(self, task: Task, model: Model) -> None:
        """Starts a task that the store already knows."""
        live = _Live(task, model)
        self._live[task.id] = live
        self._spawn(self._life(live))

    def get(self, *, task_id: str = "", token: str = "") -> Task:
        """Returns a task by token or id, live or finished.

        Raises:
            Failure: Neither is given, or there is no such task.
        """
        if not task_id and not token:
            raise Failure(0, "taskid or socketaccesstoken is required")
        found = self._store.find_task(task_id=task_id, token=token)
        if found is None:
            raise Failure(1, "There is no task yet.")
        return self.newest(found)

    def newest(self, task: Task) -> Task:
        """Returns the live state of a task read from the store."""
        live = self._live.get(task.id)
        return live.task if live else task

    def cancel(self, task: Task) -> None:
        """Cancels a queued task.

        Raises:
            Failure: It is no longer queued.
        """
        live = self._live.get(task.id)
        if live is None or task.status != "task_queue":
            raise Failure(1, NOT_CANCELLABLE)
        self._end(live, "task_cancel")

    def kill(self, task: Task) -> None:
        """Kills a running task.

        Raises:
            Failure: It is still queued, already ending, or over.
        """
        live = self._live.get(task.id)
        if live is None or task.status not in _KILLABLE:
            reason = "it is still in the queue" if task.status == "task_queue" else "it has already ended"
            raise Failure(1, f"Task could not be killed: {reason}")
        self._end(live, "task_cancel")

    def release(self, task: Task) -> None:
        """Lets a task go on that a mark holds."""
        if live := self._live.get(task.id):
            live.released.set()

    async def close(self) -> None:
        """Stops everything; unfinished tasks stay unfinished in the store and go on after a restart."""
        for live in self._live.values():
            _stop(live)
        if self._running:
            await asyncio.wait(self._running, timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _spawn(self, coroutine: Any) -> None:
        running = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _life(self, live: _Live) -> None:
        try:
            await self._wait_in_queue(live)
            async with self._free:
                _check(live)
                await self._prepare(live)
                await self._execute(live)
        except _Stopped:
            self._discard(live)
        except EngineError as error:
            await self._finish(live, "1", str(error))
        except Exception as error:  # a fault of the sandbox itself must not leave a task hanging
            await self._finish(live, "1", f"sandbox: {type(error).__name__}: {error}")

    async def _wait_in_queue(self, live: _Live) -> None:
        await asyncio.sleep(0)  # lets the answer to Run out first
        _check(live)
        self._announce(live, "task_queue")
        await self._pause(live, self._timings.queue_s)
        if "[queue]" in live.task.text():
            await self._hold(live)
            self._announce(live, "task_queue")

    async def _prepare(self, live: _Live) -> None:
        task = live.task
        self._announce(live, "task_accept")
        await self._pause(live, self._timings.accept_s)
        self._announce(live, "task_preprocess_start")
        if task.callback_url and (reason := callbacks.refusal(task.callback_url)):
            self._log(live, reason)
        for line in self._input_notes(task):
            self._log(live, line)
        await self._pause(live, self._timings.preprocess_s)
        if "[crash]" in task.text():
            self._end(live, "task_error", "The worker could not start the model.")
            raise _Stopped
        self._announce(live, "task_preprocess_end")
        self._announce(live, "task_assign")
        await self._pause(live, self._timings.assign_s)

    async def _execute(self, live: _Live) -> None:
        task = live.task
        live.started = time.time()
        self._announce(live, "task_start")
        self._log(live, f"{task.slug}: sandbox engine {self._engine.name}, no GPU, nothing is charged.")
        if "[hold]" in task.text():
            await self._hold(live)
        if live.model.kind == "clip":
            await self._render(live)
        else:
            await self._play_steps(live, INSTANT_STEPS)
        if "[fail]" in task.text():
            raise EngineError("RuntimeError: the prompt asked for a failure ([fail]).")
        await self._finish(live, "0", "")

    async def _render(self, live: _Live) -> None:
        task = live.task
        job = Job(
            task_id=str(task.id),
            model=task.slug,
            parameters=task.parameters,
            input_files=tuple(path for path in map(Path, task.input_paths) if path.is_file()),
            out_dir=self._files.output_folder(),
            record=None,
        )
        if self._plays_steps:
            await self._play_steps(live, INSTANT_STEPS)
        loop = asyncio.get_running_loop()
        last = time.monotonic()

        def on_progress(step: Step) -> None:
            nonlocal last
            if not self._plays_steps:
                loop.call_soon_threadsafe(self._progress, live, step)
            if "[slow]" in task.text() and not self._plays_steps:
                took = time.monotonic() - last
                live.stop.wait(max(took * (self._timings.slow_factor - 1), self._timings.slow_floor_s))
            last = time.monotonic()

        try:
            live.made = await loop.run_in_executor(
                self._pool, self._engine.start, job, on_progress, live.stop.is_set
            )
        except EngineCancelled as error:
            raise _Stopped from error
        _check(live)

    async def _play_steps(self, live: _Live, steps: int) -> None:
        slow = "[slow]" in live.task.text()
        for step in range(1, steps + 1):
            await self._pause(live, self._timings.step_s * (self._timings.slow_factor if slow else 1))
            if (
                slow
                and self._timings.scaled(self._timings.step_s) * self._timings.slow_factor
                < self._timings.slow_floor_s
            ):
                await self._pause_exactly(live, self._timings.slow_floor_s)
            self._progress(live, Step(step, steps))

    async def _finish(self, live: _Live, exit_code: str, trouble: str) -> None:
        """Ends a task that ran: stores its outputs, bills it when it succeeded, tells everybody."""
        task = live.task
        if live.stop.is_set():
            return
        for line in filter(None, trouble.splitlines()):
            self._stderr(live, line)
        task.exit_code = exit_code
        self._announce(live, "task_output_full", task.log)
        if task.error_log:
            self._announce(live, "task_error_full", task.error_log)
        self._announce(live, "task_end")
        self._announce(live, "task_postprocess_start")
        await asyncio.sleep(self._timings.scaled(self._timings.store_s))
        billed = Decimal(0)
        if exit_code == "0":
            task.outputs, usage = self._store_outputs(live)
            billed = cost_usd(live.model.price, usage)
        self._end(live, "task_postprocess_end", billed=billed)

    def _store_outputs(self, live: _Live) -> tuple[list[dict[str, Any]], Usage]:
        task = live.task
        elapsed = round(task.elapsed_s, 4)
        prompt = str(task.parameters.get("prompt", ""))
        if live.model.kind == "text":
            content = {
                "prompt": prompt,
                "raw": f"You said: {prompt}",
                "thinking": [],
                "answer": [f"You said: {prompt}"],
            }
            words = len(prompt.split()) * 2 + 2
            return [{"contenttype": "raw", "content": content}], Usage(elapsed, tokens=words)
        if live.model.kind == "image":
            live.made = [self._files.output_folder() / "0.png"]
            live.made[0].write_bytes(make_png(f"{prompt}|{task.parameters.get('seed', '')}"))
        measured = [clip_seconds(path) for path in live.made]
        folder = live.made[0].parent if live.made else None
        outputs = [self._files.take_output(path, task.id) for path in live.made]
        if folder and not any(folder.iterdir()):
            folder.rmdir()
        usage = Usage(
            elapsed,
            outputs=len(outputs),
            clip_s=sum(seconds for seconds, _ in measured),
            pixels=max((pixels for _, pixels in measured), default=0),
            prompt_length=len(prompt),
            parameters=task.parameters,
        )
        return outputs, usage

    def _end(self, live: _Live, status: str, trouble: str = "", *, billed: Decimal = Decimal(0)) -> None:
        """Writes the final state and the bill, frees the slot, then tells everybody."""
        task, now = live.task, time.time()
        _stop(live)
        if trouble:
            task.error_log += trouble + "\n"
        task.move_to(status, now)
        task.cost_usd = str(billed)
        self._live.pop(task.id, None)
        self._store.end_task(task, now, billed)
        message: Any = trouble
        if status == "task_postprocess_end":
            message = task.on_wire(self._origin)["outputs"]
        self._hub.publish(task, status, message)
        if task.callback_url and callbacks.refusal(task.callback_url) is None:
            self._spawn(self._call_back(task))

    async def _call_back(self, task: Task) -> None:
        body = task.on_wire(self._origin)
        task.log += await asyncio.to_thread(callbacks.deliver, task.callback_url, body) + "\n"
        self._store.rewrite_task(task)

    def _announce(self, live: _Live, status: str, message: Any = "") -> None:
        live.task.move_to(status, time.time())
        self._hub.publish(live.task, status, message)

    def _log(self, live: _Live, line: str) -> None:
        live.task.log += line + "\n"
        self._hub.publish(live.task, "task_output", line)

    def _stderr(self, live: _Live, line: str) -> None:
        live.task.error_log += line + "\n"
        self._hub.publish(live.task, "task_error", line)

    def _progress(self, live: _Live, step: Step) -> None:
        if live.stop.is_set() or step.steps < 1:
            return
        elapsed = max(time.time() - live.started, 1e-3)
        rate = step.step / elapsed
        self._announce(
            live,
            "task_output",
            {
                "type": "progressGenerate",
                "task": "Generate",
                "percentage": str(100 * step.step // step.steps),
                "stepCurrent": str(step.step),
                "stepTotal": str(step.steps),
                "speed": f"{rate:.1f}",
                "speedType": "it/s",
                "elapsedTime": f"{elapsed:.0f}s",
                "remainingTime": f"{(step.steps - step.step) / rate:.0f}s",
            },
        )

    def _input_notes(self, task: Task) -> list[str]:
        urls = [
            item
            for value in task.parameters.values()
            for item in (value if isinstance(value, list) else [value])
            if isinstance(item, str) and item.startswith(("http://", "https://"))
        ]
        return ["An input URL was not fetched: the sandbox fetches nothing from elsewhere." for _ in urls]

    async def _pause(self, live: _Live, seconds: float) -> None:
        await self._pause_exactly(live, self._timings.scaled(seconds))

    async def _pause_exactly(self, live: _Live, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
        else:
            try:
                await asyncio.wait_for(live.wake.wait(), seconds)
            except TimeoutError:
                pass
        _check(live)

    async def _hold(self, live: _Live) -> None:
        released = asyncio.ensure_future(live.released.wait())
        woken = asyncio.ensure_future(live.wake.wait())
        await asyncio.wait({released, woken}, return_when=asyncio.FIRST_COMPLETED)
        released.cancel()
        woken.cancel()
        _check(live)

    def _discard(self, live: _Live) -> None:
        for path in live.made:
            path.unlink(missing_ok=True)


def _stop(live: _Live) -> None:
    live.stop.set()
    live.wake.set()


def _check(live: _Live) -> None:
    if live.stop.is_set():
        raise _Stopped
