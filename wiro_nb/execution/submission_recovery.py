"""Finding the task of a run whose answer was lost: the service is asked, nothing is sent again.

A run adopts a task only when no other run can own it; anything else is left to the person.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from wiro_nb.api.answers import Task
from wiro_nb.errors import SubmitUncertain, WiroError
from wiro_nb.execution.active_run import ActiveRun, StateWriter, utc_now
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.ledger.state import RunState
from wiro_nb.services.connection import Connection

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient

_log = logging.getLogger(__name__)
_CLOCK_SKEW = timedelta(seconds=120)
_LIST_LIMIT = 100
_MOST_PAGES = 50
_ASKING = "the answer was lost: asking the service for the task"


@dataclass(frozen=True, slots=True)
class _Finding:
    """Tasks that a lost submission may have made, and the one it certainly made, or None."""

    candidates: list[Task]
    mine: Task | None


@dataclass(frozen=True, slots=True)
class _Listed:
    """The service's tasks since a moment, asked for at a time of the monotonic clock."""

    begun: float
    since: datetime
    tasks: list[Task]


class SubmissionRecovery:
    """Finds tasks of one service whose answers were lost.

    Args:
        writer: Takes the changes.
        connection: The service.
    """

    def __init__(self, writer: StateWriter, connection: Connection) -> None:
        self._writer = writer
        self._connection = connection
        self._listing = asyncio.Lock()
        self._listed = _Listed(-1.0, datetime.max.replace(tzinfo=UTC), [])

    async def find_task(self, active: ActiveRun) -> Task | None:
        """Returns the task of a run whose answer was lost; None leaves the run uncertain."""
        await self._writer.step(active, lambda: self._writer.ledger.mark_uncertain(active.id, _ASKING))
        self._writer.change(active, state=RunState.UNCERTAIN, message=_ASKING)
        candidates: list[Task] | None = None
        for pause in self._writer.settings.uncertain_checks_s:
            await asyncio.sleep(pause)
            finding = await self._search(active)
            if finding is not None:
                candidates = finding.candidates
                if finding.mine is not None:
                    return finding.mine
        await self._leave_uncertain(active, candidates)
        return None

    async def _search(self, active: ActiveRun) -> _Finding | None:
        """Asks the service which tasks may be this run's; None while it cannot be asked."""
        try:
            tasks = await self._tasks_since(_began(active.row) - _CLOCK_SKEW)
        except WiroError as error:
            self._writer.change(active, lost_since=active.snapshot.lost_since or utc_now())
            _log.info("run %s: the task list cannot be read yet: %s", active.run.short_id, error.message)
            return None
        # The other runs come first: one that gets its answer meanwhile then owns its task below.
        competing_runs = await self._writer.ledger_call(lambda: self._competing_runs(active.row))
        fitting = match_tasks(
            tasks,
            names={active.row.model, active.row.run_path},
            parameters=active.row.parameters,
            since=_began(active.row),
        )
        free = [task for task in fitting if not await self._is_owned(active, task)]
        self._writer.change(active, lost_since=None)
        return _Finding(free, choose_task(free, active.row, competing_runs))

    async def _tasks_since(self, since: datetime) -> list[Task]:
        """Lists the service's tasks back to a moment; runs that ask at the same time share one list."""
        asked = time.monotonic()
        async with self._listing:
            if self._listed.begun < asked or self._listed.since > since:
                begun = time.monotonic()
                self._listed = _Listed(begun, since, await self._list_tasks(since))
            return self._listed.tasks

    async def _list_tasks(self, since: datetime) -> list[Task]:
        tasks: list[Task] = []
        for _ in range(_MOST_PAGES):
            page_of = partial(_list_page, start=len(tasks))
            total, page = await self._connection.call(page_of)
            tasks += page
            oldest = min((task.created for task in page if task.created is not None), default=None)
            if not page or len(tasks) >= total or (oldest is not None and oldest < since):
                break
        return list({task.id: task for task in tasks}.values())

    def _competing_runs(self, row: LedgerRow) -> list[LedgerRow]:
        """Returns the other runs of the same request whose task is not known either."""
        return [
            other
            for other in self._writer.ledger.unfinished(service=row.service)
            if other.run_id != row.run_id
            and other.state in (RunState.SUBMITTING, RunState.UNCERTAIN)
            and (other.base_url, other.run_path) == (row.base_url, row.run_path)
            and other.parameters == row.parameters
        ]

    async def _is_owned(self, active: ActiveRun, task: Task) -> bool:
        ledger = self._writer.ledger
        # By the row's address: the sandbox's own is another one each time it starts.
        row = await self._writer.ledger_call(
            lambda: ledger.find_task(active.row.service, active.row.base_url, task.id)
        )
        return row is not None and row.run_id != active.id

    async def _leave_uncertain(self, active: ActiveRun, found: Sequence[Task] | None) -> None:
        short = active.run.short_id
        candidates = [task.id for task in found or ()]
        if found is None:
            known, hint = (
                "the service cannot be asked at the moment",
                f"%wiro wait {short}, once it can be reached",
            )
        elif not candidates:
            known = "the service lists no such task: it most likely never got there"
            hint = f"%wiro attach TASK if you find it there, else %wiro forget {short}"
        else:
            known = f"the service lists {len(candidates)} tasks that fit: {', '.join(candidates)}"
            hint = f"%wiro attach {candidates[0]} if that is it, %wiro forget {short} if none is"
        error = SubmitUncertain(
            f"the answer to run {short} was lost; {known}", hint=hint, run_id=active.id, candidates=candidates
        )
        await self._writer.end_without_task(active, RunState.UNCERTAIN, error)


async def _list_page(client: WiroClient, start: int) -> tuple[int, tuple[Task, ...]]:
    return await client.task_list(limit=_LIST_LIMIT, start=start)


def match_tasks(
    tasks: Sequence[Task], *, names: Collection[str], parameters: Mapping[str, Any], since: datetime
) -> list[Task]:
    """Finds the tasks that a lost submission may have made.

    Args:
        tasks: As the service lists them.
        names: Slug and run path of the model.
        parameters: As sent.
        since: When the submission began; two minutes are allowed for clocks that differ.

    Returns:
        Tasks of this model with these parameters since then. A task that names no model counts.
    """
    wanted = {name.lower() for name in names}
    return [
        task
        for task in tasks
        if (task.model is None or task.model.lower() in wanted)
        and (task.created is None or task.created >= since - _CLOCK_SKEW)
        and all(_same(task.parameters.get(name), value) for name, value in parameters.items())
    ]


def choose_task(candidates: Sequence[Task], row: LedgerRow, competing_runs: Sequence[LedgerRow]) -> Task | None:
    """Chooses the task of a run among those that fit; None when the choice is ambiguous.

    Args:
        candidates: Tasks that fit and that no run owns.
        row: The run.
        competing_runs: Runs of the same request whose task is not known either.

    Returns:
        The only one; or, when there are as many tasks as runs that look for one, its own in their order: the
        requests are the same, so it only matters that no two take the same task. None as well while a other's
        answer may still come.
    """
    if any(other.state is RunState.SUBMITTING for other in competing_runs):
        return None
    waiting = sorted([row.run_id, *(other.run_id for other in competing_runs)])
    if len(waiting) != len(candidates):
        return None
    in_order = sorted(candidates, key=lambda task: (len(task.id), task.id))
    return in_order[waiting.index(row.run_id)]


def _began(row: LedgerRow) -> datetime:
    return row.submitting_at or row.created


def _same(theirs: Any, ours: Any) -> bool:
    if theirs is None:
        return ours in (None, "", [])
    if isinstance(ours, (list, tuple)) or isinstance(theirs, (list, tuple)):
        return [str(item) for item in _listed(theirs)] == [str(item) for item in _listed(ours)]
    return str(theirs) == str(ours)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
