"""Forms without a kernel: fields, values, problems, run, messages."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
import traitlets

from tests.unit.ledger.ledger_tools import done
from wiro_nb.errors import BudgetExceeded
from wiro_nb.notebook.account import set_budget
from wiro_nb.notebook.form.controller import NotebookForm, without_required
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.notebook.form.layout import given_values
from wiro_nb.notebook.magic.parser import parse_line
from wiro_nb.notebook.session import Preferences, current_context, session
from wiro_nb.notebook.widgets.card import RunCard
from wiro_nb.notebook.widgets.fields import SeedField
from wiro_nb.schema import bundled_models, find_bundled
from wiro_nb.schema.types import ModelSchema, Option, Parameter
from wiro_nb.schema.values import prepare
from wiro_nb.session.manager import Manager

from .conftest import custom, send
from .test_card import GENERATING

WAN = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"


def make_form(slug: str = WAN, **options: Any) -> tuple[ModelForm, list[dict[str, Any]]]:
    schema = find_bundled(slug)
    assert schema is not None
    runs: list[dict[str, Any]] = []
    form = ModelForm(schema, on_run=runs.append, **options)
    if "prompt" in form:
        form["prompt"].value = "a harbour at dawn"
    return form, runs


def twelve_fields() -> ModelSchema:
    texts = [Parameter(f"text{number}", "text", f"Text {number}", default=str(number)) for number in range(8)]
    special = [
        Parameter("prompt", "textarea", "Prompt", required=True),
        Parameter("seed", "number", "Seed", default="42"),
        Parameter("image", "combinefileinput", "Image", multiple=True),
        Parameter("size", "select", "Size", default="a", options=(Option("a", "A"), Option("b", "B"))),
    ]
    return ModelSchema("x/y", "x/y", "Y", parameters=(*special, *texts))


def test_twelve_fields_cost_far_fewer_messages_than_the_budget(messages: list[Any]) -> None:
    form = ModelForm(twelve_fields(), on_run=print, price=lambda values: ("about $0.04", ""))
    assert len(form.fields) == 12
    opens = [kind for kind, _ in messages if kind == "comm_open"]
    assert len(opens) == 14, "12 fields, one shared layout, the form"
    assert len(messages) <= 20


def test_every_bundled_schema_makes_a_form_with_every_parameter() -> None:
    for schema in bundled_models():
        form = ModelForm(schema, on_run=print)
        assert {parameter.id for parameter in schema.parameters} <= set(form.fields), schema.slug
        assert {plan["id"] for plan in form.plan["fields"]} == set(form.field_models)


def test_a_field_can_be_set_read_observed_and_linked() -> None:
    form, _ = make_form()
    seen: list[Any] = []
    form["seed"].observe(lambda change: seen.append(change["new"]), "value")
    whole: list[Any] = []
    form.observe(lambda change: whole.append(change["new"]["seed"]), "values")
    form["seed"].value = 7
    assert form["seed"].value == 7
    assert form.values["seed"] == 7
    assert seen == [7]
    assert whole == [7]
    slider = ipywidgets.IntSlider(min=0, max=100)
    ipywidgets.jslink((slider, "value"), (form["seed"], "value"))
    link = traitlets.link((slider, "value"), (form["seed"], "value"))
    slider.value = 9
    assert form.values["seed"] == 9
    link.unlink()


def test_a_wrong_name_says_which_names_there_are() -> None:
    form, _ = make_form()
    with pytest.raises(KeyError, match="numFrames"):
        form["frames"]
    with pytest.raises(traitlets.TraitError, match="text or a number"):
        form["seed"].value = ["a", "list"]


def test_run_gives_the_values_and_keeps_the_form(messages: list[Any]) -> None:
    form, runs = make_form()
    form["prompt"].value = "fog over a harbour"
    send(form, {"type": "run", "values": {"steps": 12}})
    assert runs[0]["prompt"] == "fog over a harbour"
    assert runs[0]["steps"] == 12, "what stood in the browser at the press counts"
    assert form.problems == {}


def test_a_typed_path_that_does_not_exist_is_refused_with_the_press(messages: list[Any], tmp_path: Path) -> None:
    runs: list[dict[str, Any]] = []
    form = ModelForm(twelve_fields(), on_run=runs.append, values={"prompt": "fog"}, upload_dir=tmp_path)
    picture = tmp_path / "there.png"
    picture.write_bytes(bytes.fromhex("89504e470d0a1a0a") + bytes(64))
    press = {"type": "run", "values": {"image": []}, "addresses": {"image": str(tmp_path / "nowhere.png")}}
    send(form, press)
    assert runs == []
    assert "nowhere.png" in form.problems["image"]["message"]
    assert {"type": "refused", "first": "image"} in custom(messages)
    send(form, {**press, "addresses": {"image": str(picture)}})
    assert [run["image"] for run in runs] == [[str(picture)]]
    send(form, {"type": "run", "values": {"image": []}})
    assert runs[-1]["image"] == [], "a file taken out in the page is not sent"


def test_a_bad_value_is_shown_at_its_field_and_run_points_to_it(messages: list[Any]) -> None:
    form, runs = make_form()
    form["numFrames"].value = 82
    assert form.problems["numFrames"]["message"] == "82 does not fit."
    assert form.problems["numFrames"]["near"] == ["81", "85"]
    assert form.run() is None
    assert runs == []
    assert {"type": "refused", "first": "numFrames"} in custom(messages)
    form["numFrames"].value = 85
    assert form.problems == {}


def test_missing_values_are_said_only_after_a_try() -> None:
    form, runs = make_form("wiro/wan2.2-effects-extra")
    assert form.problems == {}, "an untouched form accuses nobody"
    form.run()
    assert "required" in form.problems["inputImage"]["message"]
    assert runs == []


def test_a_seed_that_is_not_pinned_is_drawn_at_each_run() -> None:
    form, runs = make_form()
    seed = form["seed"]
    assert isinstance(seed, SeedField)
    assert seed.pinned, "the model's default seed repeats"
    form.run()
    form.run()
    assert [run["seed"] for run in runs] == ["42", "42"]
    seed.pinned = False
    form.run()
    form.run()
    drawn = [run["seed"] for run in runs[2:]]
    assert drawn[0] != drawn[1]
    assert all(isinstance(number, int) and 0 < number < 2**31 for number in drawn)
    assert form.values["seed"] == drawn[1], "the seed used can be read"


def test_a_seed_is_drawn_within_the_bounds_of_its_input() -> None:
    small = Parameter(id="seed", type="number", label="Seed", default="", min="10", max="12")
    schema = ModelSchema("a/b", "a/b", "B", parameters=(small,))
    runs: list[dict[str, Any]] = []
    form = ModelForm(schema, on_run=runs.append)
    for _ in range(60):
        form.run()
    assert {run["seed"] for run in runs} == {10, 11, 12}, "every one fits, so every press of Run starts a run"


def test_an_error_of_the_run_is_said_under_the_button(messages: list[Any]) -> None:
    schema = find_bundled(WAN)
    assert schema is not None

    def refuse(values: dict[str, Any]) -> None:
        raise BudgetExceeded("The run would go over the budget.", hint="%wiro budget 5")

    form = ModelForm(schema, on_run=refuse, values={"prompt": "fog"})
    send(form, {"type": "run", "values": {}})
    said = [message for message in custom(messages) if message["type"] == "message"]
    assert "budget" in said[-1]["lines"][0]
    assert any("%wiro budget 5" in line for line in said[-1]["lines"])
    with pytest.raises(BudgetExceeded):
        form.run()


def test_an_unexpected_error_is_said_too(messages: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    schema = find_bundled(WAN)
    assert schema is not None

    def broken(values: dict[str, Any]) -> None:
        raise RuntimeError("disk on fire")

    form = ModelForm(schema, on_run=broken, values={"prompt": "fog"})
    send(form, {"type": "run"})
    assert "disk on fire" in custom(messages)[-1]["lines"][0]


def test_a_reached_budget_refuses_the_run_until_it_is_raised(
    sandbox: Any, point_at: Any, process_manager: Manager
) -> None:
    schema = find_bundled(WAN)
    assert schema is not None
    point_at(sandbox)
    context = current_context()
    done(process_manager.ledger, "1.98", service="cloud", notebook=context.notebook)
    set_budget("1.98")
    form = NotebookForm(schema, context, {"prompt": "fog"})
    with pytest.raises(BudgetExceeded, match=r"over the budget of \$1\.98"):
        form.run()
    assert "%wiro budget" in form.budget["hint"]
    set_budget(None)
    session.preferences = Preferences(budget_usd=Decimal("1.5"))
    with pytest.raises(BudgetExceeded) as refused:
        form.run()
    session.preferences = Preferences()
    assert refused.value.hint == "%config WiroMagics.budget_usd = '2.01'"
    assert "%config WiroMagics.budget_usd = 'USD'" in form.budget["hint"]
    assert len(process_manager.ledger.list()) == 1
    set_budget(5)
    assert not form.budget["reached"], "the open form offers Run again"
    form.run()
    assert len(process_manager.ledger.list()) == 2
    form.close()


def test_the_price_follows_the_values_and_is_never_an_error() -> None:
    def price(values: dict[str, Any]) -> tuple[str, str]:
        if values["steps"] == 1:
            raise BudgetExceeded("no")
        return f"about $0.{values['steps']}", ""

    form, _ = make_form(price=price)
    assert form.price == "about $0.25"
    form["steps"].value = 30
    assert form.price == "about $0.30"
    form["steps"].value = 1
    assert form.price == "price not listed"
    assert make_form()[0].price == "price not listed"


def test_a_form_not_yet_filled_in_has_a_price() -> None:
    for schema in bundled_models():
        form = ModelForm(schema, on_run=print)
        given = {name: value for name, value in form.values.items() if value not in ("", [])}
        assert prepare(without_required(schema), given).schema.slug == schema.slug


def test_a_note_stands_under_the_price_and_goes_with_it() -> None:
    form, _ = make_form(price=lambda values: ("free, sandbox", f"simulated price: about ${values['steps']}"))
    assert (form.price, form.price_note) == ("free, sandbox", "simulated price: about $25")
    form["steps"].value = 3
    assert form.price_note.endswith("$3")


def test_copied_text_has_paths_relative_to_the_notebook(tmp_path: Path) -> None:
    form, _ = make_form("pruna/vace", folder=tmp_path / "book")
    form["inputImage"].value = [str(tmp_path / "book" / "in" / "a.png"), str(tmp_path / "b.png"), "run:2byd6"]
    assert f"inputImage=in/a.png inputImage={tmp_path / 'b.png'} inputImage=run:2byd6" in form.cell()
    assert "'in/a.png'" in form.python()


def test_a_change_of_one_field_costs_few_messages(messages: list[Any]) -> None:
    form, _ = make_form(price=lambda values: ("about $0.04", ""))
    before = len(messages)
    form["steps"].value = 30
    assert len(messages) - before == 1, "the field's own value; problems and price did not change"


def test_reset_goes_back_to_the_defaults() -> None:
    form, _ = make_form()
    form.set({"steps": 30, "seed": 9, "numFrames": 82})
    form.reset()
    assert form["steps"].value == "25"
    assert form["seed"].value == "42"
    assert form.problems == {}


def test_an_open_model_takes_free_pairs() -> None:
    schema = ModelSchema("a/b", "a/b", "B", free_form=True)
    runs: list[dict[str, Any]] = []
    form = ModelForm(schema, on_run=runs.append, values={"prompt": "hello", "steps": 5})
    assert form["parameters"].value == {"prompt": "hello", "steps": 5}
    form.run()
    assert runs == [{"prompt": "hello", "steps": 5}]


def test_hostile_schemas_make_forms() -> None:
    many = tuple(Option(str(number), f"Style {number}", f"kind {number}", ("<b>x</b>",)) for number in range(300))
    odd = [
        Parameter("html", "text", "<img src=x onerror=alert(1)>", help="<script>1</script>"),
        Parameter("html", "text", "again"),
        Parameter("style", "select", "نمط", options=many, default="299"),
        Parameter("unknown", "colour-wheel", "色"),
        Parameter("empty", "select", "Empty"),
        Parameter("slider", "range", "Slider", min="0", max="1", step="0.1", default="0.5"),
        *(Parameter(f"p{number}", "number", f"P {number}", default="1") for number in range(60)),
    ]
    form = ModelForm(ModelSchema("a/b", "a/b", "B", parameters=tuple(odd)), on_run=print)
    plans = {plan["id"]: plan for plan in form.plan["fields"]}
    assert plans["style"]["kind"] == "search"
    assert plans["slider"]["kind"] == "range"
    assert "not known here" in plans["unknown"]["note"]
    assert "no choices" in plans["empty"]["note"]
    assert "twice" in form.plan["notes"][0]
    assert sum(not plan.get("more") for plan in plans.values()) == 16, "the rest is folded"
    assert not plans["style"].get("more"), "what the model lists first stays in sight"
    form["html"].value = "x" * 20_000
    assert len(form.values["html"]) == 20_000


def test_closing_the_form_closes_its_fields(messages: list[Any]) -> None:
    form, _ = make_form()
    opened = sum(kind == "comm_open" for kind, _ in messages)
    form.close()
    closed = sum(kind == "comm_close" for kind, _ in messages)
    assert closed == opened


def test_the_cards_of_older_runs_are_closed(messages: list[Any]) -> None:
    def count_open() -> int:
        kinds = [kind for kind, _ in messages]
        return kinds.count("comm_open") - kinds.count("comm_close")

    form, _ = make_form()
    empty = count_open()
    for _ in range(20):
        form.show_card(RunCard(GENERATING))
    assert len(form.cards) == 5
    assert count_open() == empty + 10, "five cards with a layout each"
    form.close()
    assert count_open() == 0


def test_the_form_says_in_text_how_to_open_it_again() -> None:
    form, _ = make_form()
    assert f"%wiro form {WAN}" in repr(form)


EMPTY_CHOICE = ModelSchema(
    "x/y",
    "x/y",
    "Y",
    parameters=(
        Parameter("style", "select", "Style", default="a", options=(Option("", ""), Option("a", "A"))),
        Parameter("note", "text", "Note"),
    ),
)


def test_an_empty_choice_is_sent_and_written_where_the_default_is_another() -> None:
    form = ModelForm(EMPTY_CHOICE, on_run=print)
    assert "style" not in form.cell()
    form.set({"style": ""})
    assert form.problems == {}
    assert form.cell() == '%wiro run x/y style=""'
    given = given_values(EMPTY_CHOICE, form.values)
    assert given == {"style": ""}
    assert prepare(EMPTY_CHOICE, given).parameters["style"] == ""
    assert form.plan["fields"][0]["options"][0][1] == "none"


TYPES = ModelSchema(
    "x/y",
    "x/y",
    "Y",
    parameters=(
        Parameter(
            "styles", "multiselect", "Styles", default=("a",), multiple=True,
            options=(Option("a", "A"), Option("b", "B")),
        ),
        Parameter("extra", "json", "Extra", default='{"a": 1}'),
        Parameter("loop", "checkbox", "Loop", default="false"),
        Parameter("tint", "color", "Tint", default="#112233"),
    ),
)  # fmt: skip


def test_choices_json_checkbox_and_colour_have_fields_that_send_their_types() -> None:
    form = ModelForm(TYPES, on_run=print)
    assert {plan["id"]: plan["kind"] for plan in form.plan["fields"]} == {
        "styles": "choices", "extra": "textarea", "loop": "checkbox", "tint": "colour",
    }  # fmt: skip
    assert form.cell() == "%wiro run x/y"
    form.set({"styles": ["a", "b"], "extra": "{", "loop": True, "tint": "#fff"})
    assert set(form.problems) == {"extra"}
    form["extra"].value = '{"a": 2}'
    assert prepare(TYPES, given_values(TYPES, form.values)).parameters == {
        "styles": ["a", "b"], "extra": {"a": 2}, "loop": True, "tint": "#ffffff",
    }  # fmt: skip
    cell = form.cell()
    assert "styles=a styles=b" in cell
    assert prepare(TYPES, parse_line(cell.removeprefix("%wiro ")).values).parameters["extra"] == {"a": 2}
