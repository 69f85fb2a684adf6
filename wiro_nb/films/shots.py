"""The shots of a film as they are given: which model, which inputs, and which shot each goes on from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from wiro_nb.errors import NOTHING_SENT, InputError

PREVIOUS = "previous"
MOST_SHOTS = 200
_RESERVED = ("name", "model", "from", "inputs")
SHOT_NAME = re.compile(r"[^\W_][\w.\-]{0,39}\Z")
_SOURCE = re.compile(r"([^#\s]+)(?:#(-?\d{1,6}))?\Z")


@dataclass(frozen=True, slots=True)
class Shot:
    """One shot.

    Attributes:
        name: The same for no other shot of the film.
        model: "owner/name".
        values: Inputs as given, without the picture it goes on from.
        source: Name of the shot it goes on from, or "".
        frame: Of that shot's clip, from 0, or negative from the end.
        run_id: The run that made it, of a film that is made again from its record, or "".
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
            shot, with "#N" for another frame than the last. Inputs whose names are these words stand in `inputs`.
        model: Of the shots that name none.
        shared: Inputs of all shots of that model; of all shots where `model` is None.

    Raises:
        InputError: No shots or too many, one without a model, a name that stands twice or nowhere, or shots that
            go on from one another in a circle.
    """
    if not given:
        raise _refused("a film has at least one shot", "--- NAME, then its prompt")
    if len(given) > MOST_SHOTS:
        raise _refused(f"a film has at most {MOST_SHOTS} shots, not {len(given)}", "make two films and join them")
    shots: list[Shot] = []
    for number, item in enumerate(given, start=1):
        if not isinstance(item, Mapping):
            raise _refused(
                f"shot {number} is no mapping of inputs by name", '{"prompt": "...", "from": "previous"}'
            )
        shots.append(_read_shot(number, item, shots, model, shared or {}))
    _check_names(shots)
    ordered(shots)
    return tuple(shots)


def ordered(shots: Sequence[Shot]) -> list[int]:
    """Returns the positions of shots in an order in which each stands behind the one it goes on from.

    Raises:
        InputError: They go on from one another in a circle.
    """
    places = {shot.name: place for place, shot in enumerate(shots)}
    graph = {place: [places[shot.source]] if shot.source else [] for place, shot in enumerate(shots)}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        names = " > ".join(shots[place].name for place in error.args[1])
        raise _refused(f"these shots go on from one another in a circle: {names}", "from=previous") from None


def with_changes(shots: Sequence[Shot], name: str, values: Mapping[str, object]) -> tuple[Shot, ...]:
    """Returns the shots with other inputs of one of them.

    Raises:
        InputError: There is no such shot.
    """
    if all(shot.name != name for shot in shots):
        raise _no_shot(name, shots)
    return tuple(
        replace(shot, values={**shot.values, **values}, run_id="") if shot.name == name else shot for shot in shots
    )


def _read_shot(
    number: int,
    item: Mapping[str, object],
    before: Sequence[Shot],
    model: str | None,
    shared: Mapping[str, object],
) -> Shot:
    name = str(item.get("name") or f"shot-{number}")
    chosen = str(item.get("model") or model or "")
    if "/" not in chosen:
        raise _refused(f"shot {name} has no model", "name one for all shots: %%wiro_film MODEL")
    inside = item.get("inputs") or {}
    if not isinstance(inside, Mapping):
        raise _refused(f"shot {name}: inputs are a mapping by name", '"inputs": {"model": "..."}')
    common = shared if model in (None, "", chosen) else {}  # settings of another model
    values = {**common, **{key: value for key, value in item.items() if key not in _RESERVED}, **inside}
    source, frame = _read_source(name, item.get("from"), before)
    return Shot(name, chosen, values, source, frame)


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


def _check_names(shots: Sequence[Shot]) -> None:
    names = [shot.name for shot in shots]
    for shot in shots:
        if SHOT_NAME.match(shot.name) is None or shot.name == PREVIOUS:
            raise _refused(f"{shot.name!r} cannot name a shot", "letters, digits, - and _, at most 40")
        if names.count(shot.name) > 1:
            raise _refused(f"two shots are called {shot.name}", "give each its own name")
        if shot.source and shot.source not in names:
            raise _no_shot(shot.source, shots)


def _no_shot(name: str, shots: Sequence[Shot]) -> InputError:
    return _refused(
        f"no shot is called {name}; there are {', '.join(shot.name for shot in shots)}", "from=previous"
    )


def _refused(message: str, hint: str) -> InputError:
    return InputError(message, hint=hint, billed=NOTHING_SENT)
