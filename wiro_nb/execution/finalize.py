"""Finalizes runs: downloads, hashes and measures the files, and writes the record to files, folder and ledger.

Only then is the handle done, so waiters find everything in place. What goes wrong with a file
never loses the run: it succeeded, it was paid, and its output says what the problem is. A charge or a file that
arrives later completes the run.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from wiro_nb.api.answers import Task
from wiro_nb.errors import DownloadFailed, WiroError, error_from_dict
from wiro_nb.execution.download import Downloader, measure_output, move_files, private_folder
from wiro_nb.execution.requests import notebook_dir_of_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.run_record import describe_problem, end_changes, error_of, late_cost, save_record
from wiro_nb.execution.state_writer import StateWriter
from wiro_nb.execution.tracker import TaskEnd
from wiro_nb.files import relative_path
from wiro_nb.ledger.state import LedgerRow, RunOutput, RunState
from wiro_nb.services.connection import Connection

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_MAX_CPU_TASKS = 2
_MAX_UNFINISHED = 16


class Finisher:
    """Finalizes runs, and completes those whose charge or files arrive late. On the I/O thread only.

    Args:
        writer: Where changes pass.
        connection_for: Gives the connection of a service by name; raises MissingCredentials and the like.
    """

    def __init__(self, writer: StateWriter, connection_for: Callable[[str], Connection]) -> None:
        self._writer = writer
        self._connection_for = connection_for
        self._downloader = Downloader(lambda: writer.settings)
        self._cpu_slots = asyncio.Semaphore(_MAX_CPU_TASKS)
        self._unfinished_slots = asyncio.Semaphore(_MAX_UNFINISHED)
        self._late: dict[asyncio.Task[None], str] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def finalize(self, run: Run, end: TaskEnd) -> None:
        """Writes the end of a task to the run's folder, the ledger and the handle."""
        if end.state is not RunState.SUCCEEDED:
            await self._end(run, end)
            return
        task = end.task
        # A few at a time: the first are whole early, and a thousand half-finished runs would be so much for
        # the garbage collector to walk through that every thread of the kernel stood still.
        async with self._unfinished_slots if any(output.url for output in task.outputs) else nullcontext():
            with private_folder(_folder_of(run)) as private:
                outputs = await self._download(run, task, private)
                await self._end(run, end, outputs, private)

    async def _read_task(self, run: Run) -> Task:
        row = run.snapshot
        return await self._connection_for(row.service).read_task(row.task_id, row.task_token)

    async def _download(
        self, run: Run, task: Task, private: Path, here: Mapping[str, RunOutput] | None = None
    ) -> tuple[RunOutput, ...]:
        """Downloads and measures the outputs of a task into a private folder; `here` as in `Downloader.fetch`."""
        outputs = await self._downloader.fetch(
            await self._connection_for(run.snapshot.service).connect(),
            task.outputs,
            private,
            read_again=lambda: self._read_task(run),
            on_retry=lambda message: self._writer.change(run, message=message),
            here=here,
        )
        return await self._run_in_thread(_measure_all, outputs, private, run.snapshot)

    async def _run_in_thread(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Runs CPU-bound work on a worker thread, two at a time over all runs.

        More would not be faster: it would hold up the cell that computes and the ends still to be noticed.
        """
        async with self._cpu_slots:
            return await asyncio.to_thread(call, *arguments)

    async def _end(
        self, run: Run, end: TaskEnd, outputs: tuple[RunOutput, ...] = (), private: Path = Path()
    ) -> None:
        ledger, folder = self._writer.ledger, _folder_of(run)
        error = error_of(run.snapshot, end)
        changes = end_changes(run.snapshot, end, error, outputs)
        try:
            final = run.snapshot.with_changes({"state": end.state, **changes})
            embed = self._writer.settings.embed_record
            text, stored = await self._run_in_thread(save_record, final, private, folder, end.task.made_by, embed)
            changes |= {"record": text, "outputs": stored}
        except Exception:
            # The clip is here and paid; a record that cannot be written must not turn it into a failure.
            _log.exception("the record of run %s could not be written", run.short_id)

        def write() -> LedgerRow:
            # Refuses a run that another process ended. Until it is committed no process can end it, so that the
            # files are those that the ledger tells of, however long this process was frozen before.
            row = ledger.finish(run.id, end.state, **changes)
            moved = move_files(private, folder, row.outputs) if end.state is RunState.SUCCEEDED else row.outputs
            if moved == row.outputs:
                return row
            return ledger.amend(run.id, outputs=moved, message=describe_problem(moved))

        await self._writer.end(run, write, error)

    # Late charges and files ------------------------------------------------------------------

    def complete(self, run: Run, pauses_s: Sequence[float] = (0.0,)) -> None:
        """Starts asking for the cost and files that an ended run lacks, after each pause until it lacks nothing.

        A run that is waited for (it is not done) is done again afterwards; another one is asked about once at a
        time.
        """

        def ended(task: asyncio.Task[None]) -> None:
            del self._late[task]
            if not run.done:  # its files were waited for
                run._complete(error_from_dict(run.snapshot.error))

        if not run.done or run.id not in self._late.values():
            task = asyncio.create_task(self._complete(run, pauses_s))
            self._late[task] = run.id
            task.add_done_callback(ended)  # not in the task: one that is cancelled before it began wakes nobody

    async def fetch(self, run: Run) -> None:
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
        await self._refresh(run, downloads_all=True)
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

    async def close(self) -> None:
        """Cancels all late requests and wakes the waiters."""
        tasks = list(self._late)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _complete(self, run: Run, pauses_s: Sequence[float]) -> None:
        for pause in pauses_s:
            await asyncio.sleep(pause)
            try:
                if await self._refresh(run):
                    return
            except WiroError as error:
                _log.info("run %s is not complete yet: %s", run.short_id, error.message)

    async def _refresh(self, run: Run, *, downloads_all: bool = False) -> bool:
        """Asks the service for what an ended run lacks; True when it lacks nothing now.

        `downloads_all` downloads also the files that are here again.

        Raises:
            WiroError: The service cannot be asked, or the ledger not written.
        """
        async with self._locks[run.id]:
            if downloads_all or run.snapshot.lacks_downloads or run.snapshot.is_cost_open:
                await self._ask_again(run, downloads_all)
            return not (run.snapshot.is_cost_open or run.snapshot.lacks_downloads)

    async def _ask_again(self, run: Run, downloads_all: bool) -> None:
        """Reads Detail again, and writes the run's record anew when something came.

        Files that are not here are downloaded, with `downloads_all` the others too; one of these that cannot be
        had now stays as it is here.
        """
        before, folder, ledger = run.snapshot, _folder_of(run), self._writer.ledger
        task = await self._read_task(run)
        with private_folder(folder) as private:
            outputs = before.outputs
            if downloads_all or before.lacks_downloads:
                present = [output for output in outputs if output.path and not output.problem]
                here = {output.name: output for output in present if (folder / output.name).is_file()}
                fetched = await self._download(run, task, private, {} if downloads_all else here)
                outputs = tuple(here[new.name] if new.problem and new.name in here else new for new in fetched)
            cost_usd = late_cost(task, before) if before.is_cost_open else before.cost_usd
            if (cost_usd, outputs) == (before.cost_usd, before.outputs):
                self._writer.change(run, message=before.message)
                return
            final = before.with_changes({"outputs": outputs, "cost_usd": cost_usd})
            embed = self._writer.settings.embed_record
            text, stored = await self._run_in_thread(save_record, final, private, folder, task.made_by, embed)

            def write() -> LedgerRow:
                row = ledger.amend(run.id, cost_usd=cost_usd)  # takes the write lock
                if row.outputs != before.outputs:
                    return row  # another process was faster
                moved = move_files(private, folder, stored)
                # What was here before may be elsewhere by now: the user moved it.
                moved = tuple(
                    old if old in before.outputs else new for old, new in zip(stored, moved, strict=True)
                )
                message = describe_problem(moved) if row.state is RunState.SUCCEEDED else row.message
                return ledger.amend(run.id, outputs=moved, record=text, message=message)

            await self._writer.step(run, write)


def _measure_all(outputs: Sequence[RunOutput], private: Path, row: LedgerRow) -> tuple[RunOutput, ...]:
    folder, notebook_dir = Path(row.folder or notebook_dir_of_row(row)), notebook_dir_of_row(row)
    return tuple(
        measure_output(output, private / output.name, relative_path(folder / output.name, notebook_dir))
        if (private / output.name).is_file()
        else output
        for output in outputs
    )


def _folder_of(run: Run) -> Path:
    return Path(run.snapshot.folder or notebook_dir_of_row(run.snapshot))
