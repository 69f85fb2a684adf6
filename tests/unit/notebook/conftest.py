"""IPython's shell and this process's manager, for tests without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.manager_tools import point_at
from wiro_nb.notebook.session import session
from wiro_nb.session import get_manager
from wiro_nb.session.manager import Manager

__all__ = ["point_at", "process_manager", "shell"]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The shell of a live kernel, as IPython gives it."""
    made = SimpleNamespace(user_ns={}, user_ns_hidden={}, kernel=object(), get_parent=dict)
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: made)
    return made


@pytest.fixture
def process_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """The manager of this process, with a ledger and a folder of the test's own."""
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / ".data"))
    (tmp_path / ".work").mkdir()
    monkeypatch.chdir(tmp_path / ".work")
    yield get_manager()
    session.close()
