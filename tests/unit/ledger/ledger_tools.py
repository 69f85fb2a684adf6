"""Rows and processes for the ledger's tests."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.ids import new_run_id
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import LedgerRow, RunState

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
TOKEN = "tok-8d2f61c07a"


def plan(**changes: Any) -> LedgerRow:
    """A planned run of a sandbox model."""
    values: dict[str, Any] = {
        "run_id": new_run_id(),
        "state": RunState.PLANNED,
        "model": "wiro/animate-diff",
        "run_path": "wiro/animate-diff",
        "service": "sandbox",
        "base_url": "http://127.0.0.1:1/v1",
        "created": NOW,
        "request_sha256": "a" * 64,
        "request": {"parameters": {"prompt": "a fox in snow", "steps": 16}, "files": {}, "seed": None},
        "notebook": "clips.ipynb",
    }
    return LedgerRow(**{**values, **changes})


def insert(ledger: Ledger, row: LedgerRow, budget_usd: Decimal | None = None) -> LedgerRow:
    """Plans one run."""
    ledger.insert_plans([row], budget_usd=budget_usd)
    return row


def submitted(ledger: Ledger, **changes: Any) -> LedgerRow:
    """A run brought to submitted."""
    row = insert(ledger, plan(**changes))
    ledger.mark_submitting(row.run_id, NOW)
    return ledger.mark_submitted(row.run_id, f"task-{row.short_id}", TOKEN, NOW)


def done(ledger: Ledger, cost_usd: str = "0.10", **changes: Any) -> LedgerRow:
    """A run brought to success after ten seconds of work."""
    row = submitted(ledger, **changes)
    end = NOW + timedelta(seconds=10)
    return ledger.finish(
        row.run_id,
        RunState.SUCCEEDED,
        started_at=NOW,
        finished_at=end,
        cost_usd=Decimal(cost_usd),
        exit_code="0",
    )


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts a Python process that can import this module."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
