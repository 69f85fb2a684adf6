"""Makes runs at one moment, for tests of what they look like."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from wiro_nb.ledger.state import RunState, Snapshot, Stage

CREATED = datetime(2026, 11, 21, 14, 2, tzinfo=UTC)
_OF_THE_REQUEST = ("parameters", "files", "seed")
_IDS = {"run_path": "a/b", "base_url": "https://api.wiro.ai/v1", "created": CREATED}


def make_snapshot(state: RunState, stage: Stage, **values: Any) -> Snapshot:
    """Returns a run; `prompt`, `parameters`, `files` and `seed` become parts of its request."""
    blank = Snapshot(state=state, stage=stage, **{"run_id": "", "model": "", "service": "cloud", **_IDS})
    return change(blank, **values)


def change(snapshot: Snapshot, *, prompt: str | None = None, **changes: Any) -> Snapshot:
    """Returns a run with other values; named as in `make_snapshot`."""
    given = {name: changes.pop(name) for name in _OF_THE_REQUEST if name in changes}
    if prompt is not None:
        given["parameters"] = {**snapshot.parameters, "prompt": prompt, **given.get("parameters", {})}
    return replace(snapshot, request={**snapshot.request, **given}, **changes)
