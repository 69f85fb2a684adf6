"""The bridge writes the notebook's metadata and repairs outputs."""

from __future__ import annotations

import nbformat
import pytest

from .conftest import OpenNotebook, Server

pytestmark = pytest.mark.browser

OLD = {"format": 1, "run_id": "01A", "status": "submitted", "model": "a/b"}
SETUP = """
from wiro_nb.notebook.widgets.views import BridgeWidget
from wiro_nb.presentation.output import Output
handshakes = []
bridge = BridgeWidget(handshakes.append)
"""


def test_records_reach_the_file_once_outputs_are_repaired_and_a_reload_dirties_nothing(
    open_notebook: OpenNotebook, jupyter_server: Server
) -> None:
    path = jupyter_server.root / "bridge.ipynb"
    output = nbformat.v4.new_output("display_data", {"text/plain": "still running"}, metadata={"wiro": OLD})
    cells = [nbformat.v4.new_code_cell("old = 1", outputs=[output]), nbformat.v4.new_code_cell(SETUP)]
    notebook_file = nbformat.v4.new_notebook(cells=cells)
    notebook_file.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook_file.metadata["wiro"] = {"format": 1, "runs": {"01A": OLD}}
    nbformat.write(notebook_file, path)

    notebook = open_notebook(path, run=False)
    notebook.execute(SETUP)
    notebook.wait_for_answer("len(handshakes)", "1")
    notebook.wait_for_answer("handshakes[0]['known'] | handshakes[0]['outputs']", "{'01A': 'submitted'}")
    notebook.wait_for_answer(
        "handshakes[0]['notebook_ok'], handshakes[0]['path'].endswith('.ipynb')", "(True, True)"
    )

    notebook.execute(
        "done = {'format': 1, 'run_id': '01A', 'status': 'succeeded', 'model': 'a/b'}\n"
        "bridge.send_runs({'01A': done, '01B': {**done, 'run_id': '01B'}})\n"
        "bridge.send_repair('01A', Output('<p>done now</p>', 'done now', metadata={'wiro': done}))"
    )
    notebook.page.get_by_text("done now").wait_for()
    saved = notebook.saved()
    assert {run: record["status"] for run, record in saved["metadata"]["wiro"]["runs"].items()} == {
        "01A": "succeeded",
        "01B": "succeeded",
    }
    assert "".join(saved["cells"][0]["outputs"][0]["data"]["text/plain"]) == "done now"
    assert saved["cells"][0]["outputs"][0]["metadata"]["wiro"]["status"] == "succeeded"

    notebook.execute(
        "bridge.send_runs({'01A': {**done, 'status': 'submitted'}})\n"
        "older = Output('<p>older</p>', 'older', metadata={'wiro': {**done, 'status': 'submitted'}})\n"
        "bridge.send_repair('01A', older)\n"
        "bridge.send_repair('01A', Output('<p>same</p>', 'same', metadata={'wiro': done}))"
    )
    notebook.execute("bridge.send_runs({f'02{n:04}': {**done, 'run_id': f'02{n:04}'} for n in range(230)})")
    notebook.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.context.model.sharedModel.getMetadata('wiro').omitted === 32"
    )
    saved = notebook.saved()
    assert len(saved["metadata"]["wiro"]["runs"]) == 200
    assert "".join(saved["cells"][0]["outputs"][0]["data"]["text/plain"]) == "done now", "nothing older overwrites"

    notebook.page.reload()
    notebook.wait_for_kernel()
    notebook.wait_for_answer("len(handshakes)", "2")
    notebook.wait_for_answer("handshakes[1]['known']['020229']", "'succeeded'")
    notebook.execute("bridge.send_runs({'020229': {'status': 'succeeded', **done, 'run_id': '020229'}})")
    notebook.wait_for_answer("len(handshakes)", "2")
    assert notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.model.dirty") is False

    # Where several pages share a notebook, a later one waits for its turn.
    notebook.page.evaluate(
        """() => {
            const {model} = window.jupyterapp.shell.currentWidget.context;
            Object.defineProperty(model, 'collaborative', {value: true});
            const set = model.sharedModel.setMetadata.bind(model.sharedModel);
            window.sent = performance.now();
            model.sharedModel.setMetadata = (key, value) => {
                if (key === 'wiro') (window.writes ??= []).push(performance.now() - window.sent);
                return set(key, value);
            };
        }"""
    )
    notebook.execute(
        "content = {'type': 'handshake', 'page': 'of somebody who opened it later'}\n"
        "data = {'method': 'custom', 'content': content}\n"
        "bridge.comm.handle_msg({'content': {'data': data}, 'buffers': []})\n"
        "bridge.send_runs({'03': {'format': 1, 'run_id': '03', 'status': 'succeeded'}})"
    )
    notebook.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.context.model.sharedModel.getMetadata('wiro')?.runs?.['03']"
    )
    (after_ms,) = notebook.page.evaluate("() => window.writes")
    assert after_ms >= 1990, "the other page could have written before"
