"""A frame of an earlier run becomes an input; what a clip's buttons do in JupyterLab."""

from __future__ import annotations

import re

import pytest

from .conftest import OpenNotebook, expect

pytestmark = pytest.mark.browser


def test_a_frame_of_an_earlier_run_becomes_an_input(open_notebook: OpenNotebook) -> None:
    first = "%%wiro sandbox/plain-clip frames=9 seed=7 --as clip --wait\na paper boat"
    notebook = open_notebook(["%load_ext wiro_nb", first, "%wiro form pruna/vace frameNum=5 sampleSteps=2 seed=3"])
    page = notebook.page
    files = page.locator('[data-name="inputImage"]')
    files.get_by_role("button", name="From a run").click()
    files.get_by_role("button", name="Last frame").click()
    files.locator(".wiro-items img").first.wait_for()
    expect(files).to_contain_text("last frame")
    page.locator('.wiro-form [data-name="prompt"] textarea').fill("the boat drifts into fog")
    page.locator(".wiro-btn-run").click()
    page.locator('video[aria-label="the boat drifts into fog"]').wait_for()
    notebook.wait_for_answer("__import__('wiro_nb').last().record['parent']['run_id'] == clip.id", "True")
    # Open, copy and download do what they say.
    card = page.locator(".wiro-run").first
    card.get_by_role("button", name="Copy the path of").click()
    card.get_by_text("The path is copied.").wait_for()
    path = page.evaluate("() => navigator.clipboard.readText()")
    assert (notebook.path.parent / path).is_file()
    with page.expect_download() as saving:
        card.get_by_role("link", name="Download").click()
    assert saving.value.suggested_filename == "0.mp4"
    with page.context.expect_page() as opening:
        card.locator(".wiro-file > a").click()
    opening.value.wait_for_url(re.compile("/0.mp4"), wait_until="commit")
    opening.value.close()
    # What a person chose for one clip holds for the next.
    card.get_by_role("button", name="Loop").click()
    page.locator('.wiro-form [data-name="prompt"] textarea').fill("the boat comes back")
    page.locator(".wiro-btn-run").click()
    page.locator(".wiro-earlier button").wait_for()
    clip = page.locator('video[aria-label="the boat comes back"]')
    assert clip.evaluate("(clip) => clip.loop") is False
