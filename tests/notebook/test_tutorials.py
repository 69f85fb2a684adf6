"""The tutorials: written for people, executed to their end, with nothing in them that does not belong."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter, LatexExporter, SlidesExporter

from tests.conftest import SandboxProcess
from tests.notebook.committed import PICTURE, TEXT, check_tutorial
from tests.notebook.kernels import execute_with_papermill
from tests.notebook.tutorials import (
    NOTEBOOKS,
    Executed,
    execute_tutorial,
    read_executed,
    read_tutorial,
    run_nbval,
    tutorial_names,
)
from wiro_nb.cli import main
from wiro_nb.provenance.notebooks import records_in_notebook
from wiro_nb.provenance.reading import read_sidecar
from wiro_nb.provenance.record import check_record

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

QUICKSTART = "01-quickstart.ipynb"
REPRODUCE = "03-reproduce.ipynb"
BATCH = "06-batch-and-headless.ipynb"


@pytest.fixture(scope="module")
def service(
    start_sandbox: Callable[..., SandboxProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SandboxProcess]:
    """A quick sandbox, and an environment in which every kernel of these tests finds it and no account."""
    data = tmp_path_factory.mktemp("data")
    process = start_sandbox("--engine", "instant", "--speed", "20", "--balance", "1000", data=data / "sandbox")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WIRO_", "JPY_"))]:
            patch.delenv(name)
        patch.setenv("WIRO_DATA_DIR", str(data))
        patch.setenv("WIRO_SERVICE", "sandbox")
        patch.setenv("IPYTHONDIR", str(data / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(data / "runtime"))
        patch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
        yield process


@pytest.fixture(scope="module")
def execute(service: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Executed]:
    """Executes a tutorial when it is first asked for."""
    folder = tmp_path_factory.mktemp("tutorials")
    return cache(lambda name: execute_tutorial(name, folder))


@pytest.fixture
def quickstart(execute: Callable[[str], Executed]) -> Executed:
    return execute(QUICKSTART)


@pytest.mark.parametrize("name", tutorial_names())
def test_a_tutorial_states_its_goal_and_ends_with_what_to_try_next(name: str) -> None:
    cells = read_tutorial(name).cells
    assert cells[0].source.startswith("# ")
    assert "**Goal:**" in cells[0].source
    assert cells[-1].source.startswith("## What to try next")
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert code[0].source == "%load_ext wiro_nb" or "parameters" in code[0].metadata.get("tags", [])
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert not any(re.fullmatch(r"[0-9a-f]{8}", item) for item in ids), "a cell's id is a name, for stable diffs"


@pytest.mark.parametrize("name", tutorial_names())
def test_a_committed_tutorial_shows_its_results_and_holds_nothing_of_a_machine(name: str) -> None:
    text = (NOTEBOOKS / name).read_text("utf-8")
    assert not re.search(r"/(home|root|tmp|Users|work|var)/", text)
    book = read_tutorial(name)
    assert set(book.metadata) == {"kernelspec", "language_info"}
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert {output.output_type for output in outputs} <= {"display_data", "execute_result", "stream"}
    assert not [cell["id"] for cell in book.cells if "execution" in cell.metadata]
    kinds = [set(output.data) for output in outputs if output.output_type != "stream"]
    assert all(kind in ({TEXT}, {PICTURE, TEXT}) for kind in kinds), "what every viewer shows, and nothing else"
    assert kinds.count({PICTURE, TEXT}) >= 1
    records = records_in_notebook(json.loads(text))
    assert records
    for record in records.values():
        check_record(record)


def test_the_committed_tutorials_are_small_together() -> None:
    assert sum((NOTEBOOKS / name).stat().st_size for name in tutorial_names()) < 400_000


@pytest.mark.parametrize("name", tutorial_names())
def test_a_tutorial_names_the_one_after_it(name: str) -> None:
    told = re.search(r"Next notebook: \*\*(\d\d)", read_tutorial(name).cells[-1].source)
    last = name == tutorial_names()[-1]
    assert (told is None) if last else (told is not None and int(told[1]) == int(name[:2]) + 1)


@pytest.mark.parametrize("name", [name for name in tutorial_names() if name != REPRODUCE])
def test_a_tutorial_runs_leaves_whole_records_and_shows_what_is_committed(
    name: str, execute: Callable[[str], Executed], service: SandboxProcess
) -> None:
    """But the one that `test_reproduce.py` executes, where the clips matter."""
    check_tutorial(name, execute(name), service)


@pytest.mark.parametrize(("exporter", "mark"), [(HTMLExporter, "jp-Notebook"), (SlidesExporter, "reveal")])
def test_an_executed_tutorial_exports_with_poster_and_relative_clip(
    exporter: Any, mark: str, quickstart: Executed
) -> None:
    page, _ = exporter().from_notebook_node(quickstart.notebook)
    assert mark in page
    videos = re.findall(r"<video [^>]*>", page)
    assert len(videos) == len(quickstart.records)
    for tag, record in zip(videos, quickstart.records, strict=True):
        assert f'src="{record["outputs"][0]["path"]}"' in tag
        assert 'poster="data:image/jpeg;base64,' in tag


def test_a_tutorial_on_paper_has_the_posters(quickstart: Executed) -> None:
    code = copy.deepcopy(quickstart.notebook)
    code.cells = [cell for cell in code.cells if cell.cell_type == "code"]  # the rest needs pandoc
    paper, resources = LatexExporter().from_notebook_node(code)
    pictures = [name for name in resources["outputs"] if name.endswith(".jpg")]
    assert len(pictures) == len(quickstart.records) > 0
    assert all(name in paper for name in pictures)


def test_nbval_finds_an_output_that_changed(service: SandboxProcess, tmp_path: Path) -> None:
    """The check of the check: a tutorial whose stored output is wrong must not pass."""
    book = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("print('run 8k2qf cost $0.10')") for _ in range(2)]
    )
    for cell, text in zip(book.cells, ("run aaaaa cost $9.99\n", "run aaaaa is lost\n"), strict=True):
        cell.metadata["tags"] = ["nbval-check-output"]
        cell.execution_count = 1
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    nbformat.write(book, tmp_path / "a.ipynb")
    answer = run_nbval(tmp_path / "a.ipynb")
    assert "1 failed, 1 passed" in answer.stdout


def test_papermill_runs_the_batch_with_other_values_and_they_are_recorded(
    service: SandboxProcess, tmp_path: Path
) -> None:
    given = {"prompt": "a harbour in the rain", "seeds": "11,12", "steps": 3}
    source, target = NOTEBOOKS / BATCH, tmp_path / "tonight.ipynb"
    execute_with_papermill(source, target, parameters=given, cwd=tmp_path)
    done = read_executed(target)
    assert done.notebook.metadata.papermill.parameters == given
    assert done.output_of("wait").text == "seed 11 succeeded\nseed 12 succeeded\n"
    sidecars = [read_sidecar(path) for path in tmp_path.glob("wiro_outputs/*/run.json")]
    assert sorted(record["parameters"]["seed"] for record in sidecars) == ["11", "12"]
    assert [record["run_id"] for record in done.records] == sorted(record["run_id"] for record in sidecars)
    for record in sidecars:
        check_record(record)
        assert record["parameters"]["prompt"] == given["prompt"]
        assert record["cell"]["parameters"] == given


def test_sealing_finds_the_runs_that_a_papermill_notebook_made_and_did_not_show(
    service: SandboxProcess, tmp_path: Path
) -> None:
    cells = [
        nbformat.v4.new_code_cell("prompt = ''", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import wiro_nb\nrun = wiro_nb.run('sandbox/plain-clip', prompt=prompt, frames=9, wait=True)"
        ),
    ]
    book = nbformat.v4.new_notebook(cells=cells)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "in.ipynb")
    for name in ("one", "two"):
        target = tmp_path / f"{name}.ipynb"
        execute_with_papermill(tmp_path / "in.ipynb", target, parameters={"prompt": f"boat {name}"}, cwd=tmp_path)
        assert main(["seal", str(target)]) == 0
        (record,) = records_in_notebook(nbformat.read(target, as_version=4)).values()
        assert record["parameters"]["prompt"] == f"boat {name}"


def test_a_papermill_parameter_that_may_be_a_secret_is_in_no_record(
    service: SandboxProcess, tmp_path: Path
) -> None:
    code = "%load_ext wiro_nb\nimport wiro_nb\nwiro_nb.run('sandbox/plain-clip', prompt=prompt, frames=9)"
    cells = [nbformat.v4.new_code_cell("prompt = ''", metadata={"tags": ["parameters"]})]
    book = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(code)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "in.ipynb")
    given = {"prompt": "a quiet boat", "my_api_key": "not-to-be-kept"}
    source, target = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    execute_with_papermill(source, target, parameters=given, cwd=tmp_path)
    (record,) = Executed(nbformat.read(target, as_version=4), tmp_path).records
    assert record["cell"]["parameters"] == {"prompt": "a quiet boat"}
    clip = tmp_path / record["outputs"][0]["path"]
    assert b"not-to-be-kept" not in clip.read_bytes() + (clip.parent / "run.json").read_bytes()
