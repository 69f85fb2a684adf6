"""The service misbehaves on purpose; nothing paid is lost and nothing is paid twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.manager_tools import QUICK, submit, wait_for, wait_for_stage
from wiro_nb.errors import DownloadFailed, SubmitUncertain, TimedOut
from wiro_nb.files import hash_file
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.session.manager import Manager

SetFaults = Callable[[str], None]


@pytest.fixture(scope="module")
def faulty(start_shared_sandbox: Any) -> Any:
    """A sandbox whose faults each test sets."""
    return start_shared_sandbox()


@pytest.fixture
def faults(faulty: Any) -> Iterator[SetFaults]:
    """Sets faults that end with the test."""
    yield faulty.set_faults
    faulty.set_faults("")


@pytest.fixture
def manager(faulty: Any, point_at: Any, make_manager: Any) -> Manager:
    point_at(faulty)
    made: Manager = make_manager()
    return made


def tasks_with(faulty: Any, prompt: str) -> list[dict[str, Any]]:
    answer = faulty.call("/Task/List", {"type": "model", "start": "0", "limit": "200"})
    return [task for task in answer["tasklist"] if task["parameters"].get("prompt") == prompt]


@pytest.mark.parametrize("fault", ["Run:reset-after@1", "Run:cut@1", "Run:cut-body@1"])
def test_a_lost_answer_is_found_again_and_never_sent_twice(
    manager: Manager, faulty: Any, faults: SetFaults, fault: str
) -> None:
    faults(fault)
    run = submit(manager, f"lost by {fault}").wait(20)
    assert run.state is RunState.SUCCEEDED
    assert [task["id"] for task in tasks_with(faulty, f"lost by {fault}")] == [run.task_id]


@pytest.mark.parametrize("fault", ["Run:reset@1", "Run:429@1", "Run:503@1", "Run:html@1", "Run:empty@1"])
def test_a_request_that_may_have_arrived_and_did_not_stays_uncertain(
    manager: Manager, faulty: Any, faults: SetFaults, fault: str
) -> None:
    faults(fault)
    run = submit(manager, f"never arrived, {fault}")
    with pytest.raises(SubmitUncertain) as caught:
        run.wait(20)
    assert caught.value.candidates == []
    assert "%wiro attach" in caught.value.hint
    assert f"%wiro forget {run.short_id}" in caught.value.hint
    assert run.state is RunState.UNCERTAIN
    assert tasks_with(faulty, f"never arrived, {fault}") == []


def test_a_task_that_is_attached_while_its_kernel_looks_for_it_is_followed(
    manager: Manager, faulty: Any, faults: SetFaults
) -> None:
    manager.settings = replace(QUICK, uncertain_checks_s=(1.0, 1.0))
    faults("Run:reset-after@1; Task/List:code=0")
    run = submit(manager, "attached meanwhile")
    wait_for(run, lambda run: run.state is RunState.UNCERTAIN)
    assert manager.attach(faulty.task_of("attached meanwhile")) is run
    assert run.wait(30).state is RunState.SUCCEEDED


def test_a_process_that_died_while_sending_asks_before_it_goes_on(
    manager: Manager, make_manager: Any, faulty: Any, faults: SetFaults
) -> None:
    faults("Run:hang@1")
    run = submit(manager, "died while sending")
    wait_for(run, lambda run: run.state is RunState.SUBMITTING)
    manager.close(0.4)
    assert make_manager().ledger.get(run.id).state is RunState.SUBMITTING
    (again,) = make_manager().resume()
    again.wait(20, check=False)
    sent = tasks_with(faulty, "died while sending")
    assert (again.state, len(sent)) in {(RunState.UNCERTAIN, 0), (RunState.SUCCEEDED, 1)}


@pytest.mark.parametrize(
    "fault",
    ["socket:refuse", "socket:drop=2", "socket:silent", "socket:shuffle; socket:double", "Task/Detail:503@1-2",
     "Task/Detail:late-outputs=2", "socket:late-outputs", "*:delay=0.05", "Task/Detail:wrong-types@1"],
)  # fmt: skip
def test_tracking_survives(manager: Manager, faults: SetFaults, fault: str) -> None:
    faults(fault)
    run = submit(manager, f"tracked through {fault}").wait(40)
    assert run.state is RunState.SUCCEEDED
    assert run.path is not None
    assert run.cost_usd is not None


@pytest.mark.parametrize(
    "fault", ["file:cut@1", "file:cut@1-2; file:no-range", "file:503@1", "file:404@1", "file:reset@1"]
)
def test_a_broken_download_is_taken_up_again(manager: Manager, faults: SetFaults, fault: str) -> None:
    faults(fault)
    run = submit(manager, f"fetched through {fault}").wait(20)
    (output,) = run.outputs
    assert output.problem == ""
    assert run.path is not None
    assert hash_file(run.path) == output.stored_sha256
    assert run.path.stat().st_size >= (output.size_bytes or 0)
    assert not list(run.path.parent.glob("*.part"))


@pytest.mark.parametrize("fault", ["file:404", "file:wrong-type", "file:redirect=http://192.0.2.1/clip.mp4"])
def test_a_clip_that_cannot_be_fetched_keeps_the_run_and_can_be_fetched_later(
    manager: Manager, faults: SetFaults, fault: str
) -> None:
    faults(fault)
    run = submit(manager, f"not fetched, {fault}").wait(20)
    assert run.state is RunState.SUCCEEDED
    assert run.outputs[0].problem
    assert run.path is None
    assert run.cost_usd is not None
    with pytest.raises(DownloadFailed):
        run.download()
    faults("")
    run.download()
    assert run.path is not None
    assert run.outputs[0].problem == ""
    assert run.record is not None
    assert run.record["outputs"][0]["sha256"] == run.outputs[0].sha256


@pytest.mark.parametrize("fault", ["file:503", "file:404", "file:reset"])
def test_a_download_has_patience_and_says_so(manager: Manager, faults: SetFaults, fault: str) -> None:
    manager.settings = replace(manager.settings, download_patience_s=60.0, download_retry_s=(0.01,))
    faults(fault)
    run = submit(manager, f"waited for through {fault}")
    wait_for(run, lambda run: "not here yet" in (said := run.snapshot.message) and "trying again in" in said)
    faults("")
    run.wait(60)
    assert run.path is not None
    assert run.snapshot.message == run.outputs[0].problem == ""


def test_a_missing_file_is_asked_for_once_at_a_time_however_often_it_is_waited_for(
    manager: Manager, faulty: Any, faults: SetFaults
) -> None:
    manager.settings = replace(manager.settings, download_patience_s=0.0)
    faults("file:503")
    run = submit(manager, "waited for in slices").wait(60)
    before = faulty.audit()["requests"]["Task/Detail"]
    faults("file:503; Task/Detail:delay=1")
    for _ in range(3):
        with pytest.raises(TimedOut):
            run.wait(0.05)
    assert run.wait(60).done
    assert faulty.audit()["requests"]["Task/Detail"] == before + 1


@pytest.mark.parametrize("how", ["wait", "await", "restart", "asked again"])
def test_a_file_that_could_not_be_had_is_asked_for_again(
    manager: Manager, faults: SetFaults, make_manager: Any, how: str
) -> None:
    manager.settings = replace(manager.settings, download_patience_s=0.0)
    faults("file:503")
    run = submit(manager, f"fetched late by {how}").wait(60)
    assert run.path is None
    assert manager.ledger.get(run.id).outputs[0].problem
    assert run.wait(60) is run, "asked in vain, the run is what it was"
    assert (run.state, run.done, run.error) == (RunState.SUCCEEDED, True, None)
    faults("")
    if how == "wait":
        run.wait(60)
    elif how == "await":
        asyncio.run(run.wait_async(60))
    elif how == "asked again":
        assert submit(manager, f"fetched late by {how}", fresh=False) is run
    else:
        manager.close()
        later = make_manager()
        later.resume()
        (run,) = later.runs(text="fetched late by restart")
    wait_for(run, lambda run: run.path is not None)
    wait_for(run, lambda run: not manager.ledger.get(run.id).outputs[0].problem)
    assert run.record is not None
    assert run.record["outputs"][0]["sha256"] == run.outputs[0].sha256


def test_a_service_killed_mid_run_and_started_again_finishes_it(
    start_sandbox: Any, point_at: Any, make_manager: Any
) -> None:
    service = start_sandbox("--engine", "instant", "--speed", "20", "--balance", "1000")
    point_at(service)
    manager = make_manager()
    run = submit(manager, "[hold] through a crash")
    wait_for_stage(run, Stage.GENERATING)
    service.restart(kill=True)
    wait_for(run, lambda run: run.snapshot.lost_since is None and run.snapshot.stage is Stage.GENERATING)
    service.release(run.task_id)
    assert run.wait(40).state is RunState.SUCCEEDED
    assert len(service.audit()["tasks"]) == 1
