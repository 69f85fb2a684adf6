"""What a run cost can be known only after its end: nothing is called free before, and budgets reserve it."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest

from tests.manager_tools import submit, wait_for, wait_for_stage
from wiro_nb.execution import ended, finalize
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.presentation.formatting import COST_OPEN, describe_cost
from wiro_nb.presentation.run_list import format_run_cost
from wiro_nb.session.manager import Manager


@pytest.fixture
def service(start_sandbox: Any, point_at: Any) -> Any:
    made = start_sandbox()
    point_at(made)
    return made


@pytest.fixture
def manager(service: Any, make_manager: Any) -> Manager:
    return make_manager()


def billed(service: Any) -> list[Decimal]:
    return [Decimal(task["billed_usd"]) for task in service.audit()["tasks"]]


def test_a_run_killed_while_it_generates_is_not_called_free_and_its_charge_is_read_later(
    manager: Manager, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "LATE_PAUSES_S", (0.1,) * 100)
    run = submit(manager, "[hold][charge-late] a lake")
    wait_for_stage(run, Stage.GENERATING)
    run.cancel()
    run.wait(30)
    assert run.state is RunState.CANCELLED
    assert run.cost_usd is None
    assert describe_cost(run.snapshot) == format_run_cost(run.snapshot) == COST_OPEN
    assert "nothing" not in str(run.error.billed if run.error else "").lower()
    estimate = run.estimate
    assert estimate is None or manager.reserved() == estimate
    wait_for(run, lambda run: run.cost_usd is not None)
    assert [run.cost_usd] == billed(service)
    assert manager.spent() == run.cost_usd
    assert manager.reserved() == 0


def test_a_success_billed_after_its_end_gets_its_cost_in_ledger_record_and_handle_at_the_next_start(
    manager: Manager, make_manager: Any, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ended, "LATE_PAUSES_S", ())
    run = submit(manager, "[charge-late] a lake").wait(60)
    assert run.cost_usd is None
    assert run.record is not None
    assert run.record["price"]["cost_usd"] is None
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


def test_what_is_cancelled_in_the_queue_and_what_fails_costs_nothing(manager: Manager) -> None:
    queued = submit(manager, "[queue] a lake")
    wait_for_stage(queued, Stage.QUEUED)
    queued.cancel()
    failed = submit(manager, "[fail] a lake")
    for run in (queued, failed):
        assert run.wait(30, check=False).cost_usd == 0
        assert describe_cost(run.snapshot) == "billed: nothing"


def test_an_hour_after_the_end_no_charge_is_none(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended, "LATE_PAUSES_S", (0.1,) * 100)
    run = submit(manager, "[hold] a lake")
    wait_for_stage(run, Stage.GENERATING)
    monkeypatch.setattr(finalize, "_NOTHING_IS_TRUE_AFTER", -finalize._NOTHING_IS_TRUE_AFTER)
    run.cancel()
    run.wait(30)
    wait_for(run, lambda run: run.cost_usd == 0)
