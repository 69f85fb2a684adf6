"""Verify with what this machine knows: the ledger's records, its files, and every secret that must not be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wiro_nb.config import data_dir
from wiro_nb.errors import UnknownRun, WiroError
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
    report = manager.ledger.verify()
    findings = [Finding("note", "ledger", "ledger", notice) for notice in manager.ledger.take_notices()]
    if report.integrity != "ok":
        findings.append(Finding("problem", "ledger", "ledger", f"its file was damaged: {report.integrity}"))
    findings += [
        Finding("problem", "file", f"run {item.run_id[-5:].lower()}", item.message) for item in report.problems
    ]
    sound = report.files - len(report.problems)
    told = f"{report.runs} runs, {sound} of {report.files} files as they were saved"
    return [*findings, Finding("ok", "ledger", "ledger", told)]


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
