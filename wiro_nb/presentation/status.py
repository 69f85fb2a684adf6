"""The displayed status of a run: one table for cards, grids, lists, filters and the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.presentation.html import Html, h


@dataclass(frozen=True, slots=True)
class Status:
    """A status.

    Attributes:
        kind: "slot", "sending", "queued", "running", "done", "failed", "cancelled", "lost" or "uncertain".
        label: As people read it: "Queued", "Failed while generating".
        icon: Name of the icon in `static/dom.js`.
        variant: Colour of card and tile: "brand", "ok", "warn", "err" or "off".
        dot: Style of the dot in static output, which says the same in shape and colour.
    """

    kind: str
    label: str
    icon: str
    variant: str
    dot: str

    @property
    def short_label(self) -> str:
        """One or two lower-case words that count runs: "failed", "generating"."""
        return "failed" if self.kind == "failed" else self.label.lower()


_FILLED = "background:{};border-radius:5px"
_RING = "border:2px solid {};border-radius:5px"
_DASHED = "border:2px dashed #8a8a8a;border-radius:5px"
_SQUARE = "border:2px solid #c77700;border-radius:1px"

SLOT = Status("slot", "Waiting for a slot", "slot", "off", _DASHED)
SENDING = Status("sending", "Sending", "ring", "brand", _DASHED)
QUEUED = Status("queued", "Queued", "queued", "brand", _RING.format("#2f80ed"))
RUNNING = Status("running", "Running", "ring", "brand", _FILLED.format("#2f80ed"))
DONE = Status("done", "Done", "done", "ok", _FILLED.format("#2e9e4f"))
FAILED = Status("failed", "Failed", "failed", "err", "background:#e5484d;border-radius:1px")
CANCELLED = Status("cancelled", "Cancelled", "cancelled", "off", _RING.format("#8a8a8a"))
LOST = Status("lost", "Lost contact", "lost", "warn", _SQUARE)
UNCERTAIN = Status("uncertain", "Sent, answer lost", "lost", "warn", _SQUARE)

_FINAL = {
    RunState.SUCCEEDED: DONE,
    RunState.FAILED: FAILED,
    RunState.CANCELLED: CANCELLED,
    RunState.UNCERTAIN: UNCERTAIN,
}
_PENDING = (RunState.PLANNED, RunState.SUBMITTING)

STATE_FILTERS: dict[str, RunState | None] = {
    "done": RunState.SUCCEEDED,
    "succeeded": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "cancelled": RunState.CANCELLED,
    "uncertain": RunState.UNCERTAIN,
    "running": None,
}
"""The states that a list can be filtered by, as people type them; None is every run that has not ended."""


def status_of(snapshot: Snapshot) -> Status:
    """Returns the status of a run."""
    state, stage = snapshot.state, snapshot.stage
    if state is RunState.FAILED and stage not in (Stage.WAITING, Stage.DONE):
        return replace(FAILED, label=f"Failed while {stage.value}")
    if state in _FINAL:
        return _FINAL[state]
    if snapshot.lost_since is not None:
        return LOST
    if state is RunState.PLANNED and (snapshot.ahead is not None or snapshot.message):
        return SLOT
    if state in _PENDING:
        return SENDING
    return QUEUED if stage in (Stage.WAITING, Stage.QUEUED) else replace(RUNNING, label=stage.value.capitalize())


def status_dot(status: Status) -> Html:
    """Returns the dot before a status in static output."""
    style = f"display:inline-block;box-sizing:border-box;width:9px;height:9px;margin-right:6px;{status.dot}"
    return h("span", style=style)


def tally(snapshots: Iterable[Snapshot]) -> str:
    """Returns how many runs have which status: "3 done, 1 generating"."""
    counts: dict[str, int] = {}
    for snapshot in snapshots:
        label = status_of(snapshot).short_label
        counts[label] = counts.get(label, 0) + 1
    return ", ".join(f"{count} {label}" for label, count in counts.items())
