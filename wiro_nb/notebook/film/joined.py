"""The view of a joined film: its static form, and a progress bar while it is written."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from wiro_nb.films.film_file import JoinedFilm
from wiro_nb.media.decode import make_poster
from wiro_nb.notebook import display
from wiro_nb.notebook.run.display import make_thumb
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.film import ShotTile, film_output
from wiro_nb.presentation.formatting import DONE, format_duration
from wiro_nb.presentation.html import h, line
from wiro_nb.presentation.output import Displayable, Output

_THUMB_BYTES, _THUMB_WIDTH = 1_600, 132
_POSTER_BYTES = 5_000
"""A film of twelve shots adds less than 60 KB to its notebook."""
_MIN_INTERVAL_S = 0.3


class FilmFile(Displayable):
    """A film that was joined; it shows itself in a notebook.

    Attributes:
        path: The MP4. record: How it was made, with the records of its parts.
        parts: Name, start_s, end_s, dropped_frames, run_id, credentials and record of each part.
    """

    def __init__(self, joined: JoinedFilm, posters: list[bytes | None]) -> None:
        self.joined, self._posters = joined, posters
        self.path, self.record, self.parts = joined.path, joined.record, joined.parts
        self.id = str(joined.record["run_id"])

    def output(self) -> Output:
        """Returns the static form."""
        tiles = [
            ShotTile(
                part["name"],
                DONE,
                "Done",
                prompt=str(((part["record"] or {}).get("parameters") or {}).get("prompt") or ""),
                about=f"{part['start_s']:.1f} to {part['end_s']:.1f} s",
                start_s=part["start_s"],
                poster=poster,
            )
            for part, poster in zip(self.parts, self._posters, strict=True)
        ]
        length = format_duration(self.parts[-1]["end_s"])
        return film_output(
            f"Film of {len(tiles)} clips",
            f"{length}, {self.path.name}",
            tiles,
            status=DONE,
            film=self.joined.output,
            poster=read_film_poster(self.path),
            sentences=self.joined.sentences,
            metadata={"wiro": self.record},
        )

    def __repr__(self) -> str:
        return self.output().text

    def _ipython_display_(self) -> None:
        if self.id not in session.displayed_in(current_context()):
            display.publish(self.output())


def read_film_poster(path: Path) -> bytes | None:
    """Returns a picture of a film as JPEG, small enough to be saved with a strip of shots, or None."""
    try:
        return make_poster(path, _POSTER_BYTES)
    except OSError:
        return None


def make_strip_thumb(poster: bytes) -> bytes:
    """Returns a poster shrunk for a strip of shots."""
    return make_thumb(poster, _THUMB_BYTES, _THUMB_WIDTH)


def make_posters(paths: list[Path]) -> list[bytes | None]:
    """Returns a picture of each clip, small enough for a strip of many."""
    return [make_strip_thumb(poster) if (poster := make_poster(path)) else None for path in paths]


class JoinProgress:
    """Shows how much of a film is written: a bar in a live notebook, a line in a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._context = current_context()
        self._shown_at = 0.0
        self.display_id = f"wiro-join-{time.monotonic_ns()}"
        self.is_displayed = False

    def __call__(self, done: int, total: int) -> None:
        """Shows the number of frames written; not more than a few times a second."""
        if time.monotonic() < self._shown_at + _MIN_INTERVAL_S:
            return
        self._shown_at = time.monotonic()
        text = f"joining: {done} of {total} frames"
        if self._context.is_live:
            bar = h("progress", value=done, max=total, style="width:240px")
            output = Output(
                h("div", line("Joining clips"), bar, f" {100 * done // max(1, total)}%"), f"wiro: {text}"
            )
            display.publish(output, display_id=self.display_id, update=self.is_displayed)
            self.is_displayed = True
        elif sys.stderr.isatty():
            print(f"\r\033[Kwiro: {text}", end="", file=sys.stderr, flush=True)

    def finish(self, film: FilmFile) -> FilmFile:
        """Replaces the progress bar with the film, and returns the film."""
        if self.is_displayed:
            display.publish(film.output(), display_id=self.display_id, update=True)
            session.displayed_in(self._context).add(film.id)
        elif self._shown_at and sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        return film
