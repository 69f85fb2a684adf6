"""Data classes for requests and calls of diffusers pipelines. Does not import torch.

A call is what a worker is sent and what the record shows. `adapters` make it from a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wiro_nb.local_models.catalog import LocalModel, Repository
from wiro_nb.sandbox.engines import EngineError, read_number, read_text, read_whole

__all__ = ["Call", "Lora", "Picture", "Request", "Scheduler"]

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Picture:
    """An input picture and its size in pixels, upright."""

    path: Path
    width: int
    height: int

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height


@dataclass(frozen=True)
class Scheduler:
    """A scheduler of diffusers: class, "" for the repository's own, and what differs from its configuration."""

    name: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lora:
    """A LoRA: its repository, its strength, and whether it goes into a second transformer too.

    `files` has one file for each transformer, or one for all; empty stands for the only one of the repository.
    """

    repository: Repository
    strength: float = 1.0
    second_transformer: bool = False
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Call:
    """One call of a pipeline.

    Attributes:
        pipeline: Class of diffusers.
        parts: Repositories by role: "pipeline", and where they come from elsewhere "vae", "motion_adapter",
            "transformer".
        arguments: Of the call, JSON values; without pictures and generator.
        seed: Of the generator; drawn where the request has none.
        fps: Frames a second of the file.
        pictures: Pictures by argument; a list stays a list.
        scheduler: What the call is made with.
        loras: Loaded for this call alone.
        cache_threshold: Of the first block cache; 0 computes every step.
        notes: Substitutions for requested settings, and limits of the result, as sentences.
    """

    pipeline: str
    parts: Mapping[str, Repository]
    arguments: Mapping[str, Any]
    seed: int
    fps: int
    pictures: Mapping[str, Picture | tuple[Picture, ...]] = field(default_factory=dict)
    scheduler: Scheduler = Scheduler()
    loras: tuple[Lora, ...] = ()
    cache_threshold: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def repositories(self) -> tuple[Repository, ...]:
        """All repositories that the call reads."""
        return (*self.parts.values(), *(lora.repository for lora in self.loras))


@dataclass(frozen=True)
class Request:
    """A request as an adapter reads it.

    Attributes:
        model: The model asked for.
        parameters: As they arrived on the wire.
        pictures: Input pictures by parameter.
        draw_seed: Returns a seed where the request has none.
    """

    model: LocalModel
    parameters: Mapping[str, Any]
    pictures: Mapping[str, tuple[Picture, ...]]
    draw_seed: Callable[[], int]

    def text(self, name: str, default: str = "") -> str:
        """Returns a text."""
        return read_text(self.parameters, name) or default

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Returns a whole number within bounds.

        Raises:
            EngineError: It is no whole number, or out of bounds.
        """
        return read_whole(self.parameters, name, default, low, high)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Returns a number within bounds.

        Raises:
            EngineError: It is no number, or out of bounds.
        """
        return read_number(self.parameters, name, default, low, high)

    def frames(self, name: str, default: int, high: int) -> int:
        """Returns a number of frames that a video model can make: 1, 5, 9, 13, ...

        Raises:
            EngineError: It is another number.
        """
        frames = self.whole(name, default, 1, high)
        if frames % 4 != 1:
            below = frames // 4 * 4 + 1 if frames % 4 else frames - 3
            raise EngineError(
                f"{name} must be 4n + 1, for example {below} or {below + 4}; {frames} were asked for."
            )
        return frames

    def seed(self, name: str = "seed") -> int:
        """Returns the seed; one is drawn for an empty one, for 0 and for a text."""
        text = self.text(name)
        if text.isdecimal() and 0 < int(text) <= MAX_SEED:
            return int(text)
        return self.draw_seed()

    def picture(self, name: str) -> Picture:
        """Returns the one picture of an input.

        Raises:
            EngineError: There is none.
        """
        pictures = self.pictures.get(name, ())
        if not pictures:
            raise EngineError(f"This model needs a picture in {name} and none was given.")
        return pictures[0]
