"""Policy of the document bridge: which records are written to the notebook, and which outputs are repaired.

Output metadata always has the record; the notebook's own metadata is the index that survives cleared
outputs. An update by display id never lands after a page was loaded again, so the handshake of a
page has its older outputs replaced through the bridge.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from wiro_nb.json_values import as_decimal
from wiro_nb.notebook.display import publish
from wiro_nb.notebook.run.display import is_settled, static_output
from wiro_nb.notebook.session import current_context, session
from wiro_nb.presentation.output import Output
from wiro_nb.provenance.find import pick_newer

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.widgets.views import BridgeWidget
    from wiro_nb.session.manager import Manager

_MOST_RUNS = 200
_numbers = itertools.count(1)


class Bridge:
    """The kernel side of the document bridge; its widget is created when the first run needs it."""

    def __init__(self) -> None:
        self._widget: BridgeWidget | None = None
        self._notebook: str | None = None
        self._followed: set[str] = set()
        self._stale: set[str] = set()  # unfinished runs that a page shows in an output no update reaches
        self.live_outputs: WeakValueDictionary[str, LiveOutput] = WeakValueDictionary()
        self.has_document: bool | None = None  # can a page write into the notebook? None: no page has answered
        self.on_no_document: Callable[[], object] = lambda: None  # called when a page answers that none can
        self.on_run: Callable[[Run], object] | None = None  # called with each started or resumed run

    def open(self, notebook: str | None) -> None:
        """Makes the widget in a live kernel. Must be called on the thread of a cell.

        Args:
            notebook: The notebook whose records it writes.
        """
        self._notebook = notebook or self._notebook
        if self._widget is None and current_context().is_live:
            from wiro_nb.notebook.widgets.views import BridgeWidget

            self._widget = BridgeWidget(self._on_handshake)

    def follow(self, run: Run) -> None:
        """Writes a run's record into the notebook when it ends. Must be called on the thread of a cell.

        Args:
            run: Any run of this notebook; nothing happens outside a live kernel.
        """
        if (context := current_context()).is_live:
            self.open(context.notebook)
            self.watch(run)

    def watch(self, run: Run) -> None:
        """Writes a run's record into the notebook when it ends, where the bridge is open already (any thread)."""
        if run.id in self._followed or self._widget is None:
            return
        self._followed.add(run.id)
        if self.on_run is not None:
            self.on_run(run)
        run.on_change(lambda _snapshot: self._on_change(run))
        self._on_change(run)

    def _on_change(self, run: Run) -> None:
        """Sends the record of a run that has ended, and its output where a page shows an older one."""
        if not is_settled(run) or run.id not in self._followed:
            return
        self._followed.discard(run.id)
        if self._widget is None:
            return
        if run.record is not None:
            self._widget.send_runs({run.id: run.record})
        if run.id in self._stale:
            self._stale.discard(run.id)
            self._repair(self._widget, run)

    def _repair(self, widget: BridgeWidget, run: Run) -> None:
        widget.send_repair(run.id, static_output(run), live_keys=list(self.live_outputs))

    def send_output(self, key: str, output: Output) -> None:
        """Sends the output of a form or view to the pages (any thread)."""
        if self._widget is not None:
            self._widget.send_output_repair(key, output)

    def send_budget(self, notebook: str | None, budget_usd: Decimal | None) -> None:
        """Writes the notebook's budget into its metadata, in a live kernel. On the thread of a cell."""
        if current_context().is_live:
            self.open(notebook)
            if self._widget is not None:
                self._widget.send_budget(None if budget_usd is None else format(budget_usd, "f"))

    def close(self) -> None:
        """Closes the widget."""
        widget, self._widget = self._widget, None
        self.has_document = self.on_run = None
        if widget is not None:
            widget.close()

    def _on_handshake(self, handshake: Mapping[str, Any]) -> None:
        """Answers a page that opened the notebook. May run on any thread."""
        widget, notebook = self._widget, self._notebook
        if widget is None or notebook is None:
            return
        if not handshake.get("notebook_ok") or handshake.get("read_only"):
            if self.has_document is None:
                self.has_document = False
                self.on_no_document()
            return
        self.has_document = True
        manager = session.manager()
        _sync_budget(widget, manager, notebook, str(handshake.get("budget") or ""))
        mine = {run.id: run for run in manager.runs(notebook=notebook, limit=_MOST_RUNS)}
        known, records = handshake["known"], {run.id: run.record for run in mine.values()}
        widget.send_runs({key: item for key, item in records.items() if item and _is_newer(item, known.get(key))})
        for run_id, status in handshake["outputs"].items():
            run = mine.get(run_id)
            if run is not None and not run.done:
                self._stale.add(run_id)
            elif run is not None and _is_newer(run.record or {"status": str(run.state)}, status):
                self._repair(widget, run)
        for key in handshake["keys"]:
            if (output := self.live_outputs.get(key)) is not None:
                output.repair()


def _sync_budget(widget: BridgeWidget, manager: Manager, notebook: str, saved: str) -> None:
    """Makes the budgets of ledger and notebook equal: the ledger's, or the notebook's where it has none."""
    own, amount = manager.ledger.get_budget(notebook), as_decimal(saved)
    if own is not None and own != amount:
        widget.send_budget(format(own, "f"))
    elif own is None and amount is not None and amount >= 0:
        manager.ledger.set_budget(notebook, amount)


def _is_newer(record: Mapping[str, Any], status: str | None) -> bool:
    if status is None:
        return True
    present = {"status": status}
    return status != record.get("status") and pick_newer(present, dict(record)) is not present


bridge = Bridge()


class LiveOutput:
    """An output that this kernel updates, and repairs in pages that were loaded again.

    Args:
        name: Part of its display id, which is unique: two cells may show the same run.
    """

    key = ""
    """Finds the output in the notebook, by its metadata."""

    def __init__(self, name: str) -> None:
        self.display_id = f"wiro-{name}-{next(_numbers)}"
        self._shown: Output | None = None
        self._is_stale = False
        self._lock = threading.RLock()

    def render(self) -> Output:
        """Returns what is displayed now."""
        raise NotImplementedError

    def publish(self, *, update: bool) -> None:
        """Displays the output in the running cell, or updates it where it has changed (any thread)."""
        with self._lock:
            shown = self.render()
            if update and shown == self._shown:
                return
            self._shown = shown
            bridge.live_outputs[self.key] = self
            publish(shown, display_id=self.display_id, update=update)
            if self._is_stale:
                bridge.send_output(self.key, shown)

    def repair(self) -> None:
        """Brings the output up to date in pages that were loaded again, now and from now on (any thread)."""
        with self._lock:
            self._is_stale = True
            if self._shown is not None:
                bridge.send_output(self.key, self._shown)
