"""Notebooks run by programs: the cell waits, the result is in it, and a failure stops the notebook."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter, LatexExporter, SlidesExporter

from tests.notebook.kernels import CLIP_MODEL, SMALL
from wiro_nb.provenance.record import check_record

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Execute = Callable[[Any], Any]
PROMPT = "it costs $5 {not a field}, 100% 'quoted' \"sea\" 🌊"
CELL = f"%%wiro {CLIP_MODEL} {SMALL} seed=7\n{PROMPT}"


def notebook(*cells: str) -> Any:
    sources = ["%load_ext wiro_nb", *cells]
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )


def last_output(nb: Any) -> Any:
    return nb.cells[-1].outputs[-1]


def test_nbclient_leaves_clip_record_and_no_dead_widget(execute: Execute, kernel_env: Path) -> None:
    output = last_output(execute(notebook(CELL)))
    record = output["metadata"]["wiro"]
    check_record(record)
    assert record["status"] == "succeeded"
    assert record["parameters"]["prompt"] == PROMPT
    assert set(output["data"]) == {"text/html", "text/plain", "image/jpeg"}
    path = record["outputs"][0]["path"]
    assert (kernel_env / path).stat().st_size > 0
    assert f'src="{path}"' in output["data"]["text/html"]
    assert str(kernel_env) not in json.dumps(output)


def test_running_a_notebook_again_pays_nothing_and_says_so(execute: Execute, kernel_env: Path) -> None:
    first = last_output(execute(notebook(CELL)))
    again = last_output(execute(notebook(CELL)))
    assert again["metadata"]["wiro"] == first["metadata"]["wiro"]
    assert "No charge" in again["data"]["text/plain"]
    fresh = last_output(execute(notebook(CELL.replace("seed=7", "seed=7 --fresh"))))
    assert fresh["metadata"]["wiro"]["run_id"] != first["metadata"]["wiro"]["run_id"]


def test_a_copied_notebook_shows_what_its_file_already_has(execute: Execute, kernel_env: Path) -> None:
    made = execute(notebook(CELL))
    copy = kernel_env / "copy of it.ipynb"
    nbformat.write(made, copy)
    named = f"import os\nos.environ['WIRO_NOTEBOOK'] = {str(copy)!r}"
    again = last_output(execute(notebook(named, CELL)))
    assert again["metadata"]["wiro"] == last_output(made)["metadata"]["wiro"]
    assert "No charge" in again["data"]["text/plain"]


def test_a_clip_that_is_gone_comes_back_when_the_notebook_runs_again(execute: Execute, kernel_env: Path) -> None:
    first = last_output(execute(notebook(CELL)))
    shutil.rmtree(kernel_env / "wiro_outputs")
    again = last_output(execute(notebook(CELL)))
    record = again["metadata"]["wiro"]
    assert record["run_id"] == first["metadata"]["wiro"]["run_id"]
    assert (kernel_env / record["outputs"][0]["path"]).stat().st_size > 0
    assert "No charge" in again["data"]["text/plain"]


def test_a_failed_run_stops_the_notebook_with_one_short_error(execute: Execute, kernel_env: Path) -> None:
    nb = notebook(f"%%wiro {CLIP_MODEL} {SMALL}\na sea [fail]", "print('not reached')")
    with pytest.raises(CellExecutionError) as caught:
        execute(nb)
    assert caught.value.ename == "RunFailed"
    failed = nb.cells[1].outputs
    assert [output["output_type"] for output in failed] == ["display_data", "error"]
    assert "Billed: nothing." in failed[0]["data"]["text/html"]
    assert not any("Traceback" in line or ".py" in line for line in failed[1]["traceback"])
    assert nb.cells[2].outputs == []


@pytest.mark.parametrize("line", ["%wiro modles", "%wiro info no/such-model", "%wiro login"])
def test_a_refused_command_fails_its_cell(execute: Execute, kernel_env: Path, line: str) -> None:
    with pytest.raises(CellExecutionError):
        execute(notebook(line))


def test_python_waits_in_its_cell_and_raises(execute: Execute, kernel_env: Path) -> None:
    code = (
        f"import wiro_nb\nrun = wiro_nb.run({CLIP_MODEL!r}, prompt='x', numFrames=5, steps=2)\nprint(run.status)"
    )
    assert last_output(execute(notebook(code)))["text"] == "succeeded\n"
    with pytest.raises(CellExecutionError, match="RunFailed"):
        execute(notebook(code.replace("'x'", "'x [fail]'")))


@pytest.mark.parametrize(("exporter", "mark"), [(HTMLExporter, "jp-Notebook"), (SlidesExporter, "reveal")])
def test_an_executed_notebook_exports_with_poster_and_relative_clip(
    execute: Execute, kernel_env: Path, exporter: Any, mark: str
) -> None:
    page, _ = exporter().from_notebook_node(execute(notebook(CELL)))
    assert mark in page
    (video,) = re.findall(r"<video [^>]*>", page)
    assert 'poster="data:image/jpeg;base64,' in video
    source = re.search(r'src="([^"]+)"', video)
    assert source is not None
    assert (kernel_env / source[1]).exists()


def test_an_executed_notebook_on_paper_has_the_poster(execute: Execute) -> None:
    paper, resources = LatexExporter().from_notebook_node(execute(notebook(CELL)))
    (picture,) = [name for name in resources["outputs"] if name.endswith(".jpg")]
    assert picture in paper
