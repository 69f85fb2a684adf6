"""Every way we could think of in which a task would be lost, or sent twice."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.faults.fault_proxy import FaultProxy
from tests.manager_tools import QUICK, VACE, WAN, submit, submit_request, wait_for, wait_for_stage
from tests.unit.ledger.ledger_tools import insert, plan
from wiro_nb.errors import ConfigError, LedgerError, RunFailed, SubmitUncertain
from wiro_nb.execution import submit as submit_module
from wiro_nb.execution.submit import SubmitQueue
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.session.manager import Manager

PNG = (
    b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde"
    b"\0\0\0\x0cIDATx\x9cc\xf8\xcf\xc0\0\0\3\1\1\0\xc9\xfe\x92\xef\0\0\0\0IEND\xaeB`\x82"
)


@pytest.fixture
def service(start_sandbox: Any) -> Any:
    """A sandbox of this test alone: its books begin empty."""
    return start_sandbox()


@pytest.fixture
def manager(service: Any, point_at: Any, make_manager: Any) -> Manager:
    point_at(service)
    made: Manager = make_manager()
    return made


def prompts(service: Any) -> list[str]:
    return [task["parameters"]["prompt"] for task in service.audit()["tasks"]]


def test_a_lost_task_is_found_behind_more_tasks_than_one_page_lists(
    manager: Manager, service: Any, make_manager: Any
) -> None:
    service.set_faults("Run:reset-after@1; Task/List:code=0")
    lost = submit(manager, "lost among many")
    with pytest.raises(SubmitUncertain):
        lost.wait(30)
    service.set_faults("")
    parameters = dict(manager.prepare(WAN, {"prompt": "one of many"}).parameters)
    for _ in range(120):
        service.call(f"/Run/{WAN}", parameters)
    assert manager.get(lost.short_id).state is RunState.UNCERTAIN
    manager.follow(lost)
    assert lost.wait(30).state is RunState.SUCCEEDED
    assert prompts(service).count("lost among many") == 1


@pytest.mark.parametrize("again", ["wait in this kernel", "load in the next kernel"])
def test_an_uncertain_run_is_asked_about_again_and_never_sent_again(
    manager: Manager, service: Any, make_manager: Any, again: str
) -> None:
    service.set_faults("Run:reset-after@1; Task/List:code=0")
    run = submit(manager, "asked about again")
    with pytest.raises(SubmitUncertain, match="cannot be asked"):
        run.wait(30)
    service.set_faults("")
    if again.startswith("load"):
        manager.close()
        (run,) = make_manager().resume()
    else:
        manager.follow(run)
    assert run.wait(30).state is RunState.SUCCEEDED
    assert prompts(service) == ["asked about again"]


def test_two_runs_of_one_request_whose_answers_were_lost_share_no_task(manager: Manager, service: Any) -> None:
    service.set_faults("Run:reset-after@1-2")
    prepared = manager.prepare(WAN, {"prompt": "twins", "seed": "7"})
    twins = [submit_request(manager, prepared, fresh=True) for _ in range(2)]
    for run in twins:
        run.wait(30)
    assert {run.task_id for run in twins} == {task["task_id"] for task in service.audit()["tasks"]}
    assert len(service.audit()["tasks"]) == 2


def test_a_service_that_knows_nothing_for_a_while_does_not_end_a_paid_run(manager: Manager, service: Any) -> None:
    run = submit(manager, "[hold] not known for a while")
    wait_for_stage(run, Stage.GENERATING)
    service.set_faults("Task/Detail:code=1@1-4; Task/List:code=1@1-4; socket:refuse")
    service.release(run.task_id)
    assert run.wait(40).state is RunState.SUCCEEDED


def test_many_runs_end_where_neither_events_come_nor_tasks_can_be_listed(manager: Manager, service: Any) -> None:
    service.set_faults("Task/List:html; socket:refuse")
    runs = [submit(manager, f"[hold] not listed {number}") for number in range(5)]
    for run in runs:
        wait_for(run, lambda run: run.task_id is not None)
        service.release(run.task_id)
    assert {run.wait(30).state for run in runs} == {RunState.SUCCEEDED}


def test_a_run_that_was_given_up_comes_back_when_the_service_knows_it_again(
    manager: Manager, service: Any
) -> None:
    manager.settings = replace(QUICK, unknown_patience_s=0.0)
    run = submit(manager, "[hold] given up")
    wait_for_stage(run, Stage.GENERATING)
    service.set_faults("Task/Detail:code=1; Task/List:code=1; socket:refuse")
    service.release(run.task_id)
    with pytest.raises(RunFailed, match="does not know task"):
        run.wait(40)
    service.set_faults("")
    assert manager.attach(str(run.task_id)) is run
    assert run.wait(20).state is RunState.SUCCEEDED
    assert manager.budget().spent_usd == run.cost_usd
    assert len(service.audit()["tasks"]) == 1


def test_a_page_of_somebody_in_between_is_not_the_services_word(
    service: Any, point_at: Any, make_manager: Any
) -> None:
    """A hotel's web page with status 404 must not end a run."""
    hotel = FaultProxy(service, {})
    point_at(service, base_url=hotel.base_url)
    manager = make_manager(settings=replace(QUICK, unknown_patience_s=0.0))
    run = submit(manager, "[hold] in a hotel")
    wait_for_stage(run, Stage.GENERATING)
    hotel.pages = 4
    service.release(run.task_id)
    assert run.wait(40).state is RunState.SUCCEEDED
    assert hotel.pages == 0
    manager.close()
    hotel.close()


def test_a_plan_whose_input_is_gone_can_be_cancelled(
    manager: Manager, make_manager: Any, service: Any, own_folders: Path
) -> None:
    service.set_faults("Run:code=96")
    plan = submit_request(manager, manager.prepare(VACE, {"prompt": "input gone", "inputImage": PNG}))
    wait_for(plan, lambda run: run.snapshot.ahead == 0)
    manager.close()  # before it is sent
    service.set_faults("")
    for kept in (own_folders / "wiro_outputs" / ".inputs").iterdir():
        kept.unlink()
    later = make_manager()
    (run,) = later.resume()
    assert run.wait(20, check=False).state is RunState.PLANNED
    assert "is gone" in str(run.error)
    run.cancel()
    wait_for(run, lambda run: run.state is RunState.CANCELLED)
    assert later.ledger.get(plan.id).state is RunState.CANCELLED


def test_a_closed_manager_writes_no_plan_that_a_later_one_would_send(manager: Manager, make_manager: Any) -> None:
    prepared = manager.prepare(WAN, {"prompt": "too late"})
    manager.close()
    with pytest.raises(ConfigError):
        submit_request(manager, prepared)
    assert make_manager().ledger.unfinished() == ()


def test_another_kernel_does_not_take_a_plan_before_its_own_kernel_starts_it(
    manager: Manager, make_manager: Any, service: Any
) -> None:
    is_busy, may_go_on = threading.Event(), threading.Event()

    def keep_busy(_: object) -> None:
        is_busy.set()
        may_go_on.wait(60)

    first = submit(manager, "its callback holds everything up")
    first.on_change(keep_busy)
    assert is_busy.wait(60)
    try:
        plan = submit(manager, "planned elsewhere")
        other = make_manager()
        assert other.ledger.get(plan.id).lease_owner == other.ledger.get(first.id).lease_owner
        assert not other.ledger.claim(plan.id, "somebody", datetime.now(UTC), 20)
        (seen,) = (run for run in other.resume() if run.id == plan.id)
        assert seen.state is RunState.PLANNED
    finally:
        may_go_on.set()
    assert seen.wait(60).state is plan.wait(60).state is RunState.SUCCEEDED
    assert prompts(service).count("planned elsewhere") == 1


def test_a_machine_that_slept_between_the_ledger_and_the_wire_does_not_send(
    manager: Manager, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile another kernel may have looked for the task, found none, and told the person so."""
    asked, now = 0, submit_module.utc_now

    def clock() -> datetime:
        """The second look, just before the request, comes a minute after the first one, once."""
        nonlocal asked
        asked += 1
        return now() + timedelta(seconds=60 if asked == 2 else 0)

    monkeypatch.setattr(submit_module, "utc_now", clock)
    run, told = submit(manager), []
    run.on_change(lambda snapshot: told.append(snapshot.lost_since))
    assert run.wait(40).state is RunState.SUCCEEDED
    assert any(told), "what was not sent is tried again, as after a lost connection"
    assert len(service.audit()["tasks"]) == 1


def test_a_forgotten_uncertain_run_no_longer_holds_a_part_of_the_budget(manager: Manager, service: Any) -> None:
    manager.prices.detail(WAN)  # so that the forecast is known
    service.set_faults("Run:reset@1")
    run = submit(manager, "never arrived")
    with pytest.raises(SubmitUncertain):
        run.wait(30)
    assert manager.budget().reserved_usd > 0
    manager.ledger.forget(run.id)
    assert manager.budget().reserved_usd == Decimal(0)


def test_a_place_in_the_queue_is_given_on_when_its_holder_is_gone_at_that_moment() -> None:
    async def scene() -> None:
        queue = SubmitQueue((60.0,), in_flight=1)
        await queue.enter("a")
        second = asyncio.ensure_future(queue.enter("b"))
        await asyncio.sleep(0)
        queue.leave(sent=True)  # it is b's turn now, and b is cancelled before it hears of it
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await asyncio.wait_for(queue.enter("c"), 1)

    asyncio.run(scene())


def test_a_run_is_looked_at_in_time_although_the_looks_before_it_were_far_apart(
    manager: Manager, service: Any
) -> None:
    manager.settings = replace(QUICK, safety_poll_s=180.0)
    service.set_faults("socket:silent")
    submit(manager, "heard of by a look").wait(60)
    for number in range(3):  # each in far less time than the pause between two looks at a silent run
        submit(manager, f"heard of by a look, {number}").wait(60)


def fill(manager: Manager) -> None:
    for _ in range(1000):
        insert(manager.ledger, plan())


def test_a_disk_that_is_full_at_the_end_says_that_the_run_goes_on_and_loses_nothing(
    manager: Manager, service: Any
) -> None:
    run = submit(manager, "[hold] longer than the disk")
    wait_for_stage(run, Stage.GENERATING)
    # A ledger that may not grow: SQLite takes the next full number in place of a smaller one.
    manager.ledger.read(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(LedgerError, match="the disk is full"):
        fill(manager)
    service.release(run.task_id)
    with pytest.raises(LedgerError) as caught:
        run.wait(20)
    manager.ledger.read(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    assert "it is billed once" in caught.value.billed
    assert caught.value.hint == f"free some space, then %wiro wait {run.short_id}"
    assert run.wait(20).state is RunState.SUCCEEDED
    assert len(service.audit()["tasks"]) == 1
