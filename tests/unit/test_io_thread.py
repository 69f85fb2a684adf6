"""The I/O thread survives whatever its callbacks raise, and everything that waits on it is woken."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wiro_nb.io_thread import IoThread

ERRORS = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError, asyncio.CancelledError]


@pytest.fixture
def io() -> Iterator[IoThread]:
    thread = IoThread()
    yield thread
    assert thread.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", ERRORS)
def test_work_goes_on_after_a_callback_raised(io: IoThread, error: type[BaseException]) -> None:
    async def wait_for(event: asyncio.Event) -> str:
        await event.wait()
        return "woken"

    def fail() -> None:
        raise error("on purpose")

    async def fail_in_task() -> None:
        fail()

    event = asyncio.Event()
    waiting = io.submit(wait_for(event))
    io.call_soon(fail)
    wanted = concurrent.futures.CancelledError if error is asyncio.CancelledError else error
    with pytest.raises(wanted):
        io.submit(fail_in_task()).result(10)
    io.call_soon(fail)
    io.call_soon(event.set)
    assert waiting.result(10) == "woken"
    assert io.is_running


def test_a_stopped_loop_goes_on(io: IoThread) -> None:
    async def stop() -> None:
        asyncio.get_running_loop().stop()

    io.run(stop(), timeout_s=10)
    assert io.run(asyncio.sleep(0, "on"), timeout_s=10) == "on"


def test_a_process_ends_after_a_callback_tried_to_end_it() -> None:
    code = (
        "from wiro_nb.io_thread import IoThread\n"
        "import asyncio\n"
        "io = IoThread()\n"
        "io.call_soon(exit, 3)\n"
        "print(io.run(asyncio.sleep(0, 'still here'), timeout_s=10), io.close())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "still here True\n")
