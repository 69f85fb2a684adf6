"""The strip of a film: its shots, one player over all of them, and the shot that is edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.base import OutputWidget

ACTIONS = frozenset({"retry", "cancel", "copy", "price", "run"})
MOST_LETTERS = 20_000

StripHandler = Callable[["FilmStrip", str, "int | None", str], object]


class FilmStrip(OutputWidget):
    """Live view of a film.

    Args:
        state: As `FilmView` makes it.
        text: One line for where no widget can be shown.
        on_action: Called with the strip, a word of `ACTIONS`, the position of a shot or None, and its new prompt.
    """

    script = "film.js"
    styles = ("wiro.css", "grid.css")
    state = traitlets.Dict(help="Title, note, film and shots.").tag(sync=True)
    posters: traitlets.Dict[str, str] = traitlets.Dict(help="Picture of each shot as a data URI.").tag(sync=True)

    def __init__(self, state: Mapping[str, Any], *, text: str, on_action: StripHandler) -> None:
        self._text, self._on_action = text, on_action
        super().__init__(state=dict(state))

    def update(self, state: Mapping[str, Any], posters: Mapping[str, str]) -> None:
        """Shows a newer state; what is the same is not sent again."""
        if posters:
            self.posters = dict(posters)
        if dict(state) != self.state:
            self.state = dict(state)

    def reply(self, kind: str, **content: Any) -> None:
        """Answers an action of the page."""
        self.send({"type": kind, **content})

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on."""
        action, place, prompt = content.get("action"), content.get("p"), str(content.get("prompt") or "")
        valid = isinstance(place, int) and 0 <= place < len(self.state.get("shots", ()))
        if action in ACTIONS and len(prompt) <= MOST_LETTERS:
            self._on_action(self, str(action), place if valid else None, prompt)

    def __repr__(self) -> str:
        """Returns one line about the film."""
        return self._text
