"""The main job as a person does it in Notebook 7: a form, Run, the clip plays, save, come back.

Served as JupyterHub does it: an address below a path, a token, a notebook in a sub-folder with blanks.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from wiro_nb.provenance.record import check_record

from .conftest import NotebookPage, OpenNotebook, Server, expect

pytestmark = pytest.mark.browser

CELLS = ["%load_ext wiro_nb", "%wiro form wiro/animate-diff steps=8 seed=7"]
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


def test_from_form_to_a_clip_that_outlives_the_kernel_in_notebook_7_below_a_path(
    open_notebook: OpenNotebook, jupyter_server: Server
) -> None:
    assert jupyter_server.url.endswith("/user/maja/")
    folder = jupyter_server.root / "my films"
    folder.mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell(text) for text in CELLS]
    notebook_file = nbformat.v4.new_notebook(cells=cells)
    notebook_file.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook_file, folder / "film.ipynb")
    notebook = open_notebook(folder / "film.ipynb", app="notebook")
    page = notebook.page
    prompt = page.locator('.wiro-form [data-name="prompt"] textarea')
    prompt.wait_for()
    prompt.fill("a lighthouse")
    page.evaluate(KEEP_PROGRESS)
    page.locator(".wiro-btn-run").click()
    page.locator(".wiro-run video").first.wait_for()
    assert len(page.evaluate("() => [...window.seen]")) >= 3
    assert play(notebook) > 0.3
    assert page.evaluate("() => window.playing.src").startswith(f"{jupyter_server.url}files/")

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

    # Somebody else opens a copy in JupyterLab: not trusted, no kernel needed for the clip to play.
    copy = notebook.path.with_name(f"copy-of-{notebook.path.name}")
    content = json.loads(notebook.path.read_text("utf-8"))
    content["metadata"].pop("signature", None)
    content["cells"][0]["source"] = "# opened by somebody else"
    copy.write_text(json.dumps(content), "utf-8")
    again = open_notebook(Path(copy), run=False)
    again.page.locator(VIDEO).first.wait_for()
    trusted = again.page.evaluate(
        "() => [...window.jupyterapp.shell.currentWidget.content.model.cells].every((cell) => cell.trusted)"
    )
    assert not trusted
    assert play(again) > 0.3
