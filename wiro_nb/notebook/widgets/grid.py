"""The grid of a sweep: shows its runs while they live, and their clips in step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.assets import bundle_script, read_static
from wiro_nb.notebook.widgets.base import OwnWidget

ACTIONS = frozenset({"star", "cancel", "cancel_waiting", "copy", "poster", "hello"})

GridHandler = Callable[["SweepGrid", str, "int | None"], object]


class SweepGrid(OwnWidget):
    """Live view of a sweep.

    What does not change is a trait; tiles that change travel as messages, only those, so that a sweep of
    a hundred runs does not send all tiles for every step of one.
    """

    _esm = traitlets.Unicode(help="The grid's script.").tag(sync=True)
    _css = traitlets.Unicode(help="The style sheet.").tag(sync=True)
    plan = traitlets.Dict(help="Model, prompt, heads, cells, notes.").tag(sync=True)
    head = traitlets.Dict(help="Counts, percent, money: see `head_view`.").tag(sync=True)
    tiles: traitlets.List[dict[str, Any]] = traitlets.List(help="The tiles when the grid was made.").tag(sync=True)

    view_key = traitlets.Unicode(help="What its output is found by: the model id.").tag(sync=True)

    def __init__(
        self,
        plan: Mapping[str, Any],
        head: Mapping[str, Any],
        tiles: Sequence[Mapping[str, Any]],
        *,
        text: str,
        on_action: GridHandler,
    ) -> None:
        """Makes a grid.

        Args:
            plan: What does not change.
            head: As `head_view` gives it.
            tiles: As `tile_view` gives them, in order.
            text: One line for where no widget can be shown.
            on_action: Called with the grid, a word of `ACTIONS` and a position or None.
        """
        self._text = text
        self._on_action = on_action
        self._now = [dict(tile) for tile in tiles]
        super().__init__(plan=dict(plan), head=dict(head), tiles=[dict(tile) for tile in tiles])
        self.view_key = self.model_id
        self.on_msg(self._receive)

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return bundle_script("grid.js")

    @traitlets.default("_css")
    def _default_css(self) -> str:
        return read_static("wiro.css") + read_static("grid.css")

    def update(self, head: Mapping[str, Any], tiles: Sequence[Mapping[str, Any]]) -> None:
        """Shows newer tiles; those that show the same already are not sent again."""
        changed = []
        for tile in tiles:
            if self._now[tile["p"]] != tile:
                self._now[tile["p"]] = dict(tile)
                changed.append(dict(tile))
        if changed:
            self.send({"type": "tiles", "tiles": changed})
        if dict(head) != self.head:
            self.head = dict(head)

    def send_poster(self, position: int, picture: bytes) -> None:
        """Answers a page that cannot fetch files: the poster's bytes."""
        self.send({"type": "poster", "p": position}, buffers=[picture])

    def reply_copy(self, text: str) -> None:
        """Puts a text on the clipboard."""
        self.send({"type": "copy", "text": text})

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        action = content.get("action") if isinstance(content, dict) else None
        if action not in ACTIONS:
            return
        if action == "hello":
            self.send({"type": "tiles", "tiles": [dict(tile) for tile in self._now]})
            return
        position = content.get("p")
        valid = isinstance(position, int) and 0 <= position < len(self._now)
        self._on_action(self, action, position if valid else None)

    def __repr__(self) -> str:
        """Returns one line about the sweep."""
        return self._text
