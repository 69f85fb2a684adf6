"""The model browser: cards of models to search, narrow down and choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import traitlets

from wiro_nb.notebook.widgets.base import OutputWidget

Handler = Callable[["ModelBrowser", str], object]


class ModelBrowser(OutputWidget):
    """Shows models; asks for more words to be looked up, and reports which one was chosen.

    Each model is a dict of `slug`, `title`, `description`, `categories`, `price` (in words), `usd` (its lowest
    amount, or None), `runs` (or None), `cover` (URL or "") and `thumb` (data URI of one's own latest clip, or "").
    """

    script = "models.js"
    styles = ("wiro.css", "models.css")
    models: traitlets.List[dict[str, Any]] = traitlets.List(help="The models known so far.").tag(sync=True)
    query = traitlets.Unicode(help="Words to begin with.").tag(sync=True)
    service = traitlets.Unicode(help="The service, in words.").tag(sync=True)
    free = traitlets.Bool(False, help="Nothing costs money here.").tag(sync=True)
    remote_covers = traitlets.Bool(False, help="Load covers from the service unasked.").tag(sync=True)

    def __init__(
        self,
        models: Sequence[dict[str, Any]],
        *,
        on_search: Handler,
        on_choose: Handler,
        query: str = "",
        service: str = "",
        remote_covers: bool = False,
        free: bool = False,
    ) -> None:
        """Makes a browser.

        Args:
            models: What is shown first.
            on_search: Called with the browser and the words typed; answers with `add`.
            on_choose: Called with the browser and the slug of the chosen model; answers with `show_opened` or
                `show_message`.
            query: Words to begin with.
            service: The service, in words.
            remote_covers: True loads covers without being asked.
            free: True says that nothing costs money.
        """
        self._on_search, self._on_choose = on_search, on_choose
        super().__init__(
            models=list(models),
            query=query,
            service=service,
            remote_covers=remote_covers,
            free=free,
        )

    def add(self, models: Sequence[dict[str, Any]]) -> None:
        """Adds models that are not there yet, behind the others."""
        known = {model["slug"] for model in self.models}
        fresh = [model for model in models if model["slug"] not in known]
        if fresh:
            self.models = [*self.models, *fresh]

    def show_opened(self, slug: str) -> None:
        """Shows that the form of a model was opened below."""
        self.send({"type": "opened", "slug": slug})

    def show_message(self, lines: Sequence[str]) -> None:
        """Shows why nothing was opened."""
        self.send({"type": "message", "lines": list(lines)})

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes a search or a choice on."""
        if content.get("type") == "search":
            self._on_search(self, str(content.get("query") or "")[:200])
        elif content.get("type") == "choose":
            self._on_choose(self, str(content.get("slug") or ""))

    def __repr__(self) -> str:
        return f"{len(self.models)} models; list them with %wiro models"
