"""Computes the end of a run: its cost, error and row; builds its record and writes it into clips and sidecar."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.api.answers import Task
from wiro_nb.api.pricing import as_plain
from wiro_nb.errors import RunCancelled, RunFailed, WiroError
from wiro_nb.execution.state_writer import utc_now
from wiro_nb.execution.tracker import TaskEnd
from wiro_nb.files import reason_of
from wiro_nb.json_values import dump_json
from wiro_nb.ledger.state import LedgerRow, RunOutput, RunState, Snapshot, Stage
from wiro_nb.provenance.content_credentials import describe_credentials, embed_and_sign
from wiro_nb.provenance.embed import Embedded, hash_media
from wiro_nb.provenance.record import SIDECAR_NAME, build_record, record_schema, write_sidecar

_log = logging.getLogger(__name__)
_NOTHING_IS_TRUE_AFTER = timedelta(hours=1)
_RECORDED = (
    *("name", "content_type", "size_bytes", "sha256", "path", "url"),
    *("width", "height", "duration_s", "fps", "frames"),
)


def error_of(row: Snapshot, end: TaskEnd) -> WiroError | None:
    """Returns why a run has no result; None for a success."""
    run = f"run {row.short_id}"
    if end.is_unknown:
        return RunFailed(
            f"the service does not know task {row.task_id} of {run} any more",
            billed="What it cost is unknown: the service has no record of it.",
            hint=f"%wiro rerun {row.short_id}",
            run_id=row.run_id,
            task_id=row.task_id,
        )
    if end.state is RunState.SUCCEEDED:
        return None
    cost_usd = _cost_of(row, end)
    billed = "What it cost is not known yet: a task that was stopped while running may be billed."
    if cost_usd is not None:
        billed = f"Billed: ${cost_usd}." if cost_usd else "Billed: nothing."
    if end.state is RunState.CANCELLED:
        return RunCancelled(f"{run} was cancelled", billed=billed, run_id=row.run_id, task_id=end.task.id)
    return RunFailed(
        f"{run} failed while {end.stage}: {end.message}",
        hint=f"%wiro show {row.short_id}, then %wiro rerun {row.short_id}",
        billed=billed,
        run_id=row.run_id,
        task_id=end.task.id,
        exit_code=end.task.exit_code,
        stage=str(end.stage),
        log_tail=list(row.log_tail[-20:]),
    )


def end_changes(
    row: Snapshot, end: TaskEnd, error: WiroError | None, outputs: tuple[RunOutput, ...]
) -> dict[str, Any]:
    """Returns what the end changes of the run's row; `error` is that of `error_of`."""
    task, submitted, started = end.task, row.submitted_at, row.started_at
    # As seen here, else as the service says, which counts whole seconds.
    finished = end.seen_at or task.finished or task.cancelled or utc_now()
    finished = max(finished, submitted or finished)
    started = max(started, submitted) if started and submitted else started
    return {
        "stage": end.stage,
        "percent": row.percent,
        "outputs": outputs,
        "exit_code": task.exit_code,
        "compute_s": task.compute_s,
        "cost_usd": _cost_of(row, end),
        "started_at": min(started, finished) if started else None,
        "finished_at": finished,
        # Views add the run's name and state.
        "message": end.message or error.message if error else describe_problem(outputs),
        "error": error.to_dict() if error else None,
    }


def _cost_of(row: LedgerRow, end: TaskEnd) -> Decimal | None:
    """Returns what an ended task cost; None where the service may not have said it yet.

    The charge can arrive after the end, and the value before that is not documented. Free by the rules of
    the service is what fails with an exit code, and what is cancelled in the queue.
    """
    cost_usd, task = _plain_amount(end.task.total_cost_usd), end.task
    if cost_usd:
        return cost_usd
    is_free_failure = end.state is RunState.FAILED and (task.exit_code or "").strip() not in ("", "0")
    is_queued = end.stage.rank <= Stage.QUEUED.rank and row.started_at is None
    never_started = end.state is RunState.CANCELLED and is_queued and (task.assigned or task.started) is None
    is_listed_free = cost_usd is not None and (row.is_free or row.estimated_usd == 0)
    return Decimal(0) if is_free_failure or never_started or is_listed_free else None


def late_cost(task: Task, row: LedgerRow) -> Decimal | None:
    """Returns the cost of a run that ended earlier; a missing charge counts as zero after an hour."""
    cost_usd = _plain_amount(task.total_cost_usd)
    is_old = row.finished_at is not None and utc_now() - row.finished_at > _NOTHING_IS_TRUE_AFTER
    return cost_usd if cost_usd or (cost_usd is not None and is_old) else None


def _plain_amount(amount: Decimal | None) -> Decimal | None:
    """Returns an amount without trailing zeros or an exponent."""
    return None if amount is None else Decimal(as_plain(amount))


def describe_problem(outputs: tuple[RunOutput, ...]) -> str:
    """Returns what is wrong with the files of a success, in one line; "" when they are all here."""
    if not outputs:
        return "the service lists no files for this run"
    problem = next((output for output in outputs if output.problem), None)
    return f"{problem.name or 'an output'} could not be fetched: {problem.problem}" if problem is not None else ""


def save_record(
    final: Snapshot, private: Path, folder: Path, made_by: Mapping[str, Any], embed: bool
) -> tuple[str, tuple[RunOutput, ...]]:
    """Builds the record of a run and, for a success, writes it into clips and sidecar. Blocks.

    Args:
        final: The run as it ended.
        private: Where new files are, and where the sidecar is written.
        folder: Where the run's other files are.
        made_by: As in `build_run_record`.
        embed: True writes the record into the clips as well.

    Returns:
        The record's text, and the outputs as stored.
    """
    homes = [private if (private / output.name).is_file() else folder for output in final.outputs]
    record = build_run_record(final, list(map(recorded_output, final.outputs, homes)), made_by)
    if final.state is not RunState.SUCCEEDED:
        return dump_json(record), final.outputs
    notes: dict[str, str] = {}
    stored = tuple(
        _embed(home / output.name, output, record, notes, embed)
        for output, home in zip(final.outputs, homes, strict=True)
    )
    try:
        private.mkdir(parents=True, exist_ok=True)
        write_sidecar(private, record, notes={"record_not_in": notes} if notes else None)
    except OSError as error:  # the ledger still takes it: its disk may be another one
        _log.warning("run %s has no %s: %s", final.short_id, SIDECAR_NAME, reason_of(error))
    return dump_json(record), stored


def _embed(path: Path, output: RunOutput, record: dict[str, Any], notes: dict[str, str], embed: bool) -> RunOutput:
    if not output.path or output.problem or output.stored_sha256:
        return output  # a clip that has its record is left alone: a kill must not part it from the ledger
    embedded = embed_and_sign(path, record) if embed else Embedded("switched off", None)
    if embedded.problem:
        notes[output.name] = embedded.problem
    credentials = describe_credentials(path)
    words = [
        f"not signed: {embedded.unsigned}" if embedded.unsigned else "",
        credentials.short if credentials is not None else "",
    ]
    return replace(output, stored_sha256=embedded.sha256, credentials="; ".join(filter(None, words)))


def build_run_record(
    run: LedgerRow, outputs: list[dict[str, Any]], made_by: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Builds the record of a run.

    `made_by` says how a service on this machine made the outputs; other services say nothing.
    """
    cell: dict[str, Any] = {"id": run.cell_id, "source_sha256": run.source_sha256}
    if given := run.request.get("cell_parameters"):
        cell["parameters"] = given
    times = {"submitted": run.submitted_at, "started": run.started_at, "finished": run.finished_at}
    return build_record(
        run_id=run.run_id,
        model={"slug": run.model, "run_path": run.run_path, "schema_sha256": run.schema_sha256},
        service={"name": run.service, "base_url": run.base_url},
        parameters=run.parameters,
        files=run.files,
        seed=run.seed,
        task_id=run.task_id,
        status=str(run.state),
        exit_code=run.exit_code,
        outputs=outputs,
        price={"estimated_usd": run.estimated_usd, "cost_usd": run.cost_usd},
        times={"created": run.created, **times},
        elapsed_s=None if run.wall_s is None else round(run.wall_s, 3),
        parent=run.parent,
        cell=cell if any(cell.values()) else None,
        **({"made_by": made_by} if made_by else {}),
    )


def recorded_output(output: RunOutput, folder: Path) -> dict[str, Any]:
    """Returns an output as records keep it; `folder` holds its file."""
    values = asdict(output)
    kept = {name: values[name] for name in _RECORDED}
    if output.path and not output.problem:
        kept["media_sha256"] = hash_media(folder / output.name)
    # A path that leaves the notebook's folder says something about this machine, and nothing to others; one that
    # another system reads in another way ("a:b/clip.mp4") is not recorded either.
    rule = record_schema()["$defs"]["output"]["properties"]["path"]["pattern"]
    if kept["path"] is not None and re.search(rule, kept["path"]) is None:
        kept["path"] = None
    return kept
