"""The form of a model: one widget per field, drawn together by one script.

Whether values fit is decided here, in the kernel, by the same code that checks a magic; the browser only shows the
answer. Running and pricing are the controller's.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from wiro_nb.errors import WiroError
from wiro_nb.notebook.display import publish, with_view_of
from wiro_nb.notebook.form.layout import FieldPlan, form_notes, given_values, plan_form
from wiro_nb.notebook.magic.cells import cell_text, python_text
from wiro_nb.notebook.widgets import OutputWidget
from wiro_nb.notebook.widgets.fields import Field, FileField, PairsField, SeedField, make_field
from wiro_nb.presentation.models import form_output, task_categories
from wiro_nb.presentation.output import Output
from wiro_nb.schema.coerce import Problem
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import check, draw_seed

if TYPE_CHECKING:
    from wiro_nb.notebook.form.controller import RunSources

PRICE_UNKNOWN = "price not listed"
CARDS_SHOWN = 5
_NEAR_SHOWN = 4
Values = dict[str, Any]


class ModelForm(OutputWidget):
    """A form. `form["seed"]` is a field; `form.values` are all values, which can be observed.

    Attributes:
        fields: The fields by parameter, in the order they are shown.
        shown_cards: The widgets below the form, newest first.
    """

    script = "form.js"
    takes_focus = traitlets.Bool(False, help="Scroll into view and take the focus when drawn.").tag(sync=True)
    form_key = traitlets.Unicode(help="Finds the form of a field in the browser.").tag(sync=True)
    plan = traitlets.Dict(help="Title, fields and notes: what does not change.").tag(sync=True)
    field_models = traitlets.Dict(help="Model id of each field, by parameter.").tag(sync=True)
    problems = traitlets.Dict(help="What is wrong, by parameter: message, values that fit.").tag(sync=True)
    price = traitlets.Unicode(PRICE_UNKNOWN, help="The price of a run, as text.").tag(sync=True)
    price_note = traitlets.Unicode(help="A note below the price.").tag(sync=True)
    budget = traitlets.Dict(help="text, share (0..1), reached (bool), hint; empty: none.").tag(sync=True)
    cards: traitlets.List[str] = traitlets.List(help="Model ids of the cards below, newest first.").tag(sync=True)
    values = traitlets.Dict(read_only=True, help="Value of every field, by parameter; `set` changes them.")

    def __init__(
        self,
        schema: ModelSchema,
        *,
        on_run: Callable[[Values], object],
        price: Callable[[Values], tuple[str, str]] = lambda _values: ("", ""),
        badge: str = "sandbox",
        values: Mapping[str, Any] | None = None,
        folder: Path | None = None,
        upload_dir: Path | None = None,
        sources: RunSources | None = None,
    ) -> None:
        """Makes the form of a model.

        Args:
            schema: The model.
            on_run: Starts a run with the values, once every field fits. May return anything; a `WiroError` it
                raises is shown under the button.
            price: Returns the price of values ("about $0.04", "free, sandbox", or "") and a note below it. Called
                after each change, so it must be quick and must not use the network.
            badge: "sandbox" or the name of the service.
            values: First values, by parameter.
            folder: The notebook's folder; files in it are copied as relative paths.
            upload_dir: Where uploaded files are stored; beside the notebook when None.
            sources: Finds earlier runs for file inputs; None takes only files and URLs.

        Raises:
            KeyError: `values` names a parameter the model does not have.
        """
        self._schema, self._plans = schema, plan_form(schema)
        self._on_run, self._price, self._folder = on_run, price, folder
        self._touched: set[str] = set()
        self._tried, self._loading = False, False
        self.shown_cards: list[Any] = []
        # One layout for all: a layout each would triple the messages.
        shared, key = ipywidgets.Layout(), uuid.uuid4().hex
        self.fields = {
            name: make_field(plan, upload_dir, sources, form_key=key, layout=shared)
            for name, plan in self._plans.items()
        }
        super().__init__(
            layout=shared,
            form_key=key,
            view_key=key,
            plan=self._plan_data(badge),
            field_models={name: field.model_id for name, field in self.fields.items()},
        )
        for field in self.fields.values():
            field.observe(self._field_changed, ["value", "trouble"] if isinstance(field, FileField) else ["value"])
        self.set(values or {})

    def __getitem__(self, name: str) -> Field:
        """Returns the field of a parameter.

        Raises:
            KeyError: The model has no such parameter; the text lists those it has.
        """
        if name not in self.fields:
            raise KeyError(f"{name!r}; this form has {', '.join(self.fields)}")
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def set(self, values: Mapping[str, Any]) -> None:
        """Sets several fields at once.

        Args:
            values: By parameter. Names the model does not have go to the free pairs of an open model.

        Raises:
            KeyError: A name the model does not have.
        """
        pairs = next((field for field in self.fields.values() if isinstance(field, PairsField)), None)
        unknown = {name: value for name, value in values.items() if name not in self.fields}
        known = [name for name in values if name in self.fields]
        if unknown and pairs is None:
            self[next(iter(unknown))]
        self._loading = True
        try:
            for name in known:
                self.fields[name].value = values[name]
            if unknown and pairs is not None:
                pairs.value = {**pairs.value, **unknown}
        finally:
            self._loading = False
        self._touched.update(known)
        self._refresh()

    def reset(self) -> None:
        """Puts all fields back to the model's defaults."""
        self._tried = False
        self.set({name: plan.get("default", "") for name, plan in self._plans.items()})
        self._touched.clear()
        self._refresh()

    def run(self) -> object:
        """Does what the Run button does.

        Returns:
            What `on_run` returns, or None when a value is wrong: then its field gets the focus.

        Raises:
            WiroError: As `on_run` raises it.
        """
        for parameter in self._schema.parameters:
            field = self.fields[parameter.id]
            if isinstance(field, SeedField) and (not field.pinned or field.value == ""):
                field.value = draw_seed(parameter)
        self._tried = True
        self._refresh()
        if self.problems:
            self.reply("refused", first=next(name for name in self.fields if name in self.problems))
            return None
        self._tried = False
        return self._on_run(dict(self.values))

    def cell(self) -> str:
        """Returns the `%%wiro` cell that sends the same values."""
        values, names = self._changed_values(), [parameter.id for parameter in self._schema.parameters]
        values.pop("prompt", None)
        prompt = str(self.values.get("prompt", ""))
        return cell_text(self._schema.slug, values, prompt=prompt, names=names)

    def python(self) -> str:
        """Returns the Python call that sends the same values."""
        prompt = {"prompt": self.values["prompt"]} if self.values.get("prompt") else {}
        return python_text(self._schema.slug, prompt | self._changed_values())

    def _changed_values(self) -> Values:
        """Returns what differs from the defaults, and the seed, which a repeat needs.

        Files in the notebook's folder get relative paths: the text goes into a notebook that may be moved.
        """
        changed: Values = {}
        for name, value in given_values(self._schema, self.values).items():
            plan = self._plans.get(name, {})
            default, is_list = plan.get("default", ""), isinstance(value, list)
            if plan.get("kind") == "seed" or (
                tuple(value) != tuple(default) if is_list else str(value) != default
            ):
                changed[name] = _relative(value, self._folder) if plan.get("kind") == "files" else value
        return changed

    def show_card(self, card: ipywidgets.Widget) -> None:
        """Shows a widget below the form, above the earlier ones; the oldest of more than five is closed."""
        shown = [card, *(widget for widget in self.shown_cards if widget is not card)]
        self.shown_cards = shown[:CARDS_SHOWN]
        self.cards = [widget.model_id for widget in self.shown_cards]
        for old in shown[CARDS_SHOWN:]:
            old.close()

    def close(self) -> None:
        """Closes the form, its fields and its cards."""
        for widget in (*self.fields.values(), *self.shown_cards):
            widget.close()
        super().close()

    def _ipython_display_(self) -> None:
        publish(with_view_of(self, self.static_output()))

    def static_output(self) -> Output:
        """Returns the static form of the widget: the cell that sends the same request."""
        return form_output(self._schema, self.cell())

    def __repr__(self) -> str:
        return f"Form of {self._schema.slug}. Open it again with: %wiro form {self._schema.slug}"

    def _field_changed(self, change: Any) -> None:
        self._touched.add(change["owner"].name)
        if not self._loading:
            self._refresh()

    def _refresh(self) -> None:
        """Brings values, problems and price in step with the fields."""
        self.set_trait("values", self._collect_values())
        with self.hold_sync():
            self.problems = self._find_problems()
            self.refresh_price()

    def _plan_data(self, badge: str) -> dict[str, Any]:
        """Returns what the browser needs to draw the form: JSON data that does not change."""
        schema = self._schema
        return {
            "slug": schema.slug,
            "title": schema.title,
            "owner": schema.slug.partition("/")[0],
            "description": schema.description[:400],
            "categories": task_categories(schema.categories),
            "badge": badge,
            "fields": list(self._plans.values()),
            "notes": form_notes(schema),
        }

    def _collect_values(self) -> Values:
        """Returns the value of every field; free pairs are merged in, several files are a list."""
        values: Values = {}
        for name, field in self.fields.items():
            if isinstance(field, PairsField):
                values.update({key: item for key, item in field.value.items() if key not in self.fields})
            elif isinstance(field, FileField):
                values[name] = list(field.value) if field.multiple else next(iter(field.value), "")
            else:
                values[name] = field.value
        return values

    def _find_problems(self) -> dict[str, dict[str, Any]]:
        """Returns what is wrong, by field reached so far: `message`, and `near` values that fit."""
        fields, shown = self.fields, self.fields if self._tried else self._touched
        files = {name: field for name, field in fields.items() if isinstance(field, FileField)}
        given = given_values(self._schema, self.values)
        given |= {name: field.resolved() for name, field in files.items() if name in given}
        found = check(self._schema, given)
        problems = {
            name: _problem(self._plans[name], self.values[name], found[name])
            for name in fields
            if name in found and name in shown
        }
        problems |= {
            name: {"message": field.trouble, "near": []} for name, field in files.items() if field.trouble
        }
        # Free pairs have no field of their own: what is wrong with one stands at the field of pairs.
        unmatched = [
            {"message": f"{name} {found[name].message}", "near": []} for name in found if name not in fields
        ]
        pairs = [name for name, field in fields.items() if isinstance(field, PairsField)]
        return {**problems, **dict(zip(pairs, unmatched, strict=False))}

    def refresh_price(self) -> None:
        """Shows the price of the present values (any thread); values that cannot be sent have none."""
        try:
            price, note = self._price(dict(self.values))
        except WiroError:
            price, note = "", ""
        with self.hold_sync():
            self.price, self.price_note = price or PRICE_UNKNOWN, note

    def on_message(self, content: dict[str, Any], buffers: Any) -> None:
        """Handles an action of the page."""
        action = content.get("type")
        if action in ("run", "copy"):
            self._take_values(content.get("values"), content.get("addresses"))
        if action == "run":
            self.run()
        elif action == "copy":
            self.reply("copy", text=self.python() if content.get("what") == "python" else self.cell())
        elif action == "reset":
            self.reset()

    def show_error(self, lines: list[str]) -> None:
        """Shows lines as an error below the button."""
        self.reply("message", variant="error", lines=lines)

    def show_message(self, lines: list[str]) -> None:
        """Shows lines below the button."""
        self.reply("message", variant="", lines=lines)

    def _take_values(self, values: Any, addresses: Any) -> None:
        """Takes the values and paths that the page sends with an action, as trait updates may arrive later."""
        known = [(self.fields[name], value) for name, value in dict(values or {}).items() if name in self.fields]
        self.set({field.name: value for field, value in known if field.normal_value(value) != field.value})
        for name, source in dict(addresses or {}).items():
            if isinstance(field := self.fields.get(name), FileField):
                field.on_message({"type": "add", "source": source}, None)


def _relative(value: Any, folder: Path | None) -> Any:
    if isinstance(value, list):
        return [_relative(item, folder) for item in value]
    path = Path(value)
    if folder is None or not path.is_absolute() or not path.is_relative_to(folder):
        return value
    return path.relative_to(folder).as_posix()


def _problem(plan: FieldPlan, value: object, problem: Problem) -> dict[str, Any]:
    """Returns a problem as the field shows it, next to its label and rule."""
    message, label = problem.message, str(plan["label"])
    if message == "is required":
        name = label[:1].lower() + label[1:]
        message = f"Enter {'an' if name[:1] in 'aeiou' else 'a'} {name}."
    elif message.startswith("is "):
        message = f"{label} {message}"
    elif message.startswith(f"{value}: must be") and problem.near:
        message = f"{value} does not fit."
    return {"message": message, "near": list(problem.near)[:_NEAR_SHOWN]}
