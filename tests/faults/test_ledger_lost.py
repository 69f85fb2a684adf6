"""The ledger's file is destroyed; what was paid comes back from the runs' folders, and the person is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import QUICK, WAN, find_made, submit, submit_request, until, wait_for_stage
from wiro_nb.config import data_dir, ledger_path
from wiro_nb.execution.requests import Origin
from wiro_nb.ledger.recovery import known_folders, rows_from_sidecars
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.provenance.record import add_hash
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


def empty_ledger() -> None:
    delete_ledger()
    ledger_path().touch()


def move_ledger() -> None:
    ledger_path().parent.rename(ledger_path().parent.with_name("elsewhere"))


@pytest.fixture
def made(manager: Manager, own_folders: Path) -> tuple[Any, Origin]:
    """A finished run of a notebook that names it, as notebooks do; its kernel is gone."""
    notebook = own_folders / "clips.ipynb"
    origin = Origin(notebook=str(notebook), kind="magic")
    run = submit(manager, origin=origin).wait(20)
    notebook.write_text(json.dumps({"cells": [], "metadata": {"wiro": {"runs": {run.id: run.record}}}}))
    for amount in ("3", "7.5"):
        manager.ledger.set_budget(origin.notebook, Decimal(amount))
    manager.ledger.set_budget("other.ipynb", Decimal(1))
    manager.ledger.set_budget("other.ipynb", None)
    manager.close()
    return run, origin


@pytest.fixture
def manager(sandbox: Any, point_at: Any, make_manager: Any) -> Manager:
    point_at(sandbox)
    made: Manager = make_manager()
    return made


@pytest.mark.parametrize(
    ("lose", "said"), [(destroy_ledger, "damaged"), (delete_ledger, "missing"), (empty_ledger, "empty")]
)
def test_runs_come_back_whole_and_are_not_paid_again(
    made: Any, make_manager: Any, sandbox: Any, lose: Any, said: str
) -> None:
    run, origin = made
    lose()
    manager = make_manager()
    (back,) = manager.runs()
    (notice,) = manager.take_notices()
    assert f"was {said}" in notice
    assert "1 run from the run folders" in notice
    assert manager.take_notices() == ()
    for name in ("id", "model", "parameters", "state", "cost_usd", "task_id", "record", "path", "outputs"):
        assert getattr(back, name) == getattr(run, name), name
    again = find_made(manager, manager.prepare(WAN, {"prompt": "a cat"}), origin.notebook)
    assert again is back, "the request is known, so the cell shows what it has"
    money = manager.budget(origin.notebook)
    assert (money.limit_usd, money.spent_usd) == (Decimal("7.5"), run.cost_usd)
    assert manager.budget("other.ipynb").limit_usd is None
    assert manager.ledger.check_integrity() == "ok"
    assert not list(ledger_path().parent.glob("ledger.damaged-*")) or lose is destroy_ledger


@pytest.mark.parametrize("lose", [destroy_ledger, delete_ledger, move_ledger])
@pytest.mark.parametrize("heartbeat_s", [0.05, 60.0], ids=["noticed", "unnoticed"])
def test_a_run_in_flight_outlives_its_ledger(
    manager: Manager, sandbox: Any, lose: Any, heartbeat_s: float
) -> None:
    manager.settings = replace(QUICK, heartbeat_s=heartbeat_s)
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


def test_a_cancel_reaches_the_service_though_the_ledger_was_deleted(manager: Manager, sandbox: Any) -> None:
    run = submit(manager, "[hold] of a ledger that is gone")
    wait_for_stage(run, Stage.GENERATING)
    delete_ledger()
    run.cancel()
    assert run.wait(60).state is RunState.CANCELLED
    assert manager.ledger.get(run.id).task_id == run.task_id


def test_a_run_that_somebody_else_ended_is_not_ended_again(manager: Manager, sandbox: Any) -> None:
    run = submit(manager, "[hold] given up by hand")
    wait_for_stage(run, Stage.GENERATING)
    manager.ledger.finish(run.id, RunState.FAILED, message="by hand")
    sandbox.release(run.task_id)
    assert run.wait(60, check=False).state is RunState.FAILED
    assert run.error is None
    assert manager.ledger.get(run.id).message.endswith("by hand")


@pytest.mark.parametrize("out_dir", ["clips/of/today", "{elsewhere}"], ids=["nested", "absolute"])
def test_a_run_saved_in_another_folder_comes_back_to_its_notebook(
    manager: Manager, make_manager: Any, own_folders: Path, tmp_path: Path, out_dir: str
) -> None:
    origin = Origin(notebook=str(own_folders / "unsaved.ipynb"))
    prepared = manager.prepare(WAN, {"prompt": "a dune"}, origin=origin)
    run = submit_request(
        manager, prepared, origin=origin, out_dir=out_dir.format(elsewhere=tmp_path / "clips")
    ).wait(60)
    manager.close()
    delete_ledger()
    again = make_manager()
    assert again.budget(origin.notebook).spent_usd == run.cost_usd
    assert submit_request(again, prepared, origin=origin).id == run.id, "it is not paid a second time"
    assert again.get(run.id).path == run.path


def test_two_processes_that_find_no_ledger_rebuild_it_once(made: Any) -> None:
    run, _ = made
    delete_ledger()
    code = (
        "from wiro_nb.config import ledger_path\n"
        "from wiro_nb.ledger.ledger import Ledger; input(); ledger = Ledger(ledger_path())\n"
        "print([row.run_id for row in ledger.list()], len(ledger.take_notices()))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [process.communicate("\n", timeout=60)[0].split() for process in processes]
    assert [line[:-1] for line in printed] == [[f"['{run.id}']"]] * 3
    assert sorted(line[-1] for line in printed) == ["0", "0", "1"]


def test_a_first_start_is_silent(manager: Manager) -> None:
    assert manager.runs() == []
    assert manager.take_notices() == ()


def test_one_unreadable_record_or_folder_never_stops_the_others(made: Any, make_manager: Any) -> None:
    run, _ = made
    folder = run.path.parent.parent
    for name, spoil in {
        "price": lambda record: record | {"price": [1]},
        "cell": lambda record: record | {"cell": {"id": {"a": 1}}},
        "code": lambda record: record | {"exit_code": 10**30},
        "files": lambda record: record | {"files": {"image": [3]}},
        "parent": lambda record: record | {"parent": "x", "run_id": ["x"]},
    }.items():
        record = spoil({**run.record, "run_id": f"01{name.upper():X<24}"})
        record.pop("record_sha256")
        (folder / name).mkdir()
        (folder / name / "run.json").write_text(json.dumps({"wiro": add_hash(record)}))
    (folder / "run.json").mkdir()
    (folder.parent / "torn.ipynb").symlink_to("nowhere")
    delete_ledger()
    manager = make_manager()
    assert run.id in {row.run_id for row in manager.ledger.list(limit=None)}
    assert all(back.record for back in manager.runs())


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
    assert known_folders(ledger_path()) == {str(own_folders / "wiro_outputs"): [str(own_folders / "clips.ipynb")]}
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
    for row in rows_from_sidecars({str(run.path.parent.parent): []}):
        assert row.state is RunState.SUCCEEDED
        assert all(output.path is None and "/" not in output.name for output in row.outputs)
