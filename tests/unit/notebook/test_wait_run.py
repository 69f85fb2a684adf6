"""Waiting for a run whose file could not be saved."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.error import UsageError

from tests.manager_tools import QUICK, submit
from tests.unit.notebook.snapshots import DONE
from wiro_nb.errors import DownloadFailed
from wiro_nb.ledger.state import RunOutput
from wiro_nb.notebook.live import LiveView
from wiro_nb.notebook.magic import handlers
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.view import RunView
from wiro_nb.session.manager import Manager

UNSAVED = RunOutput("clip.mp4", "video/mp4", problem="it cannot be written: No space left on device")


def run_with(*outputs: RunOutput) -> Any:
    return SimpleNamespace(
        id=DONE.run_id, short_id="8k2qf", snapshot=DONE, outputs=outputs, error=None, wait=lambda: None
    )


def test_a_person_is_told_and_a_program_is_stopped(
    start_sandbox: Any, point_at: Any, process_manager: Manager, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at(start_sandbox("--engine", "instant", "--speed", "50", "--faults", "file:404"))
    process_manager.settings = replace(QUICK, unknown_patience_s=0.0)
    run = submit(process_manager, "a lake").wait(60)
    assert f"done, file not saved: %wiro download {run.short_id}" in repr(actions.wait(run.short_id))
    monkeypatch.setenv("WIRO_HEADLESS", "1")
    with pytest.raises(DownloadFailed, match="was not saved"):
        actions.wait(run.short_id)


def test_a_saved_file_stops_nobody(shell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRO_HEADLESS", "1")
    RunView(run_with(*DONE.outputs)).wait()


def test_a_sweep_that_nobody_watches_names_every_file_that_is_not_there(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles = [run_with(*DONE.outputs), run_with(UNSAVED), run_with(UNSAVED)]
    handles[2].short_id = "9n3rf"
    waited: list[str] = []
    sweep: Any = SimpleNamespace(wait=lambda: waited.append("until the end"), runs=handles)
    LiveView(sweep, "sweep").wait()
    monkeypatch.setenv("WIRO_HEADLESS", "1")
    with pytest.raises(DownloadFailed, match=r"run 8k2qf is done, but clip\.mp4 was not saved") as caught:
        LiveView(sweep, "sweep").wait()
    assert tuple(caught.value.details) == ("Not saved either: 9n3rf.",)
    assert len(waited) == 2


@pytest.mark.parametrize(
    ("name", "reason"), [("print", "Python's own print"), ("_", "IPython"), ("Out", "IPython")]
)
def test_a_variable_never_hides_a_name_in_use(
    shell: SimpleNamespace, process_manager: Manager, name: str, reason: str
) -> None:
    shell.user_ns_hidden["Out"] = {}
    with pytest.raises(UsageError, match=reason):
        handlers.call_cell(f"pruna/vace --as {name}", "a cat")


@pytest.mark.parametrize("limit", ["9" * 5000, "²", "0", "-1", "x"])
def test_a_limit_that_is_no_count_is_refused(limit: str) -> None:
    with pytest.raises(UsageError, match="whole number above 0"):
        handlers.call_line(f"runs --limit {limit}")
