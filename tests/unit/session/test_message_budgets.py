"""Budgets that do not depend on a clock: requests, sockets, threads, messages and bytes of a run."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench.cost import count_bytes, count_tasks
from tests.manager_tools import QUICK, WAN, submit
from wiro_nb.api.answers import Output, Task
from wiro_nb.api.events import SocketState
from wiro_nb.api.transport import HttpTransport
from wiro_nb.execution.finalize import Finisher
from wiro_nb.execution.follow import Follower
from wiro_nb.execution.requests import Origin, plan_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.state_writer import StateWriter
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import Snapshot, Stage
from wiro_nb.notebook.run.display import static_output
from wiro_nb.provenance.record import canonical_json
from wiro_nb.services.selection import ServiceChoice
from wiro_nb.session.manager import Manager

PATIENT = replace(QUICK, catch_up_s=60, safety_poll_s=60)


def until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that in time"
        threading.Event().wait(0.02)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the runs whose sockets opened, in that order."""
    runs: list[str] = []
    on_state = Follower._on_socket_state

    def note(self: Follower, followed: Any, state: SocketState) -> None:
        on_state(self, followed, state)
        if state is SocketState.OPENED:
            runs.append(followed.run.id)

    monkeypatch.setattr(Follower, "_on_socket_state", note)
    return runs


def test_a_run_costs_one_detail_and_one_download_beyond_its_submission(
    start_sandbox: Callable[..., Any],
    point_at: Callable[..., None],
    make_manager: Callable[..., Manager],
    opened: list[str],
) -> None:
    service = start_sandbox("--engine", "instant", "--speed", "5", "--balance", "1000")
    point_at(service)
    manager = make_manager(settings=PATIENT)
    submit(manager, "first").wait(60)
    before = service.audit()["requests"]
    runs = [submit(manager, f"[hold] {number}") for number in range(12)]
    until(lambda: len(opened) == 13)
    for run in runs:
        service.release(run.task_id)
    for run in runs:
        run.wait(60)
    after = service.audit()["requests"]
    asked = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    assert asked == {"Run": 12, "Task/Detail": 12, "file": 12, "socket": 12}


def test_without_a_socket_one_request_serves_twenty_runs_or_more(
    start_sandbox: Callable[..., Any],
    point_at: Callable[..., None],
    make_manager: Callable[..., Manager],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    served: list[str] = []
    asked: list[str] = []
    take, post = Follower._take, HttpTransport.post

    def count(self: Follower, followed: Any, task: Any) -> None:
        served.append(followed.run.id)
        take(self, followed, task)

    async def note(self: HttpTransport, path: str, *args: Any, **more: Any) -> Any:
        if path in ("Task/List", "Task/Detail"):
            asked.append(path)
        return await post(self, path, *args, **more)

    async def counts() -> tuple[int, int]:
        return len(served), len(asked)

    monkeypatch.setattr(Follower, "_take", count)
    monkeypatch.setattr(HttpTransport, "post", note)
    service = start_sandbox("--engine", "instant", "--balance", "1000", "--faults", "socket:refuse")
    point_at(service)
    manager = make_manager(settings=replace(QUICK, poll_s=(0.3,), catch_up_s=0.3))
    runs = [submit(manager, f"[hold] {number}") for number in range(24)]
    until(lambda: all(run.task_id is not None and run.snapshot.stage.rank > 1 for run in runs))
    before = service.audit()["requests"]["Task/List"]
    taken, spent = manager._io.run(counts())  # on their own thread: nothing comes between the two
    until(lambda: service.audit()["requests"]["Task/List"] >= before + 6)
    taken_by_now, spent_by_now = manager._io.run(counts())
    assert (taken_by_now - taken) / (spent_by_now - spent) >= 20
    for run in runs:
        run.cancel()
    for run in runs:
        run.wait(60, check=False)


def test_a_run_in_flight_is_two_tasks_and_a_socket_that_sends_at_once(
    start_sandbox: Callable[..., Any],
    point_at: Callable[..., None],
    make_manager: Callable[..., Manager],
    opened: list[str],
) -> None:
    service = start_sandbox("--engine", "instant", "--balance", "1000")
    point_at(service)
    manager = make_manager(settings=PATIENT)
    with count_bytes() as wires:
        submit(manager, "first").wait(60)
        start = sum(wire.sent + wire.received for wire in wires.values())
        runs = [submit(manager, f"[queue] [hold] {number}") for number in range(20)]
        until(lambda: len(opened) == 21)
        for run in runs:  # each is listened to before it starts: nobody asks for what was missed
            service.release(run.task_id)
        until(lambda: all(run.snapshot.stage is Stage.GENERATING for run in runs))
        tasks = manager._io.run(count_tasks())
        for run in runs:
            service.release(run.task_id)
        for run in runs:
            run.wait(60)
        grown = sum(wire.sent + wire.received for wire in wires.values()) - start
    assert tasks.pop("wiro-run") == 20
    assert tasks.pop("wiro-events") == 20
    # The library keeps a task and a timer for the pings of each socket.
    assert tasks.pop("timers") <= 20 + 10
    assert sum(tasks.values()) <= 20 + 8, tasks
    assert grown / 20 <= 20_000, "bytes a run on the wire, its small clip included"


def test_of_many_runs_that_end_at_once_a_few_are_finished_at_a_time(
    start_sandbox: Callable[..., Any],
    point_at: Callable[..., None],
    make_manager: Callable[..., Manager],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = start_sandbox("--engine", "instant", "--balance", "1000")
    point_at(service)
    manager = make_manager(settings=PATIENT)
    begun: list[str] = []
    most, finalize, download, may_end = 0, Finisher.finalize, Finisher._download, asyncio.Event()

    async def answer(self: Finisher, run: Run, end: Any) -> None:
        words = Output(name="", content_type="raw", content={"text": "no file"})
        if run.parameters["prompt"] == "say it":
            end = replace(end, task=replace(end.task, outputs=(words,)))
        await finalize(self, run, end)

    async def hold(self: Finisher, run: Run, task: Task, *given: Any) -> Any:
        nonlocal most
        if not task.outputs[0].url:
            return await download(self, run, task, *given)
        begun.append(run.id)
        most = max(most, len([one for one in begun if not runs[one].done]))
        await may_end.wait()
        return await download(self, run, task, *given)

    monkeypatch.setattr(Finisher, "finalize", answer)
    monkeypatch.setattr(Finisher, "_download", hold)
    runs = {run.id: run for run in (submit(manager, f"[hold] {number}") for number in range(24))}
    until(lambda: all(run.snapshot.stage is Stage.GENERATING for run in runs.values()))
    for run in runs.values():
        service.release(run.task_id)
    until(lambda: all(run.snapshot.stage is Stage.FETCHING for run in runs.values()))
    assert submit(manager, "say it").wait(60).outputs[0].content, "what has no file to fetch need not wait"
    manager._io.call_soon(may_end.set)
    for run in runs.values():
        run.wait(60)
    assert len(begun) == 24
    assert most == 16


def test_a_run_takes_four_steps_in_the_ledger_and_asks_it_nothing(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(manager, "first").wait(60)
    manager.settings = PATIENT
    asked: list[str] = []

    def watch(name: str) -> None:
        call = getattr(Ledger, name)

        def note(self: Ledger, *given: Any, **more: Any) -> Any:
            asked.append(name)
            return call(self, *given, **more)

        monkeypatch.setattr(Ledger, name, note)

    for name in ("get", "claim", "insert_plans", "mark_submitting", "mark_submitted", "finish"):
        watch(name)
    submit(manager, "second").wait(60)
    assert asked == ["insert_plans", "mark_submitting", "mark_submitted", "finish"]


def test_twenty_runs_need_no_more_threads_than_one(manager: Manager) -> None:
    before = set(threading.enumerate())
    runs = [submit(manager, str(number)) for number in range(20)]
    for run in runs:
        run.wait(60)
    started = {thread.name.rstrip("0123456789") for thread in set(threading.enumerate()) - before}
    assert started <= {"wiro-io", "wiro-ledger", "asyncio_"}
    workers = min(32, (os.cpu_count() or 1) + 4)
    assert len(set(threading.enumerate()) - before) <= 2 + workers


def test_five_hundred_changes_in_a_moment_are_two_messages_to_a_card(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The moment of the changes, however long this machine takes over them.
    monkeypatch.setattr("wiro_nb.execution.run.time", SimpleNamespace(monotonic=lambda: 1000.0))
    row = plan_row(
        manager.prepare(WAN, {"prompt": "a cat"}),
        ServiceChoice("sandbox", "by a test"),
        origin=Origin(),
        created=datetime.now(UTC),
        out_folder=Path(),
    )

    class Controller:
        def follow(self, run: Run) -> None:
            pass

    async def burst() -> list[float | None]:
        run = Run(Controller(), row)  # type: ignore[arg-type]
        writer = StateWriter(manager.ledger, lambda: replace(QUICK, callbacks_per_s=10.0))
        heard: list[float | None] = []
        again = asyncio.Event()

        def hear(snapshot: Snapshot) -> None:
            heard.append(snapshot.percent)
            if len(heard) > 1:
                again.set()

        run.on_change(hear)
        for step in range(1, 501):
            writer.change(run, percent=step / 5)
        assert len(heard) == 1
        await asyncio.wait_for(again.wait(), 60)
        return heard

    assert asyncio.run(burst()) == [0.2, 100.0], "the first at once, the rest as one, with the latest value"


def test_a_finished_run_adds_less_than_thirty_kilobytes_to_the_notebook(
    start_sandbox: Callable[..., Any], point_at: Callable[..., None], make_manager: Callable[..., Manager]
) -> None:
    point_at(start_sandbox("--engine", "placeholder", "--speed", "instant"))
    manager = make_manager()
    values = {"prompt": "a lake at dawn, mist over the water", "numFrames": "5"}
    run = manager.submit(manager.prepare(WAN, values)).wait(60)
    assert run.outputs[0].poster_path, "without its poster the figure says nothing"
    output = static_output(run)
    shown = json.dumps({"data": output.data, "metadata": dict(output.metadata)})
    grown = len(shown) + len(canonical_json(run.record))
    assert grown <= 30_000
