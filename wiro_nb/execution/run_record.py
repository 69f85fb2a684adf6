"""Builds the record of a run from its snapshot, and writes it into its clips and its sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from wiro_nb.json_values import dump_json
from wiro_nb.ledger.state import LedgerRow, RunOutput, RunState, Snapshot
from wiro_nb.provenance.content_credentials import describe_credentials, embed_and_sign
from wiro_nb.provenance.embed import Embedded, hash_media
from wiro_nb.provenance.record import build_record, write_sidecar

_RECORDED = (
    *("name", "content_type", "size_bytes", "sha256", "path", "url"),
    *("width", "height", "duration_s", "fps", "frames"),
)


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
    recorded = [recorded_output(output, home) for output, home in zip(final.outputs, homes, strict=True)]
    record = build_run_record(final, recorded, made_by)
    if final.state is not RunState.SUCCEEDED:
        return dump_json(record), final.outputs
    private.mkdir(parents=True, exist_ok=True)
    notes: dict[str, str] = {}
    stored = tuple(
        _embed(home / output.name, output, record, notes, embed)
        for output, home in zip(final.outputs, homes, strict=True)
    )
    write_sidecar(private, record, notes={"record_not_in": notes} if notes else None)
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
        kept["media_sha256"] = _hash_media(folder / output.name)
    path = kept["path"]
    # A path that leaves the notebook's folder says something about this machine, and nothing to others.
    if path is not None and (path.startswith("..") or Path(path).is_absolute()):
        kept["path"] = None
    return kept


def _hash_media(path: Path) -> str | None:
    """Returns the hash of the content that embedding does not change; it identifies the clip afterwards."""
    try:
        return hash_media(path)
    except OSError:
        return None
