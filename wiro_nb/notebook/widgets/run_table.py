"""Rows of runs: a press on a row opens the run, runs in flight move and can be cancelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.base import OutputWidget

ACTIONS = frozenset({"open", "cancel"})


class RunTable(OutputWidget):
    """Live view of a list of runs. Rows that change travel as messages, only those."""

    script = "runs.js"
    head = traitlets.Dict(help="title, lines (texts), notify (offer to notify at the end).").tag(sync=True)
    rows: traitlets.List[dict[str, Any]] = traitlets.List(help="As `listing.row_data` gives them.").tag(sync=True)

    def __init__(
        self,
        head: Mapping[str, Any],
        rows: Sequence[Mapping[str, Any]],
        *,
        on_action: Callable[[str, str], object],
    ) -> None:
        """Makes a table.

        Args:
            head: What stands above the rows.
            rows: Newest first.
            on_action: Called with a word of `ACTIONS` and the `id` of a row.
        """
        self._on_action = on_action
        self._now = {row["id"]: dict(row) for row in rows}
        super().__init__(head=dict(head), rows=[dict(row) for row in rows])

    def update(self, row: Mapping[str, Any]) -> None:
        """Shows a newer row; an unknown one stands on top (any thread)."""
        if self._now.get(row["id"]) != row:
            self._now[row["id"]] = dict(row)
            self.send({"type": "row", "row": dict(row)})

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on; a page that draws the table gets what has changed since it was made."""
        action, run_id = content.get("action"), str(content.get("id") or "")
        if action == "handshake":
            self.rows = list(self._now.values())
        elif action in ACTIONS and run_id in self._now:
            self._on_action(action, run_id)

    def __repr__(self) -> str:
        return f"{len(self._now)} runs; list them with %wiro runs"
