"""Films from a notebook: the public functions behind the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.errors import InputError
from wiro_nb.execution.run import Run
from wiro_nb.films import Film
from wiro_nb.films.extend import read_shots
from wiro_nb.films.film_file import FilmTarget, find_parts, join_parts
from wiro_nb.films.plan import FilmPlan, plan_film, plan_rebuild
from wiro_nb.notebook.film.rendering import FilmFile, JoinProgress
from wiro_nb.notebook.film.view import FilmView
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs, origin_of
from wiro_nb.notebook.session import current_context, session, source_text
from wiro_nb.provenance.find import Source
from wiro_nb.reproduce import find_source


def film(
    shots: Sequence[Mapping[str, Any]] | str | Path,
    inputs: Mapping[str, Any] | None = None,
    /,
    *,
    model: str | None = None,
    out: str | Path = "film.mp4",
    crossfade_s: float = 0.0,
    audio: str | Path | None = None,
    yes: bool = False,
    wait: bool | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | float | str | None = None,
    out_dir: str | None = None,
    **shared: Any,
) -> Film:
    """Makes a film of several shots and returns its handle.

    Shots run as soon as what they need is there, those that need nothing side by side. Run again, only changed
    shots and those that continue from them are sent; `film.retry()` sends failed ones again.

    For example `film([{"prompt": "a storm"}, {"prompt": "waves", "from": "previous"}], model="pruna/vace")`.

    Args:
        shots: For each its inputs by name, with `name`, `model`, and `from`: "previous" or a shot's name, with
            "#N" for another frame than the last. Or a film to be made again: its MP4, `film.json` or
            `NOTEBOOK#FILM`; shots whose runs are here are not made again, and it gets a name of its own.
        inputs: Inputs of all shots of `model` as a mapping, for those whose names are options here.
        model: Of the shots that name none.
        out: The MP4, beside the notebook. The same name is the same film.
        crossfade_s: As in `join`.
        audio: As in `join`.
        yes: True sends a large film too. Without it more than 12 runs, more than 1 USD (both are settings) or an
            unknown price are refused.
        wait: As in `run`.
        fresh: True runs every shot, also those that are made.
        max_cost_usd: Refuses when one shot may cost more, in USD.
        out_dir: Folder of the clips; beside the notebook when None.
        **shared: Inputs of all shots of `model`.

    Raises:
        InputError: A shot does not fit, or they continue from one another in a circle. Nothing was sent.
        ConfirmationNeeded, BudgetExceeded: Nothing was sent.
        RunFailed: Where it waits: a shot gave no result; what is made is kept.
    """
    options = SubmitOptions.of_call(fresh, max_cost_usd, out_dir)
    values = merge_inputs(inputs, shared)
    if isinstance(shots, (str, Path)):
        if values:
            raise InputError("a film is rerun unchanged: it takes no inputs", hint="Edit this shot, in its view")
        source = find_source(session.manager(), shots, notebook=current_context().notebook)
        if not source.is_film:
            raise InputError(f"{shots} is no film", hint=f"%wiro rerun {source.typed_name}")
        found = plan_again(source, options)
    else:
        target = make_target(out, crossfade_s, audio, options)
        found = make_plan(shots, target, options, model=model, shared=values)
    return FilmView(start(found, yes=yes)).finish(wait)


def make_target(
    out: str | Path, crossfade_s: float, audio: str | Path | None, options: SubmitOptions | None = None
) -> FilmTarget:
    """Returns where and how clips are joined, with the limits of the shots' runs. Raises as `film`."""
    folder = current_context().folder
    path, sound = _path_in(folder, out), None if audio is None else _path_in(folder, audio)
    limits = (options.max_cost_usd, options.out_dir) if options is not None else ()
    return FilmTarget(path, folder, crossfade_s, sound, *limits)


def make_plan(
    given: Sequence[Mapping[str, Any]],
    target: FilmTarget,
    options: SubmitOptions,
    *,
    model: str | None,
    shared: Mapping[str, Any],
) -> FilmPlan:
    """Plans a film for a notebook; sends nothing. Raises as `film`."""
    origin = origin_of(current_context(), options.kind)
    shots = read_shots(given, model=model, shared=shared)
    return plan_film(session.manager(), shots, target, origin=origin, fresh=options.fresh)


def start(plan: FilmPlan, *, yes: bool = False) -> Film:
    """Checks a plan against limits and budget, and sends the shots that need no other one. Raises as `film`."""
    handle = Film.start(session.manager(), plan, session.preferences.limits(yes))
    if handle.runs:
        session.last_run = handle.runs[-1]
    return handle


def plan_again(source: Source, options: SubmitOptions) -> FilmPlan:
    """Plans the rebuild of a film from its record. Raises as `film`."""
    return plan_rebuild(
        session.manager(),
        source,
        origin=origin_of(current_context(), options.kind),
        fresh=options.fresh,
        max_cost_usd=options.max_cost_usd,
        out_dir=options.out_dir,
    )


def join(
    *sources: str | Path | Run,
    out: str | Path = "film.mp4",
    crossfade_s: float = 0.0,
    audio: str | Path | None = None,
) -> FilmFile:
    """Joins clips into one film that holds the record of every part, and returns it.

    The streams are copied where codec, size and rate agree; else everything is encoded again, and the film says
    so. Where a clip continues from the one before, the doubled frame is left out.

    Args:
        *sources: Runs, their ids, or clips, in order; two or more.
        out: The MP4, beside the notebook. A film there is replaced, another file never.
        crossfade_s: Length of the blend at each seam where no clip continues from the one before, in seconds.
        audio: Sound file that replaces the clips' sound, cut to the length of the film.

    Raises:
        InputError: Fewer than two clips, one that is gone, was changed, is too short or has no video track, or the
            file cannot be written.
        UnknownRun, BadRecord: There is no such run or file.
        MissingExtra: PyAV is not installed.
    """
    context = current_context()
    named = [str(source) if isinstance(source, Path) else source_text(source) for source in sources]
    parts = find_parts(session.manager(choose=False), named, context.notebook)
    progress = JoinProgress()
    joined = join_parts(parts, make_target(out, crossfade_s, audio), on_progress=progress)
    return progress.finish(FilmFile(joined, [part.path for part in parts]))


def _path_in(folder: Path, given: str | Path) -> Path:
    """Returns a file that a user named; a relative path starts from the notebook's folder.

    Raises:
        InputError: It is no path.
    """
    try:
        return folder / Path(given).expanduser()
    except (RuntimeError, TypeError, ValueError):
        raise InputError(f"{given!r} is no path of a file", hint="--out film.mp4") from None
