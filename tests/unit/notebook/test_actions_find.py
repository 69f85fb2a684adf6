"""Which run a word means, above all when the word would end it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wiro_nb.errors import UnknownRun
from wiro_nb.execution.run import Run
from wiro_nb.notebook import session
from wiro_nb.notebook.session import ExecutionContext, find_run


def foreign_run(monkeypatch: pytest.MonkeyPatch, *, mine: bool) -> Any:
    """A ledger whose one run is of this notebook or of another."""
    here = str(Path("/n/here.ipynb"))
    row = SimpleNamespace(notebook=here if mine else str(Path("/n/other.ipynb")))
    run = SimpleNamespace(id="01M7YPHYZZBRH1WDB364PR7WNT", short_id="r7wnt", snapshot=row)
    manager = SimpleNamespace(get=lambda query, notebook: run)
    monkeypatch.setattr(session, "current_context", lambda: ExecutionContext("kernel-live", here))
    monkeypatch.setattr(session, "current_shell", lambda: SimpleNamespace(user_ns={"seven": 7}))
    monkeypatch.setattr(type(session.session), "manager", lambda self: manager)
    return run


@pytest.mark.parametrize("query", ["wnt", "7wnt"])
def test_another_notebooks_run_is_ended_by_its_whole_short_id_only(
    monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    run = foreign_run(monkeypatch, mine=False)
    with pytest.raises(UnknownRun) as caught:
        find_run(query, ends_it=True)
    assert "r7wnt" in caught.value.hint
    assert find_run(query) is run
    assert find_run("r7wnt", ends_it=True) is run


def test_this_notebooks_run_is_ended_by_a_part_of_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    run = foreign_run(monkeypatch, mine=True)
    assert find_run("wnt", ends_it=True) is run


def test_a_variable_that_holds_a_run_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = foreign_run(monkeypatch, mine=False)
    held = Run.__new__(Run)
    monkeypatch.setattr(session, "current_shell", lambda: SimpleNamespace(user_ns={"boat": held, "wnt": 3}))
    assert find_run("boat", ends_it=True) is held
    assert find_run("wnt") is run
