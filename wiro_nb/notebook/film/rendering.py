"""Static output of films and joined clips: a player, and a strip of shots whose posters open it at their shot."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wiro_nb.films.film_file import JoinedFilm
from wiro_nb.films.plan import FilmPlan
from wiro_nb.formatting import (
    DONE,
    SLOT,
    Status,
    format_count,
    format_duration,
    format_estimate,
    format_size,
    shorten,
)
from wiro_nb.ledger.state import RunOutput
from wiro_nb.media.decode import make_poster, make_thumb
from wiro_nb.notebook import display
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.html import MUTED, Child, Html, file_link, h, join, line, muted, table, url
from wiro_nb.presentation.output import (
    Block,
    Displayable,
    Output,
    card,
    heading,
    paragraphs,
    status_dot,
    text_table,
)
from wiro_nb.presentation.run import jpeg_uri, media, poster_base64
from wiro_nb.terminal import StatusLine

_SMALL = f"font-size:11px;{MUTED}"
_LONGEST_PROMPT = 90
_THUMB_BYTES, _THUMB_WIDTH = 1_600, 132
_POSTER_BYTES = 5_000
"""A film of twelve shots adds less than 60 KB to its notebook."""
_MIN_INTERVAL_S = 0.3


@dataclass(frozen=True, slots=True)
class ShotTile:
    """One shot in the strip.

    Attributes:
        name: Of the shot.
        status: Of its run. word: In place of the status's own label.
        prompt: What it shows. about: Source, run, cost, or its time in the film.
        path: Its clip relative to the notebook, or "". start_s: Where it begins in the film, or None.
        poster: JPEG of a few hundred bytes as a data URI, or "".
        percent: While it runs, for the live strip.
    """

    name: str
    status: Status
    word: str
    prompt: str = ""
    about: str = ""
    path: str = ""
    start_s: float | None = None
    poster: str = ""
    percent: float | None = None


def film_output(
    title: str,
    about: str,
    tiles: Sequence[ShotTile],
    *,
    status: Status,
    joined: JoinedFilm | None,
    sentences: Sequence[str] = (),
    mark: Mapping[str, Any] | None = None,
) -> Output:
    """Returns the static output of a film.

    Args:
        title: In bold.
        about: The rest of the first line.
        tiles: Its shots, in order.
        status: Of the whole.
        joined: The film, or None while there is none.
        sentences: Below the first line.
        mark: What the metadata says of the shots while there is no film with a record.
    """
    player: Child = ""
    film = joined.output if joined is not None else None
    if joined is not None and film is not None:
        poster = poster_base64(make_poster(joined.path, _POSTER_BYTES) or b"")
        size = f" {format_size(film.size_bytes)}" if film.size_bytes is not None else ""
        below = line("File ", file_link(film.path or ""), muted(size))
        player = (h("div", media(film, title, poster), style="max-width:560px;margin:8px 0 0 0"), below)
    body = (_tile(number, tile, film) for number, tile in enumerate(tiles, start=1))
    strip = h("div", body, style="display:flex;gap:8px;overflow-x:auto;margin:10px 0 0 0;padding:0 0 4px 0")
    texts = tuple(f"  {tile.name}: {tile.word.lower()}  {tile.about}".rstrip() for tile in tiles)
    output = card(
        heading(title, about, status=status, text=f"{title[:1].lower()}{title[1:]}  {about}"),
        paragraphs([*sentences, *(joined.sentences if joined is not None else ())]),
        Block(join(player), (f"  {film.path}",) if film is not None else ()),
        Block(strip, texts),
    )
    first = next((tile.poster for tile in tiles if tile.poster), "")
    metadata = {"wiro": joined.record if joined is not None else mark}
    return replace(output, jpeg=first.partition(",")[2], metadata=metadata)


def _tile(number: int, tile: ShotTile, film: RunOutput | None) -> Html:
    style = f"{_SMALL};height:68px;background:rgba(127,127,127,.12);padding:4px"
    picture = h("div", tile.word, style=style)
    if tile.poster:
        picture = h("img", src=tile.poster, alt=tile.name, style="display:block;width:100%;height:auto;margin:0")
    if film is not None and film.path and tile.start_s is not None:
        address = f"{url(film.path)}#t={tile.start_s:g}"
        picture = h("a", picture, href=address, title=f"Open the film at {tile.name}")
    elif tile.path:
        picture = h("a", picture, href=url(tile.path), title=f"Open {tile.name}")
    below = h("div", status_dot(tile.status), tile.word, " ", muted(tile.about), style="font-size:11px")
    name = h("div", f"{number}. {tile.name}", style="font-size:12px;font-weight:600")
    prompt = h("div", shorten(tile.prompt, _LONGEST_PROMPT), style=f"{_SMALL};white-space:normal")
    return h("div", picture, name, prompt, below, style="flex:0 0 124px;min-width:0;overflow-wrap:anywhere")


def plan_output(plan: FilmPlan) -> Output:
    """Returns the shots of a film that is not sent: the source, model and price of each."""
    rows = [_plan_row(plan, place) for place in range(len(plan.shots))]
    texts = ([*row[:2], f"from {row[2]}" if row[2] else "", *row[3:]] for row in rows)
    heads = ("", "shot", "continues from", "model", "prompt", "price")
    title = f"{plan.title}, {format_count(len(plan.shots), 'shot')}"
    return card(
        heading(f"Film {title}", "Nothing was sent.", status=SLOT, text=f"film {title}. Nothing was sent."),
        paragraphs([f"Would send {plan.total.describe()}."]),
        Block(table(heads, rows, right=frozenset({5})), text_table(texts)),
    )


def _plan_row(plan: FilmPlan, place: int) -> list[str]:
    shot = plan.shots[place]
    made = plan.made.get(shot.name)
    source = shot.source if shot.frame == -1 else f"{shot.source}, frame {shot.frame}"
    price = (
        f"made, run {made.short_id}" if made else format_estimate(plan.prices[shot.name], plan.total.free_label)
    )
    prompt = shorten(" ".join(str(shot.values.get("prompt") or "").split()), _LONGEST_PROMPT)
    return [f"{place + 1}", shot.name, source, shot.model, prompt, price]


def strip_poster(poster: bytes | None) -> str:
    """Returns a poster as a data URI, shrunk for a strip of shots; "" for None."""
    return jpeg_uri(make_thumb(poster, _THUMB_BYTES, _THUMB_WIDTH) if poster else None)


class FilmFile(Displayable):
    """A film that was joined; it shows itself in a notebook.

    Attributes:
        path: The MP4. record: How it was made, with the records of its parts.
        parts: Name, start_s, end_s, dropped_frames, run_id, credentials and record of each part.
    """

    def __init__(self, joined: JoinedFilm, clips: Sequence[Path]) -> None:
        self._joined, self._posters = joined, [strip_poster(make_poster(clip)) for clip in clips]
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
        about = f"{format_duration(self.parts[-1]['end_s'])}, {self.path.name}"
        return film_output(f"Film of {len(tiles)} clips", about, tiles, status=DONE, joined=self._joined)

    def _ipython_display_(self) -> None:
        if self.id not in session.displayed_in(current_context()):
            display.publish(self.output())


class JoinProgress:
    """Shows how much of a film is written: a bar in a live notebook, a line in a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._context, self._line = current_context(), StatusLine()
        self._shown_at = 0.0
        self._display_id = f"wiro-join-{time.monotonic_ns()}"
        self._is_displayed = False

    def __call__(self, done: int, total: int) -> None:
        """Shows the number of frames written; not more than a few times a second."""
        if time.monotonic() < self._shown_at + _MIN_INTERVAL_S:
            return
        self._shown_at = time.monotonic()
        text = f"wiro: joining: {done} of {total} frames"
        self._line.rewrite(text)
        if self._context.is_live:
            bar = h("progress", value=done, max=total, style="width:240px")
            shown = h("div", line("Joining clips"), bar, f" {100 * done // max(1, total)}%")
            display.publish(Output(shown, text), display_id=self._display_id, update=self._is_displayed)
            self._is_displayed = True

    def finish(self, film: FilmFile) -> FilmFile:
        """Replaces the progress bar with the film, clears the line of a terminal, and returns the film."""
        self._line.rewrite("")
        if self._is_displayed:
            display.publish(film.output(), display_id=self._display_id, update=True)
            session.displayed_in(self._context).add(film.id)
        return film
