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
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.document.bridge import bridge
from wiro_nb.notebook.run.display import publish, static_output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

MARK = "wiro-form-results"
FORM_KEY = "wiro_form"
MOST_RESULTS = 5

Part = tuple[Mapping[str, str], Mapping[str, Any]]
"""Data and metadata of one result."""


class FormResults:
    """The static output under one form."""

    def __init__(self) -> None:
        self.key = uuid.uuid4().hex
        self._display_id = f"wiro-form-{self.key}"
        self._parts: dict[str, Callable[[], Part]] = {}  # newest first, by id of run or sweep
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

    def add_sweep(self, sweep_id: str, data: Mapping[str, str], metadata: Mapping[str, Any]) -> None:
        """Puts a sweep on top, or a later state of it in its place (any thread).

        Args:
            sweep_id: Its id.
            data: Its static form, made already: that of many clips takes a moment.
            metadata: Its records.
        """
        self._put(sweep_id, lambda: (data, metadata))

    def _put(self, key: str, make: Callable[[], Part]) -> None:
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
                bridge.tell_form(self.key, *self._bundle())

    def _publish(self, *, update: bool) -> None:
        with self._lock:
            data, metadata = self._bundle()
            publish(data, metadata, display_id=self._display_id, update=update)
            if update:
                bridge.tell_form(self.key, data, metadata)

    def _bundle(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Returns the results, newest first, with the newest one's picture and record, and the form's key."""
        parts = [make() for make in self._parts.values()]
        html = "".join(f'<div style="margin:0 0 8px 0">{data["text/html"]}</div>' for data, _ in parts)
        text = "\n".join(data["text/plain"] for data, _ in parts)
        bundle = {"text/html": f'<div class="{MARK}">{html}</div>', "text/plain": text}
        if not parts:
            return bundle, {FORM_KEY: self.key}
        newest, metadata = parts[0]
        if "image/jpeg" in newest:
            bundle["image/jpeg"] = newest["image/jpeg"]
        return bundle, {**metadata, FORM_KEY: self.key}
