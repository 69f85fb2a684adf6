"""Takes a task of the service into the ledger: as the run that owns it, as an uncertain run's, or as a new run."""

from __future__ import annotations

import operator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from wiro_nb.errors import InputError, NotAccessible, WiroError
from wiro_nb.execution.request_rows import FREE_BASE_URL, Origin, notebook_dir_of, plan_row, scope_of
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.schema import find_bundled, free_form_schema
from wiro_nb.schema.coerce import WireValue
from wiro_nb.schema.values import Prepared
from wiro_nb.services.connection import Connection
from wiro_nb.services.selection import ServiceChoice
from wiro_nb.session.submission import make_folder, out_folder_of

if TYPE_CHECKING:
    from wiro_nb.api.answers import Task

_LONGEST_ID = 200


def read_task_id(typed: object) -> str:
    """Returns the id of a task as text; whole numbers are taken too.

    Raises:
        InputError: It is none.
    """
    try:
        text = typed.strip() if isinstance(typed, str) else str(operator.index(typed))  # type: ignore[arg-type]
        text.encode()
    except (TypeError, ValueError):
        text = ""
    if not text or len(text) > _LONGEST_ID:
        raise InputError("a task is named by its id, digits as the service shows them", hint="%wiro runs")
    return text


async def read_task(connection: Connection, task_id: str) -> Task:
    """Reads a task that the user named.

    Raises:
        NotAccessible: The service has no such task for this account.
    """
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
    base_url = FREE_BASE_URL if choice.is_free else choice.base_url
    owner = ledger.find_task(choice.name, base_url, task.id)
    lost = _find_uncertain(ledger, task, choice.name) if owner is None else None
    if lost is not None:
        row = ledger.mark_submitted(lost.run_id, task.id, task.token, lost.submitting_at)
    elif owner is not None and owner.state is RunState.FAILED and (not task.is_terminal or task.is_success):
        # Given up here (the service did not know it for a while), and alive there.
        row = ledger.repair(owner.run_id, RunState.SUBMITTED, "the service knows its task after all")
    else:
        row = ledger.insert_attached(_row_of_task(task, choice, base_url, origin, out_dir))
    if row.cancel_at is not None and not row.state.is_final:
        row = ledger.amend(row.run_id, cancel_at=None)  # to attach a task is to want it
    return row


def _find_uncertain(ledger: Ledger, task: Task, service: str) -> LedgerRow | None:
    from wiro_nb.execution.submission_recovery import marked_run, may_be_of

    uncertain = [row for row in ledger.unfinished(service=service) if row.state is RunState.UNCERTAIN]
    if (marked := marked_run(task)) is not None:
        return next((row for row in uncertain if row.run_id == marked), None)
    for row in uncertain:
        named = task.id in ((row.error or {}).get("fields") or {}).get("candidates", ())
        if named or may_be_of(task, row):
            return row
    return None


def _row_of_task(task: Task, choice: ServiceChoice, base_url: str, origin: Origin, out_dir: str) -> LedgerRow:
    model = task.model or "unknown/unknown"
    try:
        schema = find_bundled(model) or free_form_schema(model)
    except WiroError:
        schema = free_form_schema("unknown/unknown")
    parameters: dict[str, WireValue] = {
        name: value for name, value in task.parameters.items() if isinstance(value, (str, int, float, list, dict))
    }
    notebook_dir = notebook_dir_of(origin.notebook)
    out_folder = out_folder_of(notebook_dir, out_dir)
    scope = scope_of(origin.notebook, notebook_dir)
    make_folder(out_folder, scope)
    row = plan_row(
        Prepared(schema, parameters, {}, None),
        service=choice.name,
        base_url=base_url,
        origin=origin,
        created=task.created or datetime.now(UTC),
        out_folder=out_folder,
        scope=scope,
        account=choice.account,
    )
    return replace(
        row,
        state=RunState.SUBMITTED,
        task_id=task.id,
        task_token=task.token or None,
        submitted_at=task.created or row.created,
        stage=str(Stage.QUEUED),
    )
