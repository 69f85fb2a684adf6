"""A form in JupyterLab: fields and kernel, keys, a reload, files. See `test_form_static` for the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import NotebookPage, OpenNotebook, expect

pytestmark = pytest.mark.browser

SETUP = """
from pathlib import Path
from wiro_nb.notebook.form.form import ModelForm
from wiro_nb.schema import find_bundled
from wiro_nb.schema.types import ModelSchema, Parameter
runs = []
"""
WAN = """
form = ModelForm(
    find_bundled("Wan-AI/Wan2.2-TI2V-5B-text-to-video"), on_run=runs.append,
    price=lambda values: ("about $0.04", ""), badge="cloud", values={"prompt": "a harbour at dawn"},
)
form.budget = {"text": "spent $0.31 of $2.00 in this notebook", "share": 0.155, "reached": False, "hint": ""}
"""
FILES = """
form = ModelForm(ModelSchema("a/b", "a/b", "Files", "", parameters=(
    Parameter("prompt", "textarea", "Prompt", default="a lighthouse"),
    Parameter("image", "combinefileinput", "Images", multiple=True),
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


def test_fields_follow_the_kernel_and_survive_that_the_notebook_is_closed(open_notebook: OpenNotebook) -> None:
    cell = (
        WAN
        + """
import ipywidgets
slider = ipywidgets.IntSlider(min=1, max=50)
link = ipywidgets.jslink((slider, 'value'), (form['steps'], 'value'))
display(ipywidgets.VBox([slider, form['seed']]))
form
"""
    )
    notebook = open_form(open_notebook, cell)
    page = notebook.page
    expect(page.locator("[data-name=seed]")).to_have_count(2)
    notebook.execute("slider.value = 33; form['prompt'].value = 'fog'")
    steps = field(notebook, "steps").locator("input")
    expect(steps).to_have_value("33")
    expect(field(notebook, "prompt").locator("textarea")).to_have_value("fog")
    frames = field(notebook, "numFrames")
    frames.locator("input").fill("82")
    frames.get_by_role("button", name="Use 85").click()
    notebook.wait_for_answer("form['numFrames'].value", "85")
    steps.fill("31")
    notebook.wait_for_answer("form['steps'].value", "31")
    page.get_by_role("button", name="Copy as cell").click()
    page.get_by_text("Copied.", exact=True).wait_for()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert copied.startswith("%%wiro Wan-AI/Wan2.2-TI2V-5B-text-to-video ")
    assert "steps=31" in copied

    page.locator(".wiro-btn-run").focus()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    notebook.wait_for_answer("[run['numFrames'] for run in runs]", "[85]")
    cells = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
    assert cells == 1, "a key on a button of the form is no command to the notebook"
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.activeElement.classList.contains('jp-Cell')")

    notebook.saved()
    notebook.reopen()
    expect(field(notebook, "steps").locator("input")).to_have_value("31")
    page.get_by_role("button", name="Reset", exact=True).click()
    notebook.wait_for_answer("str(form['steps'].value)", "'25'")  # the linked slider makes it a number


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


# What a file's bar shows, also when it is there for a moment only.
KEEP_PROGRESS = """() => {
    window.progress = [];
    new MutationObserver((changes) => {
        const bars = changes.map((change) => change.target).filter((node) => node.role === 'progressbar');
        window.progress.push(...bars.map((bar) => Number(bar.ariaValueNow)));
    }).observe(document.querySelector('[data-name=image]'), {subtree: true, attributeFilter: ['aria-valuenow']});
}"""


@pytest.mark.parametrize("size_mib", [12, pytest.param(99, marks=pytest.mark.slow)])
def test_files_come_by_drop_dialog_and_path_up_to_a_hundred_megabytes(
    open_notebook: OpenNotebook, tmp_path: Path, size_mib: int
) -> None:
    notebook = open_form(open_notebook, FILES)
    page = notebook.page
    image = field(notebook, "image")
    assert page.evaluate(PNG_MAKER, ["dropped.png", 100]) is True
    page.wait_for_selector("[data-name=image] .wiro-items img")
    notebook.wait_for_answer("[Path(p).name for p in form['image'].value]", "['dropped.png']")
    expect(image).to_contain_text("100 × 60")

    big = tmp_path / "big.png"
    with big.open("wb") as stream:
        stream.write(bytes.fromhex("89504e470d0a1a0a"))
        stream.truncate(size_mib * 1024 * 1024)
    page.evaluate(KEEP_PROGRESS)
    image.locator("input[type=file]").set_input_files(str(big))
    image.locator("li button[title='Remove big.png']").wait_for(timeout=180_000)
    assert any(10 < percent < 100 for percent in page.evaluate("() => window.progress"))
    assert notebook.answer("Path(form['image'].value[1]).stat().st_size") == str(size_mib * 1024 * 1024)
    too_big = tmp_path / "over.png"
    with too_big.open("wb") as stream:
        stream.truncate(101 * 1024 * 1024)
    image.locator("input[type=file]").set_input_files(str(too_big))
    image.get_by_role("alert").get_by_text("over.png is larger than 100 MB.").wait_for()

    page.get_by_role("button", name="Move big.png earlier").click()
    notebook.wait_for_answer("[Path(p).name for p in form['image'].value]", "['big.png', 'dropped.png']")
    image.locator("button[title='Remove big.png']").click()
    address = image.get_by_label("or a URL or path")
    address.fill("https://example.org/third.png")
    page.keyboard.press("Enter")
    notebook.wait_for_answer("len(form['image'].value)", "2")

    address.fill("/nowhere/at/all.png")
    press_run(notebook)
    image.get_by_role("alert").get_by_text("all.png").wait_for()
    page.get_by_text("1 setting to fix before running").wait_for()
    assert notebook.answer("len(runs)") == "0", "paying for a clip without the picture is not what was meant"
    address.fill("")
    press_run(notebook)
    notebook.wait_for_answer("len(runs)", "1")
