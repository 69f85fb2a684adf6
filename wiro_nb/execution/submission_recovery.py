"""Finds the task of a run whose answer was lost, by listing the service's tasks. Never sends the run again.

Each Run carries a marker: a callback URL that names the run and never resolves (RFC 2606). The service gives it
back with the task. A task without a marker is adopted only when it can be nobody else's; anything else is left to
the user.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.api.answers import Task
from wiro_nb.errors import SubmitUncertain, WiroError
from wiro_nb.execution.run import Run
from wiro_nb.execution.state_writer import StateWriter, utc_now
from wiro_nb.files import run_folder_name
from wiro_nb.ids import new_run_id
from wiro_nb.ledger.state import LedgerRow, RunState, Stage
from wiro_nb.services.connection import Connection

if TYPE_CHECKING:
    from wiro_nb.api.client import WiroClient

_log = logging.getLogger(__name__)
_MARKER_HOST = "https://wiro-nb.invalid/"
_BESIDE_PARAMETERS = frozenset({"callbackUrl", "projectid"})
"""What a request may hold that the service does not count among the task's parameters."""
_MARGIN = timedelta(minutes=10)
"""How much older than its request a task may seem and still be named as a candidate."""
_OF_THE_REQUEST = (
    *("model", "run_path", "service", "base_url", "account", "schema_sha256", "request_sha256", "request"),
    *("notebook", "scope", "origin", "parent", "estimated_usd", "submitting_at"),
)
"""The fields that two tasks of one request have in common."""
_UNANSWERED = (RunState.SUBMITTING, RunState.UNCERTAIN)
_LIST_LIMIT = 100
_MOST_PAGES = 50
_ASKING = "No answer to Run; looking for the task"


def marker_of(run_id: str) -> str:
    """Returns the callback URL that marks the task of a run."""
    return f"{_MARKER_HOST}runs/{run_id}"


def marked_run(task: Task) -> str | None:
    """Returns the id of the run that a task's marker names; None for a task without one."""
    url = task.callback_url.rstrip("/")
    return url.rpartition("/")[2].upper() if url.lower().startswith(_MARKER_HOST) else None


@dataclass(frozen=True, slots=True)
class _Listed:
    """The service's tasks since a request was sent, asked for at a time of the monotonic clock."""

    begun: float
    sent: datetime
    tasks: list[Task]
    clock_lead: timedelta | None


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
        self._listed = _Listed(-1.0, datetime.max.replace(tzinfo=UTC), [], None)

    async def find_task(self, run: Run, cause: WiroError | None = None) -> Task | None:
        """Returns the task of a run whose answer was lost; None leaves the run uncertain.

        Args:
            run: The run.
            cause: What came in place of an answer, when it came just now.
        """
        writer, short = self._writer, run.short_id
        await writer.step(run, lambda: writer.ledger.mark_uncertain(run.id, _ASKING))
        found: list[Task] | None = None
        mine: Task | None = None
        for pause in writer.settings.uncertain_checks_s:
            await asyncio.sleep(pause)
            try:
                listed = await self._tasks_since(_sent(run.snapshot))
            except WiroError as error:
                mine = None
                writer.change(run, lost_since=run.snapshot.lost_since or utc_now())
                _log.info("run %s: the task list cannot be read yet: %s", short, error.message)
                continue
            found, mine = await writer.ledger_call(partial(self._match, run.snapshot, listed))
            writer.change(run, lost_since=None)
            if mine is not None and marked_run(mine) == run.id:
                break  # without a marker a competing run may show up until the last check
        if mine is not None:
            return mine
        candidates = [task.id for task in found or ()]
        if found is None:
            known, hint = "it cannot be asked at the moment", f"%wiro wait {short}, once it can be reached"
        elif not candidates:
            known = "it lists none so far"
            hint = f"%wiro wait {short} looks again; %wiro attach TASK if it is there, else %wiro forget {short}"
        else:
            known = f"of those it lists {', '.join(candidates)} may be the run's"
            hint = f"%wiro attach {candidates[0]} if that is it, %wiro forget {short} if none is"
        reason = f"{cause.message.rstrip('.')}. Whether" if cause is not None else "whether"
        message = f"{reason} the service has a task of run {short} is unknown; {known}"
        uncertain = SubmitUncertain(message, hint=hint, run_id=run.id, candidates=candidates)
        await writer.end_without_task(run, RunState.UNCERTAIN, uncertain)
        return None

    async def _tasks_since(self, sent: datetime) -> _Listed:
        """Lists the service's tasks since a request; runs that ask at the same time share one list."""
        asked = time.monotonic()
        async with self._listing:
            if self._listed.begun < asked or self._listed.sent > sent:
                self._listed = await self._connection.call(partial(_list_tasks, sent))
            return self._listed

    def _match(self, row: LedgerRow, listed: _Listed) -> tuple[list[Task], Task | None]:
        ledger, request = self._writer.ledger, (row.base_url, row.run_path, row.parameters)
        # The other runs come first: one that gets its answer meanwhile then owns its task below.
        has_competitor = any(
            other.run_id != row.run_id and (other.base_url, other.run_path, other.parameters) == request
            for other in ledger.list(service=row.service, state=_UNANSWERED, limit=None)
        )
        return match_tasks(
            listed.tasks,
            row,
            listed.clock_lead,
            is_free=lambda task: ledger.find_task(row.service, row.base_url, task.id) is None,
            has_competitor=has_competitor,
        )

    async def claim_doubles(self) -> None:
        """Records duplicate or late tasks of a run's request as separate runs.

        They are in the list that was read last, with the marker of a run that has another task, has ended without
        one or was forgotten. A process that starts follows them.
        """
        marked = [(task, run_id) for task in self._listed.tasks if (run_id := marked_run(task)) is not None]
        ledger, service = self._writer.ledger, self._connection.choice

        def claim() -> None:
            for task, run_id in marked:
                owner = ledger.find_task(service.name, service.recorded_url, task.id)
                row = ledger.lookup(run_id) if owner is None else None
                if row is None or row.service != service.name:
                    continue  # it has a run, or is of another machine
                if row.deleted or row.state not in (RunState.PLANNED, *_UNANSWERED):
                    double = ledger.insert_attached(_double_of(row, task))
                    _log.warning(
                        "task %s of run %s's request is run %s now", task.id, row.short_id, double.short_id
                    )

        await self._writer.ledger_call(claim)


async def _list_tasks(sent: datetime, client: WiroClient) -> _Listed:
    begun = time.monotonic()
    tasks: dict[str, Task] = {}
    for _ in range(_MOST_PAGES):
        total, page = await client.task_list(limit=_LIST_LIMIT, start=len(tasks))
        tasks.update((task.id, task) for task in page)
        oldest = min((task.created for task in page if task.created is not None), default=None)
        is_old = oldest is not None and oldest < _earliest(sent, client.clock_lead)
        if not page or len(tasks) >= total or is_old:
            break
    return _Listed(begun, sent, list(tasks.values()), client.clock_lead)


def may_be_of(task: Task, row: LedgerRow, clock_lead: timedelta | None = None) -> bool:
    """Tells whether a task without a marker may be a run's: same model and parameters, and not much older.

    Args:
        task: As the service lists it. One that names no model counts.
        row: The run.
        clock_lead: How far the service's clock is ahead.
    """
    return (
        marked_run(task) is None
        and (task.model is None or task.model.lower() in {row.model.lower(), row.run_path.lower()})
        and (task.created is None or task.created >= _earliest(_sent(row), clock_lead))
        and all(_same(task.parameters.get(name), value) for name, value in _compared(row.parameters).items())
    )


def match_tasks(
    tasks: Sequence[Task],
    row: LedgerRow,
    clock_lead: timedelta | None,
    *,
    is_free: Callable[[Task], bool] = lambda task: True,
    has_competitor: bool = False,
) -> tuple[list[Task], Task | None]:
    """Tells which tasks a run may have made, and which one it certainly made.

    Args:
        tasks: As the service lists them.
        row: The run.
        clock_lead: How far the service's clock is ahead; None when that is unknown.
        is_free: True for a task that belongs to no run yet.
        has_competitor: Another run of the same request looks for its task.

    Returns:
        The free tasks with the run's marker, and the first of them: a proxy may have sent the request twice.
        Where no marker comes back those that `may_be_of` it, and the only one of these that is not older than the
        request, if it has no other parameters and the request no input files: a task does not show which files it
        got. None where none is certain.
    """
    marked = [task for task in tasks if marked_run(task) == row.run_id]
    # A service that gives any marker back would give back this run's, unless the user gave a callback.
    if marked or ("callbackUrl" not in row.parameters and any(marked_run(task) for task in tasks)):
        free = [task for task in marked if is_free(task)]
        return free, min(free, key=lambda task: (len(task.id), task.id), default=None)
    free = [task for task in tasks if may_be_of(task, row, clock_lead) and is_free(task)]
    if has_competitor or clock_lead is None or row.request.get("files"):
        return free, None
    sent = (_sent(row) + clock_lead).replace(microsecond=0)  # tasks have whole seconds
    in_time = [task for task in free if task.created is None or task.created >= sent]
    if len(in_time) != 1 or in_time[0].created is None or in_time[0].model is None:
        return free, None
    given = {name for name, value in _compared(in_time[0].parameters).items() if not _same(None, value)}
    return free, None if given - row.parameters.keys() else in_time[0]


def _double_of(row: LedgerRow, task: Task) -> LedgerRow:
    run_id, created = new_run_id(), utc_now()
    return LedgerRow(
        **{name: getattr(row, name) for name in _OF_THE_REQUEST},
        run_id=run_id,
        state=RunState.SUBMITTED,
        created=created,
        task_id=task.id,
        task_token=task.token or None,
        submitted_at=row.submitting_at,
        stage=Stage.QUEUED,
        message=f"made by the request of run {row.short_id}, which does not have this task",
        folder=str(Path(row.folder).parent / run_folder_name(row.model, run_id, created)) if row.folder else None,
    )


def _sent(row: LedgerRow) -> datetime:
    return row.submitting_at or row.created


def _earliest(sent: datetime, clock_lead: timedelta | None) -> datetime:
    """Returns the time, by the service's clock, from which on tasks are candidates."""
    return sent + (clock_lead or timedelta()) - _MARGIN


def _compared(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in _BESIDE_PARAMETERS}


def _same(theirs: Any, ours: Any) -> bool:
    if theirs is None:
        return ours in (None, "", [])
    mine, others = (
        [str(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        for value in (ours, theirs)
    )
    return mine == others
