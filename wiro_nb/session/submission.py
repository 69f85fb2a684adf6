"""Writes runs into the ledger: planned for requests that are submitted together, or attached to a task.

A task that is attached becomes the run that owns it, that of an uncertain run, or a new one.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wiro_nb.api.answers import Task
from wiro_nb.errors import NOTHING_SENT, ConfigError, InputError, NotAccessible, WiroError
from wiro_nb.execution.requests import Origin, plan_row
from wiro_nb.execution.run import Run
from wiro_nb.execution.submission_recovery import marked_run, may_be_of
from wiro_nb.files import is_there
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.recovery import remember_folder
from wiro_nb.ledger.reuse import Reuse
from wiro_nb.ledger.state import LedgerRow, RunState, Stage
from wiro_nb.schema import find_bundled, free_form_schema
from wiro_nb.schema.coerce import WireValue
from wiro_nb.schema.values import Prepared
from wiro_nb.services.connection import Connection
from wiro_nb.services.selection import ServiceChoice
from wiro_nb.session.lineage import find_parent, list_notebook_runs

_LONGEST_ID = 200


def out_folder_of(home: Path, out_dir: str | Path) -> Path:
    """Returns the folder of all runs' folders; raises ConfigError for "~name" of nobody on this machine."""
    try:
        return home / Path(out_dir).expanduser()
    except RuntimeError:
        raise _not_writable(
            f"the folder {str(out_dir)[:80]} cannot be written: its user is not known here"
        ) from None


def make_folder(folder: Path, scope: str | None) -> None:
    """Creates the folder of all runs' folders and lists it for recovery, so that a failure comes before paying.

    Raises:
        ConfigError: It cannot be written to.
    """
    try:
        str(folder).encode()  # the ledger cannot keep a name that is not UTF-8
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, ValueError):
        writable = False
    if not writable:
        is_file = is_there(folder) and folder.is_file()
        name = folder.name[:80]
        raise _not_writable(f"{name} is a file" if is_file else f"the folder {name} cannot be written")
    remember_folder(folder, scope or "")


def _not_writable(problem: str) -> ConfigError:
    return ConfigError(
        f"clips cannot be saved: {problem}",
        hint="%config WiroMagics.out_dir = 'FOLDER', a folder you can write to",
        billed=NOTHING_SENT,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one model that are submitted together.

    Attributes:
        requests: From `Manager.prepare`.
        origin: Where they are asked for.
        parents: By request `run_id` and `output` of the run it continues, or None; empty for none.
        sweep_id: The sweep they belong to, or None. Then a request's place is its point.
        fresh: True plans every run anew, whatever was made before.
        is_rerun: True takes only an earlier run of the same parent: the run that is made again is no answer.
        exclude: Ids of runs that are no answer here.
    """

    requests: Sequence[Prepared]
    origin: Origin = field(default_factory=Origin)
    parents: Sequence[Mapping[str, Any] | None] = ()
    sweep_id: str | None = None
    fresh: bool = False
    is_rerun: bool = False
    exclude: frozenset[str] = frozenset()

    def plan(self, ledger: Ledger, choice: ServiceChoice, out_folder: Path) -> list[LedgerRow]:
        """Returns an intent to run for each request; none is written.

        Args:
            ledger: Knows which runs made the input files.
            choice: The service.
            out_folder: Folder of all runs' folders.
        """
        return [
            plan_row(
                request,
                choice,
                origin=self.origin,
                created=datetime.now(UTC),
                out_folder=out_folder,
                parent=find_parent(ledger, request, self.parents[place] if self.parents else None),
                sweep_id=self.sweep_id,
                sweep_point=None if self.sweep_id is None else place,
            )
            for place, request in enumerate(self.requests)
        ]

    def reuse(self, used: Sequence[str] = ()) -> Reuse | None:
        """Returns which earlier runs may answer, without those of `used`; None when none may."""
        if self.fresh:
            return None
        also = list_notebook_runs(self.origin.notebook, self.requests[0].schema.slug) if self.requests else ()
        return Reuse(also, self.exclude.union(used), self.is_rerun)


@dataclass(frozen=True, slots=True)
class Submission:
    """The result of submitting a request: `is_new` is False for a reused run."""

    run: Run
    is_new: bool

    @property
    def notice(self) -> str:
        """Why no new run was sent, and what to type for one; "" for a new run."""
        if self.is_new:
            return ""
        text = {
            RunState.SUCCEEDED: "Already made as run {}. No charge. To run it again: --fresh",
            RunState.UNCERTAIN: "Sent before as run {} without an answer: the service is asked again. "
            "--fresh sends another one and may pay twice.",
        }.get(self.run.state, "Already under way as run {}. To start another one: --fresh")
        return text.format(self.run.short_id)


# Tasks that exist already --------------------------------------------------------------------


async def read_task(connection: Connection, typed: object) -> Task:
    """Reads a task that the user named, by its id as text or a whole number.

    Raises:
        InputError: What was typed is no id of a task.
        NotAccessible: The service has no such task for this account.
    """
    try:
        task_id = typed.strip() if isinstance(typed, str) else str(operator.index(typed))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        task_id = ""
    if not (task_id.isascii() and task_id.isdigit()) or len(task_id) > _LONGEST_ID:
        raise InputError("a task is named by its id, digits as the service shows them", hint="%wiro runs")
    try:
        return await connection.read_task(task_id, None)
    except NotAccessible as error:
        if error.code is None:
            raise  # a proxy's answer, not the service's own
        raise NotAccessible(
            f"{connection.name} knows no task {task_id!r} of this account",
            hint="%wiro runs has the runs known here",
            details=[error.message],
            code=error.code,
        ) from None


def attach_task(ledger: Ledger, task: Task, choice: ServiceChoice, origin: Origin, out_dir: str) -> LedgerRow:
    """Returns the run of a task, written into the ledger where it was not there.

    Args:
        ledger: Of this user.
        task: As the service describes it.
        choice: The service.
        origin: Where it was asked for.
        out_dir: Folder of all runs' folders, relative to the notebook's, or absolute.
    """
    owner = ledger.find_task(choice.name, choice.recorded_url, task.id)
    lost = _find_uncertain(ledger, task, choice.name) if owner is None else None
    if lost is not None:
        row = ledger.mark_submitted(lost.run_id, task.id, task.token, lost.submitting_at)
    elif (
        owner is not None
        and owner.state in (RunState.FAILED, RunState.CANCELLED)
        and (not task.is_terminal or task.is_success)
    ):
        # Given up here (the service did not know it for a while, or called it cancelled), and alive there.
        row = ledger.reopen(owner.run_id, "the service knows its task after all")
    else:
        row = ledger.insert_attached(_row_of_task(task, choice, origin, out_dir))
    if row.cancel_at is not None and not row.state.is_final:
        row = ledger.amend(row.run_id, cancel_at=None)  # to attach a task is to want it
    return row


def _find_uncertain(ledger: Ledger, task: Task, service: str) -> LedgerRow | None:
    uncertain = [row for row in ledger.unfinished(service=service) if row.state is RunState.UNCERTAIN]
    if (marked := marked_run(task)) is not None:
        return next((row for row in uncertain if row.run_id == marked), None)
    for row in uncertain:
        named = task.id in ((row.error or {}).get("fields") or {}).get("candidates", ())
        if named or may_be_of(task, row):
            return row
    return None


def _row_of_task(task: Task, choice: ServiceChoice, origin: Origin, out_dir: str) -> LedgerRow:
    model = task.model or "unknown/unknown"
    try:
        schema = find_bundled(model) or free_form_schema(model)
    except WiroError:
        schema = free_form_schema("unknown/unknown")
    parameters: dict[str, WireValue] = {
        name: value for name, value in task.parameters.items() if isinstance(value, (str, int, float, list, dict))
    }
    out_folder = out_folder_of(origin.folder, out_dir)
    make_folder(out_folder, origin.scope)
    row = plan_row(
        Prepared(schema, parameters, {}, None),
        choice,
        origin=origin,
        created=task.created or datetime.now(UTC),
        out_folder=out_folder,
    )
    return replace(
        row,
        state=RunState.SUBMITTED,
        task_id=task.id,
        task_token=task.token or None,
        submitted_at=task.created or row.created,
        stage=Stage.QUEUED,
    )
