"""Reads the shots of a film, and plans the request that continues a clip from one of its frames.

A frame of the earlier clip becomes the input picture of an image-to-video model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from wiro_nb.errors import NOTHING_SENT, InputError, WiroError
from wiro_nb.execution.requests import RUN_PREFIX
from wiro_nb.execution.run import Run
from wiro_nb.media.decode import frame_at
from wiro_nb.schema import bundled_models
from wiro_nb.schema.files import expected_media
from wiro_nb.schema.types import ModelSchema
from wiro_nb.session.manager import Manager

PREVIOUS = "previous"
MOST_SHOTS = 200
_RESERVED = ("name", "model", "from", "inputs")
SHOT_NAME = re.compile(r"[^\W_][\w.\-]{0,39}\Z")
_SOURCE = re.compile(r"([^#\s]+)(?:#(-?\d{1,6}))?\Z")
_IMAGE_TO_VIDEO = "image-to-video"
_MOST_NAMED = 8


# The shots of a film -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shot:
    """One shot of a film.

    Attributes:
        name: Unique in the film.
        model: "owner/name".
        values: Inputs as given, without the picture it continues from.
        source: Name of the shot it continues from, or "".
        frame: Frame of that shot's clip, from 0, or negative from the end.
        run_id: The run that made the shot, when a film is rebuilt from its record, or "".
    """

    name: str
    model: str
    values: Mapping[str, object]
    source: str = ""
    frame: int = -1
    run_id: str = ""


def read_shots(
    given: Sequence[Mapping[str, object]], *, model: str | None = None, shared: Mapping[str, object] | None = None
) -> tuple[Shot, ...]:
    """Reads and checks the shots of a film.

    Args:
        given: For each shot its inputs by name, with `name`, `model`, and `from`: "previous" or the name of a
            shot, with "#N" for another frame than the last. Inputs with these names are given in `inputs`.
        model: Of the shots that name none.
        shared: Inputs of all shots of that model; of all shots where `model` is None.

    Raises:
        InputError: No shots or too many, one without a model, a name that stands twice or nowhere, or shots that
            continue from one another in a circle.
    """
    if not given:
        raise _refused("a film has at least one shot", "--- NAME, then its prompt")
    if len(given) > MOST_SHOTS:
        raise _refused(f"a film has at most {MOST_SHOTS} shots, not {len(given)}", "make two films and join them")
    shots: list[Shot] = []
    for number, item in enumerate(given, start=1):
        if not isinstance(item, Mapping):
            raise _refused(f"shot {number} is no mapping of inputs by name", '{"prompt": ..., "from": "previous"}')
        name, chosen = str(item.get("name") or f"shot-{number}"), str(item.get("model") or model or "")
        if "/" not in chosen:
            raise _refused(f"shot {name} has no model", "name one for all shots: %%wiro_film MODEL")
        inside = item.get("inputs") or {}
        if not isinstance(inside, Mapping):
            raise _refused(f"shot {name}: inputs are a mapping by name", '"inputs": {"model": "..."}')
        common = shared or {} if model in (None, "", chosen) else {}  # settings of another model
        values = {**common, **{key: value for key, value in item.items() if key not in _RESERVED}, **inside}
        shots.append(Shot(name, chosen, values, *_read_source(name, item.get("from"), shots)))
    names = [shot.name for shot in shots]
    for shot in shots:
        if SHOT_NAME.match(shot.name) is None or shot.name == PREVIOUS:
            raise _refused(f"{shot.name!r} cannot name a shot", "letters, digits, - and _, at most 40")
        if names.count(shot.name) > 1:
            raise _refused(f"two shots are called {shot.name}", "give each its own name")
        if shot.source and shot.source not in names:
            raise _refused(f"no shot is called {shot.source}; there are {', '.join(names)}", "from=previous")
    ordered(shots)
    return tuple(shots)


def ordered(shots: Sequence[Shot]) -> list[Shot]:
    """Returns shots in topological order: each comes after the shot it continues from.

    Raises:
        InputError: The shots form a cycle.
    """
    named = {shot.name: shot for shot in shots}
    graph = {shot.name: [shot.source] if shot.source else [] for shot in shots}
    try:
        return [named[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        names = " > ".join(error.args[1])
        raise _refused(f"these shots continue from one another in a circle: {names}", "from=previous") from None


def _read_source(name: str, given: object, before: Sequence[Shot]) -> tuple[str, int]:
    if given in (None, ""):
        return "", -1
    found = _SOURCE.match(str(given))
    if found is None:
        raise _refused(f"shot {name}: from={given} names no shot", "from=previous, from=NAME or from=NAME#FRAME")
    source = found[1]
    if source == PREVIOUS:
        if not before:
            raise _refused(f"shot {name} is the first: there is no previous one", "leave from= out")
        source = before[-1].name
    return source, int(found[2]) if found[2] else -1


def _refused(message: str, hint: str) -> InputError:
    return InputError(message, hint=hint, billed=NOTHING_SENT)


# The extension of a clip ---------------------------------------------------------------------


def plan_extension(
    manager: Manager,
    run: Run,
    values: Mapping[str, object],
    *,
    model: str | None = None,
    frame: int | None = None,
    at_s: float | None = None,
) -> tuple[str, dict[str, object]]:
    """Plans the request that continues a run's clip from one of its frames. Sends nothing.

    Args:
        manager: Knows the models.
        run: A finished run with a clip on this machine.
        values: Inputs that differ. Of the same model the others stay as they were, of another one the prompt.
        model: The model that continues; None for the run's own.
        frame: From 0, or negative from the end; the last one when None.
        at_s: Seconds into the clip, in place of `frame`.

    Returns:
        Slug of the model that continues, and its inputs, the picture as "run:ID#FRAME".

    Raises:
        InputError: The model takes no picture; the message names some that do. Or both
            `frame` and `at_s` are given.
        InvalidFile: The clip has no such frame.
        UnknownModel: There is no such model.
    """
    if frame is not None and at_s is not None:
        raise InputError("a frame and a time are given: give one of them", hint="--frame N, or --at 3.2s")
    schema = manager.schema(model or run.model)
    name = require_picture_input(manager, schema, f"%wiro extend {run.short_id} MODEL")
    if at_s is not None:
        if run.path is None:
            raise InputError(f"run {run.short_id} has no clip here", hint=f"%wiro download {run.short_id}")
        frame = frame_at(run.path, at_s)
    kept: dict[str, object] = {}
    if schema.slug.lower() == run.model.lower():
        kept = dict(run.parameters)
    elif schema.prompt_input is not None and run.snapshot.prompt:
        kept = {schema.prompt_input: run.snapshot.prompt}
    picture = f"{RUN_PREFIX}{run.id}#{-1 if frame is None else frame}"
    return schema.slug, {**kept, **values, name: picture}


def require_picture_input(manager: Manager, schema: ModelSchema, hint: str = "another model: MODEL") -> str:
    """Returns the first input of a model that takes a picture.

    Args:
        manager: Knows the models.
        schema: The model.
        hint: What to type where it takes none; MODEL stands for one that does.

    Raises:
        InputError: There is none; the message names models that have one.
    """
    if (name := _picture_input(schema)) is not None:
        return name
    fitting = [other for other in bundled_models() if _picture_input(other) is not None]
    slugs = [other.slug for other in sorted(fitting, key=lambda other: other.prompt_input is None)]
    with suppress(WiroError):  # the bundled models are still listed
        slugs += [card.slug for card in manager.models(categories=[_IMAGE_TO_VIDEO])]
    found = ", ".join(list(dict.fromkeys(slugs))[:_MOST_NAMED])
    raise InputError(
        f"{schema.slug} takes no input picture, so it cannot continue a clip",
        details=[f"Models that take one: {found}"] if found else [],
        hint=hint.replace("MODEL", next(iter(slugs), "MODEL")),
        billed=NOTHING_SENT,
    )


def _picture_input(schema: ModelSchema) -> str | None:
    pictures = (item.id for item in schema.parameters if item.is_file and expected_media(item) == "image")
    return next(pictures, None)
