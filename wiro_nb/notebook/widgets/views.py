"""Widgets that show several things: a sweep's grid, runs side by side, a film's strip, a list of runs, models.

`BridgeWidget` is the hidden one: its script reaches the document through the widget manager and updates
`metadata.wiro`. Where there is no such document (Voila, VS Code, Colab) it does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from wiro_nb.notebook.widgets import OutputWidget, OwnWidget, read_position
from wiro_nb.presentation.output import Output

if TYPE_CHECKING:
    from wiro_nb.api.answers import Preview

MOST_LETTERS = 20_000


class SweepGrid(OutputWidget):
    """Live view of a sweep. Its actions come with a position or None.

    What does not change is a trait; tiles that change travel as messages, only those, so that a sweep of
    a hundred runs does not send all tiles for every step of one.

    Args:
        plan: What does not change.
        head: As `head_data` gives it.
        tiles: As `tile_data` gives them, in order.
        **options: As `OutputWidget` takes them.
    """

    script = "grid.js"
    styles = ("wiro.css", "grid.css")
    actions = frozenset({"star", "open", "cancel", "cancel_waiting", "copy", "poster"})
    plan = traitlets.Dict(help="Model, prompt, heads, cells, notes.").tag(sync=True)
    head = traitlets.Dict(help="Counts, percent, money: see `head_data`.").tag(sync=True)
    tiles: traitlets.List[dict[str, Any]] = traitlets.List(help="The tiles when the grid was made.").tag(sync=True)

    def __init__(
        self,
        plan: Mapping[str, Any],
        head: Mapping[str, Any],
        tiles: Sequence[Mapping[str, Any]],
        **options: Any,
    ) -> None:
        self._now = [dict(tile) for tile in tiles]
        self._previews: dict[int, Preview] = {}
        super().__init__(plan=dict(plan), head=dict(head), tiles=list(self._now), **options)

    def update(self, head: Mapping[str, Any], tiles: Sequence[Mapping[str, Any]]) -> None:
        """Shows newer tiles; those that show the same already are not sent again."""
        changed = [dict(tile) for tile in tiles if self._now[tile["p"]] != tile]
        for tile in changed:
            self._now[tile["p"]] = tile
        if changed:
            self.reply("tiles", tiles=changed)
        self.head = dict(head)

    def send_previews(self, previews: Iterable[Preview | None]) -> None:
        """Shows the latest previews of unfinished clips, by position; each is sent once and kept in no trait."""
        for position, preview in enumerate(previews):
            if preview is not None and preview is not self._previews.get(position):
                self._previews[position] = preview
                self.reply("preview", p=position, image=preview.image)

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on; a page that draws the grid gets the tiles as they are now."""
        if content.get("action") == "handshake":
            self.reply("tiles", tiles=self._now)
        super().on_message(content, buffers)

    def target(self, content: dict[str, Any]) -> tuple[int | None]:
        """Returns the position of the tile, or None."""
        return (read_position(content, len(self._now)),)


class ComparisonWidget(OutputWidget):
    """Live view of a comparison. Its actions come with the position of a run, or None.

    Args:
        view: Clips and tables as plain data.
        stars: Which runs are picked.
        **options: As `OutputWidget` takes them.
    """

    script = "compare.js"
    styles = ("wiro.css", "grid.css")
    actions = frozenset({"star", "poster"})
    view = traitlets.Dict(help="Clips and tables.").tag(sync=True)
    stars: traitlets.List[bool] = traitlets.List(help="Which runs are picked.").tag(sync=True)

    def __init__(self, view: Mapping[str, Any], stars: Sequence[bool], **options: Any) -> None:
        super().__init__(view=dict(view), stars=list(stars), **options)

    def target(self, content: dict[str, Any]) -> tuple[int | None]:
        """Returns the position of the run, or None."""
        return (read_position(content, len(self.stars)),)


class FilmStrip(OutputWidget):
    """Live view of a film. Its actions come with the position of a shot or None, and its new prompt.

    Args:
        state: As `FilmView` makes it.
        **options: As `OutputWidget` takes them.
    """

    script = "film.js"
    styles = ("wiro.css", "grid.css")
    actions = frozenset({"retry", "cancel", "copy", "price", "run"})
    state = traitlets.Dict(help="Title, note, film and shots.").tag(sync=True)
    posters: traitlets.Dict[str, str] = traitlets.Dict(help="Picture of each shot as a data URI.").tag(sync=True)

    def __init__(self, state: Mapping[str, Any], **options: Any) -> None:
        super().__init__(state=dict(state), **options)

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on, unless its prompt is endless."""
        if len(str(content.get("prompt") or "")) <= MOST_LETTERS:
            super().on_message(content, buffers)

    def target(self, content: dict[str, Any]) -> tuple[int | None, str]:
        """Returns the position of the shot, or None, and the prompt."""
        return read_position(content, len(self.state.get("shots", ()))), str(content.get("prompt") or "")


class RunTable(OutputWidget):
    """Live view of a list of runs. Rows that change travel as messages, only those; actions come with a run's id.

    Args:
        head: The output above the rows.
        rows: Newest first.
        **options: As `OutputWidget` takes them.
    """

    script = "runs.js"
    actions = frozenset({"open", "cancel"})
    head = traitlets.Dict(help="title, lines (texts), notify (offer to notify at the end).").tag(sync=True)
    rows: traitlets.List[dict[str, Any]] = traitlets.List(help="As `listing.row_data` gives them.").tag(sync=True)

    def __init__(self, head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], **options: Any) -> None:
        self._now = {row["id"]: dict(row) for row in rows}
        super().__init__(head=dict(head), rows=[dict(row) for row in rows], **options)

    def update(self, row: Mapping[str, Any]) -> None:
        """Shows a newer row; an unknown one stands on top (any thread)."""
        if self._now.get(row["id"]) != row:
            self._now[row["id"]] = dict(row)
            self.reply("row", row=dict(row))

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes an action on; a page that draws the table gets what has changed since it was made."""
        if content.get("action") == "handshake":
            self.rows = list(self._now.values())
        elif content.get("id") in self._now:
            super().on_message(content, buffers)

    def target(self, content: dict[str, Any]) -> tuple[str]:
        """Returns the id of the run."""
        return (content["id"],)

    def __repr__(self) -> str:
        return f"{len(self._now)} runs; list them with %wiro runs"


class ModelBrowser(OutputWidget):
    """Shows models, requests searches, and reports the chosen model.

    Each model is a dict of `slug`, `title`, `description`, `categories`, `price` (in words), `usd` (its lowest
    amount, or None), `runs` (or None), `cover` (URL or "") and `thumb` (data URI of the latest own clip, or "").

    Args:
        models: What is shown first.
        on_search: Called with the words typed; answers with `add`.
        on_choose: Called with the slug of the chosen model; answers with the reply "opened" or "message".
        **traits: Values of the other traits.
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
        on_search: Callable[[str], object],
        on_choose: Callable[[str], object],
        **traits: Any,
    ) -> None:
        self._on_search, self._on_choose = on_search, on_choose
        super().__init__(models=list(models), **traits)

    def add(self, models: Sequence[dict[str, Any]]) -> None:
        """Adds models that are not there yet, behind the others."""
        known = {model["slug"] for model in self.models}
        self.models = [*self.models, *(model for model in models if model["slug"] not in known)]

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Passes a search or a choice on."""
        if content.get("type") == "search":
            self._on_search(str(content.get("query") or "")[:200])
        elif content.get("type") == "choose":
            self._on_choose(str(content.get("slug") or ""))

    def __repr__(self) -> str:
        return f"{len(self.models)} models; list them with %wiro models"


NOTEBOOK_RUN_LIMIT = 200
_MOST_PAGES = 8


class BridgeWidget(OwnWidget):
    """Messages: `handshake` from the browser; `runs`, `budget`, `repair` and `repair_form` to it."""

    script = "bridge.js"
    _view_name = traitlets.Unicode(  # type: ignore[assignment]
        None, allow_none=True, help="None: nothing to show."
    ).tag(sync=True)

    def __init__(self, on_handshake: Callable[[dict[str, Any]], object]) -> None:
        """Makes the bridge.

        Args:
            on_handshake: Called with {"known": {run_id: status}, "outputs": {run_id: status}, "forms": [key],
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

    def send_repair(self, run_id: str, output: Output, *, live_forms: Sequence[str] = ()) -> None:
        """Replaces the outputs of a run that show an older state of it.

        Args:
            run_id: The run named by `metadata.wiro.run_id` of the outputs.
            output: The replacement; `metadata["wiro"]` is the record.
            live_forms: Keys of forms whose outputs stay as they are: those hold several runs.
        """
        self._broadcast("repair", output, run_id=run_id, live_forms=list(live_forms))

    def send_form_repair(self, key: str, output: Output) -> None:
        """Replaces the output of a form where it shows something else.

        Args:
            key: The form named by `metadata.wiro_form` of the output.
            output: The replacement, with that key in its metadata.
        """
        self._broadcast("repair_form", output, form=key)

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
        self._on_handshake({**content, **texts, "forms": [str(key) for key in content.get("forms") or ()]})


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}
