"""The model browser in a cell: the widget, and under it the place where the form of the chosen model opens.

A widget's message belongs to no cell, so nothing can be displayed in answer to it. The cell that shows the
browser therefore reserves two outputs: one becomes the form, the other keeps the form's results.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import WiroError
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.context import ExecutionContext
from wiro_nb.notebook.display import publish, with_view_of
from wiro_nb.notebook.form.controller import FormController
from wiro_nb.notebook.form.results import FormResults
from wiro_nb.notebook.run.display import read_posters
from wiro_nb.notebook.session import session
from wiro_nb.presentation.models import (
    estimate_default,
    format_default_price,
    listed_models,
    task_categories,
)
from wiro_nb.presentation.output import Output
from wiro_nb.presentation.run import poster_base64
from wiro_nb.redaction import redact

if TYPE_CHECKING:
    from wiro_nb.notebook.widgets import ModelBrowser
    from wiro_nb.services.catalogue import ModelCard

MODELS_ASKED = 100
_LONGEST_DESCRIPTION = 240
_RUNS_LOOKED_AT = 100
_MOST_THUMBS = 12

_log = logging.getLogger(__name__)
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
        from wiro_nb.notebook.widgets import ModelBrowser

        choice = session.manager().choice
        self._context, self._static = context, static
        self._form_id = f"wiro-browse-{uuid.uuid4().hex}"
        self._results = FormResults()
        self._form: FormController | None = None
        self._browser = ModelBrowser(
            describe_cards(cards),
            on_search=self._search,
            on_choose=self._choose,
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

    def _search(self, browser: ModelBrowser, query: str) -> None:
        try:
            browser.add(describe_cards(listed_models(session.manager().models(query, limit=MODELS_ASKED), query)))
        except WiroError as error:
            browser.show_message(error.lines())

    def _choose(self, browser: ModelBrowser, slug: str) -> None:
        try:
            self._open(slug)
            browser.show_opened(slug)
        except WiroError as error:
            browser.show_message(error.lines())
        except Exception as error:
            _log.exception("a form could not be opened")
            browser.show_message([redact(f"{type(error).__name__}: {error}"), f"%wiro form {slug}"])

    def _open(self, slug: str) -> None:
        schema = session.schema(slug)
        previous, self._form = self._form, FormController(schema, self._context, {}, results=self._results)
        form = self._form.form
        form.takes_focus = True
        publish(with_view_of(form, form.static_output()), display_id=self._form_id, update=True)
        if previous is not None:
            previous.close()


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
            "price": card.notice or "free" if free else format_default_price(card.price, None, ""),
            "usd": 0.0 if free else _lowest_usd(card),
            "runs": card.run_count or None,
            "cover": card.cover,
            "thumb": thumbs.get(card.slug, ""),
        }
        for card in ordered
    ]


def _lowest_usd(card: ModelCard) -> float | None:
    price = estimate_default(card.price)
    return float(price.low_usd) if price is not None and price.known else None


def own_pictures() -> dict[str, str]:
    """Returns the poster of one's own latest clip, by model."""
    found: dict[str, str] = {}
    for run in session.manager().runs(state=RunState.SUCCEEDED, limit=_RUNS_LOOKED_AT):
        if run.model in found or len(found) >= _MOST_THUMBS:
            continue
        poster = next(iter(read_posters(run, run.snapshot).values()), None)
        if poster is not None:
            found[run.model] = f"data:image/jpeg;base64,{poster_base64(poster)}"
    return found
