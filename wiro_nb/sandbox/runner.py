"""A task's way from the queue to its end.

Every task is one coroutine; only rendering takes a thread, and of those there are `workers` at most (the
rest waits as `task_queue`). A kill sets a flag that every pause and the engine look at. The clock is
scaled: `speed` 2 is twice as fast, infinity never waits.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.sandbox import callbacks
from wiro_nb.sandbox.engine import Engine, EngineCancelled, EngineError, Job, Step
from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.files import Files
from wiro_nb.sandbox.hub import Hub
from wiro_nb.sandbox.instant import INSTANT_STEPS, InstantEngine
from wiro_nb.sandbox.life import Life, Stopped, Timings, marks_of
from wiro_nb.sandbox.models import Model
from wiro_nb.sandbox.prices import cost_usd
from wiro_nb.sandbox.results import store_results
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.task import Task
from wiro_nb.sandbox.wire import Failure

__all__ = ["Runner"]

_RENDER_THREADS = 2
_KILLABLE = frozenset(
    {"task_accept", "task_preprocess_start", "task_preprocess_end", "task_assign", "task_start", "task_output"}
)


class Runner:
    """Drives all tasks.

    Args:
        store: Where state goes.
        files: Where bytes go.
        hub: Where events go.
        engine: What makes the clips.
        timings: How long stages take.
        workers: How many tasks run at once; the rest is queued.
        origin: `http://host:port` for URLs in events and callbacks.
        faults: What goes wrong with tasks.
    """

    def __init__(
        self,
        store: Store,
        files: Files,
        hub: Hub,
        engine: Engine,
        timings: Timings,
        workers: int,
        origin: str,
        faults: Faults,
    ) -> None:
        self._store, self._files, self._hub, self._faults = store, files, hub, faults
        self._engine, self._timings, self._origin = engine, timings, origin
        self._plays_steps = isinstance(engine, InstantEngine)
        self._free = asyncio.Semaphore(workers)
        self._pool = ThreadPoolExecutor(_RENDER_THREADS, thread_name_prefix="render")
        self._live: dict[int, Life] = {}
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
        marks, exit_code = marks_of(task, self._faults.hits("task"))
        life = Life(task, model, marks, exit_code)
        self._live[task.id] = life
        self._spawn(self._live_through(life))

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
        life = self._live.get(task.id)
        return life.task if life else task

    def cancel(self, task: Task) -> None:
        """Cancels a queued task.

        Raises:
            Failure: It is no longer queued.
        """
        life = self._live.get(task.id)
        if life is None or task.status != "task_queue":
            raise Failure(1, "Task is not in a cancellable state.")
        self._end(life, "task_cancel")

    def kill(self, task: Task) -> None:
        """Kills a running task.

        Raises:
            Failure: It is still queued, already ending, or over.
        """
        life = self._live.get(task.id)
        if life is None or task.status not in _KILLABLE:
            reason = "it is still in the queue" if task.status == "task_queue" else "it has already ended"
            raise Failure(1, f"Task could not be killed: {reason}")
        self._end(life, "task_cancel")

    def release(self, task: Task) -> None:
        """Lets a task go on that a mark holds."""
        if life := self._live.get(task.id):
            life.release()

    async def close(self) -> None:
        """Stops everything; unfinished tasks stay unfinished in the store and go on after a restart."""
        for life in self._live.values():
            life.stop()
        if self._running:
            await asyncio.wait(self._running, timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        running = asyncio.get_running_loop().create_task(coroutine)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _live_through(self, life: Life) -> None:
        try:
            await self._wait_in_queue(life)
            async with self._free:
                life.check()
                await self._prepare(life)
                await self._execute(life)
        except Stopped:
            for path in life.made:  # finished a moment before it was stopped
                self._files.drop_work_folder(path.parent)
        except EngineError as error:
            await self._finish(life, life.exit_code, str(error))
        except Exception as error:  # a fault of the sandbox itself must not leave a task hanging
            await self._finish(life, "1", f"sandbox: {type(error).__name__}: {error}")

    async def _wait_in_queue(self, life: Life) -> None:
        await life.pause(0)  # lets the answer to Run out first
        self._announce(life, "task_queue")
        await life.pause(self._timings.scaled(self._timings.queue_s))
        if "queue" in life.marks:
            await life.hold()
            self._announce(life, "task_queue")

    async def _prepare(self, life: Life) -> None:
        task, timings = life.task, self._timings
        self._announce(life, "task_accept")
        await life.pause(timings.scaled(timings.accept_s))
        self._announce(life, "task_preprocess_start")
        if task.callback_url and (reason := callbacks.refusal(task.callback_url)):
            self._log(life, reason)
        await life.pause(timings.scaled(timings.preprocess_s))
        if foreign := task.foreign_urls(life.model.file_names):
            # A run without the picture it was given would be a lie: the service fails such a task as well.
            said = (
                f"The input could not be fetched: {foreign[0]} (the sandbox reaches no other host; give a file)."
            )
            self._end(life, "task_error", said)
            raise Stopped
        if "crash" in life.marks:
            self._end(life, "task_error", "The worker could not start the model.")
            raise Stopped
        self._announce(life, "task_preprocess_end")
        self._announce(life, "task_assign")
        await life.pause(timings.scaled(timings.assign_s))

    async def _execute(self, life: Life) -> None:
        life.started = time.time()
        self._announce(life, "task_start")
        self._log(life, f"{life.task.slug}: sandbox engine {self._engine.name}, no GPU, nothing is charged.")
        if "hold" in life.marks:
            await life.hold()
        if "stderr" in life.marks:
            self._stderr(life, "UserWarning: a line of stderr that means nothing.")
        if life.model.kind == "clip":
            await self._render(life)
        else:
            await self._play_steps(life)
        if "fail" in life.marks:
            raise EngineError("Traceback (most recent call last):\nRuntimeError: the run was asked to fail.")
        await self._finish(life, "0", "")

    async def _render(self, life: Life) -> None:
        task = life.task
        job = Job(
            task_id=str(task.id),
            model=task.slug,
            parameters=task.parameters,
            input_files=tuple(path for path in map(Path, task.input_paths) if path.is_file()),
            out_dir=self._files.work_folder(),
            record=_comment_of(task),
        )
        if self._plays_steps:
            await self._play_steps(life)
        loop = asyncio.get_running_loop()
        last = time.monotonic()

        def on_progress(step: Step) -> None:
            nonlocal last
            if not self._plays_steps:
                loop.call_soon_threadsafe(self._progress, life, step)
                if "slow" in life.marks:
                    life.drag(last, self._timings)
            last = time.monotonic()

        def start() -> list[Path]:
            return self._engine.start(job, on_progress, lambda: life.is_stopped)

        try:
            life.made = await loop.run_in_executor(self._pool, start)
        except (EngineCancelled, EngineError) as error:
            self._files.drop_work_folder(job.out_dir)
            if isinstance(error, EngineCancelled):
                raise Stopped from error
            raise
        life.check()

    async def _play_steps(self, life: Life) -> None:
        step_s = self._timings.played_step_s(slow="slow" in life.marks)
        for step in range(1, INSTANT_STEPS + 1):
            await life.pause(step_s)
            self._progress(life, Step(step, INSTANT_STEPS))

    async def _finish(self, life: Life, exit_code: str, trouble: str) -> None:
        """Ends a task that ran: stores its outputs, bills it when it succeeded, tells everybody."""
        if life.is_stopped:
            return
        task = life.task
        for line in trouble.splitlines():
            self._stderr(life, line)
        task.exit_code = exit_code
        self._announce(life, "task_output_full", task.log)
        if task.error_log:
            self._announce(life, "task_error_full", task.error_log)
        self._announce(life, "task_end")
        self._announce(life, "task_postprocess_start")
        await asyncio.sleep(self._timings.scaled(self._timings.store_s))
        billed = Decimal(0)
        if exit_code == "0":
            task.outputs, usage = store_results(life, self._files)
            billed = cost_usd(life.model.price, usage)
        self._end(life, "task_postprocess_end", billed=billed)

    def _end(self, life: Life, status: str, trouble: str = "", *, billed: Decimal = Decimal(0)) -> None:
        """Writes the final state and the bill, frees the slot, then tells everybody."""
        task, now = life.task, time.time()
        life.stop()
        if trouble:
            task.error_log += trouble + "\n"
        task.move_to(status, now)
        task.cost_usd = str(billed)
        self._store.end_task(task, now, billed)
        self._live.pop(task.id, None)
        message: Any = task.on_wire(self._origin)["outputs"] if status == "task_postprocess_end" else trouble
        self._hub.publish(task, status, message)
        if task.callback_url and callbacks.refusal(task.callback_url) is None:
            self._spawn(self._call_back(task))

    async def _call_back(self, task: Task) -> None:
        body = task.on_wire(self._origin)
        task.log += await asyncio.to_thread(callbacks.deliver, task.callback_url, body) + "\n"
        self._store.rewrite_task(task)

    def _announce(self, life: Life, status: str, message: Any = "") -> None:
        life.task.move_to(status, time.time())
        self._hub.publish(life.task, status, message)

    def _log(self, life: Life, line: str) -> None:
        life.task.log += line + "\n"
        self._hub.publish(life.task, "task_output", line)

    def _stderr(self, life: Life, line: str) -> None:
        life.task.error_log += line + "\n"
        self._hub.publish(life.task, "task_error", line)

    def _progress(self, life: Life, step: Step) -> None:
        if not life.is_stopped and life.task.status in _KILLABLE:
            self._announce(life, "task_output", progress_message(step, time.time() - life.started))


def progress_message(step: Step, elapsed_s: float) -> dict[str, str]:
    """Returns the progress of a step as the service words it: all numbers as texts."""
    rate = step.step / max(elapsed_s, 1e-3)
    return {
        "type": "progressGenerate",
        "task": "Generate",
        "percentage": str(100 * step.step // step.steps),
        "stepCurrent": str(step.step),
        "stepTotal": str(step.steps),
        "speed": f"{rate:.1f}",
        "speedType": "it/s",
        "elapsedTime": f"{elapsed_s:.0f}s",
        "remainingTime": f"{(step.steps - step.step) / rate:.0f}s" if rate else "0s",
    }


def _comment_of(task: Task) -> str:
    """Returns a clip's comment tag: the request alone, so that the same request gives the same bytes."""
    made = {"made_by": "wiro_nb sandbox", "model": task.slug, "parameters": task.parameters}
    return json.dumps({"sandbox": made}, ensure_ascii=False, sort_keys=True)
