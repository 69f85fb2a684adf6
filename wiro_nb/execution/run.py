"""The handle of a run: reads its state and files, waits for it, cancels it."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from wiro_nb.config import FREE_SERVICES
from wiro_nb.display_registry import call, present
from wiro_nb.errors import RunCancelled, TimedOut, WiroError, error_from_dict
from wiro_nb.io_thread import Completion
from wiro_nb.ledger.state import LedgerRow, RunOutput, RunState, Snapshot, Stage

_log = logging.getLogger(__name__)
FRAME_OF, FRAME_INDEX = "wiro_run_id", "wiro_frame"
"""Keys in the `info` of a picture that `Run.frame` gave: the run it comes from, its index as given."""


class RunController(Protocol):
    """The methods of the manager that a handle calls."""

    def follow(self, run: Run) -> None:
        """Keeps the handle up to date; returns at once."""

    def cancel(self, run: Run) -> None:
        """Asks for the end of a run; returns at once."""

    def fetch(self, run: Run) -> None:
        """Downloads a run's files again; returns when done."""

    def frame_png(self, run: Run, index: int) -> bytes:
        """Returns one picture of a run's clip as PNG."""

    def is_io_thread(self) -> bool:
        """True on the thread that must never block."""


class WaitInterrupted(KeyboardInterrupt):
    """The user stopped waiting; the run continues.

    A kind of KeyboardInterrupt, so that a loop of cells ends as with any interrupt; IPython shows its one line.
    """

    def __init__(self, short_id: str) -> None:
        self.short_id = short_id
        super().__init__(f"stopped waiting; run {short_id} continues. next: %wiro wait {short_id}")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Run:
    """The handle of one run, created by the manager. Safe to use from any thread.

    `run.wait()`, `await run` and `run.on_change(...)` follow it; `run.path` is its first file.
    """

    def __init__(self, controller: RunController, row: LedgerRow) -> None:
        self._controller = controller
        self._lock = threading.Lock()
        self._snapshot = Snapshot.of(row)
        self._error: WiroError | None = None
        self._done = False
        self._completion = Completion()
        # A tuple, made anew: a thousand handles at rest are then little for the garbage collector to walk through.
        self._callbacks: tuple[tuple[Callable[[Snapshot], None]], ...] = ()
        self._notified_at = 0.0
        self._notify_timer: asyncio.TimerHandle | None = None
        if row.state.is_final or (row.state is RunState.UNCERTAIN and row.error):
            self._complete(error_from_dict(row.error))

    # What it is ------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id (ULID)."""
        return self._snapshot.run_id

    @property
    def short_id(self) -> str:
        """The last five letters of the id, lower case."""
        return self._snapshot.short_id

    @property
    def model(self) -> str:
        """The model's slug."""
        return self._snapshot.model

    @property
    def snapshot(self) -> Snapshot:
        """The run at this moment; immutable. It holds the task token: not to be displayed as a whole."""
        return self._snapshot

    @property
    def state(self) -> RunState:
        """The ledger's state."""
        return self._snapshot.state

    @property
    def status(self) -> str:
        """One word for people: "waiting", "generating", "succeeded" ..."""
        snapshot = self._snapshot
        submitted = snapshot.state in (RunState.SUBMITTED, RunState.SUBMITTING, RunState.PLANNED)
        return str(snapshot.stage if submitted else snapshot.state)

    @property
    def progress(self) -> float | None:
        """Percent, 0 to 100, or None when unknown."""
        return self._snapshot.percent

    @property
    def done(self) -> bool:
        """True when nothing changes any more without a call by the user."""
        return self._done

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as sent, files excluded."""
        return dict(self._snapshot.parameters)

    @property
    def files(self) -> dict[str, list[dict[str, Any]]]:
        """The input files by parameter: name, sha256, size_bytes, url."""
        return {name: [dict(item) for item in items] for name, items in self._snapshot.files.items()}

    @property
    def outputs(self) -> tuple[RunOutput, ...]:
        """The files made."""
        return self._snapshot.outputs

    @property
    def folder(self) -> Path | None:
        """Folder of the run's files on this machine, or None."""
        return Path(self._snapshot.folder) if self._snapshot.folder else None

    @property
    def path(self) -> Path | None:
        """The first file on this machine, or None while there is none."""
        return next(iter(self.paths), None)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files on this machine."""
        return tuple(filter(None, map(self._snapshot.find_file, self.outputs)))

    @property
    def lacks_files(self) -> bool:
        """True when a file that the run made is not on this machine: never saved, or gone since."""
        return len(self.paths) < sum(bool(output.path or output.problem) for output in self.outputs)

    @property
    def cost_usd(self) -> Decimal | None:
        """What the service billed, or None until it is known."""
        return self._snapshot.cost_usd

    @property
    def estimate(self) -> Decimal | None:
        """The forecast in USD, or None when unknown."""
        return self._snapshot.estimated_usd

    @property
    def record(self) -> dict[str, Any] | None:
        """The hashed record, or None until the end."""
        return self._snapshot.load_record()

    @property
    def error(self) -> WiroError | None:
        """Why there is no result, or None."""
        return self._error

    @property
    def task_id(self) -> str | None:
        """The service's id, or None while not submitted."""
        return self._snapshot.task_id

    @property
    def created(self) -> datetime:
        """When the run was asked for (UTC)."""
        return self._snapshot.created

    @property
    def log(self) -> list[str]:
        """The latest log lines (at most 200)."""
        return list(self._snapshot.log_tail)

    # Waiting ---------------------------------------------------------------------------------

    def wait(self, timeout_s: float | None = None, *, check: bool = True) -> Run:
        """Waits for the end and returns the run itself.

        A loop that runs in this thread (a kernel's) keeps running meanwhile. An interrupt stops
        the waiting, never the run. Files whose download failed are asked for again.

        Args:
            timeout_s: Seconds to wait; None waits to the end.
            check: True raises when the run failed or its submission is uncertain. A cancelled run is
                returned: somebody wanted it so.

        Raises:
            TimedOut: The time is over; the run continues.
            WaitInterrupted: The user stopped waiting; runs continue. A kind of KeyboardInterrupt.
            WiroError: `run.error`, with `check`.
        """
        if self._controller.is_io_thread():
            raise RuntimeError("a callback cannot wait for a run: it would stop the run itself")
        self._resume()
        try:
            in_time = self._completion.wait(timeout_s) or self.done
        except KeyboardInterrupt:
            raise WaitInterrupted(self.short_id) from None
        return self._result(in_time, timeout_s, check)

    def __await__(self) -> Generator[Any, None, Run]:
        """Waits on any asyncio loop; raises as `wait` does."""
        return self.wait_async().__await__()

    async def wait_async(self, timeout_s: float | None = None, *, check: bool = True) -> Run:
        """Waits as `wait` does, for callers inside a coroutine."""
        self._resume()
        try:
            in_time = await self._completion.wait_async(timeout_s) or self.done
        except asyncio.CancelledError as error:
            # An interrupted cell is cancelled. The error stays what it is, for timeouts look at its exact kind.
            interrupted = WaitInterrupted(self.short_id)
            error.args = interrupted.args
            vars(error)["_render_traceback_"] = interrupted._render_traceback_
            raise
        return self._result(in_time, timeout_s, check)

    def _resume(self) -> None:
        """Follows the run where that may bring news: the end, or files whose download failed."""
        unfollowed = self.state in (RunState.SUBMITTED, RunState.PLANNED)
        if not self.done or unfollowed or self._snapshot.lacks_downloads:
            self._controller.follow(self)

    def _result(self, in_time: bool, timeout_s: float | None, check: bool) -> Run:
        if not in_time:
            raise TimedOut(
                f"run {self.short_id} is not done after {timeout_s:g} s ({self.status}); it continues",
                hint=f"%wiro wait {self.short_id}",
                billed="",
                run_id=self.id,
            )
        if check and self._error is not None and not isinstance(self._error, RunCancelled):
            raise self._error
        return self

    # Acting ----------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Asks for the end of the run and returns at once; `wait` returns its end."""
        self._controller.cancel(self)

    def download(self) -> Run:
        """Downloads the run's files again (after a failed download, or when they were deleted).

        Raises:
            DownloadFailed: The service does not have them any more, or cannot be reached.
        """
        self._controller.fetch(self)
        return self

    def frame(self, index: int = -1) -> Any:
        """Returns one picture of the run's clip as a PIL image; it can be an input of the next run.

        Args:
            index: From 0, or from the end: -1 is the last.

        Raises:
            DownloadFailed: There is no file here.
            MissingExtra: PyAV is not installed.
        """
        data = self.frame_png(index)
        from PIL import Image

        picture = Image.open(io.BytesIO(data))
        picture.info[FRAME_OF], picture.info[FRAME_INDEX] = self.id, index
        return picture

    def frame_png(self, index: int = -1) -> bytes:
        """Returns what `frame` returns, as the bytes of a PNG; the ledger remembers where it is from."""
        return self._controller.frame_png(self, index)

    def extend(self, inputs: Mapping[str, Any] | None = None, /, **options: Any) -> Run:
        """Makes a run that continues from a frame of this run's clip, and returns it; see `wiro_nb.extend`.

        For example `clip.extend(prompt="the storm is over")`.
        """
        result: Run = call("extend", self, inputs, **options)
        return result

    def on_change(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Calls back with the snapshot when the run changes, at most about ten times a second.

        Args:
            callback: Called on the I/O thread; must not block. What it raises goes to the log.

        Returns:
            A function that ends the calls.
        """
        subscription = (callback,)
        with self._lock:
            self._callbacks += (subscription,)
        if not self.done:
            self._controller.follow(self)

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks = tuple(other for other in self._callbacks if other is not subscription)

        return unsubscribe

    def show(self) -> None:
        """Shows the run in the notebook: a live card, or the result."""
        present("run", self)

    def __repr__(self) -> str:
        parts = [f"<Run {self.short_id} {self.model}: {self.status}"]
        if not self.done and self.progress is not None:
            parts.append(f" {self.progress:.0f}%")
        if self.path is not None:
            parts.append(f", {self.path.name}")
        if self.cost_usd is not None:
            parts.append(f", {FREE_SERVICES.get(self._snapshot.service) or f'{self.cost_usd} USD'}")
        return "".join(parts) + ">"

    def _ipython_display_(self) -> None:
        present("run", self, is_value=True)

    # For driver and manager; listeners are called on the I/O thread ---------------------------

    def _show(self, snapshot: Snapshot, pause_s: float = 0.0) -> None:
        """Takes a newer snapshot and calls the listeners, `pause_s` after the last time at the earliest."""
        before, self._snapshot = self._snapshot, snapshot
        if snapshot is before or not self._callbacks:
            return
        since = time.monotonic() - self._notified_at
        is_known = Stage.FETCHING is snapshot.stage is not before.stage
        if snapshot.state is not before.state or is_known or since >= pause_s:
            self._notify()
        elif self._notify_timer is None:
            self._notify_timer = asyncio.get_running_loop().call_later(pause_s - since, self._notify)

    def _notify(self) -> None:
        if self._notify_timer is not None:
            self._notify_timer.cancel()
        self._notify_timer, self._notified_at = None, time.monotonic()
        for (callback,) in self._callbacks:
            try:
                callback(self._snapshot)
            except BaseException:  # also SystemExit: it would end the run's own task
                _log.exception("a change callback of run %s failed", self.short_id)

    def _take_row(self, row: LedgerRow) -> bool:
        """Takes what another process wrote; True when the run is over.

        A row that was read before the end never takes the end back: only `_refresh` may.
        """
        snapshot = self._snapshot.with_row(row)
        if row.state.is_final:
            self._end(snapshot, error_from_dict(row.error))
        elif not self._snapshot.state.is_final and snapshot != self._snapshot:
            self._show(snapshot)
        return row.state.is_final

    def _end(self, snapshot: Snapshot, error: WiroError | None) -> None:
        """Marks the run as done: calls the listeners, then wakes the waiters."""
        self._snapshot, self._error, self._done = snapshot, error, True
        self._notify()
        self._completion.set()

    def _complete(self, error: WiroError | None) -> None:
        """Marks the run as done and wakes the waiters."""
        self._error, self._done = error, True
        self._completion.set()

    def _refresh(self, row: LedgerRow) -> None:
        """Takes what the ledger says now of a run that this process does not drive; another one may have."""
        if (row.state, row.error) != (self._snapshot.state, self._snapshot.error):
            self._error = error_from_dict(row.error)
        self._snapshot = self._snapshot.with_row(row)

    def _reopen(self) -> None:
        """Reopens a run that may continue: an uncertain one, or one whose files are missing."""
        self._error, self._done = None, False
        self._completion.clear()
