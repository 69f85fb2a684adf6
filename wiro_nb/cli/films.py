"""`wiro-nb join`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wiro_nb.cli.output import EXIT_DONE, open_manager, print_json, say


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
    if arguments.json:
        print_json(film.record)
        return EXIT_DONE
    print(film.path)
    for sentence in film.sentences:
        say(f"  {sentence}")
    return EXIT_DONE


def show_progress(done: int, total: int) -> None:
    """Shows how much of a film is written, where stderr is a terminal."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r\033[Kwiro-nb join: {done} of {total} frames", end=end, file=sys.stderr, flush=True)
