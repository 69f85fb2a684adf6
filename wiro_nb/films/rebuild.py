"""Makes a film again from its record: the shots as they were, joined as they were.

A shot whose run this machine has is not made again. A record may come from a stranger; what it may decide is what
`reproduce` lets it: which request is made, never where it goes or which file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.config import data_dir
from wiro_nb.errors import NOTHING_SENT, InputError
from wiro_nb.execution.request_rows import Origin, notebook_dir_of
from wiro_nb.files import safe_name
from wiro_nb.films.extend import require_picture_input
from wiro_nb.films.plan import FilmPlan, plan_film
from wiro_nb.films.shots import SHOT_NAME, Shot
from wiro_nb.provenance.record import check_record
from wiro_nb.reproduce.plan import plan_replay
from wiro_nb.reproduce.replay import Replay, Source, find_input, refuse
from wiro_nb.services.catalogue import find_schema
from wiro_nb.session.manager import Manager


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A film that is made again, not sent yet: what of it is missing, and how it is joined."""

    plan: FilmPlan
    crossfade_s: float
    audio: Path | None


def is_film(source: Source) -> bool:
    """True for the record of joined clips."""
    return isinstance(source.record.get("film"), dict)


def plan_rebuild(
    manager: Manager, source: Source, *, origin: Origin | None = None, fresh: bool = False
) -> Rebuild:
    """Works out how a film is made again. Sends nothing.

    Args:
        manager: Knows models, prices and runs.
        source: The film's record, from `find_source`.
        origin: Whose notebook the film is made in.
        fresh: True makes every shot again, also those that are here.

    Raises:
        InputError: A part carries no record, or an input or sound file is in no store of inputs here.
        UnknownModel, InvalidParameter, InvalidFile: A shot cannot be made as it was.
    """
    origin = origin or Origin()
    film, home = source.record["film"], notebook_dir_of(origin.notebook)
    shots = _read_shots(manager, source, home)
    title = str(film.get("title") or Path(source.name).stem)
    plan = plan_film(manager, shots, title=f"{title} again", origin=origin, fresh=fresh)
    return Rebuild(plan, float(film["crossfade_s"]), _find_sound(manager, source, home))


def free_path(folder: Path, source: Source) -> Path:
    """Returns a name for the film that no file of a folder has: the first film stays as it is."""
    stem = Path(safe_name(str(source.record["outputs"][0]["name"]), "film")).stem
    numbered = (folder / f"{stem}-again{f'-{number}' if number > 1 else ''}.mp4" for number in range(1, 10_000))
    return next(path for path in numbered if not path.exists())


def _read_shots(manager: Manager, source: Source, home: Path) -> tuple[Shot, ...]:
    shots: list[Shot] = []
    names: dict[str, str] = {}
    for number, part in enumerate(source.record["film"]["parts"], start=1):
        name = str(part["name"])
        if part["record"] is None:
            raise _refused(f"part {number} of {source.name}, {name}, carries no record of how it was made")
        record = check_record(part["record"], source=f"part {number} of {source.name}")
        if "film" in record:
            raise _refused(f"part {number} of {source.name}, {name}, is a film itself")
        if SHOT_NAME.match(name) is None or name in names.values():
            name = f"shot-{number}"
        parent = record.get("parent") or {}
        before = names.get(str(parent.get("run_id")), "") if isinstance(parent.get("frame"), int) else ""
        names[str(record["run_id"])] = name
        values = _values_of(manager, Source(record, name, "clip", source.path), home, goes_on=bool(before))
        frame = int(parent["frame"]) if before else -1
        model = str(record["model"]["slug"])
        shots.append(Shot(name, model, values, before, frame, str(record["run_id"])))
    return tuple(shots)


def _values_of(manager: Manager, source: Source, home: Path, *, goes_on: bool) -> dict[str, object]:
    """Returns the inputs of a recorded run, without the picture of one that goes on from another."""
    record = source.record
    schema = manager.schema(str(record["model"]["slug"]))
    picture: Mapping[str, Any] = {require_picture_input(manager, schema): ""} if goes_on else {}
    plan = plan_replay(
        record,
        schema,
        overrides=picture,
        find_file=find_input(manager, home, source),
        service=manager.service_name,
        old_schema=find_schema(record["model"].get("schema_sha256"), data_dir()),
    )
    if not plan.is_ready:
        raise refuse(Replay(source, plan, None))
    return {name: value for name, value in plan.values.items() if name not in picture}


def _find_sound(manager: Manager, source: Source, home: Path) -> Path | None:
    for item in source.record["files"].get("audio") or ():
        found = find_input(manager, home, source)(str(item.get("sha256")))
        if found is None:
            raise _refused(f"the sound file {item.get('name')} of {source.name} is in no store of inputs here")
        return found
    return None


def _refused(message: str) -> InputError:
    return InputError(message, hint="%wiro join CLIP CLIP, or --audio FILE", billed=NOTHING_SENT)
