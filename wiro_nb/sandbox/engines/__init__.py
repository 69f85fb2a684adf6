"""The interface of the engines that generate the outputs of tasks, and helpers that read task parameters.

    placeholder   paints labelled clips
    instant       writes a prepared clip, for tests and benchmarks
    diffusers     runs open weights on this machine
    videos        forwards to a server with the /v1/videos API

`serve` creates them by name. The service handles tasks, states and HTTP; an engine generates files. An engine
owns its queue: `run` waits until the engine has capacity, and its first report marks the task as accepted.

While an engine generates it may report previews. The service sends each to the sockets of the task as an event
of a type of its own, which clients that do not know it ignore:

    {"type": "task_preview", "id": "100001", "message": {"image": "data:image/jpeg;base64,...",
     "width": 104, "height": 60, "step": 3, "steps": 25}, "result": true, "terminal": false, ...}

The picture is a rough preview of one frame, below 20 kB; at most four a second arrive. `width` and `height` are
its size in pixels. Previews come between `task_start` and `task_output_full`, and Detail does not show them.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from wiro_nb.schema.types import ModelSchema

Kind = Literal["clip", "image", "text"]
Phase = Literal["download", "load", "encode", "generate", "decode", "save"]
_SIZE = re.compile(r"(\d{1,6})\s*[*xX×]\s*(\d{1,6})")


@dataclass(frozen=True)
class Job:
    """One task as an engine sees it.

    Attributes:
        model: `owner/name` as the model's page or its run path spells it.
        kind: What to make.
        parameters: The values as they arrived on the wire: strings, numbers, lists of strings.
        inputs: Local input files by parameter name, in the order given.
        out_dir: An existing empty folder for the results. The service deletes it after the run.
    """

    model: str
    kind: Kind
    parameters: Mapping[str, Any]
    inputs: Mapping[str, tuple[Path, ...]]
    out_dir: Path


@dataclass(frozen=True)
class Progress:
    """The phase of a job and the steps completed in it. `steps` is 0 when their number is unknown.

    Running time starts with the first phase other than `download` and `load`. `preview` has the `image`, `width`
    and `height` of the event. `notes` are lines for the task's log, such as a substitute for a setting that cannot
    be applied; they belong to a running phase, and each is logged once however often it is reported.
    """

    phase: Phase
    step: int = 0
    steps: int = 0
    preview: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """The file that a job made, and the facts about how it was made for the run's record."""

    path: Path
    made_by: Mapping[str, Any]


class EngineError(Exception):
    """The job cannot be done. The message is a sentence for the task's log."""


def first_line(error: BaseException) -> str:
    """Returns the kind of an exception and the first line of its text."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:500]}"


Report = Callable[[Progress], Awaitable[None]]
"""Receives progress in order. The service may delay or abort the job here: let its exceptions propagate."""


class Engine(ABC):
    """Makes the outputs of jobs.

    Attributes:
        name: Shown in logs.
        is_placeholder: True when the outputs are not those of the model asked for. Such an engine takes part in
            the sandbox's play: made-up prices, waits in the queue, test directives. Without it nothing is billed.
        schemas: The models it offers; None for all of the sandbox's.
    """

    name: str
    is_placeholder = True
    schemas: tuple[ModelSchema, ...] | None = None

    def unavailable(self, model: str) -> str | None:
        """Returns why this engine cannot run a model, or None when it can."""
        return None

    @abstractmethod
    async def run(self, job: Job, report: Report) -> Result:
        """Waits for capacity, then runs the job.

        Raises:
            EngineError: The job cannot be done, or an input cannot be read.
            asyncio.CancelledError: The task was cancelled; nothing writes to `out_dir` any more.
        """

    async def close(self) -> None:  # noqa: B027
        """Releases threads and processes."""


@dataclass(frozen=True)
class Parameters:
    """Reads the parameters of a job.

    Attributes:
        values: As they arrived on the wire: strings, numbers, lists of strings.
    """

    values: Mapping[str, Any]

    def text(self, name: str, default: str = "") -> str:
        """Returns a value as text without surrounding whitespace; the default when it is missing or empty."""
        value = self.values.get(name)
        return ("" if value is None else str(value).strip()) or default

    def number(
        self,
        name: str,
        default: float,
        low: float = -math.inf,
        high: float = math.inf,
        *,
        whole: bool = False,
    ) -> float:
        """Returns a number within bounds.

        Raises:
            EngineError: The value is no finite number, is out of bounds, or is not whole where it must be, as
                "12.0" is.
        """
        text = self.text(name)
        try:
            number = float(text or default)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (whole and number != int(number)):
            raise EngineError(f"{name} must be a {'whole ' if whole else ''}number, got {text[:40]!r}.")
        if not low <= number <= high:
            raise EngineError(f"{name} must be from {low:g} to {high:g}; {number:g} was asked for.")
        return number

    def whole(self, name: str, default: int, low: float = -math.inf, high: float = math.inf) -> int:
        """Returns a whole number; see `number`."""
        return int(self.number(name, default, low, high, whole=True))

    def size(self, name: str, default: tuple[int, int]) -> tuple[int, int]:
        """Returns a width and height written as `832*480` or `960x544`.

        Raises:
            EngineError: The value is no size.
        """
        text = self.text(name)
        if not text:
            return default
        match = _SIZE.fullmatch(text)
        if match is None:
            raise EngineError(f"{name} must read like 832*480, got {text[:40]!r}.")
        return int(match[1]), int(match[2])

    def resolution(self, aspect: float | None) -> tuple[int, int]:
        """Returns the size that `resolution` and `ratio` ask for.

        Args:
            aspect: Width over height of the first picture, which the ratio "auto" follows; None without one.

        Raises:
            EngineError: A value is none of those there are.
        """
        resolution, ratio = self.text("resolution", "480p"), self.text("ratio", "auto")
        size = {"480p": (832, 480), "720p": (1280, 720)}.get(resolution.lower())
        if size is None:
            raise EngineError(f"resolution must be 480p or 720p, got {resolution[:40]!r}.")
        if ratio.lower() == "auto":
            return size if aspect is None else fit_area(size[0] * size[1], aspect)
        if ratio not in ("16:9", "9:16"):
            raise EngineError(f"ratio must be auto, 16:9 or 9:16, got {ratio[:40]!r}.")
        return size if ratio == "16:9" else size[::-1]


def fit_area(area: int, aspect: float) -> tuple[int, int]:
    """Returns a size of about this many pixels and this width over height, in multiples of 16."""
    aspect = min(max(aspect, 0.4), 2.5)
    width = math.sqrt(area * aspect)
    return max(64, round(width / 16) * 16), max(64, round(width / aspect / 16) * 16)
