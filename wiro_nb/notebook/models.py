"""The model browser, and the functions behind `%wiro models` and `%wiro info`.

A widget's message belongs to no cell, so nothing can be displayed in answer to it. The cell that shows the browser
therefore reserves two outputs: one becomes the form of the chosen model, the other keeps the form's results.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wiro_nb.api.answers import ModelCard
from wiro_nb.formatting import format_estimate
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.display import publish, with_view_of
from wiro_nb.notebook.run.display import read_posters
from wiro_nb.notebook.run.view import FormResults
from wiro_nb.notebook.session import ExecutionContext, current_context, session
from wiro_nb.presentation.models import ModelInfo, estimate_default, listed_models, models_output, task_categories
from wiro_nb.presentation.output import Displayable, Output
from wiro_nb.presentation.run import jpeg_uri
from wiro_nb.schema.types import ModelSchema, describe_changes
from wiro_nb.schema.values import NO_SEED_NOTE

if TYPE_CHECKING:
    from wiro_nb.notebook.form.controller import NotebookForm

_MANY, _FEW = 100, 20


class ModelList(Displayable, list["ModelCard"]):
    """Models that show as a browser in a live front end, else as a table.

    Args:
        cards: The models.
        query: The words they were found by.
    """

    def __init__(self, cards: Iterable[ModelCard], query: str) -> None:
        super().__init__(cards)
        self._query = query

    def output(self) -> Output:
        """Returns the table."""
        choice = session.manager().choice
        return models_output(self, self._query, choice.label, choice.free_label)

    def _ipython_display_(self) -> None:
        context = current_context()
        if context.is_live:
            BrowserController(context, self, self._query, self.output()).show()
        else:
            publish(self.output())


def models(query: str = "", *, limit: int | None = None) -> ModelList:
    """Returns models, searched by words; they show as a browser, or as a table where no widget can be shown.

    Args:
        query: Words to look for; empty lists all.
        limit: At most this many; None: a hundred where they can be searched and narrowed down, else twenty.
    """
    limit = limit or (_MANY if current_context().is_live else _FEW)
    return ModelList(listed_models(session.manager().models(query, limit=limit), query), query)


def info(model: str) -> ModelInfo:
    """Returns a model's inputs, choices and price.

    Raises:
        UnknownModel: There is no such model.
    """
    schema, manager = session.schema(model), session.manager()
    choice = manager.choice
    detail = None if choice.is_free else manager.prices.detail(schema.slug)
    price = format_estimate(estimate_default(detail.pricing if detail else None, schema), choice.free_label)
    return ModelInfo(schema, price, tuple(_notes(schema, detail.schema if detail else None)))


def _notes(schema: ModelSchema, listed: ModelSchema | None) -> list[str]:
    """Returns where and when the inputs were read, and what the service, which lists others now, changed since."""
    source, notes = schema.source, []
    if source.get("date"):
        origin = "bundled with the package" if source.get("kind") == "bundled" else "from the service"
        checksum = f", sha256 {source['sha256'][:12]}" if source.get("sha256") else ""
        notes.append(f"Inputs {origin}, read {source['date']}{checksum}.")
    if source.get("changed"):
        notes.append(f"Its inputs changed {source['changed']}.")
    changes = describe_changes(schema, listed) if source.get("kind") == "bundled" and listed is not None else ()
    if changes:
        notes.append(f"The service lists other inputs than this package: {'; '.join(changes)}.")
    if schema.parameters and not any(item.is_seed for item in schema.parameters):
        notes.append(NO_SEED_NOTE)
    return notes


_LONGEST_DESCRIPTION = 240
_RUNS_LOOKED_AT = 100
_MOST_THUMBS = 12

_nothing = Output("<div></div>", "")


class BrowserController:
    """Searches and opens forms for one model browser.

    Args:
        context: The cell that shows it.
        cards: The models to begin with.
        query: The words they were found by.
        static: What is shown where no widget can be, and saved.
    """

    def __init__(self, context: ExecutionContext, cards: Sequence[ModelCard], query: str, static: Output) -> None:
        from wiro_nb.notebook.widgets.views import ModelBrowser

        choice = session.manager().choice
        self._context, self._static = context, static
        self._form_id = f"wiro-browse-{uuid.uuid4().hex}"
        self._results = FormResults()
        self._form: NotebookForm | None = None
        self._browser = ModelBrowser(
            models=describe_cards(cards),
            on_action=self._on_action,
            query=query,
            service=choice.label,
            # Free services promise to work without the net: covers are loaded there when asked for.
            remote_covers=not choice.is_free,
            free=choice.is_free,
        )

    def show(self) -> None:
        """Displays the browser in the running cell, with the places below it."""
        publish(with_view_of(self._browser, self._static))
        publish(_nothing, display_id=self._form_id)
        self._results.place()

    def _on_action(self, action: str, content: Mapping[str, Any]) -> None:
        """Answers a search or a choice."""
        if action == "search":
            self._browser.add(describe_cards(models(str(content.get("query") or "")[:200], limit=_MANY)))
        else:
            self._open(str(content.get("slug") or ""))

    def _open(self, slug: str) -> None:
        from wiro_nb.notebook.form.controller import NotebookForm

        schema = session.schema(slug)
        previous, form = self._form, NotebookForm(schema, self._context, {}, results=self._results)
        self._form, form.takes_focus = form, True
        publish(with_view_of(form, form.static_output()), display_id=self._form_id, update=True)
        if previous is not None:
            previous.close()
        self._browser.reply("opened", slug=slug)


def describe_cards(cards: Sequence[ModelCard]) -> list[dict[str, Any]]:
    """Returns models as the browser shows them."""
    thumbs = own_pictures()
    free = session.manager().choice.is_free
    ordered = sorted(cards, key=lambda card: card.slug not in thumbs)  # models one has used come first
    return [
        {
            "slug": card.slug,
            "title": card.title,
            "description": card.description[:_LONGEST_DESCRIPTION],
            "categories": task_categories(card.categories),
            "price": card.notice or "free" if free else format_estimate(price),
            "usd": 0.0 if free else float(price.low_usd) if price is not None and price.known else None,
            "runs": card.run_count or None,
            "cover": card.cover,
            "thumb": thumbs.get(card.slug, ""),
        }
        for card in ordered
        for price in (estimate_default(card.price),)
    ]


def own_pictures() -> dict[str, str]:
    """Returns the poster of the user's latest clip, by model."""
    found: dict[str, str] = {}
    for run in session.manager().runs(state=RunState.SUCCEEDED, limit=_RUNS_LOOKED_AT):
        if run.model in found or len(found) >= _MOST_THUMBS:
            continue
        poster = next(iter(read_posters(run, run.snapshot).values()), None)
        if poster is not None:
            found[run.model] = jpeg_uri(poster)
    return found
