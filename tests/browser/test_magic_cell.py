"""A `%%wiro` cell in a real front end: a card that moves, a result that stays, and a file that holds both."""

from __future__ import annotations

import re

import pytest

from .conftest import OpenNotebook, expect

pytestmark = pytest.mark.browser

MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
CELL = f"%%wiro {MODEL} numFrames=5 steps=4 seed=7 --as clip\n"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def test_the_file_has_result_and_record_a_list_opens_the_run_and_the_card_makes_it_again(
    open_notebook: OpenNotebook,
) -> None:
    # The run ends while the next cell keeps the kernel busy: what a page says is read only after that.
    cell = CELL + "costs $5 and $6"
    cells = ["%load_ext wiro_nb", "%wiro", cell, "_ = clip.wait()", "%wiro runs", "%wiro nothing"]
    notebook = open_notebook(cells)
    page = notebook.page
    # From here on nothing is drawn anew.
    notebook.wait_for_runs("succeeded")
    video = page.locator(".jp-OutputArea video")
    expect(video).to_have_count(1)
    expect(video).to_have_attribute("src", re.compile("/files/"))
    # The clip plays from beside the notebook.
    video.evaluate("(video) => { video.preload = 'auto'; video.load(); }")
    page.wait_for_function("() => document.querySelector('.jp-OutputArea video').readyState >= 1")
    rows = page.locator(".wiro-list-row")
    expect(rows).to_have_count(2)
    for row in rows.all():
        expect(row).to_contain_text("costs $5 and $6")
        expect(row).to_contain_text("Done")
    rows.nth(1).locator("button").first.press("Enter")
    opened = page.locator(".wiro-attached .wiro-run")
    opened.locator("video").wait_for()
    expect(opened).to_be_in_viewport()
    saved = notebook.saved()
    assert all(WIDGET_VIEW not in output.get("data", {}) for cell in saved["cells"] for output in cell["outputs"])
    (output,) = saved["cells"][2]["outputs"]
    record = output["metadata"]["wiro"]
    assert record["status"] == "succeeded"
    assert saved["metadata"]["wiro"]["runs"][record["run_id"]] == record
    html = "".join(output["data"]["text/html"])
    assert "<video" in html
    assert "Run again" not in html

    card = page.locator(".jp-Cell").nth(2).locator(".wiro-run").first
    card.get_by_role("button", name="Edit in form").click()
    prompt = page.locator('.wiro-attached .wiro-form [data-name="prompt"] textarea')
    expect(prompt).to_be_focused()
    expect(prompt).to_have_value("costs $5 and $6")
    card.get_by_role("button", name="Run again").click()
    again = page.locator(".jp-Cell").nth(2).locator(".wiro-attached .wiro-run")
    again.locator("video").wait_for()
    expect(again).to_be_in_viewport()
    notebook.wait_for_answer("len(__import__('wiro_nb').runs())", "2")
    notebook.wait_for_runs("succeeded", 2)
    again.get_by_role("button", name="Compare").click()
    page.locator(".wiro-attached .wiro-attached .wiro-compare").wait_for()
    html = "".join(notebook.saved()["cells"][2]["outputs"][0]["data"]["text/html"])
    assert html.count("<video") == 2, "the run made below the card is in the file too"


def test_a_page_opened_again_while_the_run_goes_on_gets_the_result_with_its_buttons(
    open_notebook: OpenNotebook,
) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", CELL + "a reloaded sea [hold]"])
    notebook.saved()
    notebook.page.reload()
    notebook.wait_for_kernel()
    notebook.execute("clip.cancel(); clip.wait(30, check=False)")
    card = notebook.page.locator(".wiro-run[data-kind=cancelled]")
    expect(card.get_by_role("button", name="Run again")).to_be_visible()
    notebook.wait_for_runs("cancelled")
    assert notebook.saved()["cells"][1]["outputs"][0]["metadata"]["wiro"]["status"] == "cancelled"
