"""What a form's runs leave in the notebook: a static output under the form.

A form is a widget and dies with its kernel. So the cell that shows it gets a second output, which holds
the latest results as static bundles. While the form is alive its own cards show the same runs, and
its style sheet hides this output (`.wiro-form-results`); a page without a kernel shows it.

No update by display id reaches a page that was loaded again. So every version of the output carries the
form's key in its metadata, beside the record, and the bridge replaces it by that key.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from wiro_nb.notebook.display import publish
from wiro_nb.notebook.document.bridge import bridge
from wiro_nb.notebook.run.display import static_output
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

MARK = "wiro-form-results"
FORM_KEY = "wiro_form"
MOST_RESULTS = 5


class FormResults:
    """The static output under one form."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self._display_id = f"wiro-form-{self.key}"
        self._parts: dict[str, Callable[[], Output]] = {}  # newest first, by id of run or sweep
        self._lock = threading.Lock()
        self._is_placed = False

    def place(self) -> None:
        """Displays the output in the running cell, empty while there is no run."""
        self._is_placed = True
        bridge.keep_form(self)
        self._publish(update=False)

    def add(self, run: Run) -> None:
        """Puts a run on top (any thread)."""
        self._put(run.id, partial(static_output, run))

    def add_sweep(self, sweep_id: str, output: Output) -> None:
        """Puts a sweep on top, or a later state of it in its place (any thread).

        Args:
            sweep_id: Its id.
            output: Its static form, made already: that of many clips takes a moment.
        """
        self._put(sweep_id, lambda: output)

    def _put(self, key: str, make: Callable[[], Output]) -> None:
        with self._lock:
            if key in self._parts:
                self._parts[key] = make
            else:
                self._parts = dict(islice({key: make, **self._parts}.items(), MOST_RESULTS))
        self.refresh()

    def refresh(self) -> None:
        """Brings the output up to date (any thread); does nothing where the form was never displayed."""
        if self._is_placed:
            self._publish(update=True)

    def repair(self) -> None:
        """Brings the output up to date in pages that were loaded again (any thread)."""
        with self._lock:
            if self._parts:
                bridge.tell_form(self.key, self._output())

    def _publish(self, *, update: bool) -> None:
        with self._lock:
            output = self._output()
            publish(output, display_id=self._display_id, update=update)
            if update:
                bridge.tell_form(self.key, output)

    def _output(self) -> Output:
        """Returns the results, newest first, with the newest one's picture and record, and the form's key."""
        results = [make() for make in self._parts.values()]
        html = "".join(f'<div style="margin:0 0 8px 0">{result.html}</div>' for result in results)
        text = "\n".join(result.text for result in results)
        newest = results[0] if results else Output("", "")
        metadata = {**newest.metadata, FORM_KEY: self.key}
        return Output(f'<div class="{MARK}">{html}</div>', text, newest.jpeg, metadata)
