"""A sweep in JupyterLab: a favourite is kept, and the saved output is complete without a kernel."""

from __future__ import annotations

import pytest

from .conftest import NotebookPage, OpenNotebook, expect

pytestmark = pytest.mark.browser

COMPARE = "import wiro_nb\ngrid.wait()\nwiro_nb.compare(grid[1], grid[0])"
SMALL = "frameNumber=32 steps=4 width=256 height=144"
MODEL = "wiro/animate-diff"
SWEEP = f"%%wiro {MODEL} --sweep seed=1..2 --sweep loraType=ZoomIn,PanLeft,PanRight {SMALL} --as grid\na calm sea"
DONE_MS = 60_000


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


def test_a_favourite_is_recorded_and_stays_in_the_static_form_that_outlives_the_kernel(
    open_notebook: OpenNotebook,
) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", SWEEP, "%wiro runs", COMPARE, "grid[1].show()"])
    notebook.page.wait_for_selector(".wiro-grid-card", timeout=DONE_MS)
    wait_until_done(notebook)
    notebook.page.get_by_role("button", name="Pick seed 1, PanLeft as best").click()
    # One star, wherever the run is shown.
    expect(notebook.page.locator(".wiro-list-row", has_text="Done, best")).to_have_count(1)
    expect(notebook.page.get_by_role("button", name="A is picked: take it back")).to_be_attached()
    expect(notebook.page.locator(".wiro-run").get_by_role("button", name="Picked as best")).to_be_attached()
    notebook.wait_for_answer("grid.best is grid[1]", "True")
    notebook.wait_for_answer("[r.snapshot.starred for r in grid]", "[False, True, False, False, False, False]")
    wait_for_static(notebook, "<b>Best</b>")
    notebook.page.wait_for_selector(".wiro-tile-best")
    # The view was drawn anew with its static form; the keyboard is still where it was.
    expect(notebook.page.get_by_role("button", name="seed 1, PanLeft is the best: take it back")).to_be_focused()
    output = notebook.saved()["cells"][1]["outputs"][0]
    html = "".join(output["data"]["text/html"])
    assert html.count("data:image/jpeg;base64,") == 6
    assert html.count("<b>Best</b>") == 1
    assert output["data"]["image/jpeg"]
    assert "application/vnd.jupyter.widget-view+json" not in output["data"], "a dead grid would hide the rest"
    notebook.reopen()
    notebook.page.wait_for_selector(".wiro-tile-best")
    assert len(output["metadata"]["wiro"]["runs"]) == 6
    size = sum(len("".join(value) if isinstance(value, list) else str(value)) for value in output["data"].values())
    assert size < 6 * 30_000

    # When the kernel goes, the static form takes the place of the grid.
    page = notebook.page
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    page.wait_for_selector(".jp-RenderedHTML table", timeout=DONE_MS)
    expect(page.locator(".wiro-grid-card")).to_have_count(0)
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
