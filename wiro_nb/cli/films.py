"""`wiro-nb join`, and `wiro-nb rerun` of a film."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.cli.output import EXIT_DONE, as_shell, open_manager, print_json, say
from wiro_nb.errors import InputError

if TYPE_CHECKING:
    from wiro_nb.films.film import Film
    from wiro_nb.films.join import JoinedFilm
    from wiro_nb.reproduce.replay import Source
    from wiro_nb.session.manager import Manager


def join(arguments: argparse.Namespace) -> int:
    """Joins clips into one film and prints where it is."""
    from wiro_nb.films.join import find_parts, join_parts

    parts = find_parts(open_manager(arguments), arguments.sources)
    film = join_parts(
        parts,
        Path(arguments.out),
        base=Path.cwd(),
        crossfade_s=arguments.crossfade,
        audio=Path(arguments.audio) if arguments.audio else None,
        on_progress=show_progress,
    )
    return _report(film, as_json=arguments.json)


def rebuild(manager: Manager, source: Source, arguments: argparse.Namespace) -> int:
    """Makes a film again from its record, waits for it, and prints where it is."""
    from wiro_nb.cli.runs import read_amount
    from wiro_nb.execution.request_rows import Origin
    from wiro_nb.films.film import Film, FilmTarget
    from wiro_nb.films.plan import describe_plan
    from wiro_nb.films.rebuild import free_path, plan_rebuild

    if arguments.values or arguments.file:
        raise InputError("a film is made again as it was, without other inputs", hint=f"%wiro rerun {source.name}")
    made = plan_rebuild(manager, source, origin=Origin(kind="cli"), fresh=arguments.fresh)
    say(f"{source.name}, {len(made.plan.shots)} shots on {manager.service_name}: {describe_plan(made.plan)}")
    if arguments.dry_run:
        return EXIT_DONE
    limit, folder = read_amount(arguments.max_cost), Path.cwd()
    target = FilmTarget(
        free_path(folder, source), folder, made.crossfade_s, made.audio, limit, arguments.out or None
    )
    film = Film.start(manager, made.plan, target, yes=arguments.yes)
    film.on_change(lambda: _show_shots(film))
    film.wait()
    if film.joined is None:
        raise InputError(f"{source.name} has one part: it is made, and nothing is joined", hint="%wiro runs")
    return _report(film.joined, as_json=arguments.json)


def _report(film: JoinedFilm, *, as_json: bool) -> int:
    if as_json:
        print_json(film.record)
        return EXIT_DONE
    print(film.path)
    for sentence in film.sentences:
        say(f"  {as_shell(sentence)}")
    return EXIT_DONE


def _show_shots(film: Film) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[Kwiro-nb rerun: {film!r}", end="\n" if film.done else "", file=sys.stderr, flush=True)


def show_progress(done: int, total: int) -> None:
    """Shows how much of a film is written, where stderr is a terminal."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r\033[Kwiro-nb join: {done} of {total} frames", end=end, file=sys.stderr, flush=True)
