"""The view of a film: its static form, and the live strip of shots with one player."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
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
from wiro_nb.notebook.film.rendering import ShotTile, film_output, strip_poster
from wiro_nb.notebook.live import LiveView, presenter, read_position
from wiro_nb.notebook.magic.cells import quote_word, typed_values
from wiro_nb.notebook.run.display import clip_data, is_settled, read_poster, rebase_outputs
from wiro_nb.notebook.session import session
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets.views import FilmStrip

_MOST_LETTERS = 20_000


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
        self._watched: set[str] = set()  # ids of runs whose records the notebook gets

    # What it shows -----------------------------------------------------------------------------

    def output(self) -> Output:
        """Returns the static form, with the film's record as metadata."""
        film, (status, title, about) = self.handle, self._head()
        sentences = [self._note]
        if film.error is not None:
            sentences += [film.error.sentence, *film.error.details, f"Next: {film.error.hint}."]
        elif not film.done:
            sentences.append(
                "Not finished when this notebook was saved. Run the cell again: it sends only the rest."
            )
        records = {run.id: run.record for run in film.runs if run.done and run.record is not None}
        mark = {"film": film.plan.title, "runs": records}
        return film_output(
            title, about, self._tiles(), status=status, joined=film.joined, sentences=sentences, mark=mark
        )

    def data(self) -> dict[str, Any]:
        """Returns head and shots of the strip as they are now."""
        film, joined, (status, title, about) = self.handle, self.handle.joined, self._head()
        error = film.error if film.done else None
        head = {
            **asdict(status),
            "title": title,
            "about": about,
            "note": error.sentence if error is not None else self._note,
            "path": (joined.output.path or "") if joined is not None else "",
            "length": joined.parts[-1]["end_s"] if joined is not None else 0,
            "version": joined.output.sha256 if joined is not None else "",
            "retry": error is not None,
            "cancel": not film.done,
        }
        return {"head": head, "items": [{"p": place, **asdict(tile)} for place, tile in enumerate(self._tiles())]}

    def _head(self) -> tuple[Status, str, str]:
        film = self.handle
        kinds = [status_of(run.snapshot).kind for run in film.runs]
        count, made = len(film.shots), kinds.count("done")
        status = RUNNING if not film.done else DONE if made == count and film.error is None else FAILED
        title = f"Film: all {count} shots done" if made == count else f"Film: {made} of {count} shots done"
        if film.progress[1] and not film.done:
            title = f"Film: joining, {100 * film.progress[0] // film.progress[1]}%"
        spent = film.plan.total.free_label or f"spent {format_usd(film.cost_usd)}"
        return status, title, f"{film.plan.target.path.name}, {spent}"

    def _tiles(self) -> list[ShotTile]:
        """Returns the shots; where each begins in the film, once it is joined of all of them."""
        shots, joined = self.handle.shots, self.handle.joined
        parts = joined.parts if joined is not None and len(joined.parts) == len(shots) else None
        return [
            replace(self._tile(shot), start_s=parts[place]["start_s"] if parts is not None else None)
            for place, shot in enumerate(shots)
        ]

    def _tile(self, shot: Shot) -> ShotTile:
        run, source = self.handle.run(shot.name), f"from {shot.source}" if shot.source else ""
        prompt = str(shot.values.get("prompt") or "")
        if run is None:
            if problem := self.handle.problem(shot.name):
                return ShotTile(shot.name, FAILED, problem, prompt, source)
            return ShotTile(shot.name, SLOT, f"Waits for {shot.source}" if shot.source else "Not sent", prompt)
        snapshot = rebase_outputs(run, self.context.folder)
        status = status_of(snapshot)
        return ShotTile(
            shot.name,
            status,
            status.label if snapshot.state.is_final else format_progress(snapshot),
            prompt,
            ", ".join(filter(None, (source, f"run {snapshot.short_id}", describe_billed(snapshot)))),
            path=str(clip_data(snapshot)["path"]),
            poster=strip_poster(read_poster(run)) if is_settled(run) else "",
            percent=snapshot.percent if status.kind == "running" else None,
        )

    # The live strip ----------------------------------------------------------------------------

    def make_widget(self) -> FilmStrip:
        """Returns the strip."""
        from wiro_nb.notebook.widgets.views import FilmStrip

        return FilmStrip(**self.data(), on_action=self._on_action)

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
            if run.id not in self._watched:
                self._watched.add(run.id)
                bridge.watch(run)
        if self.handle.done:
            self.refresh()
        super().flush()

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
            elif place is not None and len(prompt) <= _MOST_LETTERS:
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
