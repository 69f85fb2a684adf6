"""Finalizes runs: downloads, hashes and measures the files, and writes the record to files, folder and ledger.

Only then is the handle done, so waiters find everything in place. What goes wrong with a file
never loses the run: it succeeded, it was paid, and its output says what the problem is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from wiro_nb.api.answers import Task
from wiro_nb.errors import LedgerError, RunCancelled, RunFailed, WiroError
from wiro_nb.execution.active_run import ActiveRun, LeaseLost, StateWriter, utc_now
from wiro_nb.execution.download import Downloader, measure_output, move_files, private_folder
from wiro_nb.execution.run import Run
from wiro_nb.execution.run_record import save_record
from wiro_nb.files import relative_path
from wiro_nb.ledger.state import LedgerRow, RunOutput, RunState, Snapshot
from wiro_nb.services.connection import Connection

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")
_NOTHING_IS_TRUE_AFTER = timedelta(hours=1)
_MAX_CPU_TASKS = 2
_MAX_UNFINISHED = 16


class Finisher:
    """Finalizes the runs of one service.

    Args:
        writer: Where changes pass.
        connection: The service.
        downloader: Fetches files; one for all runs, so that only a few are fetched at a time.
    """

    def __init__(
        self,
        writer: StateWriter,
        connection: Connection,
        downloader: Downloader,
    ) -> None:
        self._writer = writer
        self._connection = connection
        self._downloader = downloader
        self._cpu_slots = asyncio.Semaphore(_MAX_CPU_TASKS)
        self._unfinished_slots = asyncio.Semaphore(_MAX_UNFINISHED)

    async def finalize(self, active: ActiveRun, task: Task | None) -> None:
        """Writes the end of a task to the run's folder, the ledger and the handle."""
        assert active.tracker is not None
        if task is None:
            await self._end(active, RunState.FAILED, None, _vanished(active))
        elif active.tracker.succeeded:
            self._writer.show(active, active.tracker.snapshot)
            task = await self._with_outputs(active, task)
            # A few at a time: the first are whole early, and a thousand half-finished runs would be so much for
            # the garbage collector to walk through that every thread of the kernel stood still.
            async with self._unfinished_slots if any(output.url for output in task.outputs) else nullcontext():
                with private_folder(_folder_of(active)) as private:
                    outputs = await self._download(active, task, private)
                    await self._end(active, RunState.SUCCEEDED, task, outputs=outputs, private=private)
        elif active.tracker.snapshot.state is RunState.CANCELLED:
            await self._end(active, RunState.CANCELLED, task, _cancelled(active, task))
        else:
            await self._end(active, RunState.FAILED, task, _failed(active, task))

    async def _with_outputs(self, active: ActiveRun, task: Task) -> Task:
        """Reads Detail a few times more while a success lists no files: they can be listed late, and are paid."""
        for pause in self._writer.settings.late_outputs_s:
            if task.outputs:
                break
            await asyncio.sleep(pause)
            try:
                task = await self._connection.read_task(active.snapshot.task_id, active.snapshot.task_token)
            except WiroError as error:
                _log.info("run %s: %s", active.run.short_id, error.message)
        return task

    async def _download(
        self, active: ActiveRun, task: Task, private: Path, *, is_late: bool = False
    ) -> tuple[RunOutput, ...]:
        """Downloads and measures the outputs of a task into a private folder."""

        async def read_again() -> Task:
            return await self._connection.read_task(active.snapshot.task_id, active.snapshot.task_token)

        outputs = await self._downloader.fetch(
            await self._connection.connect(),
            task.outputs,
            private,
            read_again=read_again,
            on_retry=lambda message: self._writer.change(active, message=message),
            is_late=is_late,
        )
        return await self._run_in_thread(_measure_all, outputs, private, _folder_of(active), active.notebook_dir)

    async def _run_in_thread(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Runs CPU-bound work on a worker thread, two at a time over all runs.

        More would not be faster: it would hold up the cell that computes and the ends still to be noticed.
        """
        async with self._cpu_slots:
            return await asyncio.to_thread(call, *arguments)

    async def refresh(self, run: Run, notebook_dir: Path, *, downloads: bool) -> None:
        """Reads Detail again for what an ended run lacks, and writes its record anew when something came.

        Args:
            run: The run.
            notebook_dir: Folder of its notebook.
            downloads: True downloads its files again; one that cannot be had now stays as it is here.

        Raises:
            WiroError: The service cannot be asked, or the ledger not written.
        """
        active = ActiveRun(run, self._connection, notebook_dir)
        before, folder = active.snapshot, _folder_of(active)
        task = await self._connection.read_task(before.task_id, before.task_token)
        with private_folder(folder) as private:
            outputs = before.outputs
            if downloads:
                here = {output.name: output for output in outputs if not output.problem and output.path}
                fetched = await self._download(active, task, private, is_late=True)
                outputs = tuple(
                    here[new.name] if new.problem and new.name in here and (folder / new.name).is_file() else new
                    for new in fetched
                )
            cost_usd = _late_cost(task, before) if before.is_cost_open else before.cost_usd
            if (cost_usd, outputs) == (before.cost_usd, before.outputs):
                self._writer.change(active, message=before.message)
                return
            final = before.with_changes({"outputs": outputs, "cost_usd": cost_usd})
            embed = self._writer.settings.embed_record
            text, stored = await self._run_in_thread(save_record, final, private, folder, task.made_by, embed)

            def write() -> LedgerRow:
                row = self._writer.ledger.amend(active.id, cost_usd=cost_usd)  # takes the write lock
                if row.outputs != before.outputs:
                    return row  # another process was faster
                moved = move_files(private, folder, stored)
                # What was here before may be elsewhere by now: the user moved it.
                moved = tuple(
                    old if old in before.outputs else new for old, new in zip(stored, moved, strict=True)
                )
                message = _problem_line(moved) if row.state is RunState.SUCCEEDED else row.message
                return self._writer.ledger.amend(active.id, outputs=moved, record=text, message=message)

            await self._writer.step(active, write)

    async def _end(
        self,
        active: ActiveRun,
        state: RunState,
        task: Task | None,
        error: WiroError | None = None,
        *,
        outputs: tuple[RunOutput, ...] = (),
        private: Path = Path(),
    ) -> None:
        ledger, folder = self._writer.ledger, _folder_of(active)
        changes = _end_changes(active, state, task, error, outputs)
        try:
            final = active.snapshot.with_changes({"state": state, **changes})
            made_by, embed = task.made_by if task is not None else {}, self._writer.settings.embed_record
            text, stored = await self._run_in_thread(save_record, final, private, folder, made_by, embed)
            changes |= {"record": text, "outputs": stored}
        except Exception:
            # The clip is here and paid; a record that cannot be written must not turn it into a failure.
            _log.exception("the record of run %s could not be written", active.run.short_id)

        def write() -> LedgerRow:
            # Refuses a run that another process ended. Until it is committed no process can end it, so that the
            # files are those that the ledger tells of, however long this process was frozen before.
            row = ledger.finish(active.id, state, **changes)
            moved = move_files(private, folder, row.outputs) if state is RunState.SUCCEEDED else row.outputs
            if moved == row.outputs:
                return row
            return ledger.amend(active.id, outputs=moved, message=_problem_line(moved))

        try:
            await self._writer.end(active, write, error)
        except LedgerError as failure:
            if getattr(failure, "reason", "") == "transition":
                raise LeaseLost from None  # somebody else ended it, by hand or in another process
            raise


def _measure_all(
    outputs: Sequence[RunOutput], private: Path, folder: Path, notebook_dir: Path
) -> tuple[RunOutput, ...]:
    return tuple(
        measure_output(output, private / output.name, relative_path(folder / output.name, notebook_dir))
        for output in outputs
    )


def _folder_of(active: ActiveRun) -> Path:
    return Path(active.snapshot.folder or active.notebook_dir)


def _end_changes(
    active: ActiveRun, state: RunState, task: Task | None, error: WiroError | None, outputs: tuple[RunOutput, ...]
) -> dict[str, Any]:
    """Returns what the end changes of the run's row."""
    assert active.tracker is not None
    seen, submitted = active.tracker.snapshot, active.snapshot.submitted_at
    # As seen here, else as the service says, which counts whole seconds.
    said = (task.finished or task.cancelled) if task is not None else None
    finished = active.ended_at or said or utc_now()
    finished = max(finished, submitted or finished)
    started = max(seen.started_at, submitted) if seen.started_at and submitted else seen.started_at
    return {
        "stage": seen.stage,
        "percent": seen.percent,
        "outputs": outputs,
        "exit_code": task.exit_code if task is not None else None,
        "compute_s": task.compute_s if task is not None else None,
        "cost_usd": _cost_of(task, seen, state) if task is not None else None,
        "started_at": min(started, finished) if started else None,
        "finished_at": finished,
        "message": _message(seen, state, task, error, outputs),
        "error": error.to_dict() if error else None,
    }


def _message(
    seen: Snapshot, state: RunState, task: Task | None, error: WiroError | None, outputs: tuple[RunOutput, ...]
) -> str:
    """Returns the message of an ended run; views add the run's name and state."""
    if error is None:
        return _problem_line(outputs)
    is_told = state is RunState.FAILED and task is not None and seen.message
    return seen.message if is_told else error.message


def _cost_of(task: Task, present: Snapshot, state: RunState) -> Decimal | None:
    """Returns what an ended task cost; None where the service may not have said it yet.

    The charge can arrive after the end, and the value before that is not documented. Free by the rules of
    the service is what fails with an exit code, and what is cancelled in the queue.
    """
    cost_usd = _plain_amount(task.total_cost_usd)
    if cost_usd:
        return cost_usd
    is_free_failure = state is RunState.FAILED and (task.exit_code or "").strip() not in ("", "0")
    never_started = state is RunState.CANCELLED and present.started_at is None and task.started is None
    is_listed_free = cost_usd is not None and (present.is_free or present.estimated_usd == 0)
    return Decimal(0) if is_free_failure or never_started or is_listed_free else None


def _late_cost(task: Task, row: LedgerRow) -> Decimal | None:
    """Returns the cost of a run that ended earlier; a missing charge counts as zero after an hour."""
    cost_usd = _plain_amount(task.total_cost_usd)
    is_old = row.finished_at is not None and utc_now() - row.finished_at > _NOTHING_IS_TRUE_AFTER
    return cost_usd if cost_usd or (cost_usd is not None and is_old) else None


def _describe_billing(cost_usd: Decimal | None) -> str:
    """Returns the sentence about cost in the error of a run without a result."""
    if cost_usd is None:
        return "What it cost is not known yet: a task that was stopped while running may be billed."
    return f"Billed: ${cost_usd}." if cost_usd else "Billed: nothing."


def _plain_amount(amount: Decimal | None) -> Decimal | None:
    """Returns an amount as plain decimal text without trailing zeros or an exponent."""
    return None if amount is None else Decimal(format(amount.normalize(), "f"))


def _problem_line(outputs: tuple[RunOutput, ...]) -> str:
    if not outputs:
        return "the service lists no files for this run"
    problems = [output for output in outputs if output.problem]
    if not problems:
        return ""
    return f"{problems[0].name or 'an output'} could not be fetched: {problems[0].problem}"


def _vanished(active: ActiveRun) -> RunFailed:
    return RunFailed(
        f"the service does not know task {active.snapshot.task_id} of run {active.run.short_id} any more",
        billed="What it cost is unknown: the service has no record of it.",
        hint=f"%wiro rerun {active.run.short_id}",
        run_id=active.id,
        task_id=active.snapshot.task_id,
    )


def _cancelled(active: ActiveRun, task: Task) -> RunCancelled:
    billed = _describe_billing(_cost_of(task, active.snapshot, RunState.CANCELLED))
    return RunCancelled(
        f"run {active.run.short_id} was cancelled", billed=billed, run_id=active.id, task_id=task.id
    )


def _failed(active: ActiveRun, task: Task) -> RunFailed:
    assert active.tracker is not None
    final = active.tracker.snapshot
    return RunFailed(
        f"run {active.run.short_id} failed while {final.stage}: {final.message}",
        hint=f"%wiro show {active.run.short_id}, then %wiro rerun {active.run.short_id}",
        billed=_describe_billing(_cost_of(task, final, RunState.FAILED)),
        run_id=active.id,
        task_id=task.id,
        exit_code=task.exit_code,
        stage=str(final.stage),
        log_tail=list(final.log_tail[-20:]),
    )
