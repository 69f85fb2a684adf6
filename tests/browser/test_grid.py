"""A sweep's grid in a real browser: clips play in step, a favourite is kept, what is saved reads alone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .conftest import NotebookPage, OpenNotebook, expect

pytestmark = pytest.mark.browser

LOAD = 'import os\nos.environ["WIRO_SANDBOX_SPEED"] = "30"\n%load_ext wiro_nb'
SMALL = "frameNumber=32 steps=4 width=256 height=144"
MODEL = "wiro/animate-diff"
SWEEP = f"%%wiro {MODEL} --sweep seed=1..2 --sweep loraType=ZoomIn,PanLeft,PanRight {SMALL} --as grid\na calm sea"
COMPARE = """
from wiro_nb.notebook.compare.view import ComparisonView
view = ComparisonView([grid[0], grid[4]])
view
"""
DONE_MS = 60_000
FRAME_S = 1 / 8  # the clips of this model have 8 frames a second

SPREAD = """async ([card, seconds]) => {
    // The widest gap between any two clips' moments, looked at in every frame the page draws; loop ends apart.
    const clips = [...document.querySelectorAll(`${card} video`)];
    let widest = 0, looks = 0, furthest = 0;
    const until = performance.now() + seconds * 1000;
    while (performance.now() < until) {
        await new Promise(requestAnimationFrame);
        if (clips.some((clip) => clip.seeking || clip.paused)) continue;
        const times = clips.map((clip) => clip.currentTime);
        widest = Math.max(widest, Math.max(...times) - Math.min(...times));
        furthest = Math.max(furthest, ...times);
        looks += 1;
    }
    return {widest, looks, furthest, count: clips.length};
}"""


def open_grid(open_notebook: OpenNotebook, *cells: str, **options: Any) -> NotebookPage:
    notebook = open_notebook([LOAD, *(cells or (SWEEP,))], **options)
    notebook.page.wait_for_selector(".wiro-grid-card", timeout=DONE_MS)
    return notebook


def wait_for_static(notebook: NotebookPage, words: str) -> None:
    """Waits until the static form of a sweep says something; with it the view is drawn anew."""
    notebook.page.wait_for_function(
        """(words) => [...window.jupyterapp.shell.currentWidget.context.model.cells]
            .flatMap((cell) => cell.outputs?.toJSON() ?? [])
            .filter((output) => output.metadata?.wiro?.sweep_id)
            .some((output) => String(output.data['text/html']).includes(words))""",
        arg=words,
        timeout=DONE_MS,
    )


def wait_until_done(notebook: NotebookPage) -> None:
    wait_for_static(notebook, "Sweep: all 6 done")
    notebook.page.wait_for_function(
        """() => {
            const clips = [...document.querySelectorAll('.wiro-grid-card video')];
            return clips.length === 6 && clips.every((clip) => clip.readyState >= 2);
        }""",
        timeout=DONE_MS,
    )


def watch(notebook: NotebookPage, card: str, seconds: float) -> dict[str, Any]:
    """Watches clips that play, until they were in step for some seconds.

    While the machine is too busy to decode them, clips fall behind and catch up: then the next seconds count.
    """
    deadline = time.monotonic() + DONE_MS / 1000
    while True:
        seen: dict[str, Any] = notebook.page.evaluate(SPREAD, [card, seconds])
        is_smooth = seen["looks"] > 10 and seen["furthest"] > 1 and seen["widest"] < FRAME_S
        if is_smooth or time.monotonic() > deadline:
            return seen


def test_clips_of_a_sweep_play_in_step_loop_and_step_by_keyboard(open_notebook: OpenNotebook) -> None:
    notebook = open_grid(open_notebook)
    wait_until_done(notebook)
    page = notebook.page
    notebook.shot("grid-light", ".wiro-grid-card")
    page.get_by_role("button", name="Play all finished clips together").click()
    seen = watch(notebook, ".wiro-grid-card", 3)
    assert seen["count"] == 6
    assert seen["looks"] > 10
    assert seen["furthest"] > 1
    assert seen["widest"] < FRAME_S
    page.get_by_role("button", name="Pause all clips").click()
    times = page.evaluate(
        "() => [...document.querySelectorAll('.wiro-grid-card video')].map((clip) => clip.currentTime)"
    )
    assert max(times) - min(times) < 0.01
    slider = page.get_by_role("slider", name="Position in all clips")
    slider.fill("8")
    page.locator(".wiro-grid-card").focus()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() == "9"
    page.wait_for_function(
        """() => [...document.querySelectorAll('.wiro-grid-card video')]
            .every((clip) => Math.abs(clip.currentTime - 9 / 8) < 0.02)"""
    )
    page.keyboard.press("Home")
    assert slider.input_value() == "0"
    assert not [line for line in notebook.messages if line.startswith(("error", "pageerror"))]


def test_a_favourite_is_recorded_and_stays_in_the_static_form(open_notebook: OpenNotebook) -> None:
    notebook = open_grid(open_notebook)
    wait_until_done(notebook)
    notebook.page.get_by_role("button", name="Pick seed 1, PanLeft as best").click()
    notebook.wait_for_answer("grid.best is grid[1]", "True")
    notebook.wait_for_answer("[r.row.starred for r in grid]", "[False, True, False, False, False, False]")
    wait_for_static(notebook, "<b>Best</b>")
    notebook.page.wait_for_selector(".wiro-tile-best")
    notebook.use_theme("JupyterLab Dark")
    notebook.shot("grid-dark", ".wiro-grid-card")
    output = notebook.saved()["cells"][1]["outputs"][0]
    html = "".join(output["data"]["text/html"])
    assert html.count("data:image/jpeg;base64,") == 6
    assert html.count("<b>Best</b>") == 1
    assert output["data"]["image/jpeg"]
    assert "application/vnd.jupyter.widget-view+json" not in output["data"], "a dead grid would hide the rest"
    notebook.page.reload()
    notebook.wait_for_kernel()
    notebook.page.wait_for_selector(".wiro-tile-best")
    assert len(output["metadata"]["wiro"]["runs"]) == 6
    size = sum(len("".join(value) if isinstance(value, list) else str(value)) for value in output["data"].values())
    assert size < 6 * 30_000


def test_when_the_kernel_goes_the_static_form_takes_the_place_of_the_grid(open_notebook: OpenNotebook) -> None:
    notebook = open_grid(open_notebook)
    wait_until_done(notebook)
    page = notebook.page
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    page.wait_for_selector(".jp-RenderedHTML table", timeout=DONE_MS)
    expect(page.locator(".wiro-grid-card")).to_have_count(0)
    notebook.shot("grid-static", ".jp-RenderedHTML")
    page.wait_for_function(
        """() => {
            const links = [...document.querySelectorAll('.jp-RenderedHTML td a')];
            return links.length === 6 && links.every((link) => link.href.includes('/files/'));
        }"""
    )
    answer = page.evaluate(
        """async () => {
            const answer = await fetch(document.querySelector('.jp-RenderedHTML td a').href);
            return answer.headers.get('content-type');
        }"""
    )
    assert answer == "video/mp4"


def test_only_the_clips_in_sight_are_loaded(open_notebook: OpenNotebook) -> None:
    many = f"%%wiro {MODEL} --sweep seed=1..36 frameNumber=8 steps=2 width=128 height=72 --as grid --yes\na sea"
    notebook = open_grid(open_notebook, many, width=700)
    page = notebook.page
    wait_for_static(notebook, "Sweep: all 36 done")
    count = "() => [...document.querySelectorAll('.wiro-grid-card video')].filter((clip) => clip.src).length"
    page.wait_for_function("() => document.querySelectorAll('.wiro-grid-card video').length === 36")
    page.wait_for_function(f"() => {{ const count = ({count})(); return count > 0 && count < 30; }}")
    notebook.shot("grid-36", ".wiro-grid-card")


def test_a_comparison_plays_in_step_and_wipes(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook([LOAD, SWEEP, "grid.wait()", COMPARE])
    page = notebook.page
    page.wait_for_selector(".wiro-compare", timeout=DONE_MS)
    page.wait_for_function(
        """() => {
            const clips = [...document.querySelectorAll('.wiro-compare video')];
            return clips.length === 2 && clips.every((clip) => clip.readyState >= 3);
        }""",
        timeout=DONE_MS,
    )
    notebook.shot("compare-light", ".wiro-compare")
    table = page.locator(".wiro-diff")
    assert "2 settings differ" in table.inner_text()
    assert "ZoomIn" in table.inner_text()
    page.locator(".wiro-compare").get_by_role("button", name="Play all").click()
    seen = watch(notebook, ".wiro-compare", 2.5)
    assert (seen["count"], seen["looks"] > 10, seen["furthest"] > 1) == (2, True, True)
    assert seen["widest"] < FRAME_S
    page.locator(".wiro-compare").get_by_role("button", name="Pause all").click()
    page.get_by_role("button", name="Wipe", exact=True).click()
    # A pointer over the clips moves the bar as well, also when the clips move beneath the pointer.
    page.mouse.move(1, 1)
    page.get_by_role("slider", name="Wipe between A and B").fill("30")
    assert page.locator(".wiro-wipe").evaluate("node => node.style.getPropertyValue('--wiro-cut')") == "30%"
    page.locator(".wiro-compare").get_by_role("button", name="Pick B as best").click()
    notebook.wait_for_answer("grid[4].row.starred", "True")
    notebook.use_theme("JupyterLab Dark")
    notebook.shot("compare-wipe-dark", ".wiro-compare")
