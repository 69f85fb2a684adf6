"""Verify with what this machine knows: the ledger's records, its files, and every secret that must not be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wiro_nb.config import data_dir
from wiro_nb.errors import UnknownRun, WiroError
from wiro_nb.files import hash_file
from wiro_nb.ledger.rows import LedgerRow
from wiro_nb.ledger.state import RunOutput
from wiro_nb.reproduce.verify import Finding, verify_paths
from wiro_nb.services.credentials import CLOUD, find_credentials, named_services
from wiro_nb.session.manager import Manager


def verify_everything(manager: Manager, paths: list[Path], *, ledger: bool = False) -> list[Finding]:
    """Checks paths against the ledger, and the ledger itself where it is asked for.

    Args:
        manager: Its ledger is read; no service is asked.
        paths: Notebooks, run folders, clips.
        ledger: True checks the ledger's file and every output it knows as well.
    """

    def read_record(run_id: str) -> dict[str, Any] | None:
        try:
            row = manager.ledger.get(run_id)
        except UnknownRun:
            return None
        return json.loads(row.record) if row.record else None

    findings = verify_paths(paths, read_ledger=read_record, secrets=_secrets(manager)) if paths else []
    return [*findings, *_verify_ledger(manager)] if ledger else findings


def _verify_ledger(manager: Manager) -> list[Finding]:
    integrity = manager.ledger.check_integrity()
    findings = [Finding("note", "ledger", "ledger", notice) for notice in manager.ledger.take_notices()]
    if integrity != "ok":
        findings.append(Finding("problem", "ledger", "ledger", f"its file is damaged: {integrity}"))
    rows = manager.ledger.list(limit=None)
    saved = [
        (row, output)
        for row in rows
        for output in row.outputs
        if output.path and (output.stored_sha256 or output.sha256)
    ]
    problems = [
        Finding("problem", "file", f"run {row.short_id}", problem)
        for row, output in saved
        if (problem := _check_output(row, output))
    ]
    summary = f"{len(rows)} runs, {len(saved) - len(problems)} of {len(saved)} files as they were saved"
    return [*findings, *problems, Finding("ok", "ledger", "ledger", summary)]


def _check_output(row: LedgerRow, output: RunOutput) -> str:
    """Reads and hashes a saved output; returns what is wrong with it, or ""."""
    path = row.locate(output)
    if path is None or not path.is_file():
        return f"{output.path} is not there any more."
    try:
        found = hash_file(path)
    except OSError as error:
        return f"{output.path}: {error.strerror or error}."
    # Writing the record into a clip changes its bytes, so the file has a hash of its own beside the service's.
    return (
        ""
        if found == (output.stored_sha256 or output.sha256)
        else f"{output.path} was changed after it was saved."
    )


def _secrets(manager: Manager) -> frozenset[str]:
    """Returns the task tokens of the ledger and the keys this machine keeps."""
    found = {row.task_token for row in manager.ledger.list(limit=None) if row.task_token}
    folder = data_dir()
    for name in (CLOUD, *named_services(folder)):
        try:
            credentials = find_credentials(name, folder).credentials
        except WiroError:
            continue
        if credentials is not None:
            found |= {text for text in (credentials.key, credentials.secret) if text}
    return frozenset(found)
