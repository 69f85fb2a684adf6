"""A run in a notebook: its static output, the card that follows it until its end, its clip in grids."""

from __future__ import annotations

import io
import itertools
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from wiro_nb.ledger.state import RunOutput, Snapshot, Stage
from wiro_nb.notebook import display
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.pacing import pacer
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_forecast
from wiro_nb.presentation.models import option_labels
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import run_output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.widgets import RunCard

_numbers = itertools.count(1)
_POSTER_LIMIT_BYTES = 16_000


def show(run: Run, *, is_value: bool = False) -> None:
    """Shows a run on `run.show()`, or as the value of a cell that has not displayed it yet."""
    if is_value and run.id in session.displayed_in(current_context()):
        return
    display.show(RunView(run, session.take_notice(run.id)))


def static_output(run: Run, notice: str = "") -> Output:
    """Returns the static output of a run, with its record as metadata; `notice` stands above it."""
    snapshot = rebase_outputs(run, current_context().folder)
    labels = option_labels(snapshot, session.known_schema(run.model))
    record = run.record if is_settled(run) else None
    metadata = {"wiro": record or {"run_id": run.id, "model": run.model, "status": str(run.state)}}
    return replace(run_output(snapshot, read_posters(run, snapshot), notice, labels), metadata=metadata)


def rebase_outputs(run: Run, folder: Path) -> Snapshot:
    """Returns the run with its files' paths as seen from a folder; they start from its own notebook's."""
    snapshot, own = run.snapshot, run.folder
    if own is None or not snapshot.outputs:
        return snapshot
    base = PurePosixPath(os.path.relpath(own, folder).replace(os.sep, "/"))

    def move(path: str | None) -> str | None:
        return None if path is None else str(base / PurePosixPath(path).name)

    outputs = tuple(
        replace(output, path=move(output.path), poster_path=move(output.poster_path))
        for output in snapshot.outputs
    )
    return replace(snapshot, outputs=outputs)


def read_posters(run: Run, snapshot: Snapshot) -> dict[str, bytes]:
    """Reads the small pictures of a run's clips, by their relative path; unreadable ones are left out."""
    posters: dict[str, bytes] = {}
    for output in snapshot.outputs if run.folder is not None else ():
        if output.poster_path and run.folder is not None:
            try:
                picture = (run.folder / PurePosixPath(output.poster_path).name).read_bytes()
            except OSError:
                continue
            if len(picture) <= _POSTER_LIMIT_BYTES:
                posters[output.poster_path] = picture
    return posters


def is_settled(run: Run) -> bool:
    """True when the run's files and record are there too.

    Listeners get the final state a moment before `run.done`; an uncertain run may still find its task.
    """
    return run.state.is_final and (run.done or run.error is not None or run.record is not None)


class RunView:
    """A run in one output: a card that gives way to the static output at the end, so that no dead widget is saved.

    Args:
        run: The run.
        notice: One sentence above it.
    """

    def __init__(self, run: Run, notice: str = "") -> None:
        self.handle, self.notice = run, notice
        self.runs = (run,)
        self.display_id = f"wiro-{run.id}-{next(_numbers)}"  # its own: two cells may show one run
        self._card: RunCard | None = None
        self._lock = threading.Lock()
        self._stops: list[Callable[[], None]] = []

    @property
    def is_moving(self) -> bool:
        """True until the run is done."""
        return not self.handle.done

    def output(self) -> Output:
        """Returns the static output."""
        return static_output(self.handle, self.notice)

    def show_live(self) -> None:
        """Displays the card and follows the run, which may already have ended or end meanwhile."""
        from wiro_nb.notebook.widgets import RunCard

        snapshot = self.handle.snapshot
        price = "price not listed"
        if snapshot.is_free:
            price = "free"
        elif snapshot.estimated_usd is not None:
            price = format_forecast(snapshot.estimated_usd)
        card = self._card = RunCard(snapshot, again_price=price)
        _views.add(self)  # first: an interrupt may strike at any time
        display.publish(display.with_view_of(card, self.output()), display_id=self.display_id)
        self._stops = [card.on_action(self._on_action), self.handle.on_change(self._on_change)]
        if is_settled(self.handle):
            self.end()
        else:
            card.update(self.handle.snapshot)
        if self not in _views:  # it ended before there was something to stop
            self._unsubscribe()

    def _unsubscribe(self) -> None:
        while self._stops:
            self._stops.pop()()

    def _on_change(self, snapshot: Snapshot) -> None:
        card = self._card
        if card is None:
            return
        if is_settled(self.handle):
            self.end()
        elif snapshot.stage is Stage.FETCHING:  # it succeeded: that is shown at once
            pacer.drop(card)
            card.update(snapshot)
        else:
            pacer.offer(card, lambda: card.update(snapshot))

    def end(self) -> None:
        """Replaces the card by the static output; a second call does nothing."""
        with self._lock:
            card, self._card = self._card, None
        if card is None:
            return
        self._unsubscribe()
        pacer.drop(card)
        _views.discard(self)
        display.publish(self.output(), display_id=self.display_id, update=True)
        card.close()

    def _on_action(self, card: RunCard, action: str) -> None:
        if action == "stop_watching":
            self.end()
        else:
            answer_action(self.handle, card, action)


_views: WeakSet[RunView] = WeakSet()


def answer_action(run: Run, card: RunCard, action: str) -> None:
    """Performs the action of a card's button, on any thread; displays nothing, as no cell is running."""
    if action == "cancel":
        run.cancel()
    elif action == "try_now":
        session.manager().follow(run)
    elif action == "copy_cell":
        from wiro_nb.notebook.magic.cells import cell_of_run

        card.reply(cell_of_run(run, session.known_schema(run.model)), copy=True)


def end_views() -> None:
    """Ends every card: the extension is unloaded. Their static outputs stay."""
    for view in list(_views):
        view.end()


_FALLBACK_FPS = 16.0
_THUMB_WIDTH = 208


def main_output(snapshot: Snapshot) -> RunOutput | None:
    """Returns the output that stands for a run: the first clip, else the first picture, else the first file."""
    kept = [output for output in snapshot.outputs if output.path or output.content is not None]
    order = ("video/", "image/", "")
    return next((output for kind in order for output in kept if output.content_type.startswith(kind)), None)


def clip_data(snapshot: Snapshot) -> dict[str, Any]:
    """Returns what a player needs of a run's main output, as plain JSON data."""
    output = main_output(snapshot)
    if output is None:
        return {"path": "", "poster": "", "type": "", "duration": 0, "fps": _FALLBACK_FPS, "width": 0, "height": 0}
    counted = output.frames / output.fps if output.frames and output.fps else None
    return {
        "path": output.path or "",
        "poster": output.poster_path or "",
        "type": output.content_type.partition("/")[0],
        "duration": counted or output.duration_s or 0,
        "fps": output.fps or _FALLBACK_FPS,
        "width": output.width or 0,
        "height": output.height or 0,
    }


def read_poster(run: Run) -> bytes | None:
    """Returns the poster of a run's main output as JPEG, or None."""
    output = main_output(run.snapshot)
    if output is None or not output.poster_path:
        return None
    return read_posters(run, run.snapshot).get(output.poster_path)


def make_thumb(poster: bytes, max_bytes: int = 5_000) -> bytes:
    """Returns a poster shrunk for a page of many; the poster itself where Pillow is missing or cannot read it."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(poster)) as opened:
            picture = opened.convert("RGB")
    except (ImportError, OSError, ValueError, EOFError, SyntaxError):
        return poster
    picture.thumbnail((_THUMB_WIDTH, _THUMB_WIDTH * 2))
    for quality in (78, 62, 48, 34, 22):
        with io.BytesIO() as stream:
            picture.save(stream, "JPEG", quality=quality, optimize=True)
            data = stream.getvalue()
        if len(data) <= max_bytes:
            break
    return data
