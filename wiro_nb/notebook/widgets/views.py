"""Widgets that show several things: a sweep's grid, runs side by side, a film's strip, a list of runs, models.

`BridgeWidget` is the hidden one: its script reaches the document through the widget manager and updates
`metadata.wiro`. Where there is no such document (Voila, VS Code, Colab) it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from wiro_nb.notebook.widgets import OutputWidget, OwnWidget
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.api.answers import Preview


class ItemsWidget(OutputWidget):
    """A widget of a head and of items that change one by one; actions name an item by its position, `p`.

    Items that change travel as messages, only those, so that a sweep of a hundred runs does not send all tiles for
    every step of one. A page that draws the widget later asks for the items as they are with "handshake".
    """

    head = traitlets.Dict(help="What stands above the items.").tag(sync=True)
    items: traitlets.List[dict[str, Any]] = traitlets.List(help="The items when it was made.").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._now = {item["p"]: item for item in self.items}

    def update(self, head: dict[str, Any], items: Iterable[dict[str, Any]]) -> None:
        """Shows newer items, and new ones; those that show the same already are not sent again."""
        changed = [item for item in items if item != self._now.get(item["p"])]
        self._now |= {item["p"]: item for item in changed}
        if changed:
            self.reply("items", items=changed)
        self.head = head

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on; a page that draws the widget gets the items as they are now."""
        if content.get("action") == "handshake":
            self.reply("items", items=list(self._now.values()))
        super().on_message(content, buffers)


class SweepGrid(ItemsWidget):
    """Live view of a sweep; an item is a tile."""

    script = "grid.js"
    styles = ("wiro.css", "grid.css")
    actions = frozenset({"star", "open", "cancel", "cancel_waiting", "copy", "poster"})
    plan = traitlets.Dict(help="Model, prompt, heads, cells, notes.").tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._previews: dict[int, Preview] = {}

    def send_previews(self, previews: Iterable[Preview | None]) -> None:
        """Shows the latest previews of unfinished clips, by position; each is sent once and kept in no trait."""
        for position, preview in enumerate(previews):
            if preview is not None and preview is not self._previews.get(position):
                self._previews[position] = preview
                self.reply("preview", p=position, image=preview.image)


class FilmStrip(ItemsWidget):
    """Live view of a film; an item is a shot, and its actions have the new prompt."""

    script = "film.js"
    styles = ("wiro.css", "grid.css")
    actions = frozenset({"retry", "cancel", "copy", "price", "run"})


class RunTable(ItemsWidget):
    """Live view of a list of runs; an item is a row, and one that comes later stands on top."""

    script = "runs.js"
    actions = frozenset({"open", "cancel"})


class ComparisonWidget(OutputWidget):
    """Live view of a comparison. Its actions name a run by its position, `p`."""

    script = "compare.js"
    styles = ("wiro.css", "grid.css")
    actions = frozenset({"star", "poster"})
    view = traitlets.Dict(help="Clips and tables.").tag(sync=True)
    stars: traitlets.List[bool] = traitlets.List(help="Which runs are picked.").tag(sync=True)


class ModelBrowser(OutputWidget):
    """Shows models, and reports words to search for and the chosen model.

    Each model is a dict of `slug`, `title`, `description`, `categories`, `price` (in words), `usd` (its lowest
    amount, or None), `runs` (or None), `cover` (URL or "") and `thumb` (data URI of the latest own clip, or "").

    "search" comes with `query` and is answered with `add`; "choose" comes with `slug` and is answered with the
    reply "opened" or "message".
    """

    script = "models.js"
    styles = ("wiro.css", "models.css")
    actions = frozenset({"search", "choose"})
    models: traitlets.List[dict[str, Any]] = traitlets.List(help="The models known so far.").tag(sync=True)
    query = traitlets.Unicode(help="Words to begin with.").tag(sync=True)
    service = traitlets.Unicode(help="The service, in words.").tag(sync=True)
    free = traitlets.Bool(False, help="Nothing costs money here.").tag(sync=True)
    remote_covers = traitlets.Bool(False, help="Load covers from the service unasked.").tag(sync=True)

    def show_error(self, lines: list[str]) -> None:
        """Shows lines above the models."""
        self.reply("message", lines=lines)

    def add(self, models: Sequence[dict[str, Any]]) -> None:
        """Adds models that are not there yet, behind the others."""
        known = {model["slug"] for model in self.models}
        self.models = [*self.models, *(model for model in models if model["slug"] not in known)]


NOTEBOOK_RUN_LIMIT = 200
_MOST_PAGES = 8


class BridgeWidget(OwnWidget):
    """Messages: `handshake` from the browser; `runs`, `budget`, `repair` and `repair_output` to it."""

    script = "bridge.js"
    _view_name = traitlets.Unicode(  # type: ignore[assignment]
        None, allow_none=True, help="None: nothing to show."
    ).tag(sync=True)

    def __init__(self, on_handshake: Callable[[dict[str, Any]], object]) -> None:
        """Makes the bridge.

        Args:
            on_handshake: Called with {"known": {run_id: status}, "outputs": {run_id: status}, "keys": [key],
                "notebook_ok": bool, "read_only": bool, "path": str, "budget": str} each time a page opens the
                notebook. `outputs` lists the runs named by the metadata of outputs, `forms` has the keys of the
                outputs that belong to forms.
        """
        self._on_handshake = on_handshake
        self._pages: list[str] = []
        super().__init__()

    def send_runs(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Merges run records into the notebook's metadata, which keeps the latest 200.

        Args:
            records: Record by run id. Must hold no secret and no absolute path.
        """
        if records:
            runs = {run_id: dict(record) for run_id, record in records.items()}
            self._broadcast("runs", runs=runs, limit=NOTEBOOK_RUN_LIMIT)

    def send_budget(self, budget_usd: str | None) -> None:
        """Writes the notebook's budget, decimal text in USD, into its metadata; None takes it out."""
        self._broadcast("budget", budget=budget_usd)

    def send_repair(self, run_id: str, output: Output, *, live_keys: Sequence[str] = ()) -> None:
        """Replaces the outputs of a run that show an older state of it.

        Args:
            run_id: The run named by `metadata.wiro.run_id` of the outputs.
            output: The replacement; `metadata["wiro"]` is the record.
            live_keys: Keys of outputs that a form or view of this kernel repairs itself.
        """
        self._broadcast("repair", output, run_id=run_id, live_keys=list(live_keys))

    def send_output_repair(self, key: str, output: Output) -> None:
        """Replaces the output of a form or view where it shows something else.

        Args:
            key: Named by `metadata.wiro_form`, else by `metadata.wiro_view.key` of the output.
            output: The replacement.
        """
        self._broadcast("repair_output", output, key=key)

    def _broadcast(self, kind: str, output: Output | None = None, **content: Any) -> None:
        """Sends to every page; in a shared notebook they write in the order of `pages`, one after the other."""
        shown = {} if output is None else {"data": output.data, "metadata": dict(output.metadata)}
        self.reply(kind, **content, **shown, pages=list(self._pages))

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Takes the handshake of a page: the one that opened last is the one most surely there."""
        if content.get("type") != "handshake":
            return
        page = content.get("page")
        if isinstance(page, str) and content.get("read_only") is not True:
            self._pages = [page, *(other for other in self._pages if other != page)][:_MOST_PAGES]
        texts = {name: _texts(content.get(name)) for name in ("known", "outputs")}
        self._on_handshake({**content, **texts, "keys": [str(key) for key in content.get("keys") or ()]})


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
