"""Which run a word means, above all when the word would end it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.ledger.ledger_tools import insert, plan
from wiro_nb.errors import UnknownRun
from wiro_nb.execution.run import Run
from wiro_nb.notebook.session import find_run
from wiro_nb.session.manager import Manager

HERE, OTHER = (str(Path("/n") / name) for name in ("here.ipynb", "other.ipynb"))


@pytest.fixture(autouse=True)
def notebook(shell: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRO_NOTEBOOK", HERE)
    shell.user_ns["seven"] = 7


def run_of(manager: Manager, notebook: str) -> Any:
    """The only run of the ledger."""
    row = insert(manager.ledger, plan(run_id="01M7YPHYZZBRH1WDB364PR7WNT", notebook=notebook))
    return manager.get(row.run_id)


@pytest.mark.parametrize("query", ["wnt", "7wnt"])
def test_another_notebooks_run_is_ended_by_its_whole_short_id_only(process_manager: Manager, query: str) -> None:
    run = run_of(process_manager, OTHER)
    with pytest.raises(UnknownRun) as caught:
        find_run(query, ends_it=True)
    assert "r7wnt" in caught.value.hint
    assert find_run(query) is run
    assert find_run("r7wnt", ends_it=True) is run


def test_this_notebooks_run_is_ended_by_a_part_of_its_id(process_manager: Manager) -> None:
    run = run_of(process_manager, HERE)
    assert find_run("wnt", ends_it=True) is run


def test_a_variable_that_holds_a_run_names_it(process_manager: Manager, shell: SimpleNamespace) -> None:
    run = run_of(process_manager, OTHER)
    held = Run.__new__(Run)
    shell.user_ns |= {"boat": held, "wnt": 3}
    assert find_run("boat", ends_it=True) is held
    assert find_run("wnt") is run


def test_last_is_the_latest_run_of_the_notebook_in_a_kernel_that_started_none(process_manager: Manager) -> None:
    run_of(process_manager, OTHER)
    with pytest.raises(UnknownRun):
        find_run("last")
    latest = insert(process_manager.ledger, plan(run_id="01M7YPHYZZBRH1WDB364PR7WNV", notebook=HERE))
    assert find_run("last").id == latest.run_id
