"""The view of a run in its own output: the card, the form opened below it, and the static output."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from wiro_nb.execution.run import Run
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.live import LiveView, open_views, presenter
from wiro_nb.notebook.run.card import CardController
from wiro_nb.notebook.run.display import is_settled, stack_outputs, static_output
from wiro_nb.notebook.session import ExecutionContext, session
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.notebook.form.controller import NotebookForm
    from wiro_nb.notebook.widgets import OutputWidget
    from wiro_nb.notebook.widgets.card import RunCard


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

    def show_below(self, widget: OutputWidget) -> None:
        """Shows the card below another widget, in place of the one before."""
        widget.attach(self.card)
        self.follow()

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

    def _open_form(self, *, takes_focus: bool = False) -> NotebookForm:
        from wiro_nb.notebook.bridge import FormResults
        from wiro_nb.notebook.form.controller import NotebookForm

        opened = NotebookForm.of_run(self.run, self._context, results=self._view or FormResults())
        opened.takes_focus = takes_focus
        self.card.attach(opened)
        return opened


class RunView(LiveView["Run"]):
    """A run in one output.

    The card keeps its buttons after the end, and the file has only the static output. Where a page answers that it
    has no notebook to write into, the static output replaces the card at the end, so that no dead widget is saved.
    A kernel that is busy with the next cells hears that answer late: until then the card stays.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run, run.id)
        self._later: list[Run] = []  # started below the card, newest first

    @property
    def runs(self) -> tuple[Run]:
        """The run."""
        return (self.handle,)

    @property
    def is_moving(self) -> bool:
        """True where a card is shown: until the run is done, and after that unless its view would be saved."""
        return not self.handle.done or bridge.has_document is not False

    @property
    def can_close(self) -> bool:  # type: ignore[override]
        """True when the run has ended."""
        return is_settled(self.handle)

    @cached_property
    def notice(self) -> str:
        """One sentence above the run."""
        return session.notices.pop(self.handle.id, "")

    def output(self) -> Output:
        """Returns the static output of the run, and below it of those started from its card."""
        own = static_output(self.handle, self.notice)
        if not self._later:
            return own
        return replace(stack_outputs([own, *map(static_output, self._later)]), metadata=own.metadata)

    def make_widget(self) -> RunCard:
        """Returns the card."""
        self._live = LiveCard(self.handle, self.context, self)
        self.unsubscribe = self._live.close
        return self._live.card

    def follow(self) -> None:
        """Follows the run."""
        self._live.follow()

    def add(self, run: Run) -> None:
        """Puts a run that was started below the card into the static output (any thread)."""
        self._later.insert(0, run)

    def refresh(self) -> None:
        """Brings the static output up to date: a run has ended (any thread)."""
        if bridge.has_document is False:
            self.close()
        else:
            super().refresh()
            self.close_oldest()


def _close_ended() -> None:
    for view in list(open_views):
        if isinstance(view, RunView) and view.can_close:
            view.close()


show = presenter(RunView)
bridge.on_no_document = _close_ended
