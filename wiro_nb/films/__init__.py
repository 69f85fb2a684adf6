"""Films from clips: extends a clip, joins clips into one file, and makes films of several shots.

A shot is sent as soon as its source is finished, and the clips are joined into a file. A film has no state of its
own: its runs are ordinary rows of the ledger. A film whose kernel was killed therefore continues when it is
requested again: unfinished runs are followed, finished ones reused, and only the rest is sent.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from wiro_nb.display_registry import present
from wiro_nb.errors import BudgetExceeded, RunCancelled, RunFailed, TimedOut, UnknownRun, WiroError
from wiro_nb.execution.run import Run
from wiro_nb.films.extend import Shot
from wiro_nb.films.film_file import JoinedFilm, Part, check_target, find_film, join_parts
from wiro_nb.films.plan import FilmPlan, confirm, prepare_shot
from wiro_nb.ledger.state import RunState
from wiro_nb.session.manager import Manager
from wiro_nb.session.prices import Limits
from wiro_nb.session.submission import Batch

_log = logging.getLogger(__name__)
_TICK_S = 0.1
"""Pause between two looks at the shots of a film."""
_films: WeakValueDictionary[str, Film] = WeakValueDictionary()
_submitting = threading.Lock()


class Film:
    """The handle of a film: iterate over its runs, wait, retry what failed. Safe from any thread.

    Args:
        manager: That sends and follows the runs.
        plan: What was asked for.
    """

    def __init__(self, manager: Manager, plan: FilmPlan) -> None:
        self._manager = manager
        self.plan = plan
        self.joined: JoinedFilm | None = None
        self.progress = (0, 0)
        self._runs = dict(plan.made)
        self._problems: dict[str, WiroError] = {}
        self._join_error: WiroError | None = None
        self._callbacks: tuple[Callable[[], None], ...] = ()
        self._stopped, self._ended = threading.Event(), threading.Event()

    @classmethod
    def start(cls, manager: Manager, plan: FilmPlan, limits: Limits | None) -> Film:
        """Sends the shots without a source and returns the handle; the rest are sent as their sources finish.

        An earlier handle of the same film sends nothing more.

        Args:
            manager: Sends them.
            plan: From `plan_film`.
            limits: What is sent without being asked; None where the user confirmed already.

        Raises:
            ConfirmationNeeded, BudgetExceeded: As `confirm`; nothing was sent.
            WiroError: A shot could not be sent; those sent before it continue.
        """
        check_target(plan.target)  # refused before paying, not after
        confirm(manager, plan, limits)
        film = cls(manager, plan)
        with _submitting:
            _films[film.id] = film
        for run in film.runs:
            manager.follow(run)
        for shot in plan.shots:
            if not shot.source and shot.name not in film._runs:
                film._submit(shot, None)
        film._drive_in_background()
        return film

    # What it is ------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The same for the same film in the same notebook."""
        return self.plan.film_id

    @property
    def shots(self) -> tuple[Shot, ...]:
        """Its shots, in order."""
        return self.plan.shots

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs sent or reused, in the order of the shots."""
        return tuple(run for shot in self.shots if (run := self._runs.get(shot.name)) is not None)

    @property
    def path(self) -> Path | None:
        """The joined MP4, or None while there is none."""
        return self.joined.path if self.joined is not None else None

    @property
    def done(self) -> bool:
        """True when nothing changes any more without a call by the user."""
        return self._ended.is_set()

    @property
    def error(self) -> WiroError | None:
        """Why there is no film, or None."""
        return self._join_error or (self._failure() if self.done and self.joined is None else None)

    @property
    def cost_usd(self) -> Decimal:
        """The amount billed for its runs, reused ones included."""
        return sum((run.cost_usd or Decimal(0) for run in self.runs), Decimal(0))

    def run(self, name: str) -> Run | None:
        """Returns the run of a shot, or None while it is not sent.

        Raises:
            UnknownRun: There is no such shot.
        """
        names = [shot.name for shot in self.shots]
        if name not in names:
            message = f"no shot is called {name}; there are {', '.join(names)}"
            raise UnknownRun(message, hint="film.shots", query=name, near=[])
        return self._runs.get(name)

    def problem(self, name: str) -> str:
        """Returns why a shot is not sent, or ""."""
        return self._problems[name].message if name in self._problems else ""

    # Waiting and stopping --------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None, *, check: bool = True) -> Film:
        """Waits until the shots have ended and are joined.

        Args:
            timeout_s: Seconds; None waits to the end.
            check: True raises when a shot failed or they could not be joined.

        Raises:
            TimedOut: The time is over; the film continues.
            WaitInterrupted: The wait was interrupted; the film continues.
            RunFailed: With `check`: the message counts and names the shots that failed.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.done:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimedOut(
                    f"the film is not done after {timeout_s:g} s; it continues", hint="%wiro wait", billed=""
                )
            moving = next((run for run in self.runs if not run.done), None)
            with suppress(TimedOut):
                if moving is None:
                    self._ended.wait(_TICK_S)
                else:
                    moving.wait(5 * _TICK_S, check=False)  # it keeps the loop of a kernel turning
        if check and (error := self.error) is not None:
            raise error
        return self

    def stop(self) -> None:
        """Stops sending shots; runs already sent continue."""
        self._stopped.set()

    def _is_stopped(self) -> bool:
        """True after a call of `stop`, and once another handle of the same film has taken its place."""
        return self._stopped.is_set() or _films.get(self.id) is not self

    def cancel(self) -> Film:
        """Stops sending shots and requests cancellation of unfinished runs; returns at once."""
        self.stop()
        for run in self.runs:
            run.cancel()
        return self

    def retry(self) -> Film:
        """Resends failed shots and what depends on them; shots that are done, or may still be, are kept."""
        with _submitting:  # two threads that retry at once must not both send the rest
            if not self.done:
                return self
            failed = (RunState.FAILED, RunState.CANCELLED)
            self._runs = {name: run for name, run in self._runs.items() if run.state not in failed}
            for run in self.runs:
                self._manager.follow(run)  # one without an end may have been paid: the service is asked again
            self._problems, self._join_error = {}, None
            self._stopped.clear()
            self._ended.clear()
        self._drive_in_background()
        return self

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back, on any thread, when a shot changes or the film is joined; returns what ends the calls."""
        self._callbacks += (callback,)

        def unsubscribe() -> None:
            self._callbacks = tuple(item for item in self._callbacks if item is not callback)

        return unsubscribe

    def show(self) -> None:
        """Shows the film in the notebook."""
        present("film", self)

    def __repr__(self) -> str:
        made = sum(run.state is RunState.SUCCEEDED for run in self.runs)
        where = f", {self.path.name}" if self.path is not None else ""
        return f"<Film {self.plan.title}: {made} of {len(self.shots)} shots done{where}>"

    def _ipython_display_(self) -> None:
        present("film", self, is_value=True)

    # The shots, one after another --------------------------------------------------------------

    def _drive_in_background(self) -> None:
        threading.Thread(target=self._drive, name="wiro-film", daemon=True).start()

    def _drive(self) -> None:
        """Sends each shot once its source is finished, notifies of changes, and joins the clips."""
        shown: tuple[Any, ...] = ()
        try:
            while not self._is_stopped():
                have_ended = [self._advance(shot) for shot in self.shots]
                now = [run.snapshot for run in self.runs], len(self._problems)
                if now != shown:
                    self._notify()
                shown = now
                if all(have_ended):
                    break
                self._stopped.wait(_TICK_S)
            if not self._is_stopped() and len(self.runs) == len(self.shots) and self._failure() is None:
                self._join()
        finally:
            self._ended.set()
            self._notify()

    def _advance(self, shot: Shot) -> bool:
        """Sends a shot whose source is finished, or records why it cannot; returns whether it has ended."""
        if (run := self._runs.get(shot.name)) is not None or shot.name in self._problems:
            return run is None or run.done
        source = self._runs.get(shot.source)
        if shot.source and (source is None or source.state is not RunState.SUCCEEDED):
            if shot.source not in self._problems and (source is None or not source.done):
                return False
            self._problems[shot.name] = RunFailed(f"not sent: it continues from {shot.source}", billed="")
            return True
        try:
            self._submit(shot, source)
        except WiroError as error:  # a budget that is used up, a clip that is gone: what exists is kept
            self._problems[shot.name] = error
        return shot.name in self._problems

    def _submit(self, shot: Shot, source: Run | None) -> None:
        """Sends a shot, unless a run answers it already."""
        plan = self.plan
        request = prepare_shot(self._manager, shot, source, plan.origin)
        parent = {"run_id": source.id, "output": 0, "frame": shot.frame} if source is not None else None
        with _submitting:
            if self._is_stopped():
                return
            used = frozenset(run.id for run in self.runs)
            batch = Batch([request], plan.origin, [parent], fresh=plan.fresh, exclude=used)
            limit, out_dir = plan.target.max_cost_usd, plan.target.out_dir
            (submission,) = self._manager.submit(batch, max_cost_usd=limit, out_dir=out_dir)
            self._runs[shot.name] = submission.run

    def _failure(self) -> WiroError | None:
        """Returns the error that names what failed, or None."""
        failed = {name: run.error for name, run in self._runs.items() if run.error is not None} | self._problems
        errors = {shot.name: failed[shot.name] for shot in self.shots if shot.name in failed}
        if not errors:
            return None if len(self.runs) == len(self.shots) else RunCancelled("the film was stopped")
        made = sum(run.state is RunState.SUCCEEDED for run in self.runs)
        first, again = next(iter(errors.values())), "run the cell again: only what is missing is sent"
        return RunFailed(
            f"{len(errors)} of {len(self.shots)} shots gave no result; {made} are done and kept",
            details=[f"{name}: {error.message}" for name, error in errors.items()][:8],
            hint=f"{first.hint}, then {again}" if isinstance(first, BudgetExceeded) else again,
            billed="",
            run_id=None,
        )

    def _join(self) -> None:
        """Joins the clips, unless the file already exists."""
        try:
            for run in self.runs:
                if run.lacks_files:
                    run.download()
            parts = [
                Part(shot.name, run.path, run.record)
                for shot, run in zip(self.shots, self.runs, strict=True)
                if run.path is not None
            ]
            target, title = self.plan.target, self.plan.title
            self.joined = find_film(parts, target)
            if self.joined is None and len(parts) > 1:
                self.joined = join_parts(parts, target, title=title, on_progress=self._on_join_progress)
        except WiroError as error:
            self._join_error = error

    def _on_join_progress(self, done: int, total: int) -> None:
        self.progress = (done, total)
        self._notify()

    def _notify(self) -> None:
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                _log.exception("a change callback of the film %s failed", self.plan.title)
