"""Runs at one moment, for tests of what they look like."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.snapshots import CREATED, change, make_snapshot
from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage

CLIP = RunOutput(
    name="clip.mp4",
    content_type="video/mp4",
    size_bytes=172_000,
    sha256="9f3ad1c07e52b8a4" * 4,
    path="wiro_outputs/2026-11-21-vace-8k2qf/clip one#1.mp4",
    width=832,
    height=480,
    duration_s=5.0625,
    fps=16.0,
    frames=81,
    poster_path="wiro_outputs/2026-11-21-vace-8k2qf/clip.poster.jpg",
)
POSTER = b"\xff\xd8\xff" + bytes(range(256)) * 30

DONE = make_snapshot(
    RunState.SUCCEEDED,
    Stage.DONE,
    run_id="01JD5Q9W8R7T6Y5V4K3H28K2QF",
    model="pruna/vace",
    service="cloud",
    percent=100.0,
    created=CREATED,
    finished_at=datetime(2026, 11, 21, 14, 2, 9, tzinfo=UTC),
    elapsed_s=9.0,
    cost_usd=Decimal("0.038"),
    estimated_usd=Decimal("0.04"),
    outputs=(CLIP,),
    seed={"parameter": "seed", "value": "7", "pinned": True},
    parameters={"prompt": "a lighthouse above a stormy sea", "ratio": "16:9", "seed": "7", "negativePrompt": ""},
)


def at(snapshot: Snapshot = DONE, **changes: Any) -> Snapshot:
    """Returns the run with other values."""
    return change(snapshot, **changes)


FAILED = at(
    state=RunState.FAILED,
    stage=Stage.GENERATING,
    outputs=(),
    cost_usd=None,
    message="The model ran out of memory.",
    log_tail=("loading", "CUDA out of memory <oom> $5 and $6"),
    log_count=18,
)
CANCELLED = at(state=RunState.CANCELLED, stage=Stage.QUEUED, outputs=(), cost_usd=None, elapsed_s=4.0)
GENERATING = at(
    state=RunState.SUBMITTED, stage=Stage.GENERATING, outputs=(), cost_usd=None, percent=60.0, step=6, steps=10
)
UNCERTAIN = at(state=RunState.UNCERTAIN, stage=Stage.WAITING, outputs=(), cost_usd=None)
