"""Converts a request to a ledger row and back, so that a planned run survives a restart."""

from __future__ import annotations

import contextlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wiro_nb.config import ANY_NOTEBOOK, FREE_SERVICES
from wiro_nb.errors import ConfigError, WiroError
from wiro_nb.execution.inputs import describe_files
from wiro_nb.files import input_path, run_folder_name
from wiro_nb.ids import new_run_id
from wiro_nb.ledger.state import LedgerRow, RunState
from wiro_nb.schema import request_sha256
from wiro_nb.schema.files import FileInput
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared, Seed

FREE_BASE_URL = "http://127.0.0.1/v1"
"""Address of a free service in records and ledger; its real port changes with each start."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run was asked for.

    Attributes:
        notebook: Path of the notebook as the host gives it, or None.
        cell_id, source_sha256: Of the cell, or None.
        kind: "magic", "form", "python" or "cli".
        parameters: What a runner such as papermill put into the notebook, by name, or None.
    """

    notebook: str | None = None
    cell_id: str | None = None
    source_sha256: str | None = None
    kind: str = "python"
    parameters: Mapping[str, Any] | None = None


def notebook_dir_of(notebook: str | None) -> Path:
    """Returns the folder beside which clips are saved: the notebook's, else the working folder.

    Raises:
        ConfigError: The present folder was deleted, or its name is not UTF-8.
    """
    if notebook:
        with contextlib.suppress(RuntimeError):  # "~name" of nobody on this machine
            folder = Path(notebook).expanduser().parent
            if folder.is_absolute() and folder.is_dir():
                return folder
    try:
        present = Path.cwd()
    except OSError:
        raise ConfigError("the present folder was deleted", hint="cd to a folder that exists") from None
    try:
        str(present).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            "the name of the present folder is not UTF-8, so no record can name its files",
            hint="rename the folder, or cd to another one",
        ) from None
    return present


def scope_of(notebook: str | None, notebook_dir: Path) -> str:
    """Returns the scope within which equal requests are reused: the notebook, else the working folder."""
    return notebook or str(notebook_dir / ANY_NOTEBOOK)


def plan_row(
    prepared: Prepared,
    *,
    service: str,
    base_url: str,
    origin: Origin,
    created: datetime,
    out_folder: Path,
    scope: str,
    account: str | None = None,
    parent: Mapping[str, Any] | None = None,
    sweep_id: str | None = None,
    sweep_point: int | None = None,
) -> LedgerRow:
    """Returns the intent to run, ready for the ledger; see `LedgerRow` for the fields."""
    schema, run_id = prepared.schema, new_run_id()
    seed = prepared.seed
    return LedgerRow(
        run_id=run_id,
        state=RunState.PLANNED,
        model=schema.slug,
        run_path=schema.run_path,
        service=service,
        base_url=FREE_BASE_URL if service in FREE_SERVICES else base_url,
        created=created,
        request_sha256=request_sha256(prepared),
        request={
            "parameters": dict(prepared.parameters),
            "files": describe_files(prepared),
            "seed": {"parameter": seed.parameter, "value": seed.value, "pinned": seed.pinned} if seed else None,
            **({"cell_parameters": dict(origin.parameters)} if origin.parameters else {}),
        },
        notebook=origin.notebook,
        cell_id=origin.cell_id,
        source_sha256=origin.source_sha256,
        origin=origin.kind,
        schema_sha256=schema.sha256,
        folder=str(out_folder / run_folder_name(schema.slug, run_id, created)),
        parent=dict(parent) if parent else None,
        sweep_id=sweep_id,
        sweep_point=sweep_point,
        scope=scope,
        account=account,
    )


def prepared_from_row(row: LedgerRow, schema: ModelSchema, notebook_dir: Path) -> Prepared:
    """Rebuilds a request from the ledger; its files are the copies beside the notebook.

    Raises:
        WiroError: A copy is gone, so the request cannot be sent as it was meant.
    """
    files: dict[str, tuple[FileInput, ...]] = {}
    for name, items in (row.request.get("files") or {}).items():
        files[name] = tuple(_file_from(name, item, notebook_dir, row) for item in items)
    seed = row.request.get("seed")
    return Prepared(
        schema,
        dict(row.parameters),
        files,
        Seed(str(seed["parameter"]), str(seed["value"]), bool(seed["pinned"])) if seed else None,
    )


def _file_from(parameter: str, item: Mapping[str, Any], notebook_dir: Path, row: LedgerRow) -> FileInput:
    name, sha256 = str(item.get("name") or "file"), item.get("sha256")
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if not sha256:
        return FileInput(parameter, name, None, item.get("url"), content_type, None, None)
    path = input_path(notebook_dir, str(sha256), name)
    if not path.is_file():
        raise WiroError(
            f"the input file {name} of run {row.short_id} is gone, so it was not sent",
            billed="Nothing was sent and nothing was billed.",
            hint=f"%wiro rerun {row.short_id} {parameter}=PATH",
        )
    return FileInput(parameter, name, path, None, content_type, path.stat().st_size, str(sha256))
