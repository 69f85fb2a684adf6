"""What a form's script does by itself: typing, lists, seeds, problems, files, the keyboard, the Run button."""

from __future__ import annotations

from typing import Any

import pytest

from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.notebook.widgets.card import RunCard
from wiro_nb.schema import find_bundled
from wiro_nb.schema.types import ModelSchema, Option, Parameter

from .conftest import expect
from .static_page import StaticPage
from .test_card_static import moment

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
        Parameter("prompt", "textarea", "Prompt", required=True, max="1500"),
        Parameter("style", "select", "أسلوب <b>x</b>", options=styles, default="3", help="<i>help</i>"),
        Parameter("wheel", "colour-wheel", "色を選ぶ"),
        Parameter("strength", "range", "Strength", min="0", max="1", step="0.1", default="0.5"),
        Parameter("image", "combinefileinput", "Images", multiple=True),
        *(Parameter(f"p{n}", "number", f"P {n}", default="1") for n in range(60)),
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
    static_page.receive({"type": "message", "variant": "", "lines": []})
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


def test_the_seed_is_thrown_within_the_bounds_of_its_input(static_page: StaticPage) -> None:
    small = Parameter(id="seed", type="number", label="Seed", min="10", max="12")
    form = ModelForm(ModelSchema("a/b", "a/b", "B", parameters=(small,)), on_run=print)
    dice = field(show(static_page, form), "seed").get_by_role("button", name="Random seed")
    for _ in range(5):
        dice.click()
    thrown = static_page.saved(form["seed"], "value")
    assert thrown
    assert set(thrown) <= {10, 11, 12}


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


def test_a_value_set_in_the_kernel_reaches_the_page(static_page: StaticPage) -> None:
    form = wan_form()
    page = show(static_page, form)
    static_page.set_trait(form["steps"], "value", 12)
    static_page.set_trait(form["prompt"], "value", "fog")
    expect(field(page, "steps").locator("input")).to_have_value("12")
    expect(field(page, "prompt").locator("textarea")).to_have_value("fog")
    expect(field(page, "prompt")).to_contain_text("3 characters")
    expect(field(page, "fps")).to_contain_text("121 frames make 7.6 s")


def test_a_bad_value_shows_the_rule_and_is_fixed_with_one_press(static_page: StaticPage) -> None:
    form = wan_form()
    form["numFrames"].value = 82
    page = show(static_page, form)
    frames = field(page, "numFrames")
    control = frames.locator("input")
    expect(control).to_have_attribute("aria-invalid", "true")
    described = control.evaluate(
        """(node) => node.getAttribute('aria-describedby').split(' ')
            .map((id) => document.getElementById(id).textContent).join(' ')"""
    )
    assert "4n + 1, for example" in described
    assert "82 does not fit" in described
    expect(page.locator(".wiro-foot .wiro-err", has_text="to fix before running")).to_contain_text(
        "1 setting to fix"
    )
    static_page.receive({"type": "refused", "first": "numFrames"})
    expect(control).to_be_focused()
    frames.get_by_role("button", name="Use 85").click()
    assert static_page.saved(form["numFrames"], "value") == [85]
    static_page.set_trait(form, "problems", {})
    expect(page.locator("[aria-invalid=true]")).to_have_count(0)


def test_every_setting_and_run_are_reached_by_keyboard(static_page: StaticPage) -> None:
    page = show(static_page, wan_form())
    field(page, "prompt").locator("textarea").focus()
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => document.activeElement.closest('[data-name]')?.dataset.name ?? document.activeElement.innerText"
        )
        reached.append(str(name))
        ring = "() => getComputedStyle(document.activeElement)"
        if page.evaluate("() => document.activeElement !== document.body"):  # else Tab has left the page
            assert page.evaluate(f"({ring})().outlineStyle") == "solid", name
            assert page.evaluate(f"parseInt(({ring})().outlineWidth)") >= 2, name
        if name.startswith("More"):
            page.keyboard.press("Enter")
    assert {"size", "numFrames", "fps", "scale", "steps", "seed", "negativePrompt"} < set(reached)
    assert any(name.startswith("Run") for name in reached)
    page.locator(".wiro-btn-run").focus()
    page.keyboard.press("Enter")
    assert len(static_page.sent("run")) == 1


def test_hostile_text_stays_text_and_a_form_of_sixty_is_folded(static_page: StaticPage) -> None:
    form = hostile_form()
    page = show(static_page, form)
    assert page.evaluate("() => window.hacked") is None
    assert "<img src=x" in page.locator(".wiro-title").inner_text()
    expect(page.locator(".wiro-form .wiro-field:visible")).to_have_count(18)
    field(page, "prompt").locator("textarea").fill("x" * 20_000)
    expect(field(page, "prompt")).to_contain_text("20,000 of 1,500 characters")
    expect(field(page, "wheel")).to_contain_text("not known here")
    field(page, "strength").locator("input[type=range]").press("ArrowRight")
    field(page, "strength").locator("input[type=range]").blur()
    page.wait_for_function("() => window.saved.some((change) => change.value === 0.6)")


def test_files_are_ordered_by_buttons_and_by_dragging_and_removed(static_page: StaticPage) -> None:
    form = hostile_form()
    first, second, third = (f"https://example.org/{name}.bin" for name in ("first", "second", "third"))
    form["image"].value = (first, second, third)
    page = show(static_page, form)
    rows = field(page, "image").locator(".wiro-items > li")
    expect(rows).to_have_count(3)
    page.get_by_role("button", name="Move second.bin earlier").click()
    assert static_page.saved(form["image"], "value")[-1] == [second, first, third]
    rows.nth(2).drag_to(rows.first, target_position={"x": 40, "y": 4})
    assert static_page.saved(form["image"], "value")[-1] == [third, second, first]
    page.locator("button[title='Remove second.bin']").click()
    assert static_page.saved(form["image"], "value")[-1] == [third, first]
    expect(rows).to_have_count(2)


def test_a_copy_the_browser_refuses_is_shown_selected(static_page: StaticPage) -> None:
    page = show(static_page, wan_form())
    page.get_by_role("button", name="Copy as cell").click()
    assert static_page.sent("copy")[0]["what"] == "cell"
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    static_page.receive({"type": "copy", "text": "%%wiro a/b"})
    expect(page.get_by_label("Text to copy")).to_be_focused()
    page.get_by_role("button", name="Reset", exact=True).click()
    assert len(static_page.sent("reset")) == 1


def test_a_path_typed_while_another_is_added_is_kept_and_goes_with_the_press(static_page: StaticPage) -> None:
    static_page.page.clock.install()
    page = show(static_page, hostile_form())
    address = field(page, "image").get_by_label("or a URL or path")
    address.fill("https://example.org/first.png")
    address.press("Enter")
    address.fill("/nowhere/at/all.png")
    page.evaluate(
        """(content) => {
            const image = [...window.model.widget_manager.all()].find((model) => model.get('name') === 'image');
            image.fire('msg:custom', content);
        }""",
        {"type": "added", "source": "https://example.org/first.png"},
    )
    expect(address).to_have_value("/nowhere/at/all.png")
    page.locator(".wiro-btn-run").click()
    (press,) = static_page.sent("run")
    assert press["addresses"] == {"image": "/nowhere/at/all.png"}
    assert press["values"]["image"] == []
    static_page.receive({"type": "refused", "first": "prompt"})
    page.clock.run_for(700)
    address.press("Enter")
    page.locator(".wiro-btn-run").click()
    assert "image" not in static_page.sent("run")[-1]["values"], "the kernel knows what became of the path"
    sent = ["https://example.org/first.png", "/nowhere/at/all.png"]
    assert [message["source"] for message in static_page.sent("add")] == sent


def test_tab_completes_a_path_on_the_machine_of_the_kernel(static_page: StaticPage) -> None:
    page = show(static_page, hostile_form())
    address = field(page, "image").get_by_label("or a URL or path")
    address.press_sequentially("clips/o")
    assert static_page.sent("paths")[-1]["typed"] == "clips/o"
    page.evaluate(
        """(content) => {
            const image = [...window.model.widget_manager.all()].find((model) => model.get('name') === 'image');
            image.fire('msg:custom', content);
        }""",
        {"type": "paths", "paths": ["clips/one.png", "clips/one two.png"], "common": "clips/one"},
    )
    assert page.locator("datalist option").evaluate_all("(all) => all.map((node) => node.value)") == [
        "clips/one.png",
        "clips/one two.png",
    ]
    address.press("Tab")
    expect(address).to_have_value("clips/one")
    expect(address).to_be_focused()
    address.press("Tab")
    expect(address).not_to_be_focused()
    address.fill("")
    address.press("Tab")
    expect(address).to_have_value("")
    expect(address).not_to_be_focused()


def test_a_file_cancelled_while_it_is_looked_at_is_not_sent(static_page: StaticPage) -> None:
    page = show(static_page, hostile_form())
    page.evaluate(
        """() => {
            window.createImageBitmap = () => new Promise((_resolve, reject) => { window.endLook = reject; });
        }"""
    )
    image = field(page, "image")
    picture: Any = {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG"}
    image.locator("input[type=file]").set_input_files(picture)
    image.get_by_role("button", name="Cancel").click()
    page.evaluate("() => window.endLook(new Error('no picture'))")
    expect(image.locator(".wiro-bar")).to_have_count(0)
    assert static_page.sent("begin") == []


def test_a_file_that_was_refused_is_pointed_out_before_a_run_goes_without_it(static_page: StaticPage) -> None:
    form = hostile_form()
    page = show(static_page, form)
    notes: Any = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"hello"}
    field(page, "image").locator("input[type=file]").set_input_files(notes)
    page.wait_for_function("() => window.sent.some((message) => message.type === 'begin')")
    answer = {"type": "refused", "upload": static_page.sent("begin")[0]["upload"], "message": "notes.txt is text."}
    page.evaluate(
        """async ([id, answer]) => {
            (await window.model.widget_manager.get_model(id)).fire('msg:custom', answer);
        }""",
        [form.fields["image"].model_id, answer],
    )
    expect(field(page, "image")).to_contain_text("notes.txt is text.")
    run = page.locator(".wiro-btn-run")
    run.click()
    expect(page.locator(".wiro-notice")).to_contain_text("notes.txt is text.Nothing was sent.")
    expect(field(page, "image").get_by_text("notes.txt is text.")).to_be_hidden()
    assert static_page.sent("run") == []
    run.click()
    assert len(static_page.sent("run")) == 1


def test_ctrl_enter_runs_once_however_long_it_is_held(static_page: StaticPage) -> None:
    page = show(static_page, wan_form())
    field(page, "prompt").locator("textarea").focus()
    page.keyboard.down("Control")
    for _ in range(5):
        page.keyboard.down("Enter")  # a key held down repeats
    page.keyboard.up("Enter")
    page.keyboard.up("Control")
    assert len(static_page.sent("run")) == 1


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 700)])
def test_a_run_comes_into_view_with_the_focus_and_earlier_ones_fold(
    static_page: StaticPage, theme: str, width: int
) -> None:
    page = static_page.page
    page.set_viewport_size({"width": width, "height": 700})
    static_page.use_theme(theme)
    form = wan_form()
    cards = [RunCard(moment(RunState.SUBMITTED, Stage.QUEUED, elapsed_s=3)) for _ in range(2)]
    static_page.show(form, *form.fields.values(), *cards)
    run, latest = page.locator(".wiro-btn-run"), page.locator(".wiro-latest")
    expect(latest).to_be_hidden()
    run.click()
    static_page.set_trait(form, "cards", [cards[0].model_id])
    card = page.locator(".wiro-run")
    expect(card).to_be_focused()
    expect(card).to_be_in_viewport()
    beside = card.bounding_box()["x"] >= page.locator(".wiro-form").bounding_box()["width"]
    assert beside == (width >= 1000)
    expect(latest).to_contain_text("Queued")
    card_now = moment(RunState.SUBMITTED, Stage.GENERATING, elapsed_s=4, percent=35)
    cards[0].update(card_now)
    static_page.set_trait(cards[0], "state", cards[0].state)
    expect(latest).to_contain_text("Generating 35%")
    latest.get_by_role("button", name="Cancel run").click()
    assert page.evaluate("() => window.sent.at(-1).action") == "cancel"
    run.focus()
    static_page.set_trait(form, "cards", [cards[1].model_id, cards[0].model_id])
    thumb = page.locator(".wiro-earlier button")
    expect(thumb).to_contain_text("Generating")
    expect(card).to_have_count(1)
    expect(card).to_be_focused()
    thumb.press("Enter")
    expect(page.locator(".wiro-run .wiro-state")).to_contain_text("Generating")
    cards[1].update(moment(RunState.SUCCEEDED, Stage.DONE, elapsed_s=9))
    static_page.set_trait(cards[1], "state", cards[1].state)
    expect(latest).to_contain_text("Done")
    expect(latest.get_by_role("button", name="Cancel run")).to_be_hidden()
    run.focus()
    static_page.set_trait(form, "takes_focus", True)
    expect(field(page, "prompt").locator("textarea")).to_be_focused()


def test_a_setting_to_fix_is_reached_with_the_space_bar_and_reset_comes_after_its_field(
    static_page: StaticPage,
) -> None:
    form = wan_form()
    form["numFrames"].value = 82
    page = show(static_page, form)
    frames = field(page, "numFrames").locator("input")
    page.locator(".wiro-foot .wiro-err").get_by_role("button").press("Space")
    expect(frames).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Reset Num Frames to its default")).to_be_focused()
