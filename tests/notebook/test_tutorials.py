"""The tutorials: written for people, executed to their end, with nothing in them that does not belong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tests.conftest import SandboxProcess
from tests.notebook.committed import PICTURE, TEXT, check_tutorial
from tests.notebook.kernels import execute_with_papermill
from tests.notebook.tutorials import (
    NOTEBOOKS,
    execute_tutorials,
    point_kernels_at,
    read_executed,
    read_tutorial,
    tutorial_names,
)
from wiro_nb.cli import main
from wiro_nb.provenance.find import records_in_notebook
from wiro_nb.provenance.record import check_record, read_sidecar

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

REPRODUCE = "03-reproduce.ipynb"
BATCH = "06-batch-and-headless.ipynb"


@pytest.fixture
def service(
    start_sandbox: Callable[..., SandboxProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> SandboxProcess:
    """A quick sandbox, and an environment in which every kernel of a test finds it and no account."""
    data = tmp_path / "data"
    process = start_sandbox("--engine", "instant", "--speed", "50", "--balance", "1000", data=data / "sandbox")
    point_kernels_at(data, monkeypatch)
    return process


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


def test_the_tutorials_run_leave_whole_records_and_show_what_is_committed(
    service: SandboxProcess, tmp_path: Path
) -> None:
    """All but the one that `test_reproduce.py` executes, where the clips matter; and a wrong output is found."""
    wrong = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("print('run 8k2qf cost $0.10')") for _ in range(2)]
    )
    for cell, text in zip(wrong.cells, ("run aaaaa cost $9.99\n", "run aaaaa is lost\n"), strict=True):
        cell.metadata["tags"] = ["nbval-check-output"]
        cell.execution_count = 1
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    nbformat.write(wrong, tmp_path / "wrong.ipynb")
    names = [name for name in tutorial_names() if name != REPRODUCE]
    done = execute_tutorials(names, tmp_path, tmp_path / "wrong.ipynb", failing=["wrong.ipynb::Cell 1"])
    for name in names:
        check_tutorial(name, done[name], service)


def test_papermill_runs_the_batch_and_sealing_finds_the_run_of_a_notebook_that_did_not_show_it(
    service: SandboxProcess, tmp_path: Path
) -> None:
    given = {"prompt": "a harbour in the rain", "seeds": "11,12", "steps": 3}
    target = tmp_path / "tonight.ipynb"
    execute_with_papermill(NOTEBOOKS / BATCH, target, parameters=given, cwd=tmp_path)
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

    code = "import wiro_nb\nrun = wiro_nb.run('sandbox/plain-clip', prompt=prompt, frames=9, wait=True)"
    cells = [nbformat.v4.new_code_cell("prompt = ''", metadata={"tags": ["parameters"]})]
    book = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(code)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "in.ipynb")
    secret = {"prompt": "a quiet boat", "my_api_key": "not-to-be-kept"}
    target = tmp_path / "out.ipynb"
    execute_with_papermill(tmp_path / "in.ipynb", target, parameters=secret, cwd=tmp_path)
    assert main(["seal", str(target)]) == 0
    (record,) = records_in_notebook(nbformat.read(target, as_version=4)).values()
    assert record["cell"]["parameters"] == {"prompt": "a quiet boat"}, "what may be a secret is in no record"
    clip = tmp_path / record["outputs"][0]["path"]
    assert b"not-to-be-kept" not in clip.read_bytes() + (clip.parent / "run.json").read_bytes()
