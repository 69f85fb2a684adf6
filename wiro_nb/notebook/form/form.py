"""The form of a model: fields that are widgets, drawn together by one script.

`build_form` makes it from a schema. Prices, runs and presets are given as callables: the form knows
no service and no ledger. Whether values fit is decided here, in the kernel, by the same code that
checks a magic; the browser only shows the answer.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from wiro_nb.errors import InputError, WiroError
from wiro_nb.notebook.form.fields import Values, changed_values, collect_values, make_fields, plan_data
from wiro_nb.notebook.form.layout import FormPlan, plan_form
from wiro_nb.notebook.form.messages import answer_message
from wiro_nb.notebook.form.presets import Presets
from wiro_nb.notebook.form.problems import PRICE_UNKNOWN, PriceOf, find_price, find_problems
from wiro_nb.notebook.form.text import cell_text, python_text
from wiro_nb.notebook.widgets.base import OutputWidget
from wiro_nb.notebook.widgets.field import Field, PairsField, SeedField
from wiro_nb.notebook.widgets.file_field import FileField, FileSources
from wiro_nb.presentation.models import form_output
from wiro_nb.presentation.output import Output
from wiro_nb.redaction import redact
from wiro_nb.schema.types import ModelSchema

if TYPE_CHECKING:
    from wiro_nb.notebook.form.vary import FormVary
    from wiro_nb.sweeps.sweep import Sweep

CARDS_SHOWN = 5

_log = logging.getLogger(__name__)


class ModelForm(OutputWidget):
    """A form. `form["seed"]` is a field; `form.values` all values, which can be observed and assigned."""

    script = "form.js"
    takes_focus = traitlets.Bool(False, help="Come into sight and take the focus when drawn.").tag(sync=True)
    form_key = traitlets.Unicode(help="What fields find this form by in the browser.").tag(sync=True)
    plan = traitlets.Dict(help="Title, groups and words: what does not change.").tag(sync=True)
    field_models = traitlets.Dict(help="Model id of each field, by parameter.").tag(sync=True)
    problems = traitlets.Dict(help="What is wrong, by parameter: message, values that fit.").tag(sync=True)
    price = traitlets.Unicode(PRICE_UNKNOWN, help="What a run costs, in words.").tag(sync=True)
    price_note = traitlets.Unicode(help="What stands under the price; empty: what is always so.").tag(sync=True)
    budget = traitlets.Dict(help="text, share (0..1), reached (bool), hint; empty: none.").tag(sync=True)
    presets: traitlets.List[str] = traitlets.List(help="Names of the presets.").tag(sync=True)
    cards: traitlets.List[str] = traitlets.List(help="Model ids of the cards beneath, newest first.").tag(
        sync=True
    )
    can_vary = traitlets.Bool(help="True: sweeps can be started from the form.").tag(sync=True)
    values = traitlets.Dict(help="Value of every field, by parameter.")

    def __init__(
        self,
        schema: ModelSchema,
        *,
        on_run: Callable[[Values], object],
        price: PriceOf | None = None,
        service_badge: str = "sandbox",
        values: Mapping[str, Any] | None = None,
        presets: Presets | None = None,
        upload_dir: Path | None = None,
        sources: FileSources | None = None,
    ) -> None:
        """Makes a form; see `build_form`."""
        self._schema = schema
        self._layout_plan: FormPlan = plan_form(schema)
        self._on_run = on_run
        self._price = price
        self._store = presets
        self._touched: set[str] = set()
        self._tried = False
        self._loading = True
        self.starts_sweeps: FormVary | None = None
        self._card_widgets: list[ipywidgets.Widget] = []
        self.on_display: Callable[[], None] | None = None
        self.before_run: Callable[[], None] | None = None
        self.home: Path | None = None
        # One layout for all: a layout each would triple the messages.
        shared = ipywidgets.Layout()
        key = uuid.uuid4().hex
        self._fields = make_fields(self._layout_plan, shared, key, upload_dir, sources)
        super().__init__(
            layout=shared,
            form_key=key,
            view_key=key,
            plan=plan_data(schema, self._layout_plan, service_badge, has_presets=presets is not None),
            field_models={name: field.model_id for name, field in self._fields.items()},
            presets=presets.names(schema.slug) if presets else [],
        )
        for field in self._fields.values():
            field.observe(self._field_changed, ["value", "trouble"] if isinstance(field, FileField) else ["value"])
        self._loading = False
        self.values = collect_values(self._fields)
        self.observe(self._values_assigned, "values")
        if values:
            self.set(values)
        else:
            self._refresh()

    @property
    def schema(self) -> ModelSchema:
        """The model this form is for."""
        return self._schema

    @property
    def fields(self) -> dict[str, Field]:
        """The fields by parameter, in the order they are shown."""
        return dict(self._fields)

    def __getitem__(self, name: str) -> Field:
        """Returns the field of a parameter.

        Raises:
            KeyError: The model has no such parameter; the text lists those it has.
        """
        if name not in self._fields:
            raise KeyError(f"{name!r}; this form has {', '.join(self._fields)}")
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def set(self, values: Mapping[str, Any]) -> None:
        """Sets several fields at once.

        Args:
            values: By parameter. Names the model does not have go to the free pairs of an open model.

        Raises:
            KeyError: A name the model does not have.
        """
        pairs_field = next((field for field in self._fields.values() if isinstance(field, PairsField)), None)
        unknown = {name: value for name, value in values.items() if name not in self._fields}
        if unknown and pairs_field is None:
            self[next(iter(unknown))]
        self._loading = True
        try:
            for name, value in values.items():
                if name in self._fields:
                    self._fields[name].value = value
            if unknown and pairs_field is not None:
                pairs_field.value = {**pairs_field.value, **unknown}
        finally:
            self._loading = False
        self._touched.update(name for name in values if name in self._fields)
        self._refresh()

    def reset(self, *names: str) -> None:
        """Puts fields back to the model's defaults; all of them when none is named."""
        plans = {plan.id: plan for plan in self._layout_plan.fields}
        chosen = names or tuple(plans)
        self._tried = False
        self.set({name: plans[name].default if plans[name].kind != "pairs" else {} for name in chosen})
        self._touched.difference_update(chosen)
        self._refresh()

    def run(self) -> object:
        """Does what the Run button does.

        Returns:
            What `on_run` returns, or None when a field is wrong: then the first one gets the focus.

        Raises:
            WiroError: As `on_run` raises it.
        """
        for field in self._fields.values():
            if isinstance(field, SeedField) and (not field.pinned or field.value == ""):
                field.draw()
        self._tried = True
        self._refresh()
        if self.problems:
            first = next(name for name in self._fields if name in self.problems)
            self.send({"type": "refused", "first": first})
            return None
        if self.before_run is not None:
            self.before_run()
        if self.budget.get("reached"):
            self.say([str(self.budget.get("hint") or "Budget reached.")], "err")
            return None
        self._tried = False
        answer = self._on_run(dict(self.values))
        self.say(["Run started. The form can be used again."])
        return answer

    def allow_vary(self, vary: FormVary) -> None:
        """Lets the form start sweeps: `form.vary(...)` and the Vary button."""
        self.starts_sweeps = vary
        self.can_vary = True

    def vary(self, *, zipped: bool = False, yes: bool = False, **grid: Any) -> Sweep:
        """Runs the model once for each value: `form.vary(seed="1..6", loraType=["ZoomIn", "PanLeft"])`.

        The other fields give the settings that all runs share. The grid stands under the form.

        Args:
            zipped: True takes the first values together, then the second ones, and so on.
            yes: True sends a large sweep too.
            **grid: Values by input, as in `wiro_nb.sweep`.

        Raises:
            InputError: A value does not fit, or the form cannot start sweeps. Nothing was sent.
            ConfirmationNeeded, BudgetExceeded: Nothing was sent.
        """
        if self.starts_sweeps is None:
            raise InputError("this form starts single runs only", hint="wiro_nb.sweep(model, grid)")
        return self.starts_sweeps.start(self.starts_sweeps.plan(self.values, grid, zipped=zipped), yes=yes)

    def cell(self) -> str:
        """Returns the `%%wiro` cell that sends the same values."""
        values = changed_values(self._layout_plan, self.values, self.home)
        prompt = str(self.values.get("prompt", "")) if "prompt" in self._fields else ""
        values.pop("prompt", None)
        return cell_text(self._schema.slug, values, prompt=prompt)

    def python(self) -> str:
        """Returns the Python call that sends the same values."""
        prompt = {"prompt": self.values["prompt"]} if self.values.get("prompt") else {}
        return python_text(self._schema.slug, prompt | changed_values(self._layout_plan, self.values, self.home))

    def show_card(self, card: ipywidgets.Widget) -> None:
        """Shows a widget beneath the form, above the earlier ones; the oldest of more than five goes."""
        self._card_widgets = [card, *(old for old in self._card_widgets if old is not card)][:CARDS_SHOWN]
        self.cards = [widget.model_id for widget in self._card_widgets]

    def set_budget(self, text: str, share: float, *, reached: bool = False, hint: str = "") -> None:
        """Shows the budget line, for example "spent $0.31 of $2.00 in this notebook".

        Args:
            text: The line.
            share: Spent part, 0 to 1.
            reached: True: Run is refused.
            hint: What to do then, with the command to type.
        """
        self.budget = {"text": text, "share": min(1.0, max(0.0, share)), "reached": reached, "hint": hint}

    def save_preset(self, name: str) -> None:
        """Saves the present values; does nothing when the form has no store."""
        if self._store is not None:
            kept = {key: list(value) if isinstance(value, tuple) else value for key, value in self.values.items()}
            self._store.save(self._schema.slug, name, kept)
            self.presets = self._store.names(self._schema.slug)

    def load_preset(self, name: str) -> None:
        """Puts a preset's values into the fields; parameters the model no longer has are left out."""
        values = self._store.load(self._schema.slug, name) if self._store is not None else None
        if values is not None:
            has_pairs = any(isinstance(field, PairsField) for field in self._fields.values())
            self.set({key: value for key, value in values.items() if has_pairs or key in self._fields})

    def delete_preset(self, name: str) -> None:
        """Deletes a preset."""
        if self._store is not None:
            self._store.delete(self._schema.slug, name)
            self.presets = self._store.names(self._schema.slug)

    def close(self) -> None:
        """Closes the form and its fields."""
        for field in self._fields.values():
            field.close()
        super().close()

    def _ipython_display_(self) -> None:
        """Shows the form, and after it what `on_display` adds to the cell."""
        from wiro_nb.notebook.display import publish, with_view_of

        publish(with_view_of(self, self.static_output()))
        if self.on_display is not None:
            self.on_display()

    def static_output(self) -> Output:
        """Returns what stands in for the form where no widget can be shown: the cell that does the same."""
        return form_output(self._schema, self.cell())

    def __repr__(self) -> str:
        """Returns how to get the form back."""
        return f"Form of {self._schema.slug}. Open it again with: %wiro form {self._schema.slug}"

    def _field_changed(self, change: Any) -> None:
        self._touched.add(change["owner"].name)
        if not self._loading:
            self._refresh()

    def _values_assigned(self, change: Any) -> None:
        if not self._loading and change["new"] != collect_values(self._fields):
            self.set(change["new"])

    def _refresh(self) -> None:
        """Brings values, problems and price in step with the fields."""
        self._loading = True
        try:
            self.values = collect_values(self._fields)
        finally:
            self._loading = False
        with self.hold_sync():
            told = self._fields if self._tried else self._touched
            self.problems = find_problems(self._schema, self._layout_plan, self._fields, self.values, shown=told)
            self.refresh_price()

    def refresh_price(self) -> None:
        """Says the price of the present values (any thread)."""
        with self.hold_sync():
            self.price, self.price_note = find_price(self._price, self.values)

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Does what the person asked for in the browser."""
        try:
            answer_message(self, content)
        except WiroError as error:
            self.say(error.lines(), "err")
        except Exception as error:
            # Nothing else would tell the person that a press did nothing: a traceback lands in no cell.
            _log.exception("a form's action failed")
            self.say(
                [
                    redact(f"{type(error).__name__}: {error}"),
                    "Whether a run was started is not known: see %wiro runs.",
                ],
                "err",
            )

    def say(self, lines: list[str], tone: str = "") -> None:
        """Says lines under the button; `tone` "err" marks them as an error."""
        self.send({"type": "notice", "tone": tone, "lines": lines})

    def take_values(self, values: Any) -> None:
        """Takes what stood in the browser at the press: typing may still be on its way."""
        if isinstance(values, dict):
            known = {name: value for name, value in values.items() if name in self._fields}
            fresh = {name: value for name, value in known.items() if value != self._fields[name].value}
            if fresh:
                self.set(fresh)


def build_form(
    schema: ModelSchema,
    *,
    on_run: Callable[[Values], object],
    price: PriceOf | None = None,
    service_badge: str = "sandbox",
    values: Mapping[str, Any] | None = None,
    presets: Presets | None = None,
    upload_dir: Path | None = None,
    sources: FileSources | None = None,
) -> ModelForm:
    """Makes the form of a model.

    Args:
        schema: The model.
        on_run: Called with the values when Run is pressed and every field fits. May return anything; a
            `WiroError` it raises is shown under the button.
        price: Gives the price in words for values ("about $0.04", "free, sandbox"), or with it what stands
            under it. Called after each change: must be quick, without the network. None: "price not listed".
        service_badge: "sandbox" or the name of the service.
        values: First values, by parameter.
        presets: Where presets are kept; None leaves them out.
        upload_dir: Where files from the browser are put; beside the notebook when None.
        sources: Finds earlier runs for file inputs; None takes only files and URLs.

    Raises:
        KeyError: `values` names a parameter the model does not have.
    """
    return ModelForm(
        schema,
        on_run=on_run,
        price=price,
        service_badge=service_badge,
        values=values,
        presets=presets,
        upload_dir=upload_dir,
        sources=sources,
    )
