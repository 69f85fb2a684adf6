"""What a task under way carries: its marks, its clock, and the means to stop it."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wiro_nb.sandbox.faults import Hit
from wiro_nb.sandbox.models import Model
from wiro_nb.sandbox.task import Task

__all__ = ["Life", "Stopped", "Timings", "marks_of"]

_MARK = re.compile(r"\[(fail|crash|slow|queue|hold)\]")
_FAULT_MARKS = {"error": "crash", "fail": "fail", "stall": "hold", "stderr": "stderr"}


@dataclass(frozen=True)
class Timings:
    """Seconds each stage takes at speed 1, when the instant engine plays its steps.

    Attributes:
        speed: How much faster; infinity never waits.
        slow_factor: How much longer a step of a `[slow]` task takes.
        slow_floor_s: A step of a `[slow]` task takes at least this, at any speed.
    """

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

    def played_step_s(self, *, slow: bool) -> float:
        """Returns what one played step really takes."""
        step_s = self.scaled(self.step_s)
        return max(step_s * self.slow_factor, self.slow_floor_s) if slow else step_s


class Stopped(Exception):
    """The task was cancelled or killed, or the process ends."""


@dataclass
class Life:
    """A task under way.

    Attributes:
        marks: What is asked of it on purpose: fail, crash, slow, queue, hold, stderr.
        exit_code: The `pexit` of a run that fails on purpose.
        started: Unix time at which the model began.
        made: Files the engine made.
    """

    task: Task
    model: Model
    marks: frozenset[str] = frozenset()
    exit_code: str = "1"
    started: float = 0.0
    made: list[Path] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self) -> None:
        """Stops the task at its next pause. Called on the loop."""
        self._stop.set()
        self._wake.set()

    @property
    def is_stopped(self) -> bool:
        """True once stopped; may be asked from any thread."""
        return self._stop.is_set()

    def release(self) -> None:
        """Ends a hold."""
        self._released.set()

    def check(self) -> None:
        """Raises Stopped when the task is to go no further."""
        if self.is_stopped:
            raise Stopped

    async def pause(self, seconds: float) -> None:
        """Waits, unless it is stopped first.

        Raises:
            Stopped: It was.
        """
        if seconds > 0:
            try:
                await asyncio.wait_for(self._wake.wait(), seconds)
            except TimeoutError:
                pass
        else:
            await asyncio.sleep(0)
        self.check()

    async def hold(self) -> None:
        """Waits for `release`.

        Raises:
            Stopped: The task was stopped first.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in (self._released, self._wake)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._released.clear()
        self.check()

    def drag(self, since: float, timings: Timings) -> None:
        """Makes a rendered step of a `[slow]` task as long as it should be. Blocks a worker thread.

        Args:
            since: `time.monotonic()` at the end of the step before.
            timings: How slow is slow.
        """
        took_s = time.monotonic() - since
        self._stop.wait(max(took_s * (timings.slow_factor - 1), timings.slow_floor_s))


def marks_of(task: Task, hits: Sequence[Hit]) -> tuple[frozenset[str], str]:
    """Returns what a task's prompt and the faults ask for, and the exit code of a failure."""
    asked = set(_MARK.findall(task.text()))
    asked |= {_FAULT_MARKS[hit.kind] for hit in hits}
    codes = [hit.value for hit in hits if hit.kind == "fail" and hit.value]
    return frozenset(asked), (codes or ["1"])[0]
