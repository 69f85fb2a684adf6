"""Extends a clip: one of its frames becomes the input picture of an image-to-video model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wiro_nb.errors import NOTHING_SENT, InputError, WiroError
from wiro_nb.execution.inputs import RUN_PREFIX
from wiro_nb.execution.run import Run
from wiro_nb.media.decode import frame_at
from wiro_nb.schema.bundled import bundled_models
from wiro_nb.schema.files import expected_media
from wiro_nb.schema.types import ModelSchema
from wiro_nb.session.manager import Manager

_IMAGE_TO_VIDEO = "image-to-video"
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Extension:
    """The request that extends a run.

    Attributes:
        model: Slug of the model that continues.
        values: Its inputs, the picture as "run:ID#FRAME".
        frame: Of the clip, from 0, or negative from the end.
    """

    model: str
    values: dict[str, object]
    frame: int


def plan_extension(
    manager: Manager,
    run: Run,
    values: Mapping[str, object],
    *,
    model: str | None = None,
    frame: int | None = None,
    at_s: float | None = None,
) -> Extension:
    """Works out the request that goes on from a frame of a run's clip. Sends nothing.

    Args:
        manager: Knows the models.
        run: A finished run with a clip on this machine.
        values: Inputs that differ. Of the same model the others stay as they were, of another one the prompt.
        model: The model that continues; None for the run's own.
        frame: From 0, or negative from the end; the last one when None.
        at_s: Seconds into the clip, in place of `frame`.

    Raises:
        InputError: The model takes no picture; the message names some that do. Or both
            `frame` and `at_s` are given.
        InvalidFile: The clip has no such frame.
        UnknownModel: There is no such model.
    """
    if frame is not None and at_s is not None:
        raise InputError("a frame and a time are given: give one of them", hint="--frame N, or --at 3.2s")
    schema = manager.schema(model or run.model)
    name = require_picture_input(manager, schema)
    if at_s is not None:
        frame = frame_at(_clip_of(run), at_s)
    frame = -1 if frame is None else frame
    given = {**_settings_of(run, schema), **values}
    return Extension(schema.slug, {**given, name: f"{RUN_PREFIX}{run.id}#{frame}"}, frame)


def picture_input(schema: ModelSchema) -> str | None:
    """Returns the first input of a model that takes a picture, or None."""
    pictures = (item.id for item in schema.parameters if item.is_file and expected_media(item) == "image")
    return next(pictures, None)


def require_picture_input(manager: Manager, schema: ModelSchema) -> str:
    """Returns the input of a model that takes a picture.

    Raises:
        InputError: There is none; the message names models that have one.
    """
    if (name := picture_input(schema)) is not None:
        return name
    found = ", ".join(_models_with_pictures(manager))
    raise InputError(
        f"{schema.slug} takes no input picture, so it cannot continue a clip",
        details=[f"Models that take one: {found}"] if found else [],
        hint="%wiro extend RUN MODEL, or from Python model=...",
        billed=NOTHING_SENT,
    )


def _models_with_pictures(manager: Manager) -> list[str]:
    slugs = [schema.slug for schema in bundled_models() if picture_input(schema) is not None]
    try:
        slugs += [card.slug for card in manager.models(categories=[_IMAGE_TO_VIDEO])]
    except WiroError:
        pass  # the bundled ones are named all the same
    return list(dict.fromkeys(slugs))[:_MOST_NAMED]


def _settings_of(run: Run, schema: ModelSchema) -> dict[str, object]:
    if schema.slug.lower() == run.model.lower():
        return dict(run.parameters)
    target = schema.prompt_input
    return {target: run.snapshot.prompt} if target is not None and run.snapshot.prompt else {}


def _clip_of(run: Run) -> Path:
    if run.path is None:
        raise InputError(f"run {run.short_id} has no clip here", hint=f"%wiro download {run.short_id}")
    return run.path
