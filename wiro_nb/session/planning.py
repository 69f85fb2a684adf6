"""What is settled before a run is planned: where its clip goes, what it may cost, what it is called."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.errors import NOTHING_SENT, BudgetExceeded, ConfigError, WiroError
from wiro_nb.execution.requests import Origin, notebook_dir_of, plan_row
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.provenance.reading import is_there
from wiro_nb.schema.catalog import find_bundled, free_form_schema
from wiro_nb.schema.values import Prepared

if TYPE_CHECKING:
    from wiro_nb.api.answers import Task
    from wiro_nb.api.pricing.prices import Estimate


def attached_row(task: Task, service: str, base_url: str, origin: Origin, out_dir: str) -> LedgerRow:
    """Returns the row of a run whose task was found at the service."""
    model = task.model or "unknown/unknown"
    try:
        schema = find_bundled(model) or free_form_schema(model)
    except WiroError:
        schema = free_form_schema("unknown/unknown")
    parameters = {
        name: value for name, value in task.parameters.items() if isinstance(value, (str, int, float, list))
    }
    row = plan_row(
        Prepared(schema, parameters, {}, None),
        service=service,
        base_url=base_url,
        origin=origin,
        created=task.created or datetime.now(UTC),
        out_folder=out_folder_of(notebook_dir_of(origin.notebook), out_dir),
        estimated_usd=None,
        parent=None,
    )
    return replace(
        row,
        state=RunState.SUBMITTED,
        task_id=task.id,
        task_token=task.token or None,
        submitted_at=task.created or row.created,
        stage=str(Stage.QUEUED),
    )


def notebook_dir_of_row(row: LedgerRow) -> Path:
    """Returns the folder that a run's output paths start from."""
    if row.notebook or not row.folder:
        return notebook_dir_of(row.notebook)
    # Without a notebook the run was saved under the folder it was asked for in.
    return Path(row.folder).parent.parent


def out_folder_of(home: Path, out_dir: str | Path) -> Path:
    """Returns the folder of all runs' folders, and makes it: better refused now than after paying.

    Raises:
        ConfigError: It cannot be written to.
    """
    folder = Path(out_dir).expanduser()
    folder = folder if folder.is_absolute() else home / folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, ValueError):
        writable = False
    if not writable:
        is_file = is_there(folder) and folder.is_file()
        what = f"{folder.name} is a file" if is_file else f"the folder {folder.name[:80]} cannot be written"
        raise ConfigError(
            f"clips cannot be saved: {what}",
            hint="%config WiroMagics.out_dir = 'FOLDER', a folder you can write to",
            billed=NOTHING_SENT,
        )
    return folder


def forecast_usd(estimate: Estimate) -> Decimal | None:
    """Returns the most that a request is expected to cost, or None when it cannot be told."""
    if not estimate.known:
        return None
    return estimate.low_usd if estimate.high_usd is None else estimate.high_usd


_SHOWN_USD = Decimal("0.0001")


def check_cost(estimate: Estimate, limit: Decimal) -> None:
    """Refuses a request whose forecast is above a limit, or cannot be told.

    Raises:
        BudgetExceeded: So it is.
    """
    cost = forecast_usd(estimate)
    if cost is not None and cost <= limit:
        return
    told = "is unknown" if cost is None else f"is about ${cost.quantize(_SHOWN_USD, ROUND_UP).normalize():f}"
    raise BudgetExceeded(
        f"the price of this run {told}, and at most ${limit:f} was allowed",
        hint="raise the limit, or leave it out",
        budget_usd=str(limit),
        spent_usd="0",
        estimated_usd=None if cost is None else str(cost),
    )
