"""A `%%wiro` cell in a real front end: a card that moves, a result that stays, and a file that holds both."""

from __future__ import annotations

import re

import pytest

from .conftest import OpenNotebook, expect

pytestmark = pytest.mark.browser

MODEL = "Wan-AI/Wan2.2-TI2V-5B-text-to-video"
CELL = f"%%wiro {MODEL} numFrames=5 steps=4 seed=7 --as clip\n"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def test_the_result_replaces_the_card_and_is_saved_with_its_record(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", CELL + "costs $5 and $6", "%wiro runs", "%wiro nothing"])
    # From here on nothing is drawn anew.
    notebook.wait_for_runs("succeeded")
    video = notebook.page.locator(".jp-OutputArea video")
    expect(video).to_have_count(1)
    expect(video).to_have_attribute("src", re.compile("/files/"))
    notebook.page.locator(".jp-OutputArea").get_by_text("costs $5 and $6").first.wait_for()
    notebook.shot("magic")
    saved = notebook.saved()
    (output,) = saved["cells"][1]["outputs"]
    assert WIDGET_VIEW not in output["data"]
    record = output["metadata"]["wiro"]
    assert record["status"] == "succeeded"
    assert saved["metadata"]["wiro"]["runs"][record["run_id"]] == record
    # The clip plays from beside the notebook.
    video.evaluate("(video) => { video.preload = 'auto'; video.load(); }")
    notebook.page.wait_for_function("() => document.querySelector('.jp-OutputArea video').readyState >= 1")


def test_a_page_opened_again_while_the_run_goes_on_gets_the_result(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", CELL + "a reloaded sea [hold]"])
    notebook.saved()
    notebook.page.reload()
    notebook.wait_for_kernel()
    notebook.execute("clip.cancel(); clip.wait(30, check=False)")
    notebook.page.get_by_text("Billed: nothing.").wait_for()
    notebook.wait_for_runs("cancelled")
    assert notebook.saved()["cells"][1]["outputs"][0]["metadata"]["wiro"]["status"] == "cancelled"
