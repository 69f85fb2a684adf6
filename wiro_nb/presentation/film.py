"""Static output of a film: one player and a strip of its shots, whose posters open the film at their shot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wiro_nb.films.plan import FilmPlan
from wiro_nb.ledger.state import RunOutput
from wiro_nb.presentation.formatting import SLOT, Status, format_count, format_size, shorten
from wiro_nb.presentation.html import CARD, MUTED, Child, Html, h, line, muted, table, url
from wiro_nb.presentation.models import format_estimate
from wiro_nb.presentation.output import Block, Output, card, heading, paragraphs, status_dot
from wiro_nb.presentation.run import media, poster_base64
from wiro_nb.session.prices import describe_plan

_SMALL = f"font-size:11px;{MUTED}"
_LONGEST_PROMPT = 90


@dataclass(frozen=True, slots=True)
class ShotTile:
    """One shot in the strip.

    Attributes:
        name: Of the shot.
        status: Of its run. word: In place of the status's own label.
        prompt: What it shows. about: Time, cost, run.
        path: Its clip relative to the notebook, or "". start_s: Where it begins in the film, or None.
        poster: JPEG of a few hundred bytes, or None.
    """

    name: str
    status: Status
    word: str
    prompt: str = ""
    about: str = ""
    path: str = ""
    start_s: float | None = None
    poster: bytes | None = None


def film_output(
    title: str,
    about: str,
    tiles: Sequence[ShotTile],
    *,
    status: Status,
    film: RunOutput | None = None,
    poster: bytes | None = None,
    sentences: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Output:
    """Returns the static output of a film.

    Args:
        title: In bold.
        about: The rest of the first line.
        tiles: Its shots, in order.
        status: Of the whole.
        film: The joined file with its path relative to the notebook, or None while there is none.
        poster: JPEG for the player, or None.
        sentences: Below the first line.
        metadata: Of the output.
    """
    picture = poster_base64(poster) if poster else ""
    player: Child = ""
    if film is not None and (shown := media(film, title, picture)) is not None:
        size = f" {format_size(film.size_bytes)}" if film.size_bytes is not None else ""
        link = h(
            "a", film.path, href=url(film.path or ""), title="Open the file", style="text-decoration:underline"
        )
        player = (h("div", shown, style="max-width:560px;margin:8px 0 0 0"), line("File ", link, muted(size)))
    body = (_tile(number, tile, film) for number, tile in enumerate(tiles, start=1))
    strip = h("div", body, style="display:flex;gap:8px;overflow-x:auto;margin:10px 0 0 0;padding:0 0 4px 0")
    head = h("div", status_dot(status), h("b", title), " ", muted(about))
    html = h("div", head, (line(item) for item in sentences), player, strip, style=CARD)
    lines = [f"wiro: {title[:1].lower()}{title[1:]}  {about}", *(f"  {item}" for item in sentences)]
    lines += [f"  {film.path}"] if film is not None else []
    first = next((tile.poster for tile in tiles if tile.poster), None)
    jpeg = poster_base64(first) if first else ""
    return Output(html, "\n".join([*lines, *map(_tile_text, tiles)]), jpeg, metadata or {})


def plan_output(plan: FilmPlan) -> Output:
    """Returns the shots of a film that is not sent: the source, model and price of each."""
    heads = ("", "shot", "continues from", "model", "prompt", "price")
    rows = [_plan_row(plan, place) for place in range(len(plan.shots))]
    lines = ("  " + "  ".join(str(cell) for cell in row if cell) for row in rows)
    return card(
        heading(f"Film {plan.title}, {format_count(len(plan.shots), 'shot')}", "Nothing was sent.", status=SLOT),
        paragraphs([f"Would send {describe_plan(plan)}."]),
        Block(table(heads, rows, right=frozenset({5})), tuple(lines)),
    )


def _plan_row(plan: FilmPlan, place: int) -> list[Child]:
    shot, made = plan.shots[place], plan.made.get(place)
    source = f"{shot.source}{'' if shot.frame == -1 else f', frame {shot.frame}'}"
    price = (
        f"made, run {made.short_id}" if made is not None else format_estimate(plan.prices[place], plan.free_label)
    )
    prompt = shorten(" ".join(str(shot.values.get("prompt") or "").split()), _LONGEST_PROMPT)
    return [f"{place + 1}", shot.name, source, shot.model, prompt, price]


def _tile(number: int, tile: ShotTile, film: RunOutput | None) -> Html:
    picture: Child = h(
        "div", tile.word, style=f"{_SMALL};height:68px;background:rgba(127,127,127,.12);padding:4px"
    )
    if tile.poster is not None:
        source = f"data:image/jpeg;base64,{poster_base64(tile.poster)}"
        picture = h("img", src=source, alt=tile.name, style="display:block;width:100%;height:auto;margin:0")
    if film is not None and film.path and tile.start_s is not None:
        address = f"{url(film.path)}#t={tile.start_s:g}"
        picture = h("a", picture, href=address, title=f"Open the film at {tile.name}")
    elif tile.path:
        picture = h("a", picture, href=url(tile.path), title=f"Open {tile.name}")
    below = h("div", status_dot(tile.status), tile.word, " ", muted(tile.about), style="font-size:11px")
    name = h("div", f"{number}. {tile.name}", style="font-size:12px;font-weight:600")
    prompt = h("div", shorten(tile.prompt, _LONGEST_PROMPT), style=f"{_SMALL};white-space:normal")
    return h("div", picture, name, prompt, below, style="flex:0 0 124px;min-width:0;overflow-wrap:anywhere")


def _tile_text(tile: ShotTile) -> str:
    return f"  {tile.name}: {tile.word.lower()}  {tile.about}".rstrip()
