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
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.display import publish, static_output

if TYPE_CHECKING:
    from wiro_nb.runs.run import Run

MARK = "wiro-form-results"
FORM_KEY = "wiro_form"
MOST_RUNS = 5


class FormResults:
    """The static output under one form."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self._display_id = f"wiro-form-{self.key}"
        self._runs: list[Run] = []
        self._lock = threading.Lock()
        self._is_placed = False

    def place(self) -> None:
        """Displays the output in the running cell, empty while there is no run."""
        self._is_placed = True
        bridge.keep_form(self)
        self._publish(update=False)

    def add(self, run: Run) -> None:
        """Puts a run on top (any thread)."""
        with self._lock:
            self._runs = [run, *self._runs][:MOST_RUNS]
        self.refresh()

    def refresh(self) -> None:
        """Brings the output up to date (any thread); does nothing where the form was never displayed."""
        if self._is_placed:
            self._publish(update=True)

    def repair(self) -> None:
        """Brings the output up to date in pages that were loaded again (any thread)."""
        with self._lock:
            if self._runs:
                bridge.tell_form(self.key, *self._bundle())

    def _publish(self, *, update: bool) -> None:
        with self._lock:
            data, metadata = self._bundle()
            publish(data, metadata, display_id=self._display_id, update=update)
            if update:
                bridge.tell_form(self.key, data, metadata)

    def _bundle(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Returns the results, newest first, with the newest run's poster and record, and the form's key."""
        parts = [static_output(run) for run in self._runs]
        html = "".join(f'<div style="margin:0 0 8px 0">{data["text/html"]}</div>' for data, _ in parts)
        text = "\n".join(data["text/plain"] for data, _ in parts)
        bundle = {"text/html": f'<div class="{MARK}">{html}</div>', "text/plain": text}
        if not parts:
            return bundle, {FORM_KEY: self.key}
        newest, metadata = parts[0]
        if "image/jpeg" in newest:
            bundle["image/jpeg"] = newest["image/jpeg"]
        return bundle, {**metadata, FORM_KEY: self.key}
