"""The run card: shows one run until it has ended, from plain JSON data, and reports the buttons pressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import traitlets

from wiro_nb.formatting import (
    describe_cost,
    format_billed,
    format_place,
    format_step,
    format_time_left,
    raw_text,
    status_of,
)
from wiro_nb.ledger.state import RunOutput, Snapshot, Stage
from wiro_nb.notebook.widgets import OutputWidget
from wiro_nb.presentation.run import LONGEST_RAW, make_note, run_facts, run_notes, run_settings
from wiro_nb.provenance.made_by import made_by_notes, made_by_summary

STEPS = (Stage.QUEUED, Stage.PREPARING, Stage.LOADING, Stage.GENERATING, Stage.SAVING)
LOG_LINES = 60
_LINE_LENGTH = 400
_SILENT_S, _SILENT_STEPPING_S = 30, 10
"""Seconds without news after which a card says so; a run that reports steps is missed sooner."""
_PROMPT_LENGTH = 600
_STEP_STATES = {"queued": "now", "running": "now", "failed": "bad", "lost": "lost"}

_EDIT = {"id": "edit", "label": "Edit in form", "muted": True}
_COPY = {"id": "copy_cell", "label": "Copy as cell", "icon": "copy"}
_COMPARE = {"id": "compare", "label": "Compare", "muted": True}
_STAR = {"id": "star", "label": "Pick as best", "icon": "star", "muted": True, "pressed": False}
_STARRED = _STAR | {"label": "Picked as best", "pressed": True}
_STOP_WATCHING = {"id": "stop_watching", "label": "Stop watching", "muted": True}

_BLANK: dict[str, Any] = {
    **{name: [] for name in ("numbers", "after", "actions", "below", "facts", "outputs", "settings")},
    **dict.fromkeys(("left_s", "silent_after_s", "elapsed")),
    **dict.fromkeys(("cost", "aside"), ""),
}
"""The parts of a card that most states leave empty."""


def card_view(
    snapshot: Snapshot,
    *,
    again_price: str = "",
    poster: str = "",
    record: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Returns what the card shows for a moment of a run.

    Args:
        snapshot: The run.
        again_price: Price named on "Run again", or "".
        poster: Data URI of the poster, or "".
        record: The record of the finished run, for what made it on a local service.
        now: The present, UTC; the clock when None. Used for ages and as the anchor of the ticking time.

    Returns:
        JSON data: `kind`, `label`, `variant` and `icon` of the status, `steps` (list of {name, state}), `percent`,
        `valuetext`, `numbers`, `elapsed` ({label, seconds, ticking} or None), `left_s` (seconds at `at_ms`),
        `silent_after_s`, `cost`, `aside`, `actions`, `below`, `notes`, `facts`, `settings`, `outputs`, `final`,
        `at_ms`.
    """
    moment, status = now or datetime.now(UTC), status_of(snapshot)
    kind, percent = status.kind, _percent(snapshot, status.kind)
    view: dict[str, Any] = {
        **_BLANK,
        "kind": kind,
        "label": status.label,
        "variant": status.variant,
        "icon": status.icon,
        "run": snapshot.short_id,
        "model": snapshot.model,
        "prompt": snapshot.prompt[:_PROMPT_LENGTH],
        "final": snapshot.state.is_final,
        "steps": _steps(snapshot, kind),
        "percent": percent,
        "notes": run_notes(snapshot),
        "poster": poster,
        "log_count": snapshot.log_count,
        "at_ms": int(moment.timestamp() * 1000),
    }
    if kind in ("slot", "sending", "queued", "running"):
        view |= _pending(snapshot, kind, percent)
    elif kind == "lost":
        view |= _lost(snapshot, percent, moment)
    elif kind == "uncertain":
        view["actions"] = [{"id": "try_now", "label": "Check again"}, _STOP_WATCHING]
    else:
        view |= _ended(snapshot, kind, again_price, record or {})
    view["valuetext"] = _value_text(view, snapshot)
    return view


def log_view(snapshot: Snapshot) -> list[str]:
    """Returns the latest log lines a card shows, each cut to 400 characters."""
    return [line[:_LINE_LENGTH] for line in snapshot.log_tail[-LOG_LINES:]]


def _steps(snapshot: Snapshot, kind: str) -> list[dict[str, str]]:
    """Returns the stages of the stepper; none for a run that was not sent or has ended well."""
    marker = _STEP_STATES.get(kind)
    if marker is None or (kind == "failed" and snapshot.submitted_at is None):
        return []
    here = max((index for index, stage in enumerate(STEPS) if stage.rank <= snapshot.stage.rank), default=0)
    return [
        {"name": stage.value, "state": "past" if index < here else marker if index == here else ""}
        for index, stage in enumerate(STEPS)
    ]


def _percent(snapshot: Snapshot, kind: str) -> float | None:
    shown = kind in ("running", "lost", "failed") and snapshot.stage is Stage.GENERATING
    return min(100.0, max(0.0, round(snapshot.percent, 1))) if shown and snapshot.percent is not None else None


def _elapsed(snapshot: Snapshot, label: str, *, ticking: bool = True) -> dict[str, Any] | None:
    if snapshot.elapsed_s is None:
        return None
    return {"label": label, "seconds": round(snapshot.elapsed_s, 1), "ticking": ticking}


def _pending(snapshot: Snapshot, kind: str, percent: float | None) -> dict[str, Any]:
    cancel: dict[str, Any] = {"id": "cancel", "label": "Cancel run", "icon": "cross"}
    if snapshot.cancel_requested:
        cancel |= {"label": "Cancelling", "off": True}
    silent_after_s = None if kind == "slot" else _SILENT_S if percent is None else _SILENT_STEPPING_S
    view: dict[str, Any] = {"actions": [cancel], "silent_after_s": silent_after_s}
    if kind == "slot":
        runs = "1 run is" if snapshot.ahead == 1 else f"{snapshot.ahead} runs are"
        waits = f"It is sent when a slot frees; {runs} ahead of it." if snapshot.ahead else "It is sent next."
        notes = {} if snapshot.message else {"notes": [make_note(text=waits)]}
        return view | {"aside": "free: nothing sent yet", **notes}
    if kind == "sending":
        return view | {"aside": describe_cost(snapshot), "notes": []}
    view["cost"] = describe_cost(snapshot)
    if kind == "queued":
        return view | {"aside": "free while queued", "elapsed": _elapsed(snapshot, "in the queue for")}
    share = f"{percent:.0f}%" if percent is not None else ""
    rate = f"{snapshot.rate:.3g} {snapshot.rate_unit}".strip() if snapshot.rate is not None else ""
    is_early = snapshot.step is not None and snapshot.step < 2  # an estimate would be a guess
    return view | {
        "aside": "" if snapshot.is_free else "free if it has not ended",
        "numbers": list(filter(None, (share, format_step(snapshot), rate))),
        "elapsed": _elapsed(snapshot, "elapsed"),
        "left_s": None if is_early else snapshot.remaining_s,
    }


def _lost(snapshot: Snapshot, percent: float | None, moment: datetime) -> dict[str, Any]:
    retry = "" if snapshot.retry_in_s is None else f", next try in {max(1, round(snapshot.retry_in_s))} s"
    age_s = max(0.0, (moment - snapshot.lost_since).total_seconds()) if snapshot.lost_since is not None else 0.0
    where = f"Still running {format_place(snapshot.service)}, as far as known."
    bill = "It is free." if snapshot.is_free else "It will be billed if it succeeds."
    after = f"{bill} Nothing is lost if this notebook closes; this picks it up:"
    return {
        "actions": [{"id": "try_now", "label": "Try now"}, _STOP_WATCHING],
        "numbers": [f"{percent:.0f}%" if percent is not None else f"last seen {snapshot.stage.value}"],
        "elapsed": {"label": "last seen", "seconds": age_s, "ticking": True, "suffix": "ago"},
        "after": [f"reconnecting{retry}"],
        "notes": [make_note(where, after, f"%wiro wait {snapshot.short_id}")],
    }


def _ended(snapshot: Snapshot, kind: str, again_price: str, record: Mapping[str, Any]) -> dict[str, Any]:
    again = {"id": "run_again", "label": ", ".join(filter(None, ("Run again", again_price))), "icon": "play"}
    if kind == "failed":
        elapsed = _elapsed(snapshot, "elapsed", ticking=False)
        return {"elapsed": elapsed, "aside": format_billed(snapshot), "below": [_EDIT | {"muted": False}, again]}
    if kind == "cancelled":
        return {"aside": format_billed(snapshot), "actions": [again], "below": [_EDIT]}
    maker = made_by_summary(record)
    facts = run_facts(snapshot) | ({"Made by": maker} if maker else {})
    return {
        "facts": [list(item) for item in facts.items()],
        "notes": [*run_notes(snapshot), *(make_note(text=text) for text in made_by_notes(record))],
        "settings": [list(item) for item in run_settings(snapshot).items()],
        "outputs": [_output(output) for output in snapshot.outputs],
        "actions": [_STARRED if snapshot.starred else _STAR],
        "below": [again, _COPY, _EDIT, _COMPARE],
    }


def _output(output: RunOutput) -> dict[str, Any]:
    return {
        "name": output.name,
        "type": output.content_type,
        "path": output.path or "",
        "width": output.width,
        "height": output.height,
        "text": "" if output.content is None else raw_text(output.content)[:LONGEST_RAW],
        "problem": output.problem,
    }


def _value_text(view: dict[str, Any], snapshot: Snapshot) -> str:
    """Returns the text that a screen reader reads for the progress bar."""
    percent = view["percent"]
    if view["kind"] == "lost":
        seen = snapshot.stage.value + (f" at {percent:.0f} percent" if percent is not None else "")
        return f"Lost contact. Last seen {seen}, reconnecting"
    parts = [view["label"], f"{percent:.0f} percent" if percent is not None else "", format_step(snapshot)]
    if view["left_s"] is not None:
        left = format_time_left(view["left_s"])
        parts.append(left.replace(" s left", " seconds left").replace(" min ", " minutes "))
    return ", ".join(filter(None, parts))


class RunCard(OutputWidget):
    """Live view of one run.

    Safe to update from any thread: an update is one trait change and so one message. The log is a
    trait of its own, so that a progress step does not send it again.
    """

    script = "card.js"
    actions = frozenset(
        {"cancel", "try_now", "stop_watching", "run_again", "edit", "copy_cell", "compare", "star"}
    )
    state = traitlets.Dict(help="What the card shows: see `card_view`.").tag(sync=True)
    log: traitlets.List[str] = traitlets.List(help="Latest log lines, text.").tag(sync=True)
    preview = traitlets.Dict(help="The latest look at the clip: `image`, `width`, `height`; or empty.").tag(
        sync=True
    )

    def __init__(
        self, snapshot: Snapshot, *, notice: str = "", again_price: str = "", poster: str = "", **options: Any
    ) -> None:
        """Makes a card.

        Args:
            snapshot: The run now.
            notice: One sentence above what the run itself has to say, or "".
            again_price: Price on the "Run again" button, for example "about $0.04", or "".
            poster: Data URI of the finished clip's poster, or "".
            **options: As `OutputWidget` takes them.
        """
        self._notes = [make_note(text=notice)] if notice else []
        self._known: dict[str, Any] = {"again_price": again_price, "poster": poster}
        self._version = snapshot.version
        super().__init__(state=self._view(snapshot), log=log_view(snapshot), **options)

    def show_error(self, lines: list[str]) -> None:
        """Shows lines as a notice."""
        self.reply("notice", text=" ".join(lines))

    def _view(self, snapshot: Snapshot) -> dict[str, Any]:
        view = card_view(snapshot, **self._known)
        return view | {"notes": [*self._notes, *view["notes"]]}

    def update(self, snapshot: Snapshot, **known: Any) -> None:
        """Shows a newer moment of the run; an older one is ignored.

        Args:
            snapshot: The run; its `version` decides which is newer.
            **known: `poster`, a data URI, and `record`, once the run has them.
        """
        if snapshot.version < self._version:
            return
        self._version = snapshot.version
        self._known |= {name: value for name, value in known.items() if value}
        with self.hold_sync():
            self.state = self._view(snapshot)
            self.log = log_view(snapshot)
            self.preview = {} if snapshot.preview is None else asdict(snapshot.preview)
