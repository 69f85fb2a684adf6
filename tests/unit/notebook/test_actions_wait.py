"""Waiting for a run whose file could not be saved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.error import UsageError

from tests.unit.notebook.snapshots import DONE
from wiro_nb.errors import DownloadFailed
from wiro_nb.ledger.state import RunOutput
from wiro_nb.notebook import display
from wiro_nb.notebook.magic import handlers
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.view import RunView
from wiro_nb.notebook.session import ExecutionContext, Kind, session

UNSAVED = RunOutput("clip.mp4", "video/mp4", problem="it cannot be written: No space left on device")


def run_with(*outputs: RunOutput) -> Any:
    return SimpleNamespace(
        id=DONE.run_id, short_id="8k2qf", snapshot=DONE, outputs=outputs, error=None, wait=lambda: None
    )


def in_context(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    monkeypatch.setattr(display, "current_context", lambda: ExecutionContext(kind))


def test_a_person_is_told_and_a_program_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(UNSAVED)
    manager = SimpleNamespace(follow=lambda handle: None)
    monkeypatch.setattr(type(session), "manager", lambda self: manager)
    monkeypatch.setattr(actions, "show", lambda query: run)
    in_context(monkeypatch, "kernel-live")
    assert "done, file not saved: %wiro download 8k2qf" in repr(actions.wait("8k2qf"))
    in_context(monkeypatch, "kernel-headless")
    with pytest.raises(DownloadFailed, match="No space left"):
        actions.wait("8k2qf")


def test_a_saved_file_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    in_context(monkeypatch, "kernel-headless")
    display.wait_for(RunView(run_with(*DONE.outputs)))


def test_a_sweep_that_nobody_watches_names_every_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    handles = [run_with(*DONE.outputs), run_with(UNSAVED), run_with(UNSAVED)]
    handles[2].short_id = "9n3rf"
    waited: list[str] = []
    sweep = SimpleNamespace(wait=lambda: waited.append("until the end"))
    view: Any = SimpleNamespace(handle=sweep, runs=handles)
    in_context(monkeypatch, "kernel-live")
    display.wait_for(view)
    in_context(monkeypatch, "kernel-headless")
    with pytest.raises(DownloadFailed, match=r"run 8k2qf is done, but clip\.mp4 was not saved") as caught:
        display.wait_for(view)
    assert tuple(caught.value.details) == ("Not saved either: 9n3rf.",)
    assert len(waited) == 2


@pytest.mark.parametrize(
    ("name", "reason"), [("print", "Python's own print"), ("_", "IPython"), ("Out", "IPython")]
)
def test_a_variable_never_hides_a_name_in_use(monkeypatch: pytest.MonkeyPatch, name: str, reason: str) -> None:
    shell = SimpleNamespace(user_ns={}, user_ns_hidden={"Out": {}})
    monkeypatch.setattr(handlers, "current_shell", lambda: shell)
    with pytest.raises(UsageError, match=reason):
        handlers.call_cell(f"pruna/vace --as {name}", "a cat")


@pytest.mark.parametrize("limit", ["9" * 5000, "²", "0", "-1", "x"])
def test_a_limit_that_is_no_count_is_refused(limit: str) -> None:
    with pytest.raises(UsageError, match="whole number above 0"):
        handlers.call_line(f"runs --limit {limit}")
