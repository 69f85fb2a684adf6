"""A run in an output of its own: its card, what the card's buttons open below it, and the static output."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakSet

from wiro_nb.notebook import display
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.context import ExecutionContext, current_context
from wiro_nb.notebook.run.card import CardController
from wiro_nb.notebook.run.display import stack_outputs, static_output
from wiro_nb.notebook.session import session
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.form.controller import FormController

_numbers = itertools.count(1)


def show(run: Run, *, is_value: bool = False) -> None:
    """Shows a run on `run.show()`, or as the value of a cell that has not displayed it yet."""
    if is_value and run.id in session.displayed_in(current_context()):
        return
    display.show(RunView(run, session.take_notice(run.id)))


class LiveCard(CardController):
    """A card outside a form: "Run again" and "Edit in form" open a form with the run's settings below it.

    Args:
        run: The run.
        context: The notebook that further runs belong to.
        view: The output that shows the card, or None below another view.
    """

    def __init__(self, run: Run, context: ExecutionContext, view: RunView | None = None) -> None:
        self._context, self._view = context, view
        super().__init__(run, view.notice if view is not None else "")

    def edit(self) -> None:
        """Opens the form, ready to be typed into."""
        self._open_form(takes_focus=True)

    def run_again(self) -> None:
        """Opens the form and starts the run again in it."""
        self._open_form().run_again(self.run)

    def stop_watching(self) -> None:
        """Leaves the static output."""
        if self._view is not None:
            self._view.close()

    def on_settled(self) -> None:
        """Brings the static output up to date."""
        if self._view is not None:
            self._view.refresh()

    def _open_form(self, *, takes_focus: bool = False) -> FormController:
        from wiro_nb.notebook.form.controller import FormController
        from wiro_nb.notebook.form.results import FormResults

        opened = FormController.of_run(self.run, self._context, results=self._view or FormResults())
        opened.form.takes_focus = takes_focus
        self.card.attach(opened.form)
        return opened


class RunView:
    """A run in one output.

    The card keeps its buttons after the end, and the file has only the static output. Where a page answers that it
    has no notebook to write into, the static output replaces the card at the end, so that no dead widget is saved.
    A kernel that is busy with the next cells hears that answer late: until then the card stays.

    Args:
        run: The run.
        notice: One sentence above it.
    """

    def __init__(self, run: Run, notice: str = "") -> None:
        self.handle, self.notice = run, notice
        self.runs = (run,)
        self.display_id = f"wiro-{run.id}-{next(_numbers)}"  # its own: two cells may show one run
        self._context = current_context()
        self._later: list[Run] = []  # started below the card, newest first
        self._live: LiveCard | None = None
        self._shown: Output | None = None
        self._lock = threading.RLock()

    @property
    def is_moving(self) -> bool:
        """True where a card is shown: until the run is done, and after that unless its view would be saved."""
        return not self.handle.done or bridge.has_document is not False

    def output(self) -> Output:
        """Returns the static output of the run, and above it of those started from its card."""
        own = static_output(self.handle, self.notice)
        if not self._later:
            return own
        return replace(stack_outputs([*map(static_output, self._later), own]), metadata=own.metadata)

    def show_live(self) -> None:
        """Displays the card and follows the run, which may already have ended or end meanwhile."""
        bridge.open(self._context.notebook)
        live = self._live = LiveCard(self.handle, self._context, self)
        _views.add(self)  # first: an interrupt may strike at any time
        self._shown = display.with_view_of(live.card, self.output())
        display.publish(self._shown, display_id=self.display_id)
        live.follow()

    def add(self, run: Run) -> None:
        """Puts a run that was started below the card into the static output (any thread)."""
        self._later.insert(0, run)

    def refresh(self) -> None:
        """Brings the static output up to date: a run has ended (any thread)."""
        with self._lock:
            live = self._live
            if live is None:
                return
            shown = display.with_view_of(live.card, self.output())
            if shown != self._shown and bridge.has_document is not False:
                self._shown = shown
                display.publish(shown, display_id=self.display_id, update=True)
        _ended.add(self)
        if bridge.has_document is False:
            self.close()

    def close(self) -> None:
        """Replaces the card by the static output; a second call does nothing."""
        with self._lock:
            live, self._live = self._live, None
        if live is None:
            return
        _views.discard(self)
        display.publish(self.output(), display_id=self.display_id, update=True)
        live.close()


_views: WeakSet[RunView] = WeakSet()
_ended = display.OpenViews()
bridge.on_no_document = _ended.close_all


def end_views() -> None:
    """Ends every card: the extension is unloaded. Their static outputs stay."""
    for view in list(_views):
        view.close()
