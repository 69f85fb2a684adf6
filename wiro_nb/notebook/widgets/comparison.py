"""Runs side by side: clips played in step, wiped over one another, and what differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.assets import bundle_script, read_static
from wiro_nb.notebook.widgets.base import OwnWidget

ACTIONS = frozenset({"star", "poster"})

ComparisonHandler = Callable[["ComparisonWidget", str, int], object]


class ComparisonWidget(OwnWidget):
    """Live view of a comparison."""

    _esm = traitlets.Unicode(help="The comparison's script.").tag(sync=True)
    _css = traitlets.Unicode(help="The style sheet.").tag(sync=True)
    view = traitlets.Dict(help="Clips and tables.").tag(sync=True)
    stars: traitlets.List[bool] = traitlets.List(help="Which runs are picked.").tag(sync=True)

    view_key = traitlets.Unicode(help="What its output is found by: the model id.").tag(sync=True)

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
        self.view_key = self.model_id
        self.on_msg(self._receive)

    @traitlets.default("_esm")
    def _default_esm(self) -> str:
        return bundle_script("compare.js")

    @traitlets.default("_css")
    def _default_css(self) -> str:
        return read_static("wiro.css") + read_static("grid.css")

    def send_poster(self, position: int, picture: bytes) -> None:
        """Answers a page that cannot fetch files: the poster's bytes."""
        self.send({"type": "poster", "p": position}, buffers=[picture])

    def _receive(self, _widget: Any, content: Any, _buffers: Any) -> None:
        action = content.get("action") if isinstance(content, dict) else None
        position = content.get("p") if isinstance(content, dict) else None
        if action in ACTIONS and isinstance(position, int) and 0 <= position < len(self.stars):
            self._on_action(self, action, position)

    def __repr__(self) -> str:
        """Returns one line about the comparison."""
        return self._text
