"""Opens forms, estimates their prices, and starts their runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any

from wiro_nb.config import SANDBOX
from wiro_nb.errors import BadRecord, WiroError
from wiro_nb.execution.requests import read_run_text, resolve_inputs
from wiro_nb.execution.run import Run
from wiro_nb.files import INPUTS_FOLDER
from wiro_nb.formatting import format_budget, format_estimate, format_usd, format_when, shorten
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.display import show_messages
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.notebook.form.layout import given_values
from wiro_nb.notebook.live import open_views
from wiro_nb.notebook.run.card import LiveCard
from wiro_nb.notebook.run.display import read_poster
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs, parent_of, submit_or_reuse
from wiro_nb.notebook.run.view import FormResults, RunView
from wiro_nb.notebook.session import ExecutionContext, current_context, session, source_text
from wiro_nb.presentation.run import jpeg_uri
from wiro_nb.provenance.find import Source, find_settings
from wiro_nb.provenance.made_by import match_inputs
from wiro_nb.reproduce import find_source, record_of
from wiro_nb.reproduce.replay import plan_source
from wiro_nb.schema.files import FileInput
from wiro_nb.schema.types import ModelSchema, Parameter
from wiro_nb.schema.values import prepare, unknown_input

_LISTED = 8
_RUNS_SHOWN = 12
_LONGEST_PROMPT = 160


def form(
    model: str, inputs: Mapping[str, Any] | None = None, /, *, source: str | None = None, **values: Any
) -> ModelForm:
    """Returns the form of a model.

    Args:
        model: "owner/name".
        inputs: First values as a mapping, as in `run`.
        source: A run id, a file with a record in it (clip, sidecar, notebook), or a clip or picture with the
            settings of another program, to start from.
        **values: First values, over those of `source`.

    Raises:
        UnknownRun, BadRecord: `source` is neither a run nor a file with a record.
        InvalidParameter: A value names an input that the model does not have.
    """
    schema = session.schema(model)
    context, first = current_context(), merge_inputs(inputs, values)
    if source:
        text = source_text(source)
        try:
            found = find_source(session.manager(), text, notebook=context.notebook)
            taken = fitting_values(found, schema)
        except BadRecord as error:
            settings = find_settings(text) if error.reason == "none" else None
            if settings is None:
                raise
            taken = _take_settings(settings, schema)
        first = {**taken, **first}
    return NotebookForm(schema, context, first)


def _take_settings(found: Mapping[str, Any], schema: ModelSchema) -> dict[str, Any]:
    """Returns the settings of another program that the model takes, and a message about those it does not."""
    inputs = [item for item in schema.parameters if not item.is_file]
    taken = match_inputs(
        found["settings"], {item.id: [option.value for option in item.options] for item in inputs}
    )
    left = [
        f"{name} {shorten(str(value), 60)}"
        for name, value in {**found["settings"], **found["other"]}.items()
        if value not in taken.values()
    ]
    more = f" and {len(left) - _LISTED} more" if len(left) > _LISTED else ""
    show_messages(
        [
            f"Written by {found['written_by']}. Taken: {', '.join(taken) or 'nothing'}.",
            *([f"Not taken: {'; '.join(left[:_LISTED])}{more}."] if left else []),
        ]
    )
    return taken


class NotebookForm(ModelForm):
    """A form with prices, runs and their cards. It stays open until `close`, at the latest until `%unload_ext`.

    Args:
        schema: The model.
        context: Where the form was opened; its runs belong to that notebook.
        values: First values.
        results: What keeps the runs in the saved notebook, where that stands already.
    """

    def __init__(
        self,
        schema: ModelSchema,
        context: ExecutionContext,
        values: Mapping[str, Any],
        *,
        results: FormResults | RunView | None = None,
    ) -> None:
        self._context, self._priced = replace(context, source_sha256=None), without_required(schema)
        self._own_results = FormResults()
        self._results = results or self._own_results
        manager = session.manager()
        for name in values:
            if not schema.free_form and schema.get(name) is None:
                raise unknown_input(schema, name)
        bridge.open(context.notebook)
        super().__init__(
            schema,
            on_run=self.start,
            price=self.describe_price,
            badge=manager.choice.name,
            values=values,
            folder=context.folder,
            upload_dir=context.folder / session.preferences.out_dir / INPUTS_FOLDER,
            sources=RunSources(schema, context),
        )
        open_views.append(self)
        self._show_budget()
        if context.is_live:
            # A service that does not answer must not delay the form or a key pressed in it.
            manager.prices.ask_ahead(schema.slug, self._on_price)

    def _ipython_display_(self) -> None:
        super()._ipython_display_()
        if self._context.is_live and self._results is self._own_results:
            self._own_results.place()

    def describe_price(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """Returns the price of these values in words and, in the sandbox, the simulated price; asks nobody."""
        manager, schema, words = session.manager(), self._priced, ""
        choice, folder = manager.choice, self._context.folder
        try:
            given = resolve_inputs(schema, given_values(schema, values), find_run=manager.get, folder=folder)
            words = format_estimate(manager.prices.estimate(prepare(schema, given), ask=False))
        except WiroError:
            pass  # values that cannot be sent have no price
        if not choice.is_free:
            return words, ""
        return choice.free_label, f"simulated price: {words}" if "$" in words and choice.name == SANDBOX else ""

    def start(self, values: Mapping[str, Any], *, fresh: bool = False) -> Run:
        """Runs the model and shows the run below the form; an unchanged form shows the run it has already.

        Args:
            values: Of the fields.
            fresh: True runs again whatever was made before.

        Raises:
            BudgetExceeded: It would go over the notebook's budget; nothing was sent.
        """
        self._show_budget()
        manager, given = session.manager(), given_values(self._schema, values)
        prepared = manager.prepare(self._schema.slug, given)
        options = SubmitOptions("form", fresh)
        handle = submit_or_reuse(prepared, self._context, options, parent=parent_of(given, manager))
        self._show_run(handle)
        lines = []  # the press is answered; the card of a new run says the rest
        if session.notices.pop(handle.id, ""):
            ended = f"This clip exists: run {handle.short_id}. To make another one: Run again, below."
            lines = [ended if handle.done else f"This is under way already: run {handle.short_id}."]
        self.show_message(lines)
        return handle

    def run_again(self, run: Run) -> None:
        """Starts a run of the form again.

        Raises:
            WiroError: As `start`.
        """
        self.start(_values_of(run, self._schema), fresh=True)

    def edit(self, run: Run) -> None:
        """Puts the settings of a run into the fields."""
        self.set(_values_of(run, self._schema))
        self.takes_focus = True

    def _show_run(self, handle: Run) -> None:
        """Shows the card of a run on top."""
        bridge.watch(handle)
        shown = next(
            (card for card in self.shown_cards if card.run.id == handle.id and card.comm is not None), None
        )
        if shown is not None:
            self.show_card(shown)
            return
        card = LiveCard(handle, self._context, self)
        self.show_card(card)
        self._results.add(handle)
        card.follow()

    def close(self) -> None:
        """Closes the form; a second call does nothing."""
        if self in open_views:
            open_views.remove(self)
            super().close()

    def _on_price(self) -> None:
        """Shows a price that arrived (I/O thread); a form that was closed must not open the session again."""
        if self in open_views:
            self.refresh_price()

    def on_budget(self) -> None:
        """Shows the budget that was set, without what was said about the one before."""
        self.show_message([])
        self._show_budget()

    def refresh(self) -> None:
        """Shows what a run that has ended changed."""
        if self in open_views:
            self._show_budget()
            self._results.refresh()

    def _show_budget(self) -> None:
        manager = session.manager()
        state = manager.budget(self._context.notebook)
        limit, spent = state.limit_usd, state.spent_usd
        self.budget = (
            {}
            if limit is None
            else {
                "text": format_budget(state) + (", simulated" if manager.choice.is_free else ""),
                "share": min(1.0, max(0.0, float(spent / limit))) if limit else 1.0,
                "reached": spent >= limit,
                "hint": f"The budget of {format_usd(limit)} is reached. Raise it: {state.how_to_raise()}",
            }
        )


def form_of_run(run: Run, context: ExecutionContext, results: RunView | None) -> NotebookForm:
    """Returns the form of a run's model with the settings of the run."""
    schema = session.schema(run.model)
    return NotebookForm(schema, context, _values_of(run, schema), results=results)


def without_required(schema: ModelSchema) -> ModelSchema:
    """Returns the schema with nothing required: a prompt not yet written does not change what a run costs."""
    return replace(schema, parameters=tuple(replace(item, required=False) for item in schema.parameters))


def _values_of(handle: Run, schema: ModelSchema) -> dict[str, Any]:
    return fitting_values(Source(record_of(handle.snapshot), handle.short_id, "ledger"), schema)


def fitting_values(source: Source, schema: ModelSchema) -> dict[str, Any]:
    """Returns what of a record fits a model: files from stores of inputs or the web, never a path it names."""
    replay = plan_source(session.manager(), source, schema, None, current_context().folder)
    return {name: _field_value(value, schema.get(name)) for name, value in replay.values.items()}


def _field_value(value: object, parameter: Parameter | None) -> Any:
    if not isinstance(value, list) or not all(isinstance(item, FileInput) for item in value):
        return value
    places = [str(item.path or item.url) for item in value]
    return places if parameter is None or parameter.multiple else places[0]


class RunSources:
    """Earlier runs as inputs of one form.

    Args:
        schema: The form's model.
        context: Where the form stands; its notebook's runs are offered.
    """

    def __init__(self, schema: ModelSchema, context: ExecutionContext) -> None:
        self._schema, self._context = schema, context
        # Reading a frame decodes the clip: once for each, not at every change of the form.
        self._resolve: Callable[[str, str], str] = lru_cache(maxsize=64)(self._find)

    def recent(self, media: str) -> list[dict[str, Any]]:
        """Returns finished runs of this notebook with a file that fits, newest first."""
        done = session.manager().runs(self._context.notebook, state=RunState.SUCCEEDED, limit=_RUNS_SHOWN * 4)
        fitting = {"": ("image", "video", "audio"), "image": ("image", "video")}.get(media, (media,))
        return list(islice((_entry(run, kind) for run in done if (kind := _kind(run)) in fitting), _RUNS_SHOWN))

    def resolve(self, parameter: str, text: str) -> str:
        """Returns the path a run reference stands for, and any other text as it is.

        Raises:
            WiroError: There is no such run, or it has no such file.
        """
        return text if read_run_text(text) is None else self._resolve(parameter, text)

    def _find(self, parameter: str, text: str) -> str:
        values = resolve_inputs(self._schema, {parameter: text}, find_run=session.manager().get)
        return str(values[parameter])


def _kind(run: Run) -> str:
    """Returns "image", "video", "audio" or another kind of a run's first file; "" where it is not here."""
    kinds = (item.content_type.partition("/")[0] for item in run.outputs if item.path)
    return next(kinds, "") if run.path is not None else ""


def _entry(run: Run, kind: str) -> dict[str, Any]:
    snapshot = run.snapshot
    return {
        "id": run.short_id,
        "kind": kind,
        "model": run.model,
        "prompt": snapshot.prompt[:_LONGEST_PROMPT],
        "when": format_when(snapshot.finished_at or snapshot.created),
        "thumb": jpeg_uri(read_poster(run)),
    }
