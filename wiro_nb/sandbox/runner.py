"""Runs tasks from the queue to their end, one coroutine per task. A kill cancels the coroutine."""

from __future__ import annotations

import asyncio
import math
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from wiro_nb.sandbox.engines import Engine, EngineError, Job, Kind, Progress, Result
from wiro_nb.sandbox.events import EventBroker
from wiro_nb.sandbox.faults import DIRECTIVES, Faults
from wiro_nb.sandbox.models import Model
from wiro_nb.sandbox.requests import Failure
from wiro_nb.sandbox.store import Files, Store
from wiro_nb.sandbox.tasks import Task, server_paths

_DIRECTIVE = re.compile(rf"\[({'|'.join(DIRECTIVES)})\]")
_DIRECTIVE_OF_FAULT = {"error": "crash", "fail": "fail", "stall": "hold", "stderr": "stderr"}
_ENDING = frozenset({"task_end", "task_postprocess_start"})
# Seconds at speed 1.
_GIVE_UP_S = 0.5
_QUEUE_S, _ACCEPT_S, _PREPROCESS_S, _ASSIGN_S, _STORE_S = 0.3, 0.1, 0.2, 0.5, 0.2
# A step of a [slow] task takes ten times longer, and at least this at any speed.
_SLOW_FACTOR, _SLOW_STEP_S = 10, 0.2
_MAX_RESTARTS = 5
_TIER_PIXELS = 1_048_576
_CHARGE_S = 20.0


@dataclass
class _ActiveTask:
    """A task in progress.

    Attributes:
        directives: Test directives from the prompt and the faults: fail, crash, slow, queue, hold, stderr,
            stderr-then-recover, charge-late.
        exit_code: The `pexit` of a run that fails.
        released: Set to release a held task.
        coroutine: Set once it runs.
        reported_at: Monotonic time of the last progress.
    """

    task: Task
    model: Model
    directives: frozenset[str]
    exit_code: str
    released: asyncio.Event = field(default_factory=asyncio.Event)
    coroutine: asyncio.Task[None] | None = None
    reported_at: float = 0.0


@dataclass
class Runner:
    """Drives all tasks.

    Attributes:
        store: Keeps state.
        files: Keeps bytes.
        events: Receives events.
        engines: The engine for each kind of output.
        speed: How much faster than real time a placeholder's stages pass; infinity never waits.
        origin: `http://host:port` for URLs in events.
        faults: Selects what goes wrong with tasks.
    """

    store: Store
    files: Files
    events: EventBroker
    engines: Mapping[Kind, Engine]
    speed: float
    origin: str
    faults: Faults
    _active: dict[int, _ActiveTask] = field(default_factory=dict, init=False)
    _coroutines: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._is_placeholder = self.engines["clip"].is_placeholder
        self._pace = self.speed if self._is_placeholder else math.inf

    @property
    def busy(self) -> int:
        """Number of slots in use."""
        return len(self._active)

    def unavailable(self, model: Model) -> str | None:
        """Returns why a model cannot run here, or None."""
        return self.engines[model.kind].unavailable(model.schema.run_path)

    def resume(self, find_model: Callable[[str], Model | None]) -> None:
        """Queues again what a former process left unfinished; fails tasks that can never finish."""
        for task in self.store.unfinished_tasks():
            model = find_model(task.slug)
            task.requeue()
            if model is None or task.restarts > _MAX_RESTARTS:
                task.error_log = (
                    "The sandbox no longer has this model.\n" if model is None else "Too many restarts.\n"
                )
                task.exit_code = "1"
                task.move_to("task_postprocess_end", time.time())
                self.store.end_task(task)
            else:
                self.store.save_task(task)
                self.add(task, model)

    def add(self, task: Task, model: Model) -> None:
        """Starts a task that the store already knows."""
        faults = self.faults.match("task")
        written = _DIRECTIVE.findall(task.text()) if self._is_placeholder else ()
        directives = {*written, *(_DIRECTIVE_OF_FAULT[fault.kind] for fault in faults)}
        exit_code = next((fault.value for fault in faults if fault.kind == "fail" and fault.value), "1")
        active = self._active[task.id] = _ActiveTask(task, model, frozenset(directives), exit_code)
        active.coroutine = asyncio.get_running_loop().create_task(self._drive(active))
        self._coroutines.add(active.coroutine)
        active.coroutine.add_done_callback(self._coroutines.discard)

    def newest(self, task: Task) -> Task:
        """Returns the current state of a task read from the store."""
        active = self._active.get(task.id)
        return active.task if active else task

    def cancel(self, task: Task) -> None:
        """Cancels a queued task.

        Raises:
            Failure: It is no longer queued.
        """
        if task.status != "task_queue":
            raise Failure(1, "Task is not in a cancellable state.")
        self._stop(task)

    def kill(self, task: Task) -> None:
        """Kills a running task.

        Raises:
            Failure: It is still queued, already ending, or over.
        """
        if task.status == "task_queue":
            raise Failure(1, "Task could not be killed: it is still in the queue")
        if task.id not in self._active or task.status in _ENDING:
            raise Failure(1, "Task could not be killed: it has already ended")
        self._stop(task)

    def _stop(self, task: Task) -> None:
        active = self._active[task.id]
        self._end(active, "task_cancel")
        if active.coroutine:
            active.coroutine.cancel()

    def release(self, task: Task) -> None:
        """Continues a task that a directive holds."""
        if active := self._active.get(task.id):
            active.released.set()

    async def close(self) -> None:
        """Stops everything; unfinished tasks stay unfinished in the store and continue after a restart."""
        for coroutine in self._coroutines:
            coroutine.cancel()
        if self._coroutines:
            await asyncio.wait(self._coroutines, timeout=5)
        for engine in self.engines.values():
            await engine.close()

    async def _drive(self, active: _ActiveTask) -> None:
        task, folder = active.task, None
        try:
            await self._wait_in_queue(active)
            folder = self.files.work_folder()
            job = Job(task.slug, active.model.kind, task.parameters, self._inputs_of(task), folder)

            async def report(progress: Progress) -> None:
                await self._report(active, progress)

            result = await self.engines[active.model.kind].run(job, report)
            if "fail" in active.directives:
                raise EngineError("Traceback (most recent call last):\nRuntimeError: the run was asked to fail.")
            await self._finish(active, result)
        except EngineError as error:
            if "start" in task.stamps:
                await self._finish(active, None, str(error))
            else:
                await self._give_up(active, str(error))
        except Exception as error:  # a defect of the sandbox must not leave a task hanging
            await self._finish(active, None, f"sandbox: {type(error).__name__}: {error}")
        finally:
            if folder:
                shutil.rmtree(folder, ignore_errors=True)

    async def _give_up(self, active: _ActiveTask, error: str) -> None:
        """Ends a task whose model did not start."""
        task = active.task
        for line in error.splitlines():
            self._log_error(task, line)
        task.move_to("task_error", time.time())
        await self._pause(_GIVE_UP_S)
        task.exit_code = "1"
        self._end(active, "task_postprocess_end")

    async def _wait_in_queue(self, active: _ActiveTask) -> None:
        await asyncio.sleep(0)  # lets the answer to Run out first
        self._announce(active.task, "task_queue")
        await self._pause(_QUEUE_S)
        if "queue" in active.directives:
            await self._hold(active)
            self._announce(active.task, "task_queue")

    async def _report(self, active: _ActiveTask, progress: Progress) -> None:
        """Moves the task on with its engine: accepted at the first report, started at the first running phase."""
        task = active.task
        if task.status == "task_queue":
            await self._prepare(active)
        if progress.phase not in ("download", "load") and "start" not in task.stamps:
            await self._start(active)
        for note in progress.notes:
            self._log(task, note)
        if progress.preview is not None:
            shown = {**asdict(progress.preview), "step": progress.step, "steps": progress.steps}
            self.events.publish(task, "task_preview", shown)
        if progress.step and "slow" in active.directives:
            took_s = time.monotonic() - active.reported_at
            await asyncio.sleep(max(took_s * (_SLOW_FACTOR - 1), _SLOW_STEP_S))
        if progress.step:
            message = _progress_message(progress, time.time() - task.stamps.get("start", task.created))
            self._announce(task, "task_output", message)
        active.reported_at = time.monotonic()

    async def _prepare(self, active: _ActiveTask) -> None:
        task = active.task
        self._announce(task, "task_accept")
        await self._pause(_ACCEPT_S)
        self._announce(task, "task_preprocess_start")
        await self._pause(_PREPROCESS_S)
        if foreign := task.foreign_urls(active.model.file_names):
            # The service fails such a task as well; a run without its input would be misleading.
            reason = "this service reaches no other host; give a file"
            raise EngineError(f"The input could not be fetched: {foreign[0]} ({reason}).")
        if "stderr-then-recover" in active.directives:
            await self._recover(active)
        if "crash" in active.directives:
            raise EngineError("The worker could not start the model.")
        self._announce(task, "task_preprocess_end")
        self._announce(task, "task_assign")
        await self._pause(_ASSIGN_S)

    async def _recover(self, active: _ActiveTask) -> None:
        """Shows `task_error` until the task is released, then sets it up again: no status is final by itself."""
        task = active.task
        self._log_error(task, "The worker was lost; waiting for another one.")
        task.move_to("task_error", time.time())
        await self._hold(active)
        del task.stamps["end"]
        for status in ("task_queue", "task_accept", "task_preprocess_start"):
            self._announce(task, status)

    async def _start(self, active: _ActiveTask) -> None:
        task, engine = active.task, self.engines[active.model.kind]
        self._announce(task, "task_start")
        kind = "sandbox, placeholder, no GPU" if self._is_placeholder else "on this machine"
        self._log(task, f"{task.slug}: engine {engine.name}, {kind}, nothing is charged.")
        if "hold" in active.directives:
            await self._hold(active)
        if "stderr" in active.directives:
            self._log_error(task, "UserWarning: a line of stderr that means nothing.")

    async def _finish(self, active: _ActiveTask, result: Result | None, error: str = "") -> None:
        """Ends a task that ran: stores its outputs and bills it when it succeeded."""
        task = active.task
        for line in error.splitlines():
            self._log_error(task, line)
        task.exit_code = "0" if result else active.exit_code
        self._announce(task, "task_output_full")
        if task.error_log:
            self._announce(task, "task_error_full")
        self._announce(task, "task_end")
        self._announce(task, "task_postprocess_start")
        await self._pause(_STORE_S)
        billed = Decimal(0)
        if result:
            billed = active.model.cost_usd(task.parameters, self._store_result(active, result))
        self._end(active, "task_postprocess_end", billed=billed)

    def _store_result(self, active: _ActiveTask, result: Result) -> dict[str, float]:
        """Stores the outputs and returns how much is billed, by pricing method."""
        task, outputs = active.task, result.outputs
        task.made_by = dict(result.made_by)
        elapsed_s = round(task.elapsed_s, 4)
        if active.model.kind == "text":
            prompt, reply = str(task.parameters.get("prompt", "")), outputs[0].path.read_text("utf-8")
            content = {"prompt": prompt, "raw": reply, "thinking": [], "answer": [reply]}
            task.outputs = [{"contenttype": "raw", "content": content}]
            return {"cps": elapsed_s, "cpt": len(prompt.split()) + len(reply.split())}
        task.outputs = [self.files.add_output(output.path) for output in outputs]
        pixels = max((output.width * output.height for output in outputs), default=0)
        return {
            "cps": elapsed_s,
            "cpo": len(outputs),
            "cp-pixel": max(1, math.ceil(pixels / _TIER_PIXELS)),
            "cp-outputVideoLength": round(sum(output.duration_s for output in outputs), 3),
        }

    def _inputs_of(self, task: Task) -> dict[str, tuple[Any, ...]]:
        named = {
            name: [self.files.local_path(path) for path in server_paths(value)]
            for name, value in task.parameters.items()
        }
        return {name: tuple(path for path in paths if path) for name, paths in named.items() if any(paths)}

    def _end(self, active: _ActiveTask, status: str, *, billed: Decimal = Decimal(0)) -> None:
        """Writes the final state and the bill, frees the slot, then publishes the last event."""
        task = active.task
        if "charge-late" in active.directives and (began := task.stamps.get("start")):
            used = {"cps": round(time.time() - began, 4)}
            charge = self._charge_late(task, billed or active.model.cost_usd(task.parameters, used))
            billed = Decimal(0)
            self._coroutines.add(charging := asyncio.get_running_loop().create_task(charge))
            charging.add_done_callback(self._coroutines.discard)
        task.move_to(status, time.time())
        task.cost_usd = str(billed)
        self.store.end_task(task)
        self._active.pop(task.id, None)
        message: Any = task.on_wire(self.origin)["outputs"] if status == "task_postprocess_end" else ""
        self.events.publish(task, status, message)

    async def _charge_late(self, task: Task, billed: Decimal) -> None:
        """Bills a task after its end."""
        await self._pause(_CHARGE_S)
        task.cost_usd = str(billed)
        self.store.end_task(task)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._pace)

    async def _hold(self, active: _ActiveTask) -> None:
        await active.released.wait()
        active.released.clear()

    def _announce(self, task: Task, status: str, message: Any = "") -> None:
        task.move_to(status, time.time())
        self.events.publish(task, status, message)

    def _log(self, task: Task, line: str) -> None:
        task.log += line + "\n"
        self.events.publish(task, "task_output", line)

    def _log_error(self, task: Task, line: str) -> None:
        task.error_log += line + "\n"
        self.events.publish(task, "task_error", line)


def _progress_message(progress: Progress, elapsed_s: float) -> dict[str, str]:
    """Returns the progress as the service words it: all numbers as texts."""
    rate = progress.step / max(elapsed_s, 1e-3)
    remaining_s = (progress.steps - progress.step) / rate
    name = progress.phase.capitalize()
    return {
        "type": f"progress{name}",
        "task": name,
        "percentage": str(100 * progress.step // progress.steps),
        "stepCurrent": str(progress.step),
        "stepTotal": str(progress.steps),
        "speed": f"{rate:.1f}",
        "speedType": "it/s",
        "elapsedTime": f"{elapsed_s:.0f}s",
        "remainingTime": f"{remaining_s:.0f}s",
    }
