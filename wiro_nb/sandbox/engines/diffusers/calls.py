"""Requests and calls of diffusers pipelines: what is read, what a worker is sent, what the record shows.

`adapters` make a call from a request. Does not import torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from wiro_nb.local_models import LocalModel, Repository
from wiro_nb.local_models.weights import commit_of
from wiro_nb.sandbox.engines import EngineError, Parameters
from wiro_nb.schema.types import Rule

MAX_SEED = 2**32 - 1
_MAX_SIDE_PX = 2048
_FRAMES = Rule(4, 1)


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
class Lora:
    """A LoRA: its repository, and one file for each transformer or one for all.

    Without `files` it is the only file of the repository.
    """

    repository: Repository
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
        scheduler: A class of diffusers; "" for the repository's own.
        scheduler_changes: What differs from its configuration in the repository.
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
    scheduler: str = ""
    scheduler_changes: Mapping[str, Any] = field(default_factory=dict)
    loras: tuple[Lora, ...] = ()
    cache_threshold: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def repositories(self) -> tuple[Repository, ...]:
        """All repositories that the call reads."""
        return (*self.parts.values(), *(lora.repository for lora in self.loras))


def for_worker(call: Call, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Returns a call as it is sent to a worker.

    Args:
        call: The call.
        folders: Where each of its repositories is, by id.
    """
    by_role = {role: str(folders[item.id]) for role, item in call.parts.items()}
    loras = [
        {"id": lora.repository.id, "folder": str(folders[lora.repository.id]), "files": lora.files}
        for lora in call.loras
    ]
    pictures = {
        name: str(value.path) if isinstance(value, Picture) else [str(item.path) for item in value]
        for name, value in call.pictures.items()
    }
    key = json.dumps([call.pipeline, by_role], sort_keys=True)
    values = asdict(replace(call, parts={}, pictures={}, loras=()))
    return values | {"key": key, "folders": by_role, "loras": loras, "pictures": pictures}


def describe_call(call: Call, folders: Mapping[str, Path]) -> dict[str, Any]:
    """Returns the facts about a call for the record; the worker adds those about the device."""

    def describe(repository: Repository) -> dict[str, str]:
        revision = commit_of(folders[repository.id]) or "a plain copy"
        return {"id": repository.id, "revision": revision, "licence": repository.licence}

    facts: dict[str, Any] = {
        "pipeline": call.pipeline,
        "repositories": {role: describe(item) for role, item in call.parts.items()},
        "call": dict(call.arguments),
        "seed": call.seed,
        "loras": [{**describe(lora.repository), "strength": 1.0} for lora in call.loras],
        "scheduler_changes": dict(call.scheduler_changes),
        "first_block_cache": call.cache_threshold,
        "notes": list(call.notes),
    }
    return {name: fact for name, fact in facts.items() if fact}


@dataclass(frozen=True)
class Request(Parameters):
    """A request as an adapter reads it.

    Attributes:
        model: The model asked for.
        pictures: Input pictures by parameter.
        draw_seed: Returns a seed where the request has none.
    """

    model: LocalModel
    pictures: Mapping[str, tuple[Picture, ...]]
    draw_seed: Callable[[], int]

    def call(self, pipeline: str, **values: Any) -> Call:
        """Returns a call, with the weights of the model's first repository and the request's seed unless given."""
        usual = {"parts": {"pipeline": self.model.repositories[0]}, "seed": self.seed()}
        return Call(pipeline, **{**usual, **values})

    def frames(self, name: str, default: int, high: int) -> int:
        """Returns a number of frames that a video model can make: 1, 5, 9, 13, ...

        Raises:
            EngineError: It is another number.
        """
        frames = self.whole(name, default, 1, high)
        if not _FRAMES.fits(frames):
            below, above = _FRAMES.nearest(frames)
            raise EngineError(f"{name} must be 4n + 1, for example {below} or {above}; {frames} were asked for.")
        return frames

    def side(self, name: str, default: int, multiple: int) -> int:
        """Returns a width or height in pixels.

        Raises:
            EngineError: It is out of bounds, or no multiple of that number.
        """
        side = self.whole(name, default, 64, _MAX_SIDE_PX)
        if side % multiple:
            near = side // multiple * multiple
            raise EngineError(f"{name} must be a multiple of {multiple}, such as {near}; {side} was asked for.")
        return side

    def sides(self, name: str, default: tuple[int, int], multiple: int) -> tuple[int, int]:
        """Returns a width and height in pixels.

        Raises:
            EngineError: They are out of bounds, or no multiples of that number.
        """
        size = self.size(name, default)
        if min(size) < 64 or max(size) > _MAX_SIDE_PX or any(side % multiple for side in size):
            raise EngineError(
                f"{name} must have sides of 64 to {_MAX_SIDE_PX} pixels, multiples of {multiple}; "
                f"{size[0]}*{size[1]} was asked for."
            )
        return size

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

    def repository(self, name: str, value: str) -> Repository | None:
        """Returns the repository that stands for a value of a setting."""
        return next((item for item in self.model.repositories if (name, value) in item.settings), None)

    def lora(self, name: str, default: str, refusal: str) -> tuple[str, Lora]:
        """Returns a setting's value, and the LoRA that stands for it.

        Raises:
            EngineError: There is none; the sentence says so with `refusal`, and which there are.
        """
        value = self.text(name, default)
        repository = self.repository(name, value)
        if repository is None:
            known = [own for item in self.model.repositories for setting, own in item.settings if setting == name]
            raise EngineError(f"{name} {value[:40]!r} {refusal}; there are {', '.join(known)}.")
        return value, Lora(repository)
