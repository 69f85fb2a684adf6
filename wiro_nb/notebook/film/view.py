"""A film in a notebook: its static form, and the live strip of shots with one player over all."""

from __future__ import annotations

import base64
import itertools
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import WiroError
from wiro_nb.films import Film
from wiro_nb.films.extend import Shot, with_changes
from wiro_nb.films.plan import plan_film
from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook import display
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.film.joined import make_strip_thumb, read_film_poster
from wiro_nb.notebook.magic.parser import quote_name, quote_word
from wiro_nb.notebook.run.display import clip_data, is_settled, read_poster, rebase_outputs
from wiro_nb.notebook.session import session
from wiro_nb.presentation.film import ShotTile, film_output
from wiro_nb.presentation.formatting import format_progress, format_usd
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.status import DONE, FAILED, RUNNING, SLOT, Status, status_of
from wiro_nb.session.prices import describe_plan

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.widgets.film import FilmStrip

NOTHING_SENT = "All shots already made. No charge. To run them again: --fresh"

_log = logging.getLogger(__name__)
_numbers = itertools.count(1)
_PAUSE_S = 0.3
_open = display.OpenViews()


def show(handle: Film, *, is_value: bool = False) -> None:
    """Shows a film on `film.show()`, or as the value of a cell that has not displayed it yet."""
    if is_value and handle.id in session.displayed_in(current_context()):
        return
    display.show(FilmView(handle))


def end_films() -> None:
    """Closes every strip: the extension is unloaded. The static forms stay."""
    _open.close_all()


def film_text(film: Film) -> str:
    """Returns the cell that makes a film."""
    target = film.target
    line = [f"--out {quote_word(target.path.name)}"]
    line += [f"--crossfade {target.crossfade_s:g}"] if target.crossfade_s else []
    line += [f"--audio {quote_word(str(target.audio))}"] if target.audio is not None else []
    return "\n".join([f"%%wiro_film {' '.join(line)}", *(_shot_text(shot) for shot in film.shots)])


def _shot_text(shot: Shot) -> str:
    values = dict(shot.values)
    prompt = str(values.pop("prompt", ""))
    pairs = [f"{quote_name(name)}={quote_word(str(value))}" for name, value in values.items()]
    source = [f"from={shot.source}{'' if shot.frame == -1 else f'#{shot.frame}'}"] if shot.source else []
    return "\n".join(filter(None, (" ".join(["---", shot.name, shot.model, *source, *pairs]), prompt)))


class FilmView:
    """A film in one output: the live strip in a live kernel, else its static form.

    Args:
        handle: The film.
    """

    is_moving = True  # also of a finished film: it is played and edited in the strip

    def __init__(self, handle: Film) -> None:
        self.handle = handle
        self.display_id = f"wiro-film-{handle.id}-{next(_numbers)}"
        self.strip: FilmStrip | None = None
        self._folder = current_context().folder
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._is_closed = False
        self._note = self._first_note()

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that were sent or found."""
        return self.handle.runs

    def _first_note(self) -> str:
        plan = self.handle.plan
        return f"{describe_plan(plan, with_time=False)}." if plan.missing else NOTHING_SENT

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
            [self._tile(place) for place in range(len(film.shots))],
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
        spent = film.plan.free_label or f"spent {format_usd(film.cost_usd)}"
        return status, title, f"{film.target.path.name}, {spent}"

    def _times(self) -> list[float | None]:
        joined = self.handle.joined
        starts = [part["start_s"] for part in joined.parts] if joined is not None else []
        return starts if len(starts) == len(self.handle.shots) else [None] * len(self.handle.shots)

    def _snapshot(self, place: int) -> Snapshot | None:
        run = self.handle.run(self.handle.shots[place].name)
        return None if run is None else rebase_outputs(run, self._folder)

    def _poster(self, place: int) -> bytes | None:
        run = self.handle.run(self.handle.shots[place].name)
        poster = read_poster(run) if run is not None and is_settled(run) else None
        return make_strip_thumb(poster) if poster is not None else None

    def _tile(self, place: int) -> ShotTile:
        shot, snapshot, start = self.handle.shots[place], self._snapshot(place), self._times()[place]
        facts = [f"from {shot.source}"] if shot.source else []
        status, word = self._state(place, snapshot)
        if snapshot is not None:
            facts += [f"run {snapshot.short_id}", *self._cost(snapshot)]
        return ShotTile(
            shot.name,
            status,
            word,
            prompt=str(shot.values.get("prompt") or ""),
            about=", ".join(facts),
            path=str(clip_data(snapshot)["path"]) if snapshot is not None else "",
            start_s=start,
            poster=self._poster(place),
        )

    def _cost(self, snapshot: Snapshot) -> list[str]:
        return [] if self.handle.plan.free_label or snapshot.cost_usd is None else [format_usd(snapshot.cost_usd)]

    def _state(self, place: int, snapshot: Snapshot | None) -> tuple[Status, str]:
        if snapshot is not None:
            status = status_of(snapshot)
            return status, status.label if snapshot.state.is_final else format_progress(snapshot)
        problem = self.handle.problem(place)
        source = self.handle.shots[place].source
        return (FAILED, problem) if problem else (SLOT, f"Waits for {source}" if source else "Not sent")

    # The live form -----------------------------------------------------------------------------

    def show_live(self) -> None:
        """Displays strip and static form under one display id, and follows the film."""
        from wiro_nb.notebook.widgets.film import FilmStrip

        self.strip = FilmStrip(self._data(), text=repr(self.handle), on_action=self._on_action)
        _open.add(self)
        bridge.open(current_context().notebook)
        self._publish(update=False)
        self._follow()

    def close(self) -> None:
        """Ends the strip; its static form takes its place."""
        self._unsubscribe()
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._publish(update=True, is_live=False)
        if self.strip is not None:
            self.strip.close()

    def _follow(self) -> None:
        self._unsubscribe()
        self._unsubscribe = self.handle.on_change(self._on_change)
        self._on_change()

    def _data(self) -> dict[str, Any]:
        status, title, about = self._head()
        film, joined = self.handle, self.handle.joined
        starts = self._times()
        shots = []
        for place, shot in enumerate(film.shots):
            snapshot = self._snapshot(place)
            state, word = self._state(place, snapshot)
            clip = clip_data(snapshot) if snapshot is not None else {"path": "", "width": 0, "height": 0}
            is_running = state.kind == "running" and snapshot is not None
            shots.append(
                {
                    "name": shot.name,
                    "prompt": str(shot.values.get("prompt") or ""),
                    "source": shot.source,
                    "icon": state.icon,
                    "variant": state.variant,
                    "word": word,
                    "percent": snapshot.percent if is_running and snapshot is not None else None,
                    "path": clip["path"],
                    "start": starts[place],
                    "cost": ", ".join(self._cost(snapshot)) if snapshot is not None else "",
                }
            )
        has_failed = film.done and film.error is not None
        return {
            "title": title,
            "about": about,
            "icon": status.icon,
            "variant": status.variant,
            "note": film.error.sentence if has_failed and film.error is not None else self._note,
            "path": (joined.output.path or "") if joined is not None else "",
            "length": joined.parts[-1]["end_s"] if joined is not None else 0,
            "version": joined.output.sha256 if joined is not None else "",
            "shots": shots,
            "retry": has_failed,
            "cancel": not film.done,
        }

    def _posters(self) -> dict[str, str]:
        """Returns the pictures that are not shown yet, as data URIs by run."""
        shown = self.strip.posters if self.strip is not None else {}
        found = {}
        for place, shot in enumerate(self.handle.shots):
            run = self.handle.run(shot.name)
            if run is not None and (poster := self._poster(place)) is not None:
                text = f"data:image/jpeg;base64,{base64.b64encode(poster).decode()}"
                found[str(place)] = text
        return {} if found == shown else found

    def _publish(self, *, update: bool, is_live: bool = True) -> None:
        output = self.output()
        shown = display.with_view_of(self.strip, output) if is_live and self.strip is not None else output
        display.publish(shown, display_id=self.display_id, update=update)

    def _on_change(self) -> None:
        """Handles a change on any thread; changes in quick succession are shown together."""
        with self._lock:
            if self._timer is not None or self._is_closed:
                return
            self._timer = threading.Timer(_PAUSE_S, self._flush)
            self._timer.daemon = True
            self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            self._timer = None
            if self._is_closed or self.strip is None:
                return
            is_end = self.handle.done
        try:
            for run in self.runs:
                bridge.watch(run)
            self.strip.update(self._data(), self._posters())
            if is_end:
                self._publish(update=True)
        except Exception:
            _log.exception("the view of a film could not be updated")

    def _on_action(self, strip: FilmStrip, action: str, place: int | None, prompt: str) -> None:
        """Does what a button asks for, outside the thread of the kernel's messages: it may ask the service."""
        threading.Thread(
            target=self._act, args=(strip, action, place, prompt), name="wiro-film-action", daemon=True
        ).start()

    def _act(self, strip: FilmStrip, action: str, place: int | None, prompt: str) -> None:
        try:
            if action == "retry":
                self.handle.retry()
                self._on_change()
            elif action == "cancel":
                self.handle.cancel()
            elif action == "copy":
                strip.reply("copy", text=film_text(self.handle))
            elif place is not None and action in ("price", "run"):
                self._edit(strip, self.handle.shots[place].name, prompt, is_sent=action == "run")
        except WiroError as error:
            strip.reply("price", text=f"{error.sentence} {error.hint}", p=place)

    def _edit(self, strip: FilmStrip, name: str, prompt: str, *, is_sent: bool) -> None:
        """Prices a shot with another prompt, or makes the film anew with it."""
        film = self.handle
        shots = with_changes(film.shots, name, {"prompt": prompt})
        plan = plan_film(session.manager(), shots, title=film.plan.title, origin=film.plan.origin)
        if not is_sent:
            strip.reply("price", text=f"Would send {describe_plan(plan, with_time=False)}.", p=plan.place(name))
            return
        self.handle = Film.start(session.manager(), plan, film.target, session.preferences.limits())
        self._note = f"{self._first_note()} The cell holds the former prompt: copy the new cell."
        self._follow()
