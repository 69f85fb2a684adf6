"""Runs tasks from the queue to their end, one coroutine per task. A kill cancels the coroutine."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.media.decode import probe
from wiro_nb.sandbox.engines import Engine, EngineError, Job, Kind, Progress, Result, first_line
from wiro_nb.sandbox.events import EventBroker
from wiro_nb.sandbox.faults import DIRECTIVES, Faults
from wiro_nb.sandbox.models import Model
from wiro_nb.sandbox.requests import Failure
from wiro_nb.sandbox.store import Files, Store, Task

_DIRECTIVE = re.compile(rf"\[({'|'.join(DIRECTIVES)})\]")
_DIRECTIVE_OF_FAULT = {"error": "crash", "fail": "fail", "stall": "hold", "stderr": "stderr"}
_ADDRESS = re.compile(r"https?://\S+")
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
class Runner:
    """Drives all tasks.

    Attributes:
        store: Keeps state.
        files: Keeps bytes.
        events: Receives events.
        engines: The engine for each kind of output.
        speed: How much faster than real time a placeholder's stages pass; infinity never waits.
        faults: Selects what goes wrong with tasks.
    """

    store: Store
    files: Files
    events: EventBroker
    engines: Mapping[Kind, Engine]
    speed: float
    faults: Faults
    active: dict[int, _ActiveTask] = field(default_factory=dict, init=False)
    _coroutines: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    def resume(self, models: Mapping[str, Model]) -> None:
        """Queues again what a former process left unfinished; fails tasks that can never finish."""
        for task in self.store.load_unfinished():
            model = models.get(task.slug)
            task.requeue()
            if model is not None and task.restarts <= _MAX_RESTARTS:
                self.store.save_task(task)
                self.add(task, model)
                continue
            task.error_log = "The sandbox no longer has this model.\n" if model is None else "Too many restarts.\n"
            task.exit_code = "1"
            task.move_to("task_postprocess_end")
            self.store.end_task(task)

    def add(self, task: Task, model: Model) -> None:
        """Starts a task that the store already knows."""
        self.active[task.id] = _ActiveTask(self, task, model)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a coroutine that is cancelled when the service ends."""
        self._coroutines.add(coroutine := asyncio.get_running_loop().create_task(work))
        coroutine.add_done_callback(self._coroutines.discard)
        return coroutine

    def cancel(self, task: Task) -> None:
        """Cancels a queued task.

        Raises:
            Failure: It is no longer queued.
        """
        if task.status != "task_queue":
            raise Failure(1, "Task is not in a cancellable state.")
        self.active[task.id].stop()

    def kill(self, task: Task) -> None:
        """Kills a running task.

        Raises:
            Failure: It is still queued, already ending, or over.
        """
        if task.status == "task_queue":
            raise Failure(1, "Task could not be killed: it is still in the queue")
        if task.id not in self.active or task.status in _ENDING:
            raise Failure(1, "Task could not be killed: it has already ended")
        self.active[task.id].stop()

    def release(self, task: Task) -> None:
        """Continues a task that a directive holds."""
        if active := self.active.get(task.id):
            active.released.set()

    async def close(self) -> None:
        """Stops everything; unfinished tasks stay unfinished in the store and continue after a restart."""
        for coroutine in self._coroutines:
            coroutine.cancel()
        if self._coroutines:
            await asyncio.wait(self._coroutines, timeout=5)
        for engine in self.engines.values():
            await engine.close()


class _ActiveTask:
    """A task in progress, from the queue to its end.

    Attributes:
        released: Set to continue the task where a directive holds it.
    """

    def __init__(self, runner: Runner, task: Task, model: Model) -> None:
        self.task, self.released = task, asyncio.Event()
        self._runner, self._model, self._engine = runner, model, runner.engines[model.kind]
        self._pace = runner.speed if self._engine.is_placeholder else math.inf
        faults = runner.faults.match("task")
        texts = " ".join(value for value in task.parameters.values() if isinstance(value, str))
        written = _DIRECTIVE.findall(texts) if self._engine.is_placeholder else ()
        self._directives = {*written, *(_DIRECTIVE_OF_FAULT[fault.kind] for fault in faults)}
        self._exit_code = next((fault.value for fault in faults if fault.kind == "fail" and fault.value), "1")
        self._reported_at = 0.0
        self._coroutine = runner.start(self._run())

    async def _run(self) -> None:
        task, files = self.task, self._runner.files
        found = {name: [files.find(url) for url in _read_urls(value)] for name, value in task.parameters.items()}
        inputs = {name: tuple(path for path in paths if path) for name, paths in found.items() if any(paths)}
        try:
            await self._pause(_QUEUE_S)
            if "queue" in self._directives:
                await self._hold()
            self._announce("task_queue")
            with files.work_folder() as folder:
                job = Job(task.slug, self._model.kind, task.parameters, inputs, Path(folder))
                result = await self._engine.run(job, self._report)
                if "fail" in self._directives:
                    raise EngineError(
                        "Traceback (most recent call last):\nRuntimeError: the run was asked to fail."
                    )
                await self._finish(result)
        except EngineError as error:
            await self._fail(str(error))
        except Exception as error:  # a defect of the sandbox must not leave a task hanging
            await self._fail(f"sandbox: {first_line(error)}")

    def stop(self) -> None:
        """Cancels or kills the task."""
        self._end("task_cancel")
        self._coroutine.cancel()

    async def _report(self, progress: Progress) -> None:
        """Moves the task on with its engine: accepted at the first report, started at the first running phase."""
        task = self.task
        if task.status == "task_queue":
            await self._prepare()
        if progress.phase not in ("download", "load") and "start" not in task.stamps:
            await self._start()
        for note in progress.notes:
            if f"{note}\n" not in task.log:
                self._log(note)
        if progress.preview is not None:
            shown = {**progress.preview, "step": progress.step, "steps": progress.steps}
            self._runner.events.publish(task, "task_preview", shown)
        if progress.step and "slow" in self._directives:
            took_s = time.monotonic() - self._reported_at
            await asyncio.sleep(max(took_s * (_SLOW_FACTOR - 1), _SLOW_STEP_S))
        if progress.step and progress.steps:
            message = _progress_message(progress, time.time() - task.stamps.get("start", task.created))
            self._announce("task_output", message)
        self._reported_at = time.monotonic()

    async def _prepare(self) -> None:
        self._announce("task_accept")
        await self._pause(_ACCEPT_S)
        self._announce("task_preprocess_start")
        await self._pause(_PREPROCESS_S)
        for name, value in self.task.parameters.items():
            for url in _read_urls(value) if self._model.takes_file(name) else ():
                if self._runner.files.find(url) is None:
                    # The service fails such a task as well; a run without its input would be misleading.
                    reason = "this service reaches no other host; give a file"
                    raise EngineError(f"The input could not be fetched: {url.partition('?')[0]} ({reason}).")
        if "stderr-then-recover" in self._directives:
            await self._recover()
        if "crash" in self._directives:
            raise EngineError("The worker could not start the model.")
        self._announce("task_preprocess_end")
        self._announce("task_assign")
        await self._pause(_ASSIGN_S)

    async def _recover(self) -> None:
        """Shows `task_error` until the task is released, then sets it up again: no status is final by itself."""
        self._log("The worker was lost; waiting for another one.", "task_error")
        self.task.move_to("task_error")
        await self._hold()
        del self.task.stamps["end"]
        for status in ("task_queue", "task_accept", "task_preprocess_start"):
            self._announce(status)

    async def _start(self) -> None:
        self._announce("task_start")
        kind = "sandbox, placeholder, no GPU" if self._engine.is_placeholder else "on this machine"
        self._log(f"{self.task.slug}: engine {self._engine.name}, {kind}, nothing is charged.")
        if "hold" in self._directives:
            await self._hold()
        if "stderr" in self._directives:
            self._log("UserWarning: a line of stderr that means nothing.", "task_error")

    async def _fail(self, error: str) -> None:
        """Ends a task that failed; one whose model did not start skips the stages after the run."""
        for line in error.splitlines():
            self._log(line, "task_error")
        if "start" in self.task.stamps:
            await self._finish(None)
            return
        self.task.move_to("task_error")
        await self._pause(_GIVE_UP_S)
        self.task.exit_code = "1"
        self._end("task_postprocess_end")

    async def _finish(self, result: Result | None) -> None:
        """Ends a task that ran: stores its output and bills it when it succeeded."""
        task = self.task
        task.exit_code = "0" if result else self._exit_code
        self._announce("task_output_full")
        if task.error_log:
            self._announce("task_error_full")
        self._announce("task_end")
        self._announce("task_postprocess_start")
        await self._pause(_STORE_S)
        billed = self._model.cost_usd(task.parameters, self._store_result(result)) if result else Decimal(0)
        self._end("task_postprocess_end", billed)

    def _store_result(self, result: Result) -> dict[str, float]:
        """Stores the output and returns how much is billed, by pricing method."""
        task, path = self.task, result.path
        task.made_by = dict(result.made_by)
        elapsed_s = round(task.elapsed_s, 4)
        if self._model.kind == "text":
            prompt, reply = str(task.parameters.get("prompt", "")), path.read_text("utf-8")
            content = {"prompt": prompt, "raw": reply, "thinking": [], "answer": [reply]}
            task.outputs = [{"contenttype": "raw", "content": content}]
            return {"cps": elapsed_s, "cpt": len(prompt.split()) + len(reply.split())}
        made = probe(path)
        task.outputs = [self._runner.files.add_output(path)]
        return {
            "cps": elapsed_s,
            "cp-pixel": max(1, math.ceil((made.width or 0) * (made.height or 0) / _TIER_PIXELS)),
            "cp-outputVideoLength": round(made.duration_s or 0, 3),
        }

    def _end(self, status: str, billed: Decimal = Decimal(0)) -> None:
        """Writes the final state and the bill, frees the slot, then publishes the last event."""
        task, runner = self.task, self._runner
        if "charge-late" in self._directives and (began := task.stamps.get("start")):
            used = {"cps": round(time.time() - began, 4)}
            runner.start(self._charge_late(billed or self._model.cost_usd(task.parameters, used)))
            billed = Decimal(0)
        task.move_to(status)
        task.cost_usd = str(billed)
        runner.store.end_task(task)
        runner.active.pop(task.id, None)
        runner.events.publish(task, status, task.outputs if status == "task_postprocess_end" else "")

    async def _charge_late(self, billed: Decimal) -> None:
        """Bills a task after its end."""
        await self._pause(_CHARGE_S)
        self.task.cost_usd = str(billed)
        self._runner.store.end_task(self.task)

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._pace)

    async def _hold(self) -> None:
        await self.released.wait()
        self.released.clear()

    def _announce(self, status: str, message: Any = "") -> None:
        self.task.move_to(status)
        self._runner.events.publish(self.task, status, message)

    def _log(self, line: str, stream: str = "task_output") -> None:
        if stream == "task_error":
            self.task.error_log += line + "\n"
        else:
            self.task.log += line + "\n"
        self._runner.events.publish(self.task, stream, line)


def _read_urls(value: Any) -> list[str]:
    """Returns the URLs that a parameter's value is: a list, or a text of one or several separated by commas."""
    texts = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
    items = [item.strip() for text in texts for item in text.split(",")]
    return [item for item in items if _ADDRESS.fullmatch(item)]


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
