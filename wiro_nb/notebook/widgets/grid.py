"""Several runs at once: the grid of a sweep, and runs side by side; their clips play in step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from wiro_nb.notebook.widgets.base import OutputWidget

if TYPE_CHECKING:
    from wiro_nb.api.answers import Preview

ACTIONS = frozenset({"star", "open", "cancel", "cancel_waiting", "copy", "poster", "handshake"})

GridHandler = Callable[["SweepGrid", str, "int | None"], object]
COMPARISON_ACTIONS = frozenset({"star", "poster"})
ComparisonHandler = Callable[["ComparisonWidget", str, int], object]


class SweepGrid(OutputWidget):
    """Live view of a sweep.

    What does not change is a trait; tiles that change travel as messages, only those, so that a sweep of
    a hundred runs does not send all tiles for every step of one.
    """

    script = "grid.js"
    styles = ("wiro.css", "grid.css")
    plan = traitlets.Dict(help="Model, prompt, heads, cells, notes.").tag(sync=True)
    head = traitlets.Dict(help="Counts, percent, money: see `head_view`.").tag(sync=True)
    tiles: traitlets.List[dict[str, Any]] = traitlets.List(help="The tiles when the grid was made.").tag(sync=True)

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
        self._previews: dict[int, Preview] = {}
        super().__init__(plan=dict(plan), head=dict(head), tiles=[dict(tile) for tile in tiles])

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

    def send_previews(self, previews: Iterable[Preview | None]) -> None:
        """Shows the latest looks at clips under way, by position; each is sent once and kept in no trait."""
        for position, preview in enumerate(previews):
            if preview is not None and preview is not self._previews.get(position):
                self._previews[position] = preview
                self.send({"type": "preview", "p": position, "image": preview.image})

    def send_poster(self, position: int, picture: bytes) -> None:
        """Answers a page that cannot fetch files: the poster's bytes."""
        self.send({"type": "poster", "p": position}, buffers=[picture])

    def reply_copy(self, text: str) -> None:
        """Puts a text on the clipboard."""
        self.send({"type": "copy", "text": text})

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on."""
        action = content.get("action")
        if action not in ACTIONS:
            return
        if action == "handshake":
            self.send({"type": "tiles", "tiles": [dict(tile) for tile in self._now]})
            return
        position = content.get("p")
        valid = isinstance(position, int) and 0 <= position < len(self._now)
        self._on_action(self, action, position if valid else None)

    def __repr__(self) -> str:
        """Returns one line about the sweep."""
        return self._text


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
            on_action: Called with the widget, a word of `COMPARISON_ACTIONS` and a run's place.
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
        if action in COMPARISON_ACTIONS and isinstance(position, int) and 0 <= position < len(self.stars):
            self._on_action(self, action, position)

    def __repr__(self) -> str:
        """Returns one line about the comparison."""
        return self._text
