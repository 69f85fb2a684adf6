"""Opens forms, prices them and starts their runs."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import BudgetExceeded, InvalidParameter, WiroError
from wiro_nb.ledger.state import Snapshot, Stage
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.context import ExecutionContext, current_context
from wiro_nb.notebook.form.fields import given_values
from wiro_nb.notebook.form.results import FormResults
from wiro_nb.notebook.form.sources import RunSources
from wiro_nb.notebook.pacing import pacer
from wiro_nb.notebook.run.display import answer_action, is_settled, read_posters
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs, parent_of, submit_or_reuse
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import format_budget, format_usd
from wiro_nb.presentation.request import format_estimate
from wiro_nb.presentation.run import poster_base64
from wiro_nb.schema.files import FileInput
from wiro_nb.schema.types import ModelSchema, Parameter
from wiro_nb.services.selection import SANDBOX

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.form.form import ModelForm
    from wiro_nb.notebook.widgets import RunCard
    from wiro_nb.reproduce.replay import Source

_open_forms: list[FormController] = []


def form(
    model: str, inputs: Mapping[str, Any] | None = None, /, *, source: str | None = None, **values: Any
) -> ModelForm:
    """Returns the form of a model.

    Args:
        model: "owner/name".
        inputs: First values as a mapping, as in `run`.
        source: A run id, or a file with a record in it (clip, sidecar, notebook), to start from.
        **values: First values, over those of `source`.

    Raises:
        UnknownRun, BadRecord: `source` is neither a run nor a file with a record.
        InvalidParameter: A value names an input that the model does not have.
    """
    schema = session.schema(model)
    first = {**(_values_from(source, schema) if source else {}), **merge_inputs(inputs, values)}
    return FormController(schema, current_context(), first).form


def end_forms() -> None:
    """Closes every open form: the extension is unloaded."""
    while _open_forms:
        _open_forms[-1].close()


class FormController:
    """Prices and runs of one form. It stays open until `close`, at the latest when the extension is unloaded.

    Args:
        schema: The model.
        context: Where the form was opened; its runs belong to that notebook.
        values: First values.
        results: The output below the form, where the cell has displayed it already.
    """

    def __init__(
        self,
        schema: ModelSchema,
        context: ExecutionContext,
        values: Mapping[str, Any],
        *,
        results: FormResults | None = None,
    ) -> None:
        from wiro_nb.notebook.form.form import ModelForm

        self._schema, self._context = schema, replace(context, source_sha256=None)
        self._priced, self._is_closed = without_required(schema), False
        self._results = results or FormResults()
        self._cards: weakref.WeakValueDictionary[str, RunCard] = weakref.WeakValueDictionary()
        manager = session.manager()
        _check_names(schema, values)
        bridge.open(context.notebook)
        self.form = ModelForm(
            schema,
            on_run=self.start,
            price=self.price,
            badge=manager.choice.name,
            values=values or None,
            folder=context.folder,
            upload_dir=context.folder / session.preferences.out_dir / ".inputs",
            sources=RunSources(schema, context),
            results=self._results if context.is_live and results is None else None,
        )
        _open_forms.append(self)
        self._show_budget()
        if context.is_live:
            # A service that does not answer must not delay the form or a key pressed in it.
            manager.ask_ahead(schema.slug, self._on_price)

    def price(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """Returns the price of these values in words and, in the sandbox, the simulated price; asks nobody."""
        choice = session.manager().choice
        if not choice.is_free:
            return self._estimate(values), ""
        try:
            words = self._estimate(values)
        except WiroError:
            words = ""
        return choice.free_label, f"simulated price: {words}" if "$" in words and choice.name == SANDBOX else ""

    def _estimate(self, values: Mapping[str, Any]) -> str:
        from wiro_nb.execution.inputs import resolve_inputs
        from wiro_nb.schema.values import prepare

        manager, schema = session.manager(), self._priced
        prepared = prepare(
            schema,
            resolve_inputs(
                schema, given_values(schema, values), find_run=manager.get, folder=self._context.folder
            ),
        )
        return format_estimate(manager.estimate(prepared, ask=False))

    def start(self, values: Mapping[str, Any], *, fresh: bool = False) -> Run:
        """Runs the model and shows the run below the form; an unchanged form shows the run it has already.

        Args:
            values: Of the fields.
            fresh: True runs again whatever was made before.

        Raises:
            BudgetExceeded: The notebook's budget is reached; nothing was sent.
        """
        self._show_budget()
        if self.form.budget.get("reached"):
            raise BudgetExceeded(self.form.budget["text"] + ".", hint=self.form.budget["hint"])
        manager, given = session.manager(), given_values(self._schema, values)
        prepared = manager.prepare(self._schema.slug, given)
        again = "free" if manager.choice.is_free else format_estimate(manager.estimate(prepared, ask=False))
        options = SubmitOptions("form", fresh)
        handle, notice = submit_or_reuse(prepared, self._context, options, parent=parent_of(given, manager))
        self._show_run(handle, again)
        if not notice:
            self.form.show_message([])  # the press is answered; the card of the run says the rest
        elif handle.done:
            self.form.show_message(
                [f"This clip exists: run {handle.short_id}. To make another one: Run again, below."]
            )
        else:
            self.form.show_message([f"This is under way already: run {handle.short_id}."])
        return handle

    def _show_run(self, handle: Run, again: str) -> None:
        """Shows the card of a run on top; `again` is what another one costs."""
        from wiro_nb.notebook.widgets import RunCard

        bridge.watch(handle)
        shown = self._cards.get(handle.id)
        if shown is not None and shown.comm is not None:
            self.form.show_card(shown)
            return
        card = self._cards[handle.id] = RunCard(handle.snapshot, again_price=again)
        card.on_action(lambda pressed, action: self._on_action(handle, pressed, action))
        self.form.show_card(card)
        self._results.add(handle)
        handle.on_change(lambda snapshot: self._on_change(handle, card, snapshot, paced=True))
        self._on_change(handle, card, handle.snapshot)

    def close(self) -> None:
        """Closes the form; a second call does nothing."""
        self._is_closed = True
        if self in _open_forms:
            _open_forms.remove(self)
        self.form.close()

    def _on_price(self) -> None:
        """Shows a price that arrived (I/O thread); a form that was closed must not open the session again."""
        if not self._is_closed:
            self.form.refresh_price()

    def _on_change(self, handle: Run, card: RunCard, snapshot: Snapshot, *, paced: bool = False) -> None:
        poster = None
        is_end = is_settled(handle)
        if is_end and not self._is_closed:
            self._show_budget()
            self._results.refresh()
        if card.comm is None:  # closed: newer runs took its place, or the form was closed
            pacer.drop(card)
        elif paced and not is_end and snapshot.stage is not Stage.FETCHING:
            pacer.offer(card, lambda: card.update(snapshot))
        else:
            if is_end:
                picture = next(iter(read_posters(handle, snapshot).values()), None)
                poster = f"data:image/jpeg;base64,{poster_base64(picture)}" if picture else None
            pacer.drop(card)
            card.update(snapshot, poster=poster)

    def _on_action(self, handle: Run, card: RunCard, action: str) -> None:
        if action == "edit":
            self.form.set({name: value for name, value in handle.parameters.items() if name in self.form})
            self.form.takes_focus = True
        elif action == "run_again":
            self.start(_values_of(handle, self._schema), fresh=True)
        else:
            answer_action(handle, card, action)

    def _show_budget(self) -> None:
        manager = session.manager()
        limit = manager.budget(self._context.notebook)
        if limit is None:
            self.form.budget = {}
            return
        spent = manager.spent(self._context.notebook)
        share = float(spent / limit) if limit else 1.0
        self.form.budget = {
            "text": format_budget(spent, limit) + (", simulated" if manager.choice.is_free else ""),
            "share": min(1.0, max(0.0, share)),
            "reached": spent >= limit,
            "hint": f"The budget of {format_usd(limit)} is reached. Raise it: %wiro budget USD",
        }


def without_required(schema: ModelSchema) -> ModelSchema:
    """Returns the schema with nothing required: a prompt not yet written does not change what a run costs."""
    return replace(schema, parameters=tuple(replace(item, required=False) for item in schema.parameters))


def _check_names(schema: ModelSchema, values: Mapping[str, Any]) -> None:
    known = [parameter.id for parameter in schema.parameters]
    for name in values:
        if not schema.free_form and name not in known:
            raise InvalidParameter(
                f"{schema.slug} has no input {name}",
                hint=f"%wiro info {schema.slug}",
                name=name,
                near=get_close_matches(name, known, 3),
            )


def _values_from(source: str, schema: ModelSchema) -> dict[str, Any]:
    """Returns settings and files of anything that holds a run: id, clip, sidecar, notebook, address."""
    from wiro_nb.notebook.run.actions import source_text
    from wiro_nb.reproduce.replay import find_source

    return _fitting(
        find_source(session.manager(), source_text(source), notebook=current_context().notebook), schema
    )


def _values_of(handle: Run, schema: ModelSchema) -> dict[str, Any]:
    from wiro_nb.reproduce.replay import Source, record_of

    return _fitting(Source(record_of(handle.row), handle.short_id, "ledger"), schema)


def _fitting(source: Source, schema: ModelSchema) -> dict[str, Any]:
    """Returns what of a record fits a model: files from stores of inputs or the web, never a path it names."""
    from wiro_nb.reproduce.plan import plan_replay
    from wiro_nb.reproduce.replay import find_input

    find_file = find_input(session.manager(), current_context().folder, source)
    plan = plan_replay(source.record, schema, find_file=find_file)
    return {name: _field_value(value, schema.get(name)) for name, value in plan.values.items()}


def _field_value(value: object, parameter: Parameter | None) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, FileInput) for item in value):
        return value
    places = [str(item.path or item.url) for item in value]
    return places if parameter is None or parameter.multiple else places[0]
