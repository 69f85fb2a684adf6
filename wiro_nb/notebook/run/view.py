"""Runs in one output: a run with its card, and the results of a form."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from wiro_nb.execution.run import Run
from wiro_nb.notebook.bridge import LiveOutput, bridge
from wiro_nb.notebook.live import LiveView, open_views, presenter
from wiro_nb.notebook.run.display import is_settled, stack_outputs, static_output
from wiro_nb.notebook.session import session
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.notebook.run.card import LiveCard

_RESULTS_CLASS = "wiro-form-results"
_FORM_KEY = "wiro_form"
_MOST_RESULTS = 5


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

    def make_widget(self) -> LiveCard:
        """Returns the card."""
        from wiro_nb.notebook.run.card import LiveCard

        return LiveCard(self.handle, self.context, self, self.notice)

    def follow(self) -> None:
        """Follows the run."""
        self.widget.follow()

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


class FormResults(LiveOutput):
    """The static output under one form; this kernel updates it as long as the form exists."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        super().__init__(f"form-{self.key}")
        self._runs: list[Run] = []  # newest first

    def place(self) -> None:
        """Displays the output in the running cell, empty while there is no run."""
        self.publish(update=False)

    def add(self, run: Run) -> None:
        """Puts a run on top (any thread)."""
        with self._lock:
            self._runs = [run, *self._runs][:_MOST_RESULTS]
        self.refresh()

    def refresh(self) -> None:
        """Brings the output up to date (any thread); does nothing where the form was never displayed."""
        if self._shown is not None:
            self.publish(update=True)

    def render(self) -> Output:
        """Returns the results, newest first, with the newest one's picture and record, and the form's key."""
        stacked = stack_outputs([static_output(run) for run in self._runs])
        metadata = {**stacked.metadata, _FORM_KEY: self.key}
        return replace(stacked, html=f'<div class="{_RESULTS_CLASS}">{stacked.html}</div>', metadata=metadata)


def _close_ended() -> None:
    for view in list(open_views):
        if isinstance(view, RunView) and view.can_close:
            view.close()


show = presenter(RunView)
bridge.on_no_document = _close_ended
