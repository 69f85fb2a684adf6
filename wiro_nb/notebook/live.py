"""Live views: outputs that show a widget, with a static form that remains when the widget is closed; and waiting.

- A live kernel: a widget beside the static form; it updates from the I/O thread.
- A headless kernel: messages that do not belong to the executing cell are dropped, so the cell waits, shows the
  final output and raises when a run failed.
- A terminal: text.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from wiro_nb.formatting import format_bar
from wiro_nb.notebook import display
from wiro_nb.notebook.bridge import LiveOutput, bridge
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.output import Output
from wiro_nb.terminal import StatusLine

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.ledger.state import Snapshot
    from wiro_nb.notebook.form.controller import NotebookForm

_log = logging.getLogger(__name__)
CARD_MESSAGES_PER_S = 50


class Throttle:
    """Limits the message rate of all cards together, so that a kernel with a thousand runs stays responsive.

    Each run notifies its listeners at most ten times a second; with many runs that is still too much for the
    connection to the page. Moving cards therefore take turns, the one that waited longest first, each with its
    newest state. The end of a run never waits here. Not thread-safe: use it only on the loop on which runs change.

    Args:
        per_s: Most updates in any second.
        clock: Monotonic seconds.
        call_later: Calls a function after some seconds; the running loop's by default.
    """

    def __init__(
        self,
        per_s: int = CARD_MESSAGES_PER_S,
        *,
        clock: Callable[[], float] = time.monotonic,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        self._per_s = per_s
        self._clock = clock
        self._call_later = call_later
        self._sent_at: deque[float] = deque(maxlen=per_s)
        self._waiting: dict[Hashable, Callable[[], None]] = {}
        self._timer_until: float | None = None

    def offer(self, key: Hashable, send: Callable[[], None]) -> None:
        """Sends now or as soon as the rate allows; a newer update of the same key replaces the older one."""
        self._waiting[key] = send
        self._send_some()

    def drop(self, key: Hashable) -> None:
        """Drops the pending update of a key."""
        self._waiting.pop(key, None)

    def _send_some(self) -> None:
        now = self._clock()
        while self._waiting and (len(self._sent_at) < self._per_s or now - self._sent_at[0] >= 1.0):
            send = self._waiting.pop(next(iter(self._waiting)))
            self._sent_at.append(now)
            try:
                send()
            except Exception:
                _log.exception("a card could not be updated")
        # A timer whose moment is long past died with its loop.
        if self._waiting and (self._timer_until is None or now > self._timer_until + 1.0):
            pause = max(0.0, self._sent_at[0] + 1.0 - now)
            self._timer_until = now + pause
            (self._call_later or asyncio.get_running_loop().call_later)(pause, self._on_timer)

    def _on_timer(self) -> None:
        self._timer_until = None
        self._send_some()


throttle = Throttle()


_INTERVAL_S = 0.2
Handle = TypeVar("Handle")
open_views: list[LiveView[Any] | NotebookForm] = []
"""Open views and forms, oldest first; all are closed when the extension is unloaded."""


class LiveView(LiveOutput, Generic[Handle]):
    """A run, sweep, film or list in one output: a widget in a live kernel, else its static form.

    Args:
        handle: What is shown.
        name: As `LiveOutput` takes it.
    """

    most_open = 20
    """Opening one more closes the oldest view that `can_close`; its static form remains."""
    can_close = True

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(name)
        self.handle, self.context = handle, current_context()
        self.widget: Any = None
        self.unsubscribe: Callable[[], None] = lambda: None
        self._is_scheduled = False

    @property
    def runs(self) -> Sequence[Run]:
        """All its runs."""
        handle: Any = self.handle
        return tuple(handle.runs)

    @property
    def is_moving(self) -> bool:
        """True when a live kernel shows the widget: also at the end where clips are played in it."""
        return True

    def output(self) -> Output:
        """Returns the static form."""
        raise NotImplementedError

    def render(self) -> Output:
        """Returns the static form, with the widget while there is one."""
        return self.output() if self.widget is None else display.with_view_of(self.widget, self.output())

    def make_widget(self) -> Any:
        """Returns the widget."""
        raise NotImplementedError

    def follow(self) -> None:
        """Follows the runs, which may have ended or end meanwhile; sets `unsubscribe`."""

    def on_budget(self) -> None:
        """Shows a budget that was set, where the view shows one."""

    def data(self) -> dict[str, Any]:
        """Returns `head` and `items` of the widget as they are now."""
        raise NotImplementedError

    def flush(self) -> None:
        """Shows in the widget what has changed; called some time after `schedule`, on a thread of its own."""
        self.widget.update(**self.data())

    # Displaying and waiting ----------------------------------------------------------------------

    def show(self) -> None:
        """Displays the widget where a user watches, else the static form as it is now."""
        if self.context.kind == "plain":
            print(repr(self.handle))
        elif self.context.is_live and self.is_moving:
            self.show_live()
        else:
            display.publish(self.output(), display_id=self.display_id)

    def show_and_wait(self, *, wait: bool | None = None) -> Handle:
        """Shows a run or sweep in the running cell, waits for it there, and returns it.

        Args:
            wait: True waits, False does not; None leaves it to the preferences.

        Raises:
            WiroError: As `wait`; the result is still displayed.
        """
        handle: Any = self.handle
        waits = session.should_wait(self.context, wait)
        is_shown_last = waits and not self.context.is_live and not handle.done
        session.displayed_in(self.context).add(handle.id)
        try:
            try:
                if is_shown_last:
                    self.wait()
            finally:
                self.show()
            if waits and not is_shown_last:
                self.wait()
        except KeyboardInterrupt:
            # Wherever it struck, the runs continue: one line says so in place of a traceback.
            from wiro_nb.execution.run import WaitInterrupted

            first, *others = self.runs
            if others:
                raise
            raise WaitInterrupted(first.short_id) from None
        return self.handle

    def finish(self, wait: bool | None) -> Handle:
        """Waits for a run or sweep where that is wanted, and returns it; errors as in `show_and_wait`."""
        if session.should_wait(self.context, wait):
            self.wait()
        return self.handle

    def wait(self) -> None:
        """Waits for a run or sweep in the running cell.

        Raises:
            RunFailed, SubmitUncertain: A run gave no result.
            RunCancelled: It was cancelled in a headless kernel: a notebook that continues would miss its clip.
            DownloadFailed: A file is not on this machine, in a headless kernel.
            WaitInterrupted: The user stopped waiting; runs continue.
        """
        handle: Any = self.handle
        if self.context.kind == "terminal" and sys.stderr.isatty():
            self._wait_in_terminal()
        else:
            handle.wait()
        if self.context.is_headless:
            if (error := getattr(handle, "error", None)) is not None:
                raise error
            display.check_saved(self.runs)

    def _wait_in_terminal(self) -> None:
        """Waits with one moving line on stderr, which is gone at the end."""
        line, handle = StatusLine(), cast("Any", self.handle)

        def draw(snapshot: Snapshot) -> None:
            line.rewrite(format_bar(snapshot, sys.stderr))

        with ExitStack() as stops:
            stops.callback(line.rewrite, "")
            for run in self.runs:
                stops.callback(run.on_change(draw))
                draw(run.snapshot)
            handle.wait()

    # The widget ----------------------------------------------------------------------------------

    def show_live(self) -> None:
        """Displays widget and static form under one display id, and follows the runs."""
        bridge.open(self.context.notebook)
        self.widget = self.make_widget()
        open_views.append(self)  # first: an interrupt may strike at any time
        self.key = self.widget.view_key
        self.publish(update=False)
        self.follow()
        self.close_oldest()

    def close_oldest(self) -> None:
        """Closes the oldest views of this kind where too many are open."""
        ended = [view for view in list(open_views) if type(view) is type(self) and view.can_close]
        for view in ended[: -self.most_open]:
            view.close()

    def refresh(self) -> None:
        """Brings the static form up to date while the widget is open (any thread)."""
        with self._lock:
            if self.widget is not None:
                self.publish(update=True)

    def close(self) -> None:
        """Replaces the widget with the static form; a second call does nothing."""
        with self._lock:
            widget, self.widget = self.widget, None
            if widget is None:
                return
            open_views.remove(self)
            self.publish(update=True)
            bridge.live_outputs.pop(self.key, None)
        self.unsubscribe()
        widget.close()

    def schedule(self) -> None:
        """Schedules an update; changes in quick succession are shown together (any thread)."""
        if self._is_scheduled or self.widget is None:
            return
        self._is_scheduled = True
        timer = threading.Timer(_INTERVAL_S, self._flush)
        timer.daemon = True
        timer.start()

    def _flush(self) -> None:
        self._is_scheduled = False
        try:
            with self._lock:
                if self.widget is not None:
                    self.flush()
        except Exception:
            _log.exception("a view could not be updated")


def read_position(content: Mapping[str, Any], count: int) -> int | None:
    """Returns the position that a message is about, from 0; None where it names none of `count`."""
    position = content.get("p")
    return position if isinstance(position, int) and 0 <= position < count else None


def presenter(make_view: Callable[[Any], LiveView[Any]]) -> Callable[..., None]:
    """Returns the function that shows a handle on `handle.show()`, or as the value of a cell that has not yet."""

    def show(handle: Any, *, is_value: bool = False) -> None:
        if not is_value or handle.id not in session.displayed_in(current_context()):
            view = make_view(handle)
            if not view.context.is_live and not handle.done and session.should_wait(view.context):
                handle.wait(check=False)  # a headless kernel shows the end
            view.show()

    return show


def end_views() -> None:
    """Closes every view and form: the extension is unloaded. Their static outputs stay."""
    for view in list(open_views):
        view.close()
