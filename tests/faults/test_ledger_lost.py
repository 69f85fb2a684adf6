"""The ledger's file is destroyed; what was paid comes back from the runs' folders, and the person is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import WAN, find_made, submit, wait_for_stage
from wiro_nb.config import data_dir, ledger_path
from wiro_nb.execution import driver
from wiro_nb.execution.requests import Origin
from wiro_nb.ledger.recovery import known_folders, rows_from_sidecars
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.session.manager import Manager


def destroy_ledger() -> None:
    # Not its -shm file: SQLite has it mapped, and a process that reads a mapped file cut short is killed.
    for ending in ("", "-wal"):
        path = ledger_path().with_name(ledger_path().name + ending)
        if path.exists():
            path.write_bytes(b"\xa5" * 20_000)


def delete_ledger() -> None:
    for path in ledger_path().parent.glob(f"{ledger_path().name}*"):
        path.unlink()


def move_ledger() -> None:
    ledger_path().parent.rename(ledger_path().parent.with_name("elsewhere"))


def until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


@pytest.fixture
def made(manager: Manager, own_folders: Path) -> tuple[Any, Origin]:
    """A finished run of a notebook that names it, as notebooks do; its kernel is gone."""
    notebook = own_folders / "clips.ipynb"
    origin = Origin(notebook=str(notebook), kind="magic")
    run = submit(manager, origin=origin).wait(20)
    notebook.write_text(json.dumps({"cells": [], "metadata": {"wiro": {"runs": {run.id: run.record}}}}))
    manager.close()
    return run, origin


@pytest.fixture
def manager(sandbox: Any, point_at: Any, make_manager: Any) -> Manager:
    point_at(sandbox)
    made: Manager = make_manager()
    return made


def test_runs_come_back_whole_and_are_not_paid_again(made: Any, make_manager: Any, sandbox: Any) -> None:
    run, origin = made
    destroy_ledger()
    manager = make_manager()
    (back,) = manager.runs()
    (notice,) = manager.take_notices()
    assert "was damaged" in notice
    assert "1 run from the run folders" in notice
    assert manager.take_notices() == ()
    for name in ("id", "model", "parameters", "state", "cost_usd", "task_id", "record", "path", "outputs"):
        assert getattr(back, name) == getattr(run, name), name
    again = find_made(manager, manager.prepare(WAN, {"prompt": "a cat"}), origin.notebook)
    assert again is back, "the request is known, so the cell shows what it has"
    assert manager.spent() == run.cost_usd
    assert manager.ledger.check_integrity() == "ok"


@pytest.mark.parametrize("lose", [destroy_ledger, delete_ledger, move_ledger])
@pytest.mark.parametrize("heartbeat_s", [0.05, 60.0], ids=["noticed", "unnoticed"])
def test_a_run_in_flight_outlives_its_ledger(
    manager: Manager, sandbox: Any, monkeypatch: pytest.MonkeyPatch, lose: Any, heartbeat_s: float
) -> None:
    monkeypatch.setattr(driver, "_HEARTBEAT_S", heartbeat_s)
    run = submit(manager, "[hold] paid already")
    wait_for_stage(run, Stage.GENERATING)
    lose()
    if heartbeat_s < 1:
        until(lambda: run.id in {row.run_id for row in manager.ledger.unfinished()})
    sandbox.release(run.task_id)
    assert run.wait(60).path is not None
    row = manager.ledger.get(run.id)
    assert (row.state, row.task_id, row.cost_usd) == (RunState.SUCCEEDED, run.task_id, run.cost_usd)
    assert json.loads(row.record or "{}") == run.record


def test_a_run_that_somebody_else_ended_is_not_ended_again(manager: Manager, sandbox: Any) -> None:
    run = submit(manager, "[hold] given up by hand")
    wait_for_stage(run, Stage.GENERATING)
    manager.ledger.repair(run.id, RunState.FAILED, "by hand")
    sandbox.release(run.task_id)
    assert run.wait(60, check=False).state is RunState.FAILED
    assert run.error is None
    assert manager.ledger.get(run.id).message.endswith("by hand")


def test_the_command_line_says_it_on_stderr(made: Any) -> None:
    run, _ = made
    destroy_ledger()
    done = subprocess.run(
        [sys.executable, "-m", "wiro_nb", "runs", "--json"], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert "was damaged" in done.stderr
    assert json.loads(done.stdout)["run_id"] == run.id


def test_folders_are_noted_once_for_their_owner_alone(made: Any, own_folders: Path) -> None:
    noted = data_dir() / "folders.txt"
    assert known_folders() == [str(own_folders / "wiro_outputs")]
    assert noted.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: {**record, "status": "submitted"},
        lambda record: {**record, "status": "heavenly"},
        lambda record: {**record, "model": None},
        lambda record: {**record, "outputs": [{"name": "../../../etc/passwd"}]},
        lambda record: [record],
        lambda record: None,
    ],
)
def test_a_record_from_outside_is_passed_over_or_stays_in_its_folder(made: Any, spoil: Any) -> None:
    from wiro_nb.provenance.record import add_hash

    run, _ = made
    sidecar = run.path.parent / "run.json"
    record = spoil(json.loads(sidecar.read_text())["wiro"])
    if isinstance(record, dict):
        record.pop("record_sha256", None)
        try:
            record = add_hash(record)
        except Exception:
            pass
    sidecar.write_text(json.dumps({"wiro": record}))
    for row in rows_from_sidecars([run.path.parent.parent]):
        assert row.state is RunState.SUCCEEDED
        assert all(output.path is None and "/" not in output.name for output in row.outputs)
