"""The runs of a form are in the saved cell, also when the notebook was closed and opened in between."""

from __future__ import annotations

from typing import Any

import pytest

from wiro_nb.provenance.find import records_in_outputs
from wiro_nb.provenance.record import check_record
from wiro_nb.reproduce.verify import verify_paths

from .conftest import NotebookPage, OpenNotebook

pytestmark = pytest.mark.browser

FORM = "%wiro form wiro/animate-diff steps=4 frameNumber=8 seed=7 prompt='a paper boat'"
RUN_DONE_MS = 60_000


def run_once(notebook: NotebookPage, count: int) -> None:
    """Presses Run and waits until the cards show so many finished runs."""
    # An unchanged form would show the run it has.
    notebook.page.locator('.wiro-form [data-name="prompt"] textarea').fill(f"a paper boat, take {count}")
    notebook.page.locator(".wiro-btn-run").click()
    notebook.page.wait_for_function(
        """(earlier) => document.querySelectorAll('.wiro-run[data-kind=done]').length === 1
            && document.querySelectorAll('.wiro-earlier button').length === earlier""",
        arg=count - 1,
        timeout=RUN_DONE_MS,
    )


def wait_for_results(notebook: NotebookPage, count: int) -> None:
    """Waits until the model of the form's output holds so many clips, and the notebook their records."""
    notebook.page.wait_for_function(
        """(count) => {
            const model = window.jupyterapp.shell.currentWidget.context.model;
            const outputs = [...model.cells].flatMap((cell) => cell.outputs?.toJSON() ?? []);
            const found = outputs.filter((output) => output.metadata?.wiro_form);
            return found.length === 1 && found[0].metadata.wiro?.status === 'succeeded'
              && [...String(found[0].data['text/html']).matchAll(/<video/g)].length === count;
        }""",
        arg=count,
        timeout=RUN_DONE_MS,
    )
    notebook.wait_for_runs("succeeded", count)


def form_output(saved: dict[str, Any]) -> dict[str, Any]:
    outputs = [output for cell in saved["cells"] for output in cell["outputs"]]
    (found,) = [output for output in outputs if "wiro_form" in output.get("metadata", {})]
    return found


def test_runs_after_the_notebook_was_opened_again_reach_the_saved_cell(open_notebook: OpenNotebook) -> None:
    notebook = open_notebook(["%load_ext wiro_nb", FORM])
    page = notebook.page
    page.wait_for_selector(".wiro-form", timeout=RUN_DONE_MS)
    empty = form_output(notebook.saved())
    assert "wiro" not in empty["metadata"]

    for count in (1, 2):
        if count == 2:
            notebook.reopen()
            page.wait_for_selector(".wiro-form", timeout=RUN_DONE_MS)
        run_once(notebook, count)
        wait_for_results(notebook, count)
        saved = notebook.saved()
        output = form_output(saved)
        assert output["metadata"]["wiro_form"] == empty["metadata"]["wiro_form"]
        (record,) = records_in_outputs(saved)
        assert check_record(record) == output["metadata"]["wiro"]

    # A page that shows everything already is not changed by opening it.
    notebook.reopen()
    page.wait_for_selector(".wiro-form", timeout=RUN_DONE_MS)
    page.wait_for_selector(".wiro-run[data-kind=done]")
    assert page.evaluate("() => window.jupyterapp.shell.currentWidget.context.model.dirty") is False
    assert [found.message for found in verify_paths([notebook.path]) if found.level == "problem"] == []
