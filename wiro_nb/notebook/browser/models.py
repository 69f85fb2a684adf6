"""The functions behind `%wiro models` and `%wiro info`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.session import session
from wiro_nb.presentation.models import ModelInfo, format_default_price, listed_models, models_output
from wiro_nb.presentation.output import Displayable, Output

if TYPE_CHECKING:
    from wiro_nb.schema.types import ModelSchema
    from wiro_nb.services.catalogue import ModelCard

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
            from wiro_nb.notebook.browser.browse import BrowserController

            BrowserController(context, self, self._query, self.output()).show()
        else:
            from wiro_nb.notebook.display import publish

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
    schema = session.schema(model)
    notes = _notes(schema)
    if schema.parameters and not any("seed" in item.id.lower() for item in schema.parameters):
        notes.append("This model has no seed: a clip cannot be repeated exactly.")
    manager = session.manager()
    choice = manager.choice
    detail = None if choice.is_free else manager.prices.detail(schema.slug)
    price = format_default_price(detail.pricing if detail else None, schema, choice.free_label)
    return ModelInfo(schema, price, tuple(notes))


def _notes(schema: ModelSchema) -> list[str]:
    """Returns where and when the inputs were read, and what the service changed since."""
    source = schema.source
    notes = []
    if source.get("date"):
        origin = "bundled with the package" if source.get("kind") == "bundled" else "from the service"
        checksum = f", sha256 {source['sha256'][:12]}" if source.get("sha256") else ""
        notes.append(f"Inputs {origin}, read {source['date']}{checksum}.")
    if source.get("changed"):
        notes.append(f"Its inputs changed {source['changed']}.")
    manager = session.manager()
    if source.get("kind") == "bundled" and not manager.choice.is_free:
        from wiro_nb.schema.types import describe_changes

        detail = manager.prices.detail(schema.slug)
        changes = describe_changes(schema, detail.schema) if detail is not None else ()
        if changes:
            notes.append(f"The service lists other inputs than this package: {'; '.join(changes)}.")
    return notes
