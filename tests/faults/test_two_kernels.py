"""Several kernels on one ledger: one tracks a run, all see it; another goes on when the first dies or sleeps."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.faults import chaos_worker
from tests.manager_tools import QUICK, submit, wait_for, wait_for_stage
from wiro_nb.config import ledger_path
from wiro_nb.errors import StreamLost, SubmitUncertain
from wiro_nb.execution import download, driver, run_record
from wiro_nb.execution.run import Run
from wiro_nb.execution.settings import Settings
from wiro_nb.files import hash_file
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.ledger.writes import is_dead, new_owner
from wiro_nb.session.manager import Manager

LEASE_S = 1.5
# Where nobody dies: a kernel that a busy machine keeps waiting for as long as a short lease would lose its run.
LONG_LEASE_S = 60.0


@pytest.fixture
def context() -> Any:
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.faults.test_two_kernels"])
    return made


def with_leases(settings: Settings, lease_s: float = LEASE_S) -> Settings:
    return replace(settings, lease_s=lease_s, heartbeat_s=lease_s / 5, observe_s=0.1)


@pytest.fixture
def make_manager(make_manager: Callable[..., Manager]) -> Callable[..., Manager]:
    return partial(make_manager, settings=with_leases(QUICK))


@pytest.fixture
def service(start_sandbox: Any, point_at: Any) -> Any:
    made = start_sandbox()
    point_at(made)
    return made


def be_a_kernel(
    environment: dict[str, str], folder: str, prompt: str, lease_s: float, told: Any, frozen_at: str = ""
) -> None:
    """Another kernel: starts a run, says its id, and lives until it is killed.

    With `frozen_at`, "MODULE.FUNCTION" of the package `execution`, the process is stopped before the first call.
    """
    os.environ.update(environment)
    os.chdir(folder)
    if frozen_at:
        place, _, name = frozen_at.partition(".")
        module = {"run_record": run_record, "download": download}[place]
        call = getattr(module, name)

        def freeze(*given: Any, **options: Any) -> Any:
            setattr(module, name, call)
            with contextlib.closing(sqlite3.connect(ledger_path(), timeout=30)) as ledger:
                ledger.execute("BEGIN IMMEDIATE")  # stopped inside a write this process would keep everybody out
                ledger.rollback()
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                return call(*given, **options)
            finally:
                told.send("written")

        setattr(module, name, freeze)
    manager = Manager(settings=with_leases(chaos_worker.SETTINGS, lease_s))
    run = submit(manager, prompt)
    wait_for(run, lambda run: run.task_id is not None)
    told.send((run.id, run.task_id))
    told.send(run.wait(60, check=False).state)
    threading.Event().wait()


@pytest.fixture
def other_kernel(context: Any, service: Any, own_folders: Path) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Starts kernels that submit one run each; gives the process and the end of its pipe."""
    started: list[BaseProcess] = []

    def start(prompt: str, lease_s: float = LEASE_S, frozen_at: str = "") -> tuple[Any, Any]:
        here, there = context.Pipe(duplex=False)
        environment = {name: value for name, value in os.environ.items() if name.startswith("WIRO_")}
        process = context.Process(
            target=be_a_kernel,
            args=(environment, str(own_folders), prompt, lease_s, there, frozen_at),
            daemon=True,
        )
        process.start()
        started.append(process)
        return process, here

    yield start
    for process in started:
        if process.is_alive():
            os.kill(int(process.pid or 0), signal.SIGCONT)
        process.kill()
        process.join(10)
        process.close()


def receive(told: Any) -> Any:
    """Returns the next message of the other kernel, which may have none: then this fails and waits no longer."""
    assert told.poll(30)
    return told.recv()


def look_on(manager: Manager, told: Any) -> Run:
    """Follows the other kernel's run from this one."""
    run_id, _ = receive(told)
    run = manager.get(run_id)
    manager.follow(run)
    return run


def owner_of(manager: Manager, run: Run) -> str | None:
    return manager.ledger.get(run.id).lease_owner


def test_both_kernels_see_a_run_and_only_one_works_on_it(
    make_manager: Any, service: Any, other_kernel: Any
) -> None:
    process, told = other_kernel("[hold] seen by both", LONG_LEASE_S)
    manager = make_manager(settings=with_leases(QUICK, LONG_LEASE_S))
    run = look_on(manager, told)
    wait_for(run, lambda run: run.snapshot.stage is Stage.GENERATING)
    owner = owner_of(manager, run)
    assert owner is not None
    assert owner.startswith(f"{process.pid}-"), "the kernel that started it keeps it while it lives"
    service.release(run.task_id)
    assert run.wait(20).state is RunState.SUCCEEDED
    assert receive(told) is RunState.SUCCEEDED
    assert run.path is not None
    assert service.audit()["requests"]["file"] == 1, "one of them fetched the clip"


def test_a_defect_while_another_kernels_run_is_followed_wakes_its_waiter(make_manager: Any, service: Any) -> None:
    first, second = make_manager(), make_manager()
    run = submit(first, "[hold] watched by a broken kernel")
    wait_for_stage(run, Stage.GENERATING)
    seen = second.get(run.id)

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("a defect")

    second.ledger.read(lambda connection: setattr(connection, "row_factory", fail))
    with pytest.raises(StreamLost, match="ZeroDivisionError"):
        seen.wait(20)
    second.ledger.read(lambda connection: setattr(connection, "row_factory", sqlite3.Row))
    assert owner_of(first, run), "it is still the other kernel's"
    service.release(run.task_id)
    assert seen.wait(60).state is run.wait(60).state is RunState.SUCCEEDED


def test_a_kernel_goes_on_with_the_run_of_one_that_was_killed(
    make_manager: Any, service: Any, other_kernel: Any
) -> None:
    process, told = other_kernel("[hold] orphaned")
    manager = make_manager()
    run = look_on(manager, told)
    process.kill()
    wait_for(run, lambda run: (owner_of(manager, run) or "").startswith(f"{os.getpid()}-"))
    service.release(run.task_id)
    assert run.wait(20).state is RunState.SUCCEEDED
    assert run.path is not None
    assert len(service.audit()["tasks"]) == 1


def test_a_laptop_that_was_closed_finds_its_run_done_by_another_kernel(
    make_manager: Any, service: Any, other_kernel: Any
) -> None:
    process, told = other_kernel("[hold] slept through")
    manager = make_manager()
    run = look_on(manager, told)
    os.kill(process.pid, signal.SIGSTOP)
    wait_for(run, lambda run: (owner_of(manager, run) or "").startswith(f"{os.getpid()}-"))
    service.release(run.task_id)
    assert run.wait(20).state is RunState.SUCCEEDED
    os.kill(process.pid, signal.SIGCONT)
    assert receive(told) is RunState.SUCCEEDED
    assert len(service.audit()["tasks"]) == 1
    assert manager.ledger.check_integrity() == "ok"


@pytest.mark.parametrize(
    "frozen_at", ["download.hash_file", "run_record.embed_and_sign", "run_record.write_sidecar"]
)
def test_a_kernel_that_was_frozen_while_it_saved_a_clip_changes_nothing_that_another_one_saved(
    make_manager: Any, service: Any, other_kernel: Any, frozen_at: str
) -> None:
    process, told = other_kernel("saved once", frozen_at=frozen_at)
    manager = make_manager()
    run = look_on(manager, told)
    run.wait(40)
    assert run.path is not None
    files = [run.path, run.path.with_name("run.json")]
    written = [path.stat().st_mtime_ns for path in files]
    os.kill(process.pid, signal.SIGCONT)
    assert {receive(told), receive(told)} == {"written", RunState.SUCCEEDED}
    assert [path.stat().st_mtime_ns for path in files] == written
    row = manager.ledger.get(run.id)
    assert (row.record, row.outputs) == (run.snapshot.record, run.outputs)
    assert hash_file(run.path) == row.outputs[0].stored_sha256


def test_a_laptop_that_was_closed_alone_goes_on_when_it_is_opened(
    make_manager: Any, service: Any, other_kernel: Any
) -> None:
    process, told = other_kernel("[hold] slept alone")
    _, task_id = receive(told)
    os.kill(process.pid, signal.SIGSTOP)
    service.release(task_id)
    time.sleep(LEASE_S * 1.5)  # the pause itself is what is tested: longer than any lease
    os.kill(process.pid, signal.SIGCONT)
    assert receive(told) is RunState.SUCCEEDED


def test_a_run_that_is_being_sent_is_left_to_its_kernel_even_when_the_lease_is_gone(
    make_manager: Any, service: Any
) -> None:
    """Two kernels, and the first one's answer takes longer than its lease: it is still sent once."""
    service.set_faults("Run:delay=3@1")
    first, second = make_manager(), make_manager()
    run = submit(first, "a slow answer")
    wait_for(run, lambda run: run.state is RunState.SUBMITTING)
    owner = owner_of(first, run)
    assert owner is not None
    first.ledger.release(owner)
    (seen,) = second.resume()
    assert run.wait(30).state is RunState.SUCCEEDED
    seen.wait(30, check=False)
    assert second.get(run.id) is seen
    assert seen.state is RunState.SUCCEEDED, "what this kernel could not find out it learns from the ledger"
    assert len(service.audit()["tasks"]) == 1


def test_an_answer_that_comes_after_another_kernel_has_ended_the_run_finds_that_end(
    make_manager: Any, service: Any
) -> None:
    service.set_faults("Run:delay=1@1")
    first, other = make_manager(), make_manager().ledger
    run = submit(first, "answered late")
    wait_for(run, lambda run: run.state is RunState.SUBMITTING)
    other.mark_submitted(run.id, service.task_of("answered late"), "token", datetime.now(UTC))
    other.finish(run.id, RunState.SUCCEEDED, finished_at=datetime.now(UTC))
    assert run.wait(30).state is RunState.SUCCEEDED


def open_together(path: str, all_are_here: Any, told: Any) -> None:
    all_are_here.wait(60)
    try:
        Ledger(Path(path)).close()
        told.send("")
    except Exception as error:
        told.send(repr(error))


def test_kernels_that_start_at_the_same_moment_make_one_ledger(context: Any, tmp_path: Path) -> None:
    for attempt in range(3):
        path, all_are_here = str(tmp_path / f"{attempt}.sqlite3"), context.Barrier(4)
        pipes = [context.Pipe(duplex=False) for _ in range(4)]
        processes = [context.Process(target=open_together, args=(path, all_are_here, there)) for _, there in pipes]
        for process in processes:
            process.start()
        assert [here.recv() for here, _ in pipes if here.poll(20)] == [""] * 4
        for process in processes:
            process.join(10)
            process.close()


def test_two_kernels_that_take_up_the_same_plan_send_it_once(make_manager: Any, service: Any) -> None:
    planner = make_manager()
    service.set_faults("Run:code=96")
    plan = submit(planner, "taken up by two")
    wait_for(plan, lambda run: run.snapshot.ahead == 0)
    planner.close()  # before it is sent
    service.set_faults("")
    kernels = [make_manager(), make_manager()]
    gate = threading.Barrier(2)
    runs: list[Run] = []

    def take_up(manager: Manager) -> None:
        gate.wait(10)
        runs.extend(manager.resume())

    threads = [threading.Thread(target=take_up, args=(manager,)) for manager in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [run.wait(30).state for run in runs] == [RunState.SUCCEEDED] * 2
    assert {run.id for run in runs} == {plan.id}
    assert len(service.audit()["tasks"]) == 1


@pytest.fixture
def one_slot(start_sandbox: Any, point_at: Any) -> Any:
    made = start_sandbox("--engine", "instant", "--speed", "20", "--balance", "5")
    point_at(made)
    return made


def test_a_run_that_waits_in_another_kernel_is_cancelled_from_here(make_manager: Any, one_slot: Any) -> None:
    there, here = make_manager(), make_manager()
    held = submit(there, "[hold] takes the slot")
    wait_for_stage(held, Stage.GENERATING)
    waiting = submit(there, "never to be sent")
    wait_for(waiting, lambda run: run.snapshot.ahead == 0)
    seen = here.get(waiting.id)
    seen.cancel()
    assert seen.wait(20).state is RunState.CANCELLED
    assert waiting.wait(20).state is RunState.CANCELLED, "its own kernel heard of it"
    one_slot.release(held.task_id)
    held.wait(20)
    assert len(one_slot.audit()["tasks"]) == 1


def test_a_cancel_outlives_the_kernel_that_has_the_run(make_manager: Any, service: Any) -> None:
    deaf = replace(with_leases(QUICK, LONG_LEASE_S), slot_retry_s=(60.0,))
    dying, here, later = make_manager(settings=deaf), make_manager(), make_manager()
    service.set_faults("Run:code=96")
    plan = submit(dying, "wanted no more")
    wait_for(plan, lambda run: run.snapshot.ahead == 0)
    seen = here.get(plan.id)
    seen.cancel()
    wait_for(seen, lambda run: run.snapshot.cancel_requested)
    here.close()
    dying.close()
    (left,) = later.resume()
    assert left.wait(20).state is RunState.CANCELLED
    assert service.audit()["tasks"] == []


def test_who_attaches_a_task_wants_it_whatever_was_asked_before(make_manager: Any, service: Any) -> None:
    service.set_faults("Run:reset-after@1; Task/List:503")
    manager = make_manager()
    run = submit(manager, "cancelled while nobody knew its task")
    with pytest.raises(SubmitUncertain):
        run.wait(30)
    manager.ledger.request_cancel(run.id, datetime.now(UTC))
    service.set_faults("")
    (task,) = service.audit()["tasks"]
    assert manager.attach(task["task_id"]).wait(20).state is RunState.SUCCEEDED


def test_runs_that_wait_for_a_slot_are_sent_in_order_after_a_restart(make_manager: Any, one_slot: Any) -> None:
    before = make_manager()
    held = submit(before, "[hold] takes the slot")
    wait_for_stage(held, Stage.GENERATING)
    waiting = [submit(before, f"number {index}") for index in range(5)]
    wait_for(waiting[-1], lambda run: run.snapshot.ahead == 4)
    before.close()
    after = make_manager()
    runs = after.resume()
    assert [run.id for run in runs] == [held.id, *(run.id for run in waiting)]
    wait_for(runs[-1], lambda run: run.snapshot.ahead == 4)
    one_slot.release(held.task_id)
    for run in runs:
        run.wait(30)
    ids = [int(run.task_id or 0) for run in runs]
    assert ids == sorted(ids)


def test_a_stage_that_another_kernel_notes_is_seen_here(make_manager: Any, service: Any) -> None:
    first, second = make_manager(), make_manager()
    run = submit(first, "[hold] noted")
    wait_for_stage(run, Stage.GENERATING)
    seen = second.get(run.id)
    second.follow(seen)
    wait_for(seen, lambda seen: seen.snapshot.stage is Stage.GENERATING)
    run.cancel()
    assert seen.wait(20).state is RunState.CANCELLED


def test_the_lease_of_a_dead_process_need_not_be_waited_for(context: Any) -> None:
    here = new_owner()
    assert not is_dead(here)
    gone = context.Process(target=time.time)
    gone.start()
    gone.join(20)
    assert is_dead(here.replace(f"{os.getpid()}-", f"{gone.pid}-", 1))
    assert not is_dead(f"{gone.pid}-another-machine-0123"), "only its own machine can tell"
    assert not any(is_dead(owner) for owner in (None, "", "me", "12345", "-x-y"))


def test_a_lease_from_before_the_clock_was_set_back_is_asked_about(service: Any, make_manager: Any) -> None:
    run = submit(make_manager(), "a clock").wait(60)

    async def holds(seconds_left: float | None) -> bool:
        until = None if seconds_left is None else datetime.now(UTC) + timedelta(seconds=seconds_left)
        return driver.ActiveRun(run, None, held_until=until).is_surely_held(20)

    assert asyncio.run(holds(10))
    assert not asyncio.run(holds(None))
    assert not asyncio.run(holds(0))
    assert not asyncio.run(holds(3600))


@pytest.mark.parametrize("is_cancelled", [False, True], ids=["sent again", "cancelled"])
def test_a_plan_that_another_kernel_sent_meanwhile_is_not_called_unsent(
    make_manager: Any, one_slot: Any, is_cancelled: bool
) -> None:
    asleep = make_manager(settings=replace(QUICK, lease_s=0.2, heartbeat_s=60.0, slot_retry_s=(60.0,)))
    held = submit(asleep, "[hold] holds the slot")
    wait_for_stage(held, Stage.GENERATING)
    run = submit(asleep, "[hold] waits for it")
    wait_for(run, lambda run: run.snapshot.ahead == 0)
    asleep.settings = replace(asleep.settings, observe_s=0.1)
    awake = make_manager(settings=with_leases(QUICK))
    theirs = awake.get(run.id)
    awake.follow(theirs)
    one_slot.set_balance("1000")  # no limit of slots
    wait_for_stage(theirs, Stage.GENERATING)
    (run if is_cancelled else held).cancel()  # its own kernel looks at it again
    if not is_cancelled:
        wait_for(run, lambda run: run.task_id is not None)
        one_slot.release(theirs.task_id)
    assert run.wait(30).state is theirs.wait(30).state
    assert run.state is (RunState.CANCELLED if is_cancelled else RunState.SUCCEEDED)
    tasks = {task["task_id"]: task["status"] for task in one_slot.audit()["tasks"]}
    assert len(tasks) == 2
    assert tasks[theirs.task_id] == ("task_cancel" if is_cancelled else "task_postprocess_end")
