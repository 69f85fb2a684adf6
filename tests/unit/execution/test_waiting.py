"""Waiting for a run: from plain threads, from loops, with deadlines, interrupted, and across a close."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.manager_tools import WAN, submit, wait_for_stage
from wiro_nb.errors import RunFailed, StreamLost, TimedOut
from wiro_nb.execution.run import Run, WaitInterrupted
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.session.manager import Manager

DEADLINE_S = 90.0
InALoop = Callable[[str], "subprocess.Popen[str]"]


def close_while_waiting(manager: Manager, run: Run) -> None:
    """Closes a manager while its run is waited for: the waiter hears of it."""

    async def scene() -> None:
        waiting = asyncio.ensure_future(run.wait_async())
        await asyncio.sleep(0)  # one turn of the loop: it waits
        await asyncio.to_thread(manager.close)
        with pytest.raises(StreamLost):
            await asyncio.wait_for(waiting, 60)

    asyncio.run(scene())


@pytest.fixture
def in_a_loop(sandbox: Any, point_at: Any) -> Iterator[InALoop]:
    """Starts scripts that have `manager`: waiting inside a loop patches asyncio in its process for good."""
    point_at(sandbox)
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        head = "import asyncio, time\nfrom wiro_nb.session import get_manager\nmanager = get_manager()\n"
        command = [sys.executable, "-c", head + textwrap.dedent(code)]
        output: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen(command, text=True, **output))
        return started[-1]

    yield start
    for script in started:
        script.kill()
        script.communicate()


def test_a_deadline_ends_the_waiting_and_not_the_run(manager: Manager) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    with pytest.raises(TimedOut) as caught:
        run.wait(0.05)
    assert run.short_id in caught.value.hint
    assert not run.done
    run.cancel()
    run.wait(60)


def test_any_loop_can_await_a_run(manager: Manager) -> None:
    async def together() -> list[Any]:
        return await asyncio.gather(*(submit(manager, f"number {index}") for index in range(3)))

    assert [run.state for run in asyncio.run(together())] == [RunState.SUCCEEDED] * 3


def test_a_cancelled_await_leaves_the_run_alone(manager: Manager, sandbox: Any) -> None:
    run, here = submit(manager, "[hold] a cat"), threading.get_ident()

    async def give_up() -> None:
        waiting = asyncio.ensure_future(run.wait_async())
        # As a kernel cancels an interrupted cell: that wakes no loop which sleeps until its next event.
        signal.signal(signal.SIGUSR1, lambda *_: waiting.cancel())
        threading.Timer(0.05, signal.pthread_kill, (here, signal.SIGUSR1)).start()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waiting, 60)

    began = time.monotonic()
    asyncio.run(give_up())
    assert time.monotonic() - began < 30
    wait_for_stage(run, Stage.GENERATING)
    sandbox.release(run.task_id)
    assert run.wait(60).state is RunState.SUCCEEDED


def test_an_interrupt_stops_the_waiting_at_once_and_the_run_goes_on(manager: Manager, sandbox: Any) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    here, stopped = threading.get_ident(), KeyboardInterrupt()
    for _ in range(20):  # until one comes while it waits: before that it is a plain KeyboardInterrupt
        typist = threading.Timer(0.05, signal.pthread_kill, (here, signal.SIGINT))
        try:
            typist.start()
            run.wait(60)
        except KeyboardInterrupt as error:
            stopped = error
        typist.join()
        if isinstance(stopped, WaitInterrupted):
            break
    assert isinstance(stopped, WaitInterrupted)
    assert run.short_id in str(stopped)
    sandbox.release(run.task_id)
    assert run.wait(60).state is RunState.SUCCEEDED


def test_an_interrupt_inside_a_loop_stops_the_waiting_and_the_run_goes_on(in_a_loop: InALoop) -> None:
    # Not by asyncio.run: it handles interrupts itself, unlike a kernel's loop.
    script = in_a_loop(f"""
        from wiro_nb.session.submission import Batch
        from wiro_nb.execution.run import WaitInterrupted
        from wiro_nb.ledger.state import Stage

        async def cell():
            asyncio.get_running_loop().call_later(0.1, lambda: print("waiting", flush=True))
            run.wait(60)

        run = manager.submit(Batch([manager.prepare({WAN!r}, {{"prompt": "[hold] a cat"}})]))[0].run
        while run.task_id is None or run.snapshot.stage.rank < Stage.GENERATING.rank:
            time.sleep(0.01)
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(cell())
        except WaitInterrupted as stopped:
            print(run.short_id in str(stopped), run.done, flush=True)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        run.cancel()
        print(run.wait(60, check=False).state.value)
    """)
    assert script.stdout is not None
    assert script.stdout.readline().strip() == "waiting"
    script.send_signal(signal.SIGINT)
    assert script.communicate(timeout=DEADLINE_S)[0].split() == ["True", "False", "cancelled"]
    assert script.returncode == 0


def test_failures_raise_unless_told_not_to(manager: Manager) -> None:
    run = submit(manager, "[fail] a cat")
    assert run.wait(60, check=False) is run
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
    run.wait(60)
    assert told


def test_closing_wakes_whoever_waits_and_the_next_session_takes_the_run_up(
    manager: Manager, make_manager: Any, sandbox: Any
) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    close_while_waiting(manager, run)
    later = make_manager()
    (again,) = later.resume()
    assert again.id == run.id
    sandbox.release(run.task_id)
    assert again.wait(60).state is RunState.SUCCEEDED
    assert again.path is not None


def test_closing_wakes_whoever_looks_on_too_and_nobody_waits_in_vain_afterwards(
    manager: Manager, make_manager: Any
) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    other = make_manager()
    seen, late = other.get(run.short_id), Run(other, run.snapshot)
    close_while_waiting(other, seen)
    with pytest.raises(StreamLost):
        late.wait(60)
    run.cancel()
    run.wait(60)


def test_another_process_looks_on_until_the_run_is_over(manager: Manager, make_manager: Any, sandbox: Any) -> None:
    run = submit(manager, "[hold] a cat")
    wait_for_stage(run, Stage.GENERATING)
    other = make_manager()
    seen = other.get(run.short_id)
    other.follow(seen)
    sandbox.release(run.task_id)
    run.wait(60)
    assert seen.wait(60).state is RunState.SUCCEEDED
    assert seen.record == run.record
