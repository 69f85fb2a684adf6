"""Forms in a real browser: keyboard, validation at the field, run, files, hostile input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import NotebookPage, OpenNotebook, expect

pytestmark = pytest.mark.browser

SETUP = """
from pathlib import Path
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.schema.catalog import find_bundled
from wiro_nb.schema.types import ModelSchema, Option, Parameter
runs = []
"""
WAN = """
form = ModelForm(
    find_bundled("Wan-AI/Wan2.2-TI2V-5B-text-to-video"), on_run=runs.append,
    price=lambda values: ("about $0.04", ""), badge="cloud", values={"prompt": "a harbour at dawn"},
)
form.budget = {"text": "spent $0.31 of $2.00 in this notebook", "share": 0.155, "reached": False, "hint": ""}
form
"""
HOSTILE = """
words = {7: ("<b>cinema</b>", "grain")}
styles = tuple(Option(str(n), f"style {n}", "film" if n % 2 else "", words.get(n, ())) for n in range(300))
title, description = "<img src=x onerror=window.hacked=1>", "<script>window.hacked=1</script>"
form = ModelForm(ModelSchema("a/b", "a/b", title, description, parameters=(
    Parameter("prompt", "textarea", "Prompt", required=True, max="1500"),
    Parameter("style", "select", "أسلوب <b>x</b>", options=styles, default="3", help="<i>help</i>"),
    Parameter("wheel", "colour-wheel", "色を選ぶ"),
    Parameter("strength", "range", "Strength", min="0", max="1", step="0.1", default="0.5"),
    Parameter("seed", "number", "Seed"),
    Parameter("image", "combinefileinput", "Images", multiple=True),
    *(Parameter(f"p{n}", "number", f"P {n}", default="1") for n in range(60)),
)), on_run=runs.append)
form
"""


def open_form(open_notebook: OpenNotebook, cell: str, **options: Any) -> NotebookPage:
    notebook = open_notebook([SETUP + cell], **options)
    notebook.page.wait_for_selector(".wiro-form")
    return notebook


def press_run(notebook: NotebookPage) -> None:
    """Presses Run once the press before, if there was one, is over."""
    notebook.page.locator(".wiro-btn-run:not([aria-busy])").click()


def field(notebook: NotebookPage, name: str) -> Any:
    return notebook.page.locator(f'.wiro-form [data-name="{name}"]')


@pytest.mark.parametrize("app", ["lab", "notebook"])
def test_typing_reaches_the_kernel_and_setting_reaches_the_page(open_notebook: OpenNotebook, app: str) -> None:
    notebook = open_form(open_notebook, WAN, app=app)
    steps = field(notebook, "steps").locator("input")
    steps.fill("30")
    notebook.wait_for_answer("form['steps'].value", "30")
    notebook.execute("form['steps'].value = 12; form['prompt'].value = 'fog'")
    notebook.page.wait_for_function("() => document.querySelector('[data-name=steps] input').value === '12'")
    expect(field(notebook, "prompt").locator("textarea")).to_have_value("fog")
    expect(field(notebook, "prompt")).to_contain_text("3 characters")
    assert field(notebook, "fps").inner_text().endswith("121 frames make 7.6 s")
    notebook.shot(f"form-{app}", ".wiro-form")


def test_a_bad_value_says_the_rule_and_fixes_itself_with_one_press(open_notebook: OpenNotebook) -> None:
    notebook = open_form(open_notebook, WAN)
    frames = field(notebook, "numFrames")
    frames.locator("input").fill("82")
    frames.get_by_role("button", name="Use 85").wait_for()
    control = frames.locator("input")
    assert control.get_attribute("aria-invalid") == "true"
    described = notebook.page.evaluate(
        """(node) => node.getAttribute('aria-describedby').split(' ')
            .map((id) => document.getElementById(id).textContent).join(' ')""",
        control.element_handle(),
    )
    assert "4n + 1, for example" in described
    assert "82 does not fit" in described
    field(notebook, "steps").locator("input").focus()
    notebook.page.locator(".wiro-btn-run").click()
    notebook.page.wait_for_function("() => document.activeElement?.closest('[data-name=numFrames]')")
    assert notebook.answer("len(runs)") == "0"
    line = notebook.page.locator(".wiro-foot .wiro-err", has_text="to fix before running")
    assert "1 setting to fix before running" in line.inner_text()
    for theme in ("light", "dark"):
        notebook.use_theme(f"JupyterLab {theme.capitalize()}")
        notebook.shot(f"form-error-{theme}-1100", ".wiro-form")
    frames.get_by_role("button", name="Use 85").click()
    notebook.wait_for_answer("form['numFrames'].value", "85")
    notebook.page.wait_for_function("() => !document.querySelector('[aria-invalid=true]')")
    press_run(notebook)
    notebook.wait_for_answer("len(runs)", "1")
    assert notebook.answer("runs[0]['numFrames']") == "85"


def test_a_path_that_could_not_be_taken_stops_the_run(open_notebook: OpenNotebook) -> None:
    notebook = open_form(open_notebook, HOSTILE)
    field(notebook, "prompt").locator("textarea").fill("a lighthouse")
    field(notebook, "image").get_by_label("or a URL or path").fill("/nowhere/at/all.png")
    press_run(notebook)
    notebook.page.get_by_text("1 setting to fix before running").wait_for()
    assert notebook.answer("len(runs)") == "0", "paying for a clip without the picture is not what was meant"
    field(notebook, "image").get_by_label("or a URL or path").fill("")
    press_run(notebook)
    notebook.wait_for_answer("len(runs)", "1")


def test_everything_can_be_reached_and_run_by_keyboard_alone(open_notebook: OpenNotebook) -> None:
    notebook = open_form(open_notebook, WAN)
    page = notebook.page
    field(notebook, "prompt").locator("textarea").focus()
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => document.activeElement.closest('[data-name]')?.dataset.name
                    ?? document.activeElement.innerText"""
            )
        )
        if str(reached[-1]).startswith("More"):
            page.keyboard.press("Enter")
    joined = " ".join(str(item) for item in reached)
    assert all(
        name in reached for name in ("size", "numFrames", "fps", "scale", "steps", "seed", "negativePrompt")
    ), reached
    assert "Run" in joined
    page.locator(".wiro-btn-run").focus()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    notebook.wait_for_answer("len(runs)", "1")
    cells = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
    assert cells == 1, "a key on a button of the form is no command to the notebook"
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.activeElement.classList.contains('jp-Cell')")


def test_settings_are_copied_as_a_cell_and_reset(open_notebook: OpenNotebook) -> None:
    notebook = open_form(open_notebook, WAN)
    page = notebook.page
    field(notebook, "steps").locator("input").fill("30")
    page.get_by_role("button", name="Copy as cell").click()
    page.get_by_text("Copied.", exact=True).wait_for()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied.startswith("%%wiro Wan-AI/Wan2.2-TI2V-5B-text-to-video steps=30 seed=42\n")
    page.get_by_role("button", name="Reset", exact=True).click()
    notebook.wait_for_answer("form['steps'].value", "'25'")


def test_hostile_text_stays_text_and_a_form_of_sixty_is_folded(open_notebook: OpenNotebook) -> None:
    notebook = open_form(open_notebook, HOSTILE)
    assert notebook.page.evaluate("() => window.hacked") is None
    assert "<img src=x" in notebook.page.locator(".wiro-title").inner_text()
    assert notebook.page.locator(".wiro-form .wiro-field:visible").count() == 19
    field(notebook, "prompt").locator("textarea").fill("x" * 20_000)
    assert "20,000 of 1,500 characters" in field(notebook, "prompt").inner_text()
    notebook.wait_for_answer("len(form['prompt'].value)", "20000")
    assert "not known here" in field(notebook, "wheel").inner_text()
    strength = field(notebook, "strength").locator("input[type=range]")
    strength.focus()
    notebook.page.keyboard.press("ArrowRight")
    notebook.wait_for_answer("form['strength'].value", "0.6")
    notebook.shot("form-hostile", ".wiro-form")


PNG_MAKER = """async ([name, width]) => {
    const canvas = new OffscreenCanvas(width, 60);
    canvas.getContext('2d').fillRect(0, 0, width, 30);
    const blob = await canvas.convertToBlob({type: 'image/png'});
    const transfer = new DataTransfer();
    transfer.items.add(new File([blob], name, {type: 'image/png'}));
    const zone = document.querySelector('[data-name=image] .wiro-drop');
    zone.dispatchEvent(new DragEvent('dragenter', {dataTransfer: transfer, bubbles: true, cancelable: true}));
    const invited = zone.classList.contains('wiro-over');
    zone.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
    return invited;
}"""


def test_files_come_by_drop_dialog_and_path_and_can_be_ordered(
    open_notebook: OpenNotebook, tmp_path: Path
) -> None:
    notebook = open_form(open_notebook, HOSTILE)
    page = notebook.page
    image = field(notebook, "image")
    assert page.evaluate(PNG_MAKER, ["dropped.png", 100]) is True
    page.wait_for_selector("[data-name=image] .wiro-items img")
    notebook.wait_for_answer("[Path(p).name for p in form['image'].value]", "['dropped.png']")
    expect(image).to_contain_text("100 × 60")
    big = tmp_path / "big.png"
    big.write_bytes(bytes.fromhex("89504e470d0a1a0a") + bytes(12_000_000))
    image.locator("input[type=file]").set_input_files(str(big))
    notebook.wait_for_answer("[Path(p).stat().st_size for p in form['image'].value][1:]", "[12000008]")
    image.get_by_label("or a URL or path").fill("https://example.org/third.png")
    page.keyboard.press("Enter")
    notebook.wait_for_answer("len(form['image'].value)", "3")
    expect(image.locator(".wiro-items > li")).to_have_count(3)
    page.get_by_role("button", name="Move big.png earlier").click()
    notebook.wait_for_answer(
        "[Path(p).name for p in form['image'].value]", "['big.png', 'dropped.png', 'third.png']"
    )
    page.locator("[data-name=image] .wiro-items > li").nth(2).drag_to(
        page.locator("[data-name=image] .wiro-items > li").first, target_position={"x": 40, "y": 4}
    )
    notebook.wait_for_answer(
        "[Path(p).name for p in form['image'].value]", "['third.png', 'big.png', 'dropped.png']"
    )
    notebook.shot("form-files", '[data-name="image"]')
    image.locator("button[title='Remove big.png']").click()
    notebook.wait_for_answer("len(form['image'].value)", "2")
    image.get_by_label("or a URL or path").fill("/nowhere/at/all.png")
    page.keyboard.press("Enter")
    image.get_by_role("alert").get_by_text("all.png").wait_for()
    assert notebook.answer("len(form['image'].value)") == "2"


def test_a_field_can_stand_on_its_own_and_links_to_core_widgets(open_notebook: OpenNotebook) -> None:
    cell = WAN.replace("\nform\n", "\nimport ipywidgets\nslider = ipywidgets.IntSlider(min=1, max=50)\n"
                       "link = ipywidgets.jslink((slider, 'value'), (form['steps'], 'value'))\n"
                       "ipywidgets.VBox([slider, form['steps'], form['seed']])\n")  # fmt: skip
    notebook = open_notebook([SETUP + cell])
    notebook.page.wait_for_selector("[data-name=steps] input")
    expect(notebook.page.locator("[data-name=seed]")).to_have_count(1)
    notebook.execute("slider.value = 33")
    notebook.page.wait_for_function("() => document.querySelector('[data-name=steps] input').value === '33'")


def test_the_form_comes_back_after_a_reload_with_its_values(open_notebook: OpenNotebook) -> None:
    notebook = open_form(open_notebook, WAN)
    field(notebook, "steps").locator("input").fill("31")
    notebook.wait_for_answer("form['steps'].value", "31")
    notebook.saved()
    notebook.page.reload()
    expect(field(notebook, "steps").locator("input")).to_have_value("31")


# What a file's bar shows, also when it is there for a moment only.
KEEP_PROGRESS = """() => {
    window.progress = [];
    new MutationObserver((changes) => {
        const bars = changes.map((change) => change.target).filter((node) => node.role === 'progressbar');
        window.progress.push(...bars.map((bar) => Number(bar.ariaValueNow)));
    }).observe(document.querySelector('[data-name=image]'), {subtree: true, attributeFilter: ['aria-valuenow']});
}"""


def test_a_hundred_megabytes_reach_the_kernel_whole(open_notebook: OpenNotebook, tmp_path: Path) -> None:
    notebook = open_form(open_notebook, HOSTILE)
    big = tmp_path / "ninety-nine.png"
    with big.open("wb") as stream:
        stream.write(bytes.fromhex("89504e470d0a1a0a"))
        stream.truncate(99 * 1024 * 1024)
    image = field(notebook, "image")
    notebook.page.evaluate(KEEP_PROGRESS)
    image.locator("input[type=file]").set_input_files(str(big))
    notebook.page.locator("[data-name=image] .wiro-items > li button[title='Remove ninety-nine.png']").wait_for(
        timeout=180_000
    )
    assert any(10 < percent < 100 for percent in notebook.page.evaluate("() => window.progress"))
    assert notebook.answer("Path(form['image'].value[0]).stat().st_size") == str(99 * 1024 * 1024)
    too_big = tmp_path / "over.png"
    with too_big.open("wb") as stream:
        stream.truncate(101 * 1024 * 1024)
    image.locator("input[type=file]").set_input_files(str(too_big))
    image.get_by_role("alert").get_by_text("at most 100 MB are taken").wait_for()
