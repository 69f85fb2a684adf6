"""What a run cost can be known only after its end: nothing is called free before, and budgets reserve it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.manager_tools import QUICK, submit, wait_for, wait_for_stage
from wiro_nb.config import ledger_path
from wiro_nb.formatting import COST_OPEN, describe_cost
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.presentation.run_list import format_run_cost
from wiro_nb.provenance.record import SIDECAR_NAME, read_sidecar
from wiro_nb.session.manager import Manager


@pytest.fixture
def service(start_sandbox: Any, point_at: Any) -> Any:
    made = start_sandbox()
    point_at(made)
    return made


@pytest.fixture
def manager(service: Any, make_manager: Any) -> Manager:
    return make_manager(settings=replace(QUICK, late_checks_s=(0.1,) * 100))


def billed(service: Any) -> list[Decimal]:
    return [Decimal(task["billed_usd"]) for task in service.audit()["tasks"]]


def test_a_run_killed_while_it_generates_is_not_called_free_and_its_charge_is_read_later(
    manager: Manager, service: Any
) -> None:
    run = submit(manager, "[hold][charge-late] a lake")
    wait_for_stage(run, Stage.GENERATING)
    run.cancel()
    run.wait(30)
    assert run.state is RunState.CANCELLED
    assert run.cost_usd is None
    assert describe_cost(run.snapshot) == format_run_cost(run.snapshot) == COST_OPEN
    assert "nothing" not in str(run.error.billed if run.error else "").lower()
    estimate = run.estimate
    assert estimate is None or manager.budget().reserved_usd == estimate
    wait_for(run, lambda run: run.cost_usd is not None)
    assert [run.cost_usd] == billed(service)
    money = manager.budget()
    assert (money.spent_usd, money.reserved_usd) == (run.cost_usd, 0)


def test_a_success_is_not_called_free_while_its_file_is_fetched(manager: Manager, service: Any) -> None:
    manager.settings = replace(QUICK, download_patience_s=60)
    service.set_faults("file:503")
    run = submit(manager, "[charge-late] a lake")
    wait_for_stage(run, Stage.FETCHING)
    assert run.cost_usd is None
    assert describe_cost(run.snapshot).startswith("about ")
    service.set_faults("")
    assert run.wait(60).path is not None


def test_a_success_billed_after_its_end_gets_its_cost_in_ledger_record_and_handle_at_the_next_start(
    manager: Manager, make_manager: Any, service: Any
) -> None:
    manager.settings = replace(QUICK, late_checks_s=())
    run = submit(manager, "[charge-late] a lake").wait(60)
    assert run.cost_usd is None
    assert run.record is not None
    assert run.record["price"]["cost_usd"] is None
    outputs, clip = run.outputs, run.path
    assert clip is not None
    clip.unlink()  # moved by the user
    manager.close()
    deadline = time.monotonic() + 30
    while not any(billed(service)):
        assert time.monotonic() < deadline
    later = make_manager()
    later.resume()
    (again,) = later.runs()
    wait_for(again, lambda run: run.cost_usd is not None and later.ledger.get(run.id).cost_usd is not None)
    assert [again.cost_usd] == billed(service)
    assert Decimal(str(again.record["price"]["cost_usd"])) == again.cost_usd  # type: ignore[index]
    assert again.outputs == later.ledger.get(again.id).outputs == outputs, "the cost says nothing of the files"


def test_a_run_that_is_written_down_again_at_its_end_is_not_called_free(manager: Manager, service: Any) -> None:
    manager.settings = replace(QUICK, late_checks_s=())
    run = submit(manager, "[hold][charge-late] a lake")
    wait_for_stage(run, Stage.GENERATING)
    ledger_path().unlink()
    service.release(run.task_id)
    run.wait(60)
    assert run.state is RunState.SUCCEEDED
    assert (run.cost_usd, manager.ledger.get(run.id).cost_usd) == (None, None)


def test_a_paid_run_without_files_has_its_record_in_its_folder(manager: Manager, service: Any) -> None:
    manager.settings = replace(QUICK, late_outputs_s=())
    service.set_faults("Task/Detail:late-outputs=99; socket:late-outputs")
    run = submit(manager, "a lake").wait(60)
    assert (run.state, run.outputs) == (RunState.SUCCEEDED, ())
    assert run.folder is not None
    assert read_sidecar(run.folder / SIDECAR_NAME) == run.record


def test_what_is_cancelled_in_the_queue_and_what_fails_costs_nothing(manager: Manager) -> None:
    queued = submit(manager, "[queue] a lake")
    wait_for_stage(queued, Stage.QUEUED)
    queued.cancel()
    failed = submit(manager, "[fail] a lake")
    for run in (queued, failed):
        assert run.wait(30, check=False).cost_usd == 0
        assert describe_cost(run.snapshot) == "billed: nothing"


def test_an_hour_after_the_end_no_charge_is_none(manager: Manager, make_manager: Any) -> None:
    run = submit(manager, "[hold] a lake")
    wait_for_stage(run, Stage.GENERATING)
    run.cancel()
    assert run.wait(30).cost_usd is None
    manager.close()
    with contextlib.closing(sqlite3.connect(ledger_path())) as ledger, ledger:
        ledger.execute("UPDATE runs SET finished_at = ?", [(datetime.now(UTC) - timedelta(hours=2)).isoformat()])
    later = make_manager()
    later.resume()
    (again,) = later.runs()
    wait_for(again, lambda run: run.cost_usd == 0)
