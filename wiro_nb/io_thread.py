"""The background thread for all network I/O: it owns the asyncio loop on which every coroutine runs.

Magics, widgets and plain Python live on threads that compute, block and get interrupted; a run in
flight must not notice. So every coroutine of the package runs here, and results are handed over as
`concurrent.futures.Future`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from wiro_nb.errors import ConfigError, TimedOut

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)
_TURN_S = _SLICE_S = 0.2
_blocks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, set[object]] = weakref.WeakKeyDictionary()


class IoThread:
    """A daemon thread with an asyncio loop, started at first use.

    Nothing that a callback raises ends the thread, not even `SystemExit`: the loop continues. A process made by
    `fork` inherits this object without its thread; the first use there starts a fresh loop.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._ending = False

    @property
    def is_running(self) -> bool:
        """True while the thread of this process is alive."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """True when the caller is on the I/O thread itself, where blocking would be a deadlock."""
        return threading.current_thread() is self._thread

    def submit(self, work: Coroutine[Any, Any, _Result]) -> concurrent.futures.Future[_Result]:
        """Runs a coroutine on the I/O thread and returns at once with its future.

        Raises:
            ConfigError: The thread was closed.
        """
        try:
            loop = self._ensure_loop()
        except ConfigError:
            work.close()
            raise
        return asyncio.run_coroutine_threadsafe(work, loop)

    def run(self, work: Coroutine[Any, Any, _Result], *, timeout_s: float | None = None) -> _Result:
        """Runs a coroutine on the I/O thread and waits for its result.

        Args:
            work: The coroutine.
            timeout_s: Seconds until the coroutine is cancelled; None waits forever.

        Raises:
            TimedOut: The time is over.
        """
        if self.is_current:
            work.close()
            raise RuntimeError("a blocking call on the I/O thread would wait for itself")
        future = self.submit(work)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            if future.done():
                return future.result()
            future.cancel()
            raise TimedOut(f"no answer within {timeout_s:g} s" if timeout_s else "no answer in time") from None
        except BaseException:
            future.cancel()
            raise

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        """Calls a plain function on the I/O thread soon.

        Raises:
            ConfigError: The thread was closed.
        """
        self._ensure_loop().call_soon_threadsafe(callback, *args)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Cancels what still runs, ends the loop and joins the thread.

        Args:
            timeout_s: Seconds for coroutines to clean up.

        Returns:
            True when the thread ended within the time.
        """
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return True
        if self.is_current:
            raise RuntimeError("the I/O thread cannot close itself")
        drained = asyncio.run_coroutine_threadsafe(_cancel_all(timeout_s), loop)
        try:
            drained.result(timeout_s + 0.5)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            _log.warning("some background work did not end within %.0f s", timeout_s)
        self._ending = True
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout_s)
        return not thread.is_alive()

    def _ensure_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise ConfigError("wiro_nb was closed in this process", hint="%load_ext wiro_nb")
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop,), name="wiro-io", daemon=True
                )
                self._thread.start()
            return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.set_exception_handler(_log_stray)
        try:
            while not self._ending:
                try:
                    loop.run_forever()
                except BaseException:  # asyncio lets SystemExit and KeyboardInterrupt of a callback through
                    _log.exception("a callback tried to end the I/O thread")
        finally:
            asyncio.set_event_loop(None)
            loop.close()


class Completion:
    """An event that threads and asyncio loops can wait for; `clear` resets it."""

    __slots__ = ("_is_set", "_lock", "_wakers")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_set = False
        self._wakers: tuple[Callable[[], None], ...] = ()

    def set(self) -> None:
        """Sets the completion: wakes all waiters, and later waits return at once."""
        with self._lock:
            self._is_set = True
            wakers, self._wakers = self._wakers, ()
        for wake in wakers:
            wake()

    def clear(self) -> None:
        """Resets the completion."""
        with self._lock:
            self._is_set = False

    def wait(self, timeout_s: float | None) -> bool:
        """Waits in this thread while a loop running in it keeps running. False on timeout."""
        if self._is_set:
            return True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._wait_in_thread(timeout_s)
        import nest_asyncio2

        try:
            nest_asyncio2.apply(loop, run_close_loop=True)  # so that `asyncio.run` closes its loops as before
        except ValueError:  # a loop it cannot enter again, e.g. uvloop
            return self._wait_in_thread(timeout_s)
        waiting = loop.create_task(self.wait_async(timeout_s))
        try:
            return bool(loop.run_until_complete(waiting))
        except KeyboardInterrupt:
            waiting.cancel()
            raise

    async def wait_async(self, timeout_s: float | None) -> bool:
        """Waits on the running loop; False on timeout."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(lambda: None if woken.done() else woken.set_result(None))
            except RuntimeError:
                _log.debug("a waiting loop was closed before what it waited for")

        with self._woken_by(wake) as is_waiting:
            if not is_waiting:
                return True
            try:
                with _keep_turning():
                    async with asyncio.timeout(timeout_s):
                        await woken
            except TimeoutError:
                return False
        return True

    def _wait_in_thread(self, timeout_s: float | None) -> bool:
        woken = threading.Event()
        deadline = time.monotonic() + (math.inf if timeout_s is None else timeout_s)
        with self._woken_by(woken.set) as is_waiting:
            # In slices: on Windows a lock does not let an interrupt through.
            while is_waiting and not woken.wait(min(_SLICE_S, max(0.0, deadline - time.monotonic()))):
                if time.monotonic() >= deadline:
                    return False
        return True

    @contextmanager
    def _woken_by(self, wake: Callable[[], None]) -> Iterator[bool]:
        """Calls a function on `set`, if that comes within the block; yields False when it came before."""
        with self._lock:
            is_waiting = not self._is_set
            if is_waiting:
                self._wakers += (wake,)
        try:
            yield is_waiting
        finally:
            with self._lock:
                self._wakers = tuple(waker for waker in self._wakers if waker is not wake)


@contextmanager
def _keep_turning() -> Iterator[None]:
    """Wakes the running loop a few times a second while the block lasts, once for all blocks on it.

    A kernel cancels an interrupted cell from a signal handler, which does not wake a loop that sleeps in its
    selector: without this an interrupt would come through only at the loop's next own event.
    """
    loop, block = asyncio.get_running_loop(), object()
    blocks = _blocks.get(loop)
    if not blocks:
        blocks = _blocks[loop] = set()
        loop.call_later(_TURN_S, _turn, loop, blocks)
    blocks.add(block)
    try:
        yield
    finally:
        blocks.discard(block)


def _turn(loop: asyncio.AbstractEventLoop, blocks: set[object]) -> None:
    if blocks:
        loop.call_later(_TURN_S, _turn, loop, blocks)


async def _cancel_all(timeout_s: float) -> None:
    current = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not current]
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=timeout_s)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    try:
        await asyncio.wait_for(loop.shutdown_default_executor(), timeout_s)
    except TimeoutError:
        _log.warning("a worker thread did not end within %.0f s", timeout_s)
    except (
        RuntimeError
    ) as error:  # it waits in a thread, which Python 3.12 does not start while the interpreter ends
        _log.debug("the worker threads are left to the interpreter: %s", error)


def _log_stray(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Background code never prints into a cell: exceptions of tasks that nothing awaits go to the log.
    _log.error("background work failed: %s", context.get("message"), exc_info=context.get("exception"))
