"""The static output below a form, which keeps its latest runs in the saved notebook.

A form is a widget and ends with its kernel. Its cell therefore has a second output with the latest results. While
the form is live, its cards show the same runs, and its style sheet hides this output (`.wiro-form-results`).

An update by display id does not reach a page that was loaded again. Every version of the output therefore has the
form's key in its metadata, next to the record, and the document bridge replaces it by that key.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.display import publish
from wiro_nb.notebook.run.display import stack_outputs, static_output
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

MARK = "wiro-form-results"
FORM_KEY = "wiro_form"
MOST_RESULTS = 5


class Results(Protocol):
    """What keeps the runs of a form in the saved notebook."""

    def add(self, run: Run, /) -> None:
        """Puts a run on top (any thread)."""

    def refresh(self) -> None:
        """Brings the static output up to date (any thread)."""


class FormResults:
    """The static output under one form."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self._display_id = f"wiro-form-{self.key}"
        self._runs: list[Run] = []  # newest first
        self._lock = threading.Lock()
        self._is_placed = False

    def place(self) -> None:
        """Displays the output in the running cell, empty while there is no run."""
        self._is_placed = True
        bridge.register_form(self)
        self._publish(update=False)

    def add(self, run: Run) -> None:
        """Puts a run on top (any thread)."""
        with self._lock:
            self._runs = [run, *self._runs][:MOST_RESULTS]
        self.refresh()

    def refresh(self) -> None:
        """Brings the output up to date (any thread); does nothing where the form was never displayed."""
        if self._is_placed:
            self._publish(update=True)

    def repair(self) -> None:
        """Brings the output up to date in pages that were loaded again (any thread)."""
        with self._lock:
            if self._runs:
                bridge.send_form(self.key, self._output())

    def _publish(self, *, update: bool) -> None:
        with self._lock:
            output = self._output()
            publish(output, display_id=self._display_id, update=update)
            if update:
                bridge.send_form(self.key, output)

    def _output(self) -> Output:
        """Returns the results, newest first, with the newest one's picture and record, and the form's key."""
        stacked = stack_outputs([static_output(run) for run in self._runs])
        metadata = {**stacked.metadata, FORM_KEY: self.key}
        return replace(stacked, html=f'<div class="{MARK}">{stacked.html}</div>', metadata=metadata)
