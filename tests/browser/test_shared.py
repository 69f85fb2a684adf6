"""Two people in one notebook (jupyter-collaboration): what the bridge writes is there once, for both."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import nbformat
import pytest

from .conftest import READY_MS, NotebookPage, Server, run_server

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("jupyter_collaboration") is None,
        reason="jupyter-collaboration is missing: python -m pip install jupyter-collaboration",
    ),
]

OLD = {"format": 1, "run_id": "01A", "status": "submitted", "model": "a/b"}
SETUP = """
from wiro_nb.notebook.widgets.views import BridgeWidget
from wiro_nb.presentation.output import Output
handshakes = []
bridge = BridgeWidget(handshakes.append)
"""
SHOWN = "shown = display({'text/plain': 'first'}, raw=True, metadata={'wiro_form': 'k'}, display_id=True)"
ANSWER = """
done = {'format': 1, 'run_id': '01A', 'status': 'succeeded', 'model': 'a/b'}
bridge.send_runs({'01A': done})
bridge.send_repair('01A', Output('<p>done now</p>', 'done now', metadata={'wiro': done}))
shown.update({'text/html': '<p>second</p>', 'text/plain': 'second'}, raw=True, metadata={'wiro_form': 'k'})
bridge.send_output_repair('k', Output('<p>second</p>', 'second', metadata={'wiro_form': 'k'}))
"""
COUNT_WRITES = """() => {
    const {sharedModel} = window.jupyterapp.shell.currentWidget.context.model;
    const set = sharedModel.setMetadata.bind(sharedModel);
    window.writes = 0;
    sharedModel.setMetadata = (key, value) => {
        if (key === 'wiro') window.writes += 1;
        return set(key, value);
    };
}"""
IS_OPEN = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return panel?.context?.isReady && panel.context.model.collaborative;
}"""
HAS_RECORD = """() => {
    const {sharedModel} = window.jupyterapp.shell.currentWidget.context.model;
    return sharedModel.getMetadata('wiro')?.runs?.['01A']?.status === 'succeeded';
}"""
RUN_SECOND_CELL = """() => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1;
    return window.jupyterapp.commands.execute('notebook:run-cell');
}"""
OUTPUTS = """() => [...window.jupyterapp.shell.currentWidget.context.model.cells].flatMap(
    (cell) => [...Array(cell.outputs.length).keys()].map((index) => cell.outputs.get(index).data['text/plain']))"""


@pytest.fixture
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(tmp_path_factory.mktemp("shared"), shared=True) as server:
        yield server


def join(browser: Any, server: Server, name: str) -> NotebookPage:
    page = browser.new_context(viewport={"width": 1000, "height": 800}).new_page()
    page.goto(f"{server.url}lab/workspaces/{secrets.token_hex(4)}/tree/{name}?token={server.token}")
    page.wait_for_function(IS_OPEN, timeout=READY_MS)
    person = NotebookPage(page, server.root / name, [])
    person.wait_for_kernel()
    return person


def test_an_output_is_repaired_once_and_the_record_written_once(chromium: Any, shared_server: Server) -> None:
    output = nbformat.v4.new_output("display_data", {"text/plain": "still running"}, metadata={"wiro": OLD})
    cells = [nbformat.v4.new_code_cell("old = 1", outputs=[output]), nbformat.v4.new_code_cell(SHOWN)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, shared_server.root / "film.ipynb")
    people = [join(chromium, shared_server, "film.ipynb") for _ in range(2)]
    try:
        people[0].page.evaluate(RUN_SECOND_CELL)
        for person in people:
            person.page.get_by_text("first", exact=True).wait_for()
        people[0].execute(SETUP)
        people[0].wait_for_answer("len(handshakes)", "2")
        for person in people:
            person.page.evaluate(COUNT_WRITES)
        people[0].execute(ANSWER)
        for person in people:
            person.page.wait_for_function(HAS_RECORD)
            person.page.get_by_text("done now").wait_for()
            person.page.get_by_text("second", exact=True).wait_for()
        # Long enough for the turn of the page that comes last.
        people[0].page.wait_for_timeout(6000)
        assert [person.page.evaluate(OUTPUTS) for person in people] == [["done now", "second"]] * 2
        assert sum(person.page.evaluate("() => window.writes") for person in people) == 1
    finally:
        for person in people:
            person.page.context.close()
