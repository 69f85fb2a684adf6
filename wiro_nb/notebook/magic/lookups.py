"""Models, money and the service: what the commands that start no run do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InputError
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.context import current_context
from wiro_nb.notebook.session import session
from wiro_nb.presentation.account import AccountStatus, status_output
from wiro_nb.presentation.formatting import MAX_USD, format_budget, format_count, format_size, parse_usd
from wiro_nb.presentation.models import ModelLine, info_output, models_output
from wiro_nb.presentation.output import Displayable, Output, message
from wiro_nb.presentation.request import format_estimate

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.schema.types import ModelSchema
    from wiro_nb.services.catalogue import ModelCard
    from wiro_nb.services.selection import ServiceChoice

_UNSET: Any = object()
_MANY, _FEW = 100, 20


def service_words(choice: ServiceChoice) -> str:
    """Returns the service as a phrase."""
    return "sandbox, free" if choice.is_sandbox else choice.name


def money_sentence() -> str:
    """Returns what this notebook spent, as a sentence; empty in the sandbox."""
    manager = session.manager()
    if manager.choice.is_sandbox:
        return ""
    notebook = current_context().notebook
    words = format_budget(manager.spent(notebook), manager.budget(notebook), manager.reserved(notebook))
    return f"{words[0].upper()}{words[1:]}."


def status() -> Output:
    """Returns service, account, money and runs in flight."""
    manager = session.manager()
    choice = manager.choice
    notebook = current_context().notebook
    flying = [item.snapshot for item in manager.runs(notebook=notebook, limit=500) if not item.state.is_final]
    return status_output(
        AccountStatus(
            service=choice.name,
            is_sandbox=choice.is_sandbox,
            account=_account_words(choice),
            spent_usd=manager.spent(notebook),
            budget_usd=manager.budget(notebook),
            in_flight=tuple(flying),
            files=_files_words(manager.runs(notebook=notebook, state=RunState.SUCCEEDED, limit=500)),
        )
    )


def _files_words(done: Sequence[Run]) -> str:
    """Returns "5 files, 3.1 MB, in wiro_outputs/"."""
    outputs = [output for run in done for output in run.outputs if output.path]
    if not outputs:
        return f"none yet; they go to {session.preferences.out_dir}/"
    size = format_size(sum(output.size_bytes or 0 for output in outputs))
    return f"{format_count(len(outputs), 'file')}, {size}, in {session.preferences.out_dir}/"


def _account_words(choice: ServiceChoice) -> str:
    if choice.is_sandbox:
        by_variable = choice.reason == "WIRO_SERVICE"
        why = "the environment variable WIRO_SERVICE chooses the sandbox" if by_variable else choice.reason
        return f"none needed ({why})"
    return f"key from the {choice.key_source}"


class ModelList(Displayable, list["ModelCard"]):
    """Models that show as a browser where a person watches, else as a table.

    Args:
        cards: The models.
        query: The words they were found by.
    """

    def __init__(self, cards: Iterable[ModelCard], query: str) -> None:
        super().__init__(cards)
        self._query = query

    def output(self) -> Output:
        """Returns the table."""
        lines = [
            ModelLine(item.slug, item.title, item.description, item.categories, card_price(item)) for item in self
        ]
        return models_output(lines, self._query, service_words(session.manager().choice))

    def _ipython_display_(self) -> None:
        context = current_context()
        if context.is_live:
            from wiro_nb.notebook.browser.browse import ModelDesk

            ModelDesk(context, self, self._query, self.output()).show()
        else:
            from wiro_nb.notebook.run.display import publish

            publish(self.output())


def models(query: str = "", *, limit: int | None = None) -> ModelList:
    """Returns models, searched by words; they show as a browser, or as a table where nobody watches.

    Args:
        query: Words to look for; empty lists all.
        limit: At most this many; None: a hundred where they can be searched and narrowed down, else twenty.
    """
    manager = session.manager()
    found = manager.models(query, limit=limit or (_MANY if current_context().is_live else _FEW))
    return ModelList(found, query)


def card_price(card: ModelCard) -> str:
    """Returns what a run of a listed model costs at its default settings, in words."""
    if session.manager().choice.is_sandbox:
        return "free, sandbox"
    if card.price is None:
        return "price not listed"
    from wiro_nb.api.pricing.prices import estimate

    return format_estimate(estimate(card.price, {}, {}), False)


def info(model: str) -> Output:
    """Returns a model's inputs, choices and price.

    Raises:
        UnknownModel: There is no such model.
    """
    from wiro_nb.notebook.run.actions import schema_of

    schema = schema_of(model)
    notes = schema_notes(schema)
    if schema.parameters and not any("seed" in item.id.lower() for item in schema.parameters):
        notes.append("This model has no seed: a clip cannot be repeated exactly.")
    return info_output(schema, model_price(schema), notes)


def schema_notes(schema: ModelSchema) -> list[str]:
    """Returns where and when the inputs were read, and what the service changed since."""
    source = schema.source
    notes = []
    if source.get("date"):
        origin = "bundled with the package" if source.get("kind") == "bundled" else "told by the service"
        checksum = f", sha256 {source['sha256'][:12]}" if source.get("sha256") else ""
        notes.append(f"Inputs {origin}, read {source['date']}{checksum}.")
    if source.get("changed"):
        notes.append(f"Its inputs changed {source['changed']}.")
    manager = session.manager()
    if source.get("kind") == "bundled" and not manager.choice.is_sandbox:
        from wiro_nb.schema.difference import describe_changes

        detail = manager.detail(schema.slug)
        changes = describe_changes(schema, detail.schema) if detail is not None else ()
        if changes:
            notes.append(f"The service lists other inputs than this package: {'; '.join(changes)}.")
    return notes


def model_price(schema: ModelSchema) -> str:
    """Returns what a run with the model's defaults costs, in words."""
    manager = session.manager()
    if manager.choice.is_sandbox:
        return "free, sandbox"
    detail = manager.detail(schema.slug)
    if detail is None:
        return "price not listed"
    from wiro_nb.api.pricing.prices import estimate

    defaults = {item.id: item.default for item in schema.parameters if isinstance(item.default, str)}
    return format_estimate(estimate(detail.pricing, defaults, {}), False)


def budget(usd: Decimal | float | str | None = _UNSET) -> Output:
    """Shows the budget of this notebook, or sets it. It is kept in the ledger and in the notebook's metadata.

    What is billed and what runs in flight may cost count together; a run that would go over is refused.
    In the sandbox its make-believe money counts, so that a budget can be tried.

    Args:
        usd: The most to spend in this notebook, in USD; None lifts the budget; left out only shows it.

    Raises:
        InputError: No amount, or one below 0.
    """
    from wiro_nb.notebook.document.bridge import bridge

    manager = session.manager()
    notebook = current_context().notebook
    if usd is not _UNSET:
        amount = None if usd is None else _amount(usd)
        manager.ledger.set_budget(notebook, amount)
        bridge.tell_budget(notebook, amount)
    words = format_budget(manager.spent(notebook), manager.budget(notebook), manager.reserved(notebook))
    tail = " (make-believe money: the sandbox costs nothing)" if manager.choice.is_sandbox else ""
    own, setting = manager.ledger.get_budget(notebook), manager.settings.budget_usd
    if setting is not None and (own is None or setting < own):
        tail += "; the limit is the setting budget_usd"
    return message(words + tail)


def _amount(usd: Decimal | float | str) -> Decimal:
    amount = parse_usd(usd)
    if amount is None:
        raise InputError(f"a budget is an amount from 0 to {MAX_USD} USD, not {usd!r}", hint="%wiro budget 2.00")
    return amount


def use(service: str) -> Output:
    """Chooses the service of new runs: "sandbox", "cloud", or a name of your own.

    Raises:
        MissingCredentials: It needs a key and none was found.
        ConfigError: There is no service of this name.
    """
    choice = session.manager(choose=False).use(service)
    session.keep_choice()
    return message(f"new runs go to {service_words(choice)}")


def login() -> Output:
    """Asks for the API key, without showing it or keeping it in the notebook.

    Raises:
        ConfigError: Nobody is there to type it, or nothing was typed.
    """
    from wiro_nb.notebook.magic.login import ask_and_save

    return message(ask_and_save())


def logout() -> Output:
    """Forgets the API key that `login` kept."""
    from wiro_nb.notebook.magic.login import forget

    return message(forget())
