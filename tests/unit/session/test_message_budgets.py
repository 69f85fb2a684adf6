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
from typing import Any

from tests.bench.cost import count_bytes, count_tasks
from tests.manager_tools import QUICK, WAN, submit, submit_request, until
from wiro_nb.execution.requests import Origin, plan_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.state_writer import StateWriter
from wiro_nb.ledger.state import Snapshot, Stage
from wiro_nb.notebook.run.display import static_output
from wiro_nb.provenance.record import canonical_json
from wiro_nb.services.selection import ServiceChoice
from wiro_nb.session.manager import Manager

PATIENT = replace(QUICK, catch_up_s=60, safety_poll_s=60)


def sockets_of(service: Any) -> int:
    """Counts the sockets that were ever registered for a task."""
    return int(service.audit()["requests"].get("socket", 0))


def test_a_run_costs_one_detail_and_one_download_beyond_its_submission(
    start_sandbox: Callable[..., Any],
    point_at: Callable[..., None],
    make_manager: Callable[..., Manager],
) -> None:
    service = start_sandbox("--engine", "instant", "--speed", "5", "--balance", "1000")
    point_at(service)
    manager = make_manager(settings=PATIENT)
    submit(manager, "first").wait(60)
    before = service.audit()["requests"]
    runs = [submit(manager, f"[hold] {number}") for number in range(12)]
    until(lambda: sockets_of(service) == 13)
    for run in runs:
        service.release(run.task_id)
    for run in runs:
        run.wait(60)
    after = service.audit()["requests"]
    asked = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
    assert asked == {"Run": 12, "Task/Detail": 12, "file": 12, "socket": 12}


def test_without_a_socket_one_request_serves_twenty_runs_or_more(
    start_sandbox: Callable[..., Any], point_at: Callable[..., None], make_manager: Callable[..., Manager]
) -> None:
    service = start_sandbox("--engine", "instant", "--balance", "1000", "--faults", "socket:refuse")
    point_at(service)
    poll_s = 0.3
    manager = make_manager(settings=replace(QUICK, poll_s=(poll_s,), catch_up_s=0.3))
    runs = [submit(manager, f"[hold] {number}") for number in range(24)]
    until(lambda: all(run.task_id is not None and run.snapshot.stage.rank > 1 for run in runs))

    def asked() -> int:
        return sum(service.audit()["requests"].get(name, 0) for name in ("Task/List", "Task/Detail"))

    begun, before = time.monotonic(), asked()
    until(lambda: asked() >= before + 6)
    looks = (time.monotonic() - begun) / poll_s  # at most, for each run
    assert asked() - before <= looks + 2, "24 runs need no more requests than one"
    for run in runs:
        run.cancel()
    for run in runs:
        run.wait(60, check=False)


def test_a_run_in_flight_is_two_tasks_and_a_socket_that_sends_at_once(
    start_sandbox: Callable[..., Any],
    point_at: Callable[..., None],
    make_manager: Callable[..., Manager],
) -> None:
    service = start_sandbox("--engine", "instant", "--balance", "1000")
    point_at(service)
    manager = make_manager(settings=PATIENT)
    with count_bytes() as wires:
        submit(manager, "first").wait(60)
        start = sum(wire.sent + wire.received for wire in wires.values())
        runs, loops = [submit(manager, f"[queue] [hold] {number}") for number in range(20)], set()
        runs[0].on_change(lambda _: loops.add(asyncio.get_running_loop()))
        until(lambda: sockets_of(service) == 21)
        for run in runs:  # each is listened to before it starts: nobody asks for what was missed
            service.release(run.task_id)
        until(lambda: all(run.snapshot.stage is Stage.GENERATING for run in runs))
        (loop,) = loops
        tasks = asyncio.run_coroutine_threadsafe(count_tasks(), loop).result(60)
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
    own_folders: Path,
) -> None:
    service = start_sandbox("--engine", "instant", "--balance", "1000")
    point_at(service)
    manager = make_manager(settings=replace(PATIENT, download_patience_s=60, late_outputs_s=()))
    runs = [submit(manager, f"[hold] {number}") for number in range(24)]
    until(lambda: all(run.snapshot.stage is Stage.GENERATING for run in runs))
    service.set_faults("file:503")
    for run in runs:
        service.release(run.task_id)

    def begun() -> int:
        return len(list(own_folders.glob("wiro_outputs/*/.*.part")))

    until(lambda: begun() == 16 and all(run.snapshot.stage is Stage.FETCHING for run in runs))
    service.set_faults("file:503; Task/Detail:late-outputs=99; socket:late-outputs")
    assert not submit(manager, "nothing").wait(60).outputs, "what has no file to fetch need not wait"
    assert begun() == 16
    service.set_faults("")
    for run in runs:
        assert run.wait(60).path is not None


def test_a_run_writes_to_the_ledger_four_times_and_never_asks_for_its_own_row(manager: Manager) -> None:
    submit(manager, "first").wait(60)
    manager.settings = replace(PATIENT, heartbeat_s=60)
    said: list[str] = []
    manager.ledger.read(lambda connection: connection.set_trace_callback(said.append))
    submit(manager, "second").wait(60)
    manager.ledger.read(lambda connection: connection.set_trace_callback(None))
    parts = "\n".join(said).split("BEGIN IMMEDIATE")
    assert len(parts) == 1 + 4
    asked = [part.rpartition("COMMIT")[2] for part in parts]
    assert sum(text.count("SELECT") for text in asked) <= 3, "the budget, and how long such runs took, twice"
    assert not any("run_id =" in text for text in asked)


def test_twenty_runs_need_no_more_threads_than_one(manager: Manager) -> None:
    before = set(threading.enumerate())
    runs = [submit(manager, str(number)) for number in range(20)]
    for run in runs:
        run.wait(60)
    started = {thread.name.rstrip("0123456789") for thread in set(threading.enumerate()) - before}
    assert started <= {"wiro-io", "wiro-ledger", "asyncio_"}
    workers = min(32, (os.cpu_count() or 1) + 4)
    assert len(set(threading.enumerate()) - before) <= 2 + workers


def test_five_hundred_changes_in_a_moment_are_two_messages_to_a_card(manager: Manager) -> None:
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
        writer = StateWriter(manager.ledger, lambda: replace(QUICK, callbacks_per_s=0.5))
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
    run = submit_request(manager, manager.prepare(WAN, values)).wait(60)
    assert run.outputs[0].poster_path, "without its poster the figure says nothing"
    output = static_output(run)
    shown = json.dumps({"data": output.data, "metadata": dict(output.metadata)})
    grown = len(shown) + len(canonical_json(run.record))
    assert grown <= 30_000
