"""Waiting for a run: from plain threads, from loops, with deadlines, interrupted, and across a close."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest

from tests.manager_tools import submit, wait_for_stage
from wiro_nb.errors import RunFailed, StreamLost, TimedOut
from wiro_nb.runs.manager import Manager
from wiro_nb.runs.run import Run, WaitInterrupted
from wiro_nb.runs.snapshot import RunState, Stage


def test_a_deadline_ends_the_waiting_and_not_the_run(manager: Manager) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    with pytest.raises(TimedOut) as caught:
        run.wait(0.05)
    assert run.short_id in caught.value.hint
    assert not run.done
    run.cancel()
    run.wait(20)


def test_a_loop_of_the_caller_keeps_ticking_while_it_waits(manager: Manager) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def cell() -> None:
        ticker = asyncio.create_task(tick())
        submit(manager, "a cat").wait(20)
        ticker.cancel()

    asyncio.run(cell())
    assert ticks >= 3


def test_any_loop_can_await_a_run(manager: Manager) -> None:
    async def together() -> list[Any]:
        return await asyncio.gather(*(submit(manager, f"number {index}") for index in range(3)))

    assert [run.state for run in asyncio.run(together())] == [RunState.SUCCEEDED] * 3


def test_a_cancelled_await_leaves_the_run_alone(manager: Manager) -> None:
    run = submit(manager)

    async def give_up() -> None:
        waiting = asyncio.ensure_future(run.wait_async())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(give_up())
    assert run.wait(20).state is RunState.SUCCEEDED


@pytest.mark.parametrize("inside_a_loop", [False, True])
def test_an_interrupt_stops_the_waiting_at_once_and_the_run_goes_on(
    manager: Manager, sandbox: Any, inside_a_loop: bool
) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    threading.Timer(0.1, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)).start()

    wait = (lambda: wait_on_a_bare_loop(run)) if inside_a_loop else (lambda: run.wait(20))
    with pytest.raises(WaitInterrupted, match=run.short_id):
        wait()
    sandbox.release(run.task_id)
    assert run.wait(20).state is RunState.SUCCEEDED


def wait_on_a_bare_loop(run: Run) -> None:
    """Waits inside a coroutine. Not by asyncio.run: it handles interrupts itself, unlike a kernel's loop."""

    async def cell() -> None:
        run.wait(20)

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(cell())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_failures_raise_unless_told_not_to(manager: Manager) -> None:
    run = submit(manager, "[fail] a cat")
    assert run.wait(20, check=False) is run
    with pytest.raises(RunFailed):
        run.wait()
    with pytest.raises(RunFailed):
        asyncio.run(run.wait_async())


def test_a_callback_that_waits_is_told_so_instead_of_hanging(manager: Manager) -> None:
    run = submit(manager, "[hold] a cat")
    told: list[str] = []

    def wait_inside(_: object) -> None:
        try:
            run.wait(1)
        except RuntimeError as error:
            told.append(str(error))

    run.on_change(wait_inside)
    run.cancel()
    run.wait(20)
    assert told


def test_closing_wakes_whoever_waits_and_the_next_session_takes_the_run_up(
    manager: Manager, make_manager: Any, sandbox: Any
) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            run.wait(20)
        except StreamLost as error:
            caught.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    manager.close()
    waiter.join(20)
    assert caught

    later = make_manager()
    (again,) = later.resume()
    assert again.id == run.id
    sandbox.release(run.task_id)
    assert again.wait(20).state is RunState.SUCCEEDED
    assert again.path is not None


def test_another_process_looks_on_until_the_run_is_over(manager: Manager, make_manager: Any, sandbox: Any) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    other = make_manager()
    seen = other.get(run.short_id)
    other.follow(seen)
    sandbox.release(run.task_id)
    run.wait(20)
    assert seen.wait(20).state is RunState.SUCCEEDED
    assert seen.record == run.record
