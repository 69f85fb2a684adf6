"""Plans a film against models, prices and the ledger: what would be sent, and its cost. Sends nothing.

The request of a shot that continues from another one needs that shot's clip, because it contains one of its
frames. Until the clip exists the shot is checked and priced with a placeholder picture, and it counts as missing.

A film can be rebuilt from its record: the same shots, joined the same way. Shots whose runs are on this machine
are reused. Records are untrusted: as in `reproduce`, a record decides which request is made, never which service
receives it or which file is read.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from wiro_nb.api.pricing import Estimate
from wiro_nb.errors import NOTHING_SENT, InputError, UnknownRun
from wiro_nb.execution.requests import RUN_PREFIX, Origin
from wiro_nb.execution.run import Run
from wiro_nb.files import UniqueNames, safe_name
from wiro_nb.films.extend import SHOT_NAME, Shot, ordered, require_picture_input
from wiro_nb.films.film_file import FilmTarget
from wiro_nb.ledger.state import RunState
from wiro_nb.provenance.find import Source
from wiro_nb.provenance.record import check_record
from wiro_nb.reproduce import find_input
from wiro_nb.reproduce.replay import plan_source, refuse
from wiro_nb.schema.values import Prepared
from wiro_nb.session.manager import Manager
from wiro_nb.session.prices import Limits, Total
from wiro_nb.session.submission import Batch

_PLACEHOLDER_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
"""A one-pixel PNG that replaces a frame that does not exist yet."""


@dataclass(frozen=True, slots=True)
class FilmPlan:
    """A film before any of its shots are sent.

    Attributes:
        film_id: The same for the same file in the same notebook on the same service.
        title: Name of the film.
        target: Where and how its clips are joined.
        shots: In order.
        made: Reused runs, finished or in progress, by the name of their shot.
        prices: Estimates of the missing shots, by name.
        total: Of the missing shots.
        origin: The notebook and cell that request it.
        fresh: True when no earlier run is reused.
    """

    film_id: str
    title: str
    target: FilmTarget
    shots: tuple[Shot, ...]
    made: dict[str, Run]
    prices: dict[str, Estimate]
    total: Total
    origin: Origin
    fresh: bool = False

    @property
    def missing(self) -> list[str]:
        """Names of the shots that would be sent."""
        return [shot.name for shot in self.shots if shot.name not in self.made]


def plan_film(
    manager: Manager,
    shots: Sequence[Shot],
    target: FilmTarget,
    *,
    title: str = "",
    origin: Origin | None = None,
    fresh: bool = False,
) -> FilmPlan:
    """Plans a film: checks every shot, finds reusable runs, and prices the rest. Sends nothing.

    Args:
        manager: Knows models, prices, and the runs made.
        shots: From `read_shots`.
        target: Where and how the clips are to be joined.
        title: Name of the film, the same for the same film; that of its file by default.
        origin: Where it is asked for.
        fresh: True counts nothing as made.

    Raises:
        UnknownModel, InvalidParameter, InvalidFile, InputError: A shot does not fit; it is named.
        DownloadFailed: The clip that a shot continues from is missing and cannot be downloaded again.
    """
    origin, title = origin or Origin(), title or target.path.stem
    made: dict[str, Run] = {}
    missing: dict[str, Prepared] = {}
    for shot in ordered(shots):
        source = made.get(shot.source)
        is_ready = not shot.source or (source is not None and source.state is RunState.SUCCEEDED)
        request = prepare_shot(manager, shot, source if is_ready else None, origin)
        run = None if fresh else _known_run(manager, shot, source)
        if run is None and is_ready and not fresh:
            used = frozenset(other.id for other in made.values())
            (run,) = manager.find_made(Batch([request], origin, exclude=used))
        if run is not None:
            made[shot.name] = run
        else:
            missing[shot.name] = request
    estimates = manager.prices.forecast(list(missing.values()))
    identity = json.dumps(["film", manager.service_name, origin.notebook, title])
    return FilmPlan(
        hashlib.sha256(identity.encode()).hexdigest()[:16],
        title,
        target,
        tuple(shots),
        made,
        dict(zip(missing, estimates, strict=True)),
        Total.of(estimates, manager.choice.free_label, len(made)),
        origin,
        fresh,
    )


def _known_run(manager: Manager, shot: Shot, source: Run | None) -> Run | None:
    """Returns the run that made a shot before, if the ledger has it and it continues from the same run."""
    if not shot.run_id:
        return None
    try:
        run = manager.get(shot.run_id)
    except UnknownRun:
        return None
    parent = (run.snapshot.parent or {}).get("run_id")
    is_same = not shot.source or (source is not None and source.id == parent)
    return run if is_same and run.state is RunState.SUCCEEDED else None


def prepare_shot(manager: Manager, shot: Shot, source: Run | None, origin: Origin) -> Prepared:
    """Returns the request of a shot.

    Args:
        manager: Knows the model.
        shot: The shot.
        source: The finished run it continues from; None uses a placeholder for the frame, if it needs one.
        origin: Whose notebook relative paths start from.

    Raises:
        InputError: Something does not fit; the message begins with the shot's name.
        DownloadFailed: The source's clip is gone.
    """
    if source is not None and source.lacks_files:
        source.download()
    try:
        schema = manager.schema(shot.model)
        values = dict(shot.values)
        if "prompt" in values and schema.get("prompt") is None and schema.prompt_input is not None:
            values[schema.prompt_input] = values.pop("prompt")
        if shot.source:
            picture = require_picture_input(manager, schema, f"--- {shot.name} MODEL from={shot.source}")
            values[picture] = _PLACEHOLDER_PNG if source is None else f"{RUN_PREFIX}{source.id}#{shot.frame}"
        return manager.prepare(schema, values, origin=origin)
    except InputError as error:
        raise type(error)(
            f"shot {shot.name}: {error.message}", hint=error.hint, details=error.details, **error.fields
        ) from None


def confirm(manager: Manager, plan: FilmPlan, limits: Limits | None) -> None:
    """Refuses a film that needs confirmation, or whose total exceeds the budget.

    Raises:
        ConfirmationNeeded: As `Total.confirm`.
        BudgetExceeded: All missing shots together would go over the budget; none is sent then.
    """
    summary = plan.total.describe()
    plan.total.confirm(limits, f"this film would send {summary}")
    most_usd = plan.total.cost.most_usd
    if plan.missing and most_usd is not None:  # of an unknown price only the ledger can tell, run by run
        manager.budget(plan.origin.notebook).check("This film", most_usd, summary)


# A film made again ---------------------------------------------------------------------------


def plan_rebuild(
    manager: Manager,
    source: Source,
    *,
    origin: Origin | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | None = None,
    out_dir: str | None = None,
) -> FilmPlan:
    """Plans the rebuild of a film, in a file that does not exist yet. Sends nothing.

    Args:
        manager: Knows models, prices and runs.
        source: The film's record, from `find_source`.
        origin: Whose notebook the film is made in.
        fresh: True makes every shot again, also those that are here.
        max_cost_usd: Refuses one shot that may cost more, in USD.
        out_dir: Folder of the clips; beside the notebook when None.

    Raises:
        InputError: A part carries no record, or an input or sound file is in no store of inputs here.
        UnknownModel, InvalidParameter, InvalidFile: A shot cannot be made as it was.
    """
    origin = origin or Origin()
    film, folder = source.record["film"], origin.folder
    shots, sound = _read_shots(manager, source, folder), None
    if sounds := source.record["files"].get("audio"):
        sound = find_input(manager, folder, source, str(sounds[0].get("sha256")))
        if sound is None:
            raise _refused(f"no copy of the sound file {sounds[0].get('name')} of {source.name} is here")
    stem = Path(safe_name(str(source.record["outputs"][0]["name"]), "film")).stem
    name = UniqueNames(*(path.name for path in folder.iterdir())).add(f"{stem}-again.mp4")
    target = FilmTarget(folder / name, folder, float(film["crossfade_s"]), sound, max_cost_usd, out_dir)
    title = str(film.get("title") or Path(source.name).stem)
    return plan_film(manager, shots, target, title=f"{title} again", origin=origin, fresh=fresh)


def _read_shots(manager: Manager, source: Source, notebook_dir: Path) -> tuple[Shot, ...]:
    shots: list[Shot] = []
    names: dict[str, str] = {}  # by the id of their run
    for number, part in enumerate(source.record["film"]["parts"], start=1):
        name, where = str(part["name"]), f"part {number} of {source.name}"
        if part["record"] is None:
            raise _refused(f"{where}, {name}, carries no record of how it was made")
        record = check_record(part["record"], source=where)
        if "film" in record:
            raise _refused(f"{where}, {name}, is a film itself")
        if SHOT_NAME.match(name) is None or name in names.values():
            name = f"shot-{number}"
        made, parent = Source(record, name, "clip", source.path), record.get("parent") or {}
        before = names.get(str(parent.get("run_id")), "") if isinstance(parent.get("frame"), int) else ""
        names[made.run_id] = name
        schema = manager.schema(made.model)
        picture = {require_picture_input(manager, schema): ""} if before else {}
        replay = plan_source(manager, made, schema, picture, notebook_dir)
        if not replay.is_ready:
            raise refuse(replay)
        values = {name: value for name, value in replay.values.items() if name not in picture}
        frame = int(parent["frame"]) if before else -1
        shots.append(Shot(name, made.model, values, before, frame, made.run_id))
    return tuple(shots)


def _refused(message: str) -> InputError:
    return InputError(message, hint="%wiro join CLIP CLIP, or --audio FILE", billed=NOTHING_SENT)
