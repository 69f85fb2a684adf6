"""Completes ended runs whose charge or files arrive late. On the I/O thread only."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from wiro_nb.config import Settings
from wiro_nb.errors import DownloadFailed, WiroError, error_from_dict
from wiro_nb.execution.finalize import Finisher
from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import RunState

_log = logging.getLogger(__name__)


class EndedRuns:
    """Completes runs that have ended.

    Args:
        finisher_of: Gives what finalizes the runs of a service.
        settings: Gives the present settings.
    """

    def __init__(self, finisher_of: Callable[[str], Finisher], settings: Callable[[], Settings]) -> None:
        self._finisher_of = finisher_of
        self._settings = settings
        self._tasks: set[asyncio.Task[None]] = set()
        self._completing: set[str] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._closed = False

    async def fetch(self, run: Run, notebook_dir: Path) -> None:
        """Downloads the files of a run that succeeded once more.

        Raises:
            DownloadFailed: It did not succeed, or a file cannot be had.
        """
        if run.state is not RunState.SUCCEEDED:
            raise DownloadFailed(
                f"run {run.short_id} has no files: it is {run.status}",
                hint=f"%wiro show {run.short_id}",
                run_id=run.id,
            )
        await self._refresh(run, notebook_dir, downloads_all=True)
        problems = [output for output in run.outputs if output.problem]
        if problems:
            raise DownloadFailed(
                f"{problems[0].name} of run {run.short_id} could not be fetched: {problems[0].problem}",
                hint=f"%wiro download {run.short_id}",
                billed="Downloading again costs nothing; the service keeps files for a limited time only.",
                url=problems[0].url,
                reason=problems[0].problem,
                run_id=run.id,
            )

    def complete_later(self, run: Run, notebook_dir: Path) -> None:
        """Starts asking for missing cost and files a few times, from a while after the run's end."""
        self._begin(run, notebook_dir, self._settings().late_checks_s)

    async def complete(self, runs: Sequence[tuple[Run, Path]], *, once: bool = False) -> None:
        """Starts asking at once for missing cost and files of runs, each given with its notebook's folder.

        Args:
            runs: They may be waited for: each is done again afterwards.
            once: True asks once; else some more times.
        """
        for run, notebook_dir in runs:
            if once or run.id not in self._completing:
                self._begin(run, notebook_dir, (0.0,) if once else (0.0, *self._settings().late_checks_s))

    async def close(self) -> None:
        """Cancels all requests and wakes the waiters."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, run: Run, notebook_dir: Path, pauses_s: Sequence[float]) -> None:
        if self._closed:
            run._complete(error_from_dict(run.snapshot.error))
            return
        task = asyncio.create_task(self._complete(run, notebook_dir, pauses_s))
        self._tasks.add(task)

        def ended(_: object) -> None:
            self._tasks.discard(task)
            if not run.done:  # its files were waited for
                run._complete(error_from_dict(run.snapshot.error))

        task.add_done_callback(ended)  # not in the task: one that is cancelled before it began wakes nobody

    async def _complete(self, run: Run, notebook_dir: Path, pauses_s: Sequence[float]) -> None:
        self._completing.add(run.id)
        try:
            for pause in pauses_s:
                await asyncio.sleep(pause)
                try:
                    if await self._refresh(run, notebook_dir):
                        return
                except WiroError as error:
                    _log.info("run %s is not complete yet: %s", run.short_id, error.message)
        finally:
            self._completing.discard(run.id)

    async def _refresh(self, run: Run, notebook_dir: Path, *, downloads_all: bool = False) -> bool:
        """Asks the service for a run's missing cost and files; True when it is complete."""
        async with self._locks[run.id]:
            if downloads_all or run.snapshot.is_cost_open or run.snapshot.lacks_downloads:
                downloads = downloads_all or run.snapshot.lacks_downloads
                await self._finisher_of(run.snapshot.service).refresh(run, notebook_dir, downloads=downloads)
            return not (run.snapshot.is_cost_open or run.snapshot.lacks_downloads)
