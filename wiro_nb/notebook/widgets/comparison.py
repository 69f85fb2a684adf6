"""Runs side by side: clips played in step, wiped over one another, and what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.base import OutputWidget

ACTIONS = frozenset({"star", "poster"})

ComparisonHandler = Callable[["ComparisonWidget", str, int], object]


class ComparisonWidget(OutputWidget):
    """Live view of a comparison."""

    script = "compare.js"
    styles = ("wiro.css", "grid.css")
    view = traitlets.Dict(help="Clips and tables.").tag(sync=True)
    stars: traitlets.List[bool] = traitlets.List(help="Which runs are picked.").tag(sync=True)

    def __init__(
        self, view: Mapping[str, Any], stars: Sequence[bool], *, text: str, on_action: ComparisonHandler
    ) -> None:
        """Makes a comparison.

        Args:
            view: Clips and tables as plain data.
            stars: Which runs are picked.
            text: One line for where no widget can be shown.
            on_action: Called with the widget, a word of `ACTIONS` and a run's place.
        """
        self._text = text
        self._on_action = on_action
        super().__init__(view=dict(view), stars=list(stars))

    def send_poster(self, position: int, picture: bytes) -> None:
        """Answers a page that cannot fetch files: the poster's bytes."""
        self.send({"type": "poster", "p": position}, buffers=[picture])

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on."""
        action = content.get("action")
        position = content.get("p")
        if action in ACTIONS and isinstance(position, int) and 0 <= position < len(self.stars):
            self._on_action(self, action, position)

    def __repr__(self) -> str:
        """Returns one line about the comparison."""
        return self._text
