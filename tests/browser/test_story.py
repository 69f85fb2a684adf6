"""The main job as a person does it: fill in a form, press Run, watch, play the clip, save, come back."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from wiro_nb.provenance.record import check_record

from .conftest import NotebookPage, OpenNotebook, expect

pytestmark = pytest.mark.browser

MODEL = "wiro/animate-diff"
VIDEO = ".jp-OutputArea video"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def play(notebook: NotebookPage) -> float:
    """Plays the clip that is to be seen and returns how far it got, in seconds."""
    video = notebook.page.locator(VIDEO).locator("visible=true").first
    expect(video).to_have_attribute("src", re.compile("/files/"))
    video.scroll_into_view_if_needed()
    video.evaluate("(node) => { node.muted = true; window.playing = node; return node.play(); }")
    notebook.page.wait_for_function("() => window.playing.currentTime > 0.3")
    return float(video.evaluate("(node) => node.currentTime"))


# Every word about the progress of a run, also one that is there for a moment only.
KEEP_PROGRESS = """() => {
    window.seen = new Set();
    new MutationObserver((changes) => {
        const bars = [...document.querySelectorAll('.wiro-run [role=progressbar]')];
        const now = bars.map((bar) => bar.getAttribute('aria-valuetext'));
        const before = changes.map((change) => change.oldValue);
        for (const words of [...before, ...now].filter(Boolean)) window.seen.add(words);
    }).observe(document.body, {
        subtree: true, childList: true, attributeFilter: ['aria-valuetext'], attributeOldValue: true,
    });
}"""


def outputs_with_record(saved: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        output
        for cell in saved["cells"]
        for output in cell.get("outputs", [])
        if "wiro" in output.get("metadata", {})
    ]


def test_from_form_to_a_clip_that_outlives_the_kernel_in_notebook_7(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", f"%wiro form {MODEL} steps=8 seed=7"], app="notebook")
    page = notebook.page
    prompt = page.locator('.wiro-form [data-name="prompt"] textarea')
    prompt.wait_for()
    prompt.fill("a lighthouse")
    page.evaluate(KEEP_PROGRESS)
    page.locator(".wiro-btn-run").click()
    page.locator(".wiro-run video").first.wait_for()
    assert len(page.evaluate("() => [...window.seen]")) >= 3
    assert play(notebook) > 0.3
    notebook.shot("story-done")

    notebook.wait_for_answer("len(__import__('wiro_nb').runs())", "1")
    notebook.wait_for_runs("succeeded")
    saved = notebook.saved()
    (record,) = saved["metadata"]["wiro"]["runs"].values()
    assert check_record(record)["parameters"]["prompt"] == "a lighthouse"
    assert page.locator(".wiro-form-results").is_hidden(), "the card shows the result already"
    (output,) = outputs_with_record(saved)
    assert output["metadata"]["wiro"] == record
    assert WIDGET_VIEW not in output["data"]
    assert (notebook.path.parent / record["outputs"][0]["path"]).is_file()

    # Somebody else opens a copy: not trusted, no kernel needed for the clip to play.
    copy = notebook.path.with_name(f"copy-of-{notebook.path.name}")
    content = json.loads(notebook.path.read_text("utf-8"))
    content["metadata"].pop("signature", None)
    content["cells"][0]["source"] = "# opened by somebody else"
    copy.write_text(json.dumps(content), "utf-8")
    again = open_notebook(Path(copy), app="notebook", run=False)
    again.page.locator(VIDEO).first.wait_for()
    trusted = again.page.evaluate(
        "() => [...window.jupyterapp.shell.currentWidget.content.model.cells].every((cell) => cell.trusted)"
    )
    assert not trusted
    assert play(again) > 0.3
    again.use_theme("JupyterLab Dark")
    again.shot("story-untrusted-dark")
    again.use_theme("JupyterLab Light")


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
    notebook.shot("form-from-run", ".wiro-form")
    page.locator(".wiro-btn-run").click()
    page.locator(".wiro-run[data-kind=done] video").wait_for()
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
    page.locator(".wiro-run[data-kind=done] video").wait_for()
    assert page.locator(".wiro-run video").first.evaluate("(clip) => clip.loop") is False
