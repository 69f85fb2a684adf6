"""The view of a film: its static form, and the live strip of shots with one player."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import WiroError
from wiro_nb.films import Film
from wiro_nb.films.extend import Shot
from wiro_nb.films.plan import plan_film
from wiro_nb.formatting import (
    DONE,
    FAILED,
    RUNNING,
    SLOT,
    Status,
    describe_billed,
    format_progress,
    format_usd,
    status_of,
)
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.film.rendering import ShotTile, film_output, make_strip_thumb, read_film_poster
from wiro_nb.notebook.live import LiveView, presenter, read_position
from wiro_nb.notebook.magic.cells import quote_word, typed_values
from wiro_nb.notebook.run.display import clip_data, is_settled, read_poster, rebase_outputs
from wiro_nb.notebook.session import session
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import jpeg_uri

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.views import FilmStrip

MOST_LETTERS = 20_000


def film_text(film: Film) -> str:
    """Returns the cell that makes a film."""
    target = film.plan.target
    line = [f"--out {quote_word(target.path.name)}"]
    line += [f"--crossfade {target.crossfade_s:g}"] if target.crossfade_s else []
    line += [f"--audio {quote_word(str(target.audio))}"] if target.audio is not None else []
    return "\n".join([f"%%wiro_film {' '.join(line)}", *(_shot_text(shot) for shot in film.shots)])


def _shot_text(shot: Shot) -> str:
    values = dict(shot.values)
    prompt = str(values.pop("prompt", ""))
    source = [f"from={shot.source}{'' if shot.frame == -1 else f'#{shot.frame}'}"] if shot.source else []
    line = " ".join(["---", shot.name, shot.model, *source, *typed_values(values)])
    return f"{line}\n{prompt}" if prompt else line


class FilmView(LiveView[Film]):
    """A film in one output: the live strip in a live kernel, else its static form.

    Args:
        handle: The film.
    """

    def __init__(self, handle: Film) -> None:
        super().__init__(handle, f"film-{handle.id}")
        self._note = handle.plan.total.describe_sent("shots")

    # The static form ---------------------------------------------------------------------------

    def output(self) -> Output:
        """Returns the static form, with the film's record as metadata."""
        film, joined = self.handle, self.handle.joined
        status, title, about = self._head()
        sentences = [self._note, *(joined.sentences if joined is not None else ())]
        if film.error is not None:
            sentences += [film.error.sentence, *film.error.details, f"Next: {film.error.hint}."]
        elif not film.done:
            sentences.append(
                "Not finished when this notebook was saved. Run the cell again: it sends only the rest."
            )
        records = {run.id: run.record for run in film.runs if run.done and run.record is not None}
        mark = joined.record if joined is not None else {"film": film.plan.title, "runs": records}
        return film_output(
            title,
            about,
            self._tiles(),
            status=status,
            film=joined.output if joined is not None else None,
            poster=read_film_poster(joined.path) if joined is not None else None,
            sentences=sentences,
            metadata={"wiro": mark},
        )

    def _head(self) -> tuple[Status, str, str]:
        film = self.handle
        kinds = [status_of(run.snapshot).kind for run in film.runs]
        count, made = len(film.shots), kinds.count("done")
        status = RUNNING if not film.done else DONE if made == count and film.error is None else FAILED
        joining = film.progress[1] and not film.done
        title = f"Film: all {count} shots done" if made == count else f"Film: {made} of {count} shots done"
        if joining:
            title = f"Film: joining, {100 * film.progress[0] // film.progress[1]}%"
        spent = film.plan.total.free_label or f"spent {format_usd(film.cost_usd)}"
        return status, title, f"{film.plan.target.path.name}, {spent}"

    def _tiles(self) -> list[ShotTile]:
        joined, count = self.handle.joined, len(self.handle.shots)
        starts = [part["start_s"] for part in joined.parts] if joined is not None else []
        return [
            self._tile(place, start)
            for place, start in enumerate(starts if len(starts) == count else [None] * count)
        ]

    def _tile(self, place: int, start_s: float | None) -> ShotTile:
        shot, run = self.handle.shots[place], self.handle.run(self.handle.shots[place].name)
        tile = ShotTile(shot.name, SLOT, "", prompt=str(shot.values.get("prompt") or ""), start_s=start_s)
        source = f"from {shot.source}" if shot.source else ""
        if run is not None:
            snapshot = rebase_outputs(run, self.context.folder)
            status, cost = status_of(snapshot), describe_billed(snapshot)
            return replace(
                tile,
                status=status,
                word=status.label if snapshot.state.is_final else format_progress(snapshot),
                about=", ".join(filter(None, (source, f"run {snapshot.short_id}", cost))),
                path=str(clip_data(snapshot)["path"]),
                poster=make_strip_thumb(read_poster(run)) if is_settled(run) else None,
                source=shot.source,
                cost=cost,
                percent=snapshot.percent if status.kind == "running" else None,
            )
        if problem := self.handle.problem(shot.name):
            return replace(tile, status=FAILED, word=problem, about=source, source=shot.source)
        return replace(tile, word=f"Waits for {shot.source}" if shot.source else "Not sent")

    # The live form -----------------------------------------------------------------------------

    def make_widget(self) -> FilmStrip:
        """Returns the strip."""
        from wiro_nb.notebook.widgets.views import FilmStrip

        return FilmStrip(state=self._data()[0], on_action=self._on_action)

    def follow(self) -> None:
        """Follows the film, or another one in its place."""
        self.unsubscribe()
        self.unsubscribe = self.handle.on_change(self.schedule)
        self.schedule()

    def flush(self) -> None:
        """Shows shots and pictures that have changed, and at the end the static form.

        The static form goes first: a page draws the widget anew with it, which would stop a film that plays.
        """
        for run in self.runs:
            bridge.watch(run)
        state, posters = self._data()
        if self.handle.done:
            self.refresh()
        self.widget.posters = posters or self.widget.posters
        self.widget.state = state

    def _data(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Returns what the strip shows, and the pictures of the shots by position."""
        status, title, about = self._head()
        film, joined, tiles = self.handle, self.handle.joined, self._tiles()
        posters = {str(place): jpeg_uri(tile.poster) for place, tile in enumerate(tiles) if tile.poster}
        error = film.error if film.done else None
        state = {
            "title": title,
            "about": about,
            "icon": status.icon,
            "variant": status.variant,
            "note": error.sentence if error is not None else self._note,
            "path": (joined.output.path or "") if joined is not None else "",
            "length": joined.parts[-1]["end_s"] if joined is not None else 0,
            "version": joined.output.sha256 if joined is not None else "",
            "shots": [tile.data for tile in tiles],
            "retry": error is not None,
            "cancel": not film.done,
        }
        return state, posters

    def _on_action(self, action: str, content: Mapping[str, Any]) -> None:
        """Handles a button, outside the kernel's message thread because it may call the service."""
        threading.Thread(target=self._act, args=(action, content), name="wiro-film-action", daemon=True).start()

    def _act(self, action: str, content: Mapping[str, Any]) -> None:
        place, prompt = read_position(content, len(self.handle.shots)), str(content.get("prompt") or "")
        try:
            if action == "retry":
                self.handle.retry()
                self.schedule()
            elif action == "cancel":
                self.handle.cancel()
            elif action == "copy":
                self.widget.reply("copy", text=film_text(self.handle))
            elif place is not None and len(prompt) <= MOST_LETTERS:
                self._edit(place, prompt, is_sent=action == "run")
        except WiroError as error:
            self.widget.reply("price", text=f"{error.sentence} {error.hint}", p=place)

    def _edit(self, place: int, prompt: str, *, is_sent: bool) -> None:
        """Prices a shot with another prompt, or makes the film anew with it."""
        old, shots = self.handle.plan, list(self.handle.shots)
        shots[place] = replace(shots[place], values={**shots[place].values, "prompt": prompt}, run_id="")
        plan = plan_film(session.manager(), shots, old.target, title=old.title, origin=old.origin)
        if not is_sent:
            self.widget.reply("price", text=f"Would send {plan.total.describe(with_time=False)}.", p=place)
            return
        self.handle = Film.start(session.manager(), plan, session.preferences.limits())
        self._note = f"{plan.total.describe_sent('shots')} The cell holds the former prompt: copy the new cell."
        self.widget.reply("price", text="", p=place)
        self.follow()


show = presenter(FilmView)
