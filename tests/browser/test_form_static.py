"""What a form's script does by itself, on a page without a server: typing, lists, seeds, the Run button."""

from __future__ import annotations

from typing import Any

import pytest

from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.schema.catalog import find_bundled
from wiro_nb.schema.types import ModelSchema, Option, Parameter

from .conftest import expect
from .static_page import StaticPage

pytestmark = pytest.mark.browser


def wan_form() -> ModelForm:
    schema = find_bundled("Wan-AI/Wan2.2-TI2V-5B-text-to-video")
    assert schema is not None
    values = {"prompt": "a harbour at dawn"}
    return ModelForm(schema, on_run=print, price=lambda _: ("about $0.04", ""), badge="cloud", values=values)


def hostile_form() -> ModelForm:
    words = {7: ("<b>cinema</b>", "grain")}
    styles = tuple(Option(str(n), f"style {n}", "film" if n % 2 else "", words.get(n, ())) for n in range(300))
    parameters = (
        Parameter("prompt", "textarea", "Prompt", required=True),
        Parameter("style", "select", "أسلوب <b>x</b>", options=styles, default="3", help="<i>help</i>"),
    )
    title, text = "<img src=x onerror=window.hacked=1>", "<script>window.hacked=1</script>"
    return ModelForm(ModelSchema("a/b", "a/b", title, text, parameters=parameters), on_run=print)


def show(static_page: StaticPage, form: ModelForm) -> Any:
    return static_page.show(form, *form.fields.values())


def field(page: Any, name: str) -> Any:
    return page.locator(f'[data-name="{name}"]')


def test_a_double_click_starts_one_run(static_page: StaticPage) -> None:
    page = static_page.page
    page.clock.install()
    show(static_page, wan_form())
    run = page.locator(".wiro-btn-run")
    run.dblclick()
    static_page.receive({"type": "message", "variant": "", "lines": ["Run started."]})
    run.click()
    assert len(static_page.sent("run")) == 1
    page.clock.run_for(700)
    run.click()
    assert len(static_page.sent("run")) == 2


def test_the_run_button_sends_what_was_typed_a_moment_before(static_page: StaticPage) -> None:
    page = show(static_page, wan_form())
    field(page, "prompt").locator("textarea").fill("a harbour in fog")
    page.locator(".wiro-btn-run").click()
    (message,) = static_page.sent("run")
    assert message["values"]["prompt"] == "a harbour in fog"
    expect(page.locator(".wiro-btn-run")).to_contain_text("about $0.04")


def test_an_earlier_answer_of_the_kernel_keeps_what_is_typed(static_page: StaticPage) -> None:
    page = static_page.page
    page.clock.install()
    form = wan_form()
    show(static_page, form)
    prompt = field(page, "prompt").locator("textarea")
    prompt.fill("a fox")
    page.clock.run_for(300)
    assert static_page.saved(form["prompt"], "value") == ["a fox"]
    prompt.fill("a fox in the snow")
    static_page.set_trait(form["prompt"], "value", "a fox")
    assert prompt.input_value() == "a fox in the snow"
    page.clock.run_for(300)
    assert static_page.saved(form["prompt"], "value")[-1] == "a fox in the snow"


def test_the_seed_can_be_thrown_and_unpinned(static_page: StaticPage) -> None:
    form = wan_form()
    page = show(static_page, form)
    seed = field(page, "seed")
    expect(seed).to_contain_text("Pinned: every run uses 42.")
    seed.get_by_role("button", name="Random seed").click()
    thrown = static_page.saved(form["seed"], "value")[-1]
    assert 0 < thrown < 2**31
    expect(seed.locator("input")).to_have_value(str(thrown))
    pin = seed.get_by_role("button", name="Pin this seed")
    pin.click()
    assert static_page.saved(form["seed"], "pinned") == [False]
    expect(pin).to_have_attribute("aria-pressed", "false")
    expect(seed).to_contain_text("New one each run")


def test_a_long_list_is_searched_by_keyboard_and_words_go_to_the_prompt(
    static_page: StaticPage,
) -> None:
    form = hostile_form()
    page = show(static_page, form)
    style = field(page, "style")
    box = style.get_by_role("combobox")
    expect(box).to_have_value("style 3")
    box.click()
    expect(style.get_by_role("option")).to_have_count(200)
    box.fill("style 7")
    expect(style).to_contain_text("11 of 300 match")
    page.keyboard.press("ArrowDown")
    here = box.get_attribute("aria-activedescendant")
    expect(page.locator(f"#{here}")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert static_page.saved(form["style"], "value") == ["7"]
    field(page, "prompt").locator("textarea").fill("a lighthouse")
    style.get_by_role("button", name="<b>cinema</b>").click()
    assert static_page.saved(form["prompt"], "value")[-1] == "a lighthouse, <b>cinema</b>"
    box.click()
    box.fill("nothing like this")
    page.keyboard.press("Escape")
    expect(box).to_have_value("style 7")
    assert page.evaluate("() => window.hacked") is None


def test_a_narrow_form_stays_within_its_frame(static_page: StaticPage) -> None:
    page = static_page.page
    page.set_viewport_size({"width": 420, "height": 1000})
    show(static_page, wan_form())
    overflow = page.evaluate(
        """() => {
            const edge = document.querySelector('.wiro-form').getBoundingClientRect().right + 1;
            const inside = [...document.querySelectorAll('.wiro-form *')];
            return inside.filter((node) => node.getBoundingClientRect().right > edge).length;
        }"""
    )
    assert overflow == 0


def test_choices_a_checkbox_and_a_colour_can_be_set(static_page: StaticPage) -> None:
    choices = (Option("a", "Alpha"), Option("b", "Beta"))
    parameters = (
        Parameter("styles", "multiselect", "Styles", default=("a",), multiple=True, options=choices),
        Parameter("loop", "checkbox", "Loop", default="false"),
        Parameter("tint", "color", "Tint", default="#112233"),
    )
    form = ModelForm(ModelSchema("a/b", "a/b", "B", parameters=parameters), on_run=print)
    page = show(static_page, form)
    expect(field(page, "styles").get_by_label("Alpha")).to_be_checked()
    field(page, "styles").get_by_label("Beta").check()
    assert static_page.saved(form["styles"], "value") == [["a", "b"]]
    field(page, "loop").locator("input").check()
    assert static_page.saved(form["loop"], "value") == ["true"]
    field(page, "tint").locator("input[type=color]").fill("#abcdef")
    expect(field(page, "tint").locator("input[type=text]")).to_have_value("#abcdef")
