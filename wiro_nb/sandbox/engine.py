"""What the sandbox service asks of whoever makes the clips.

The service knows tasks, states and wires; an engine knows pixels. They meet in this module only, so
that the service is tested with an engine of three lines, and another engine (a local model, say) can
take the painter's place without touching the service. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Engine", "EngineCancelled", "EngineError", "Job", "Step"]


@dataclass(frozen=True)
class Job:
    """One task as an engine sees it.

    Attributes:
        task_id: The service's id of the task. For file names only: the result must not depend on it.
        model: `owner/name` as the model's page or its run path spells it.
        parameters: The values as they arrived on the wire: strings, numbers, lists of strings.
        input_files: The files given, in their order, each already on this machine.
        out_dir: An existing folder of this task alone; the results are written here.
        record: Text to store in the clip's `comment` tag, or None.
    """

    task_id: str
    model: str
    parameters: dict[str, Any]
    input_files: tuple[Path, ...]
    out_dir: Path
    record: str | None


@dataclass(frozen=True)
class Step:
    """Progress: `step` of `steps` are done."""

    step: int
    steps: int


class EngineError(Exception):
    """The job cannot be done; the text is a plain sentence, fit for the task's log."""


class EngineCancelled(Exception):
    """The job was cancelled on the way. Nothing partial is left in `out_dir`."""


class Engine(Protocol):
    """Makes the outputs of a job."""

    name: str

    def estimate_steps(self, job: Job) -> int:
        """Returns how many steps `start` will report for this job, at least 1. Never raises."""
        ...

    def start(self, job: Job, on_progress: Callable[[Step], None], is_cancelled: Callable[[], bool]) -> list[Path]:
        """Does the job. Blocking: called in a worker thread.

        Args:
            job: What to make.
            on_progress: Called in the worker thread after each step, in order, the last with `step == steps`.
            is_cancelled: Asked often; once it says True the engine stops.

        Returns:
            The files made, inside `job.out_dir`.

        Raises:
            EngineError: The job cannot be done, or its input cannot be read.
            EngineCancelled: `is_cancelled` said so.
        """
        ...
