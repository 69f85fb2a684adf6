"""The run card: shows one run until it has ended, and reports the buttons pressed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets

from wiro_nb.ledger.state import Snapshot
from wiro_nb.notebook.widgets.base import OutputWidget
from wiro_nb.notebook.widgets.card_view import card_view, log_view

ACTIONS = frozenset({"cancel", "try_now", "stop_watching", "run_again", "edit", "copy_cell"})

ActionHandler = Callable[["RunCard", str], object]


class RunCard(OutputWidget):
    """Live view of one run.

    Safe to update from any thread: an update is one trait change and so one message. The log is a
    trait of its own, so that a progress step does not send it again.
    """

    script = "card.js"
    state = traitlets.Dict(help="What the card shows: see `card_view`.").tag(sync=True)
    log: traitlets.List[str] = traitlets.List(help="Latest log lines, text.").tag(sync=True)

    def __init__(self, snapshot: Snapshot, *, again_price: str = "", poster: str = "") -> None:
        """Makes a card.

        Args:
            snapshot: The run now.
            again_price: Price on the "Run again" button, for example "about $0.04", or "".
            poster: Data URI of the finished clip's poster, or "".
        """
        self._handlers: list[ActionHandler] = []
        self._version = snapshot.version
        self._again_price = again_price
        self._poster = poster
        super().__init__(state=self._view(snapshot), log=log_view(snapshot))

    def _view(self, snapshot: Snapshot) -> dict[str, Any]:
        return card_view(snapshot, again_price=self._again_price, poster=self._poster)

    def update(self, snapshot: Snapshot, *, poster: str | None = None) -> None:
        """Shows a newer moment of the run; an older one is ignored.

        Args:
            snapshot: The run; its `version` decides which is newer.
            poster: Data URI of the poster once there is one.
        """
        if snapshot.version < self._version:
            return
        self._version = snapshot.version
        if poster is not None:
            self._poster = poster
        with self.hold_sync():
            self.state = self._view(snapshot)
            self.log = log_view(snapshot)

    def on_action(self, handler: ActionHandler) -> Callable[[], None]:
        """Calls `handler(card, action)` when a button is pressed, with one of `ACTIONS`; returns what stops it."""
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    def reply(self, text: str, *, copy: bool = False) -> None:
        """Shows one line on the card, or puts the text on the clipboard.

        Args:
            text: The line, or what to copy.
            copy: True: the answer to "copy_cell".
        """
        self.send({"type": "copy" if copy else "notice", "text": text})

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes the action of a button on."""
        action = content.get("action")
        if action in ACTIONS:
            for handler in tuple(self._handlers):
                handler(self, action)

    def __repr__(self) -> str:
        """Returns one line about the run: it stands in for the card where no widget can be shown."""
        return str(self.state.get("text") or "Run card")
