"""What a run card shows, as plain JSON data made from a snapshot. Pure: no widget, no clock but the one given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from wiro_nb.ledger.state import RunOutput, RunState, Snapshot, Stage
from wiro_nb.presentation.formatting import (
    format_cost,
    format_cost_forecast,
    format_duration,
    format_forecast,
    format_size,
    format_usd,
    state_label,
)
from wiro_nb.presentation.run_page import raw_text

RAIL = (Stage.QUEUED, Stage.PREPARING, Stage.LOADING, Stage.GENERATING, Stage.SAVING)
LOG_LINES = 60
_LINE_LENGTH = 400
_PROMPT_LENGTH = 600
_SETTING_LENGTH = 2000
_RAW_LENGTH = 8000

_CANCEL = {"id": "cancel", "label": "Cancel", "icon": "cross"}
_EDIT = {"id": "edit", "label": "Edit in form", "quiet": True}
_COPY = {"id": "copy_cell", "label": "Copy as cell", "icon": "copy"}


def card_view(
    snapshot: Snapshot,
    *,
    again_price: str = "",
    poster: str = "",
    now: datetime | None = None,
) -> dict[str, Any]:
    """Returns what the card shows for a moment of a run.

    Args:
        snapshot: The run.
        again_price: Price named on "Run again", or "".
        poster: Data URI of the poster, or "".
        now: The present, UTC; the clock when None. Used for ages and as the anchor of the ticking time.

    Returns:
        JSON data: `kind` (one of slot, sending, queued, running, done, failed, cancelled, lost, uncertain),
        `word`, `tone`, `icon`, `rail` (list of {name, state}), `percent`, `valuetext`, `numbers`,
        `elapsed` ({label, seconds, ticking} or None), `money`, `aside`, `actions`, `below`, `notes`,
        `facts`, `settings`, `outputs`, `final`, `text` (one line for where no card can be shown), `at_ms`.
    """
    moment = now or datetime.now(UTC)
    kind = _kind(snapshot)
    view: dict[str, Any] = {
        "kind": kind,
        "run": snapshot.short_id,
        "model": snapshot.model,
        "prompt": snapshot.prompt[:_PROMPT_LENGTH],
        "final": snapshot.state.is_final,
        "rail": _rail(snapshot, kind),
        "percent": _percent(snapshot, kind),
        "numbers": [],
        "after": [],
        "elapsed": None,
        "money": "",
        "aside": "",
        "actions": [],
        "below": [],
        "notes": [],
        "facts": [],
        "outputs": [],
        "settings": [],
        "poster": poster,
        "log_count": snapshot.log_count,
        "at_ms": int(moment.timestamp() * 1000),
    }
    view.update(_FILL[kind](snapshot, moment, again_price))
    view["valuetext"] = _value_text(view, snapshot)
    view["text"] = " · ".join(part for part in (view["word"], snapshot.model, f"run {snapshot.short_id}") if part)
    return view


def log_view(snapshot: Snapshot) -> list[str]:
    """Returns the latest log lines a card shows, each cut to 400 characters."""
    return [line[:_LINE_LENGTH] for line in snapshot.log_tail[-LOG_LINES:]]


def _kind(snapshot: Snapshot) -> str:
    if snapshot.state is RunState.SUCCEEDED:
        return "done"
    if snapshot.state is RunState.FAILED:
        return "failed"
    if snapshot.state is RunState.CANCELLED:
        return "cancelled"
    if snapshot.state is RunState.UNCERTAIN:
        return "uncertain"
    if snapshot.lost_since is not None:
        return "lost"
    if snapshot.state is RunState.PLANNED and (snapshot.ahead is not None or snapshot.message):
        return "slot"
    if snapshot.state in (RunState.PLANNED, RunState.SUBMITTING):
        return "sending"
    return "queued" if snapshot.stage in (Stage.WAITING, Stage.QUEUED) else "running"


def _rail_position(snapshot: Snapshot) -> int:
    rank = snapshot.stage.rank
    return max((index for index, stage in enumerate(RAIL) if stage.rank <= rank), default=0)


def _rail(snapshot: Snapshot, kind: str) -> list[dict[str, str]]:
    marker = {"queued": "now", "running": "now", "failed": "bad", "lost": "lost"}.get(kind)
    if marker is None or (kind == "failed" and snapshot.submitted is None):
        return []
    here = _rail_position(snapshot)
    return [
        {"name": stage.value, "state": "past" if index < here else marker if index == here else ""}
        for index, stage in enumerate(RAIL)
    ]


def _percent(snapshot: Snapshot, kind: str) -> float | None:
    if (
        kind not in ("running", "lost", "failed")
        or snapshot.percent is None
        or snapshot.stage is not Stage.GENERATING
    ):
        return None
    return min(100.0, max(0.0, round(snapshot.percent, 1)))


def _if_succeeds(snapshot: Snapshot) -> str:
    if snapshot.is_sandbox:
        return "free, sandbox"
    if snapshot.estimated_usd is None:
        return "price not listed"
    return f"{format_forecast(snapshot.estimated_usd)} if it succeeds"


def _billed(snapshot: Snapshot) -> str:
    return "nothing" if not snapshot.cost_usd else format_usd(snapshot.cost_usd)


def _cancel(snapshot: Snapshot) -> list[dict[str, Any]]:
    if snapshot.cancel_requested:
        return [{**_CANCEL, "label": "Cancelling", "off": True}]
    return [dict(_CANCEL)]


def _again(again_price: str, *, quiet: bool = False) -> dict[str, Any]:
    label = f"Run again, {again_price}" if again_price else "Run again"
    return {"id": "run_again", "label": label, "icon": "play", "quiet": quiet}


def _elapsed(snapshot: Snapshot, label: str, *, ticking: bool = True) -> dict[str, Any] | None:
    if snapshot.elapsed_s is None:
        return None
    return {"label": label, "seconds": round(snapshot.elapsed_s, 1), "ticking": ticking}


def _left_words(seconds: float) -> str:
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"


def _note(strong: str, text: str = "") -> dict[str, str]:
    return {"strong": strong, "text": text}


def _slot(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    message = snapshot.message
    if not message:
        runs = "1 run is" if snapshot.ahead == 1 else f"{snapshot.ahead} runs are"
        message = f"It is sent when a slot frees; {runs} ahead of it." if snapshot.ahead else "It is sent next."
    return {
        "word": "Waiting for a slot",
        "tone": "off",
        "icon": "slot",
        "aside": "free: nothing sent yet",
        "actions": _cancel(snapshot),
        "notes": [_note("", message)],
    }


def _sending(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    return {
        "word": "Sending",
        "tone": "brand",
        "icon": "ring",
        "aside": _if_succeeds(snapshot),
        "actions": _cancel(snapshot),
    }


def _queued(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    return {
        "word": "Queued",
        "tone": "brand",
        "icon": "queued",
        "aside": "free while queued",
        "actions": _cancel(snapshot),
        "elapsed": _elapsed(snapshot, "in the queue for"),
        "money": _if_succeeds(snapshot),
        "notes": [_note("", snapshot.message)] if snapshot.message else [],
    }


def _running(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    numbers = []
    percent = _percent(snapshot, "running")
    if percent is not None:
        numbers.append(f"{percent:.0f}%")
    if snapshot.step is not None and snapshot.steps:
        numbers.append(f"step {snapshot.step} of {snapshot.steps}")
    if snapshot.rate is not None:
        numbers.append(f"{snapshot.rate:.3g} {snapshot.rate_unit}".strip())
    # An estimate before the second step would be a guess.
    known = snapshot.remaining_s is not None and (snapshot.step is None or snapshot.step >= 2)
    return {
        "word": snapshot.stage.value.capitalize(),
        "tone": "brand",
        "icon": "ring",
        "aside": "stops the run" if snapshot.is_sandbox else "stops the run, free if it has not ended",
        "actions": _cancel(snapshot),
        "numbers": numbers,
        "elapsed": _elapsed(snapshot, "elapsed"),
        "after": [_left_words(snapshot.remaining_s)] if known and snapshot.remaining_s is not None else [],
        "money": _if_succeeds(snapshot),
        "notes": [_note("", snapshot.message)] if snapshot.message else [],
    }


def _lost(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    percent = _percent(snapshot, "lost")
    numbers = [f"{percent:.0f}%"] if percent is not None else [f"last seen {snapshot.stage.value}"]
    retry = "" if snapshot.retry_in_s is None else f", next try in {max(1, round(snapshot.retry_in_s))} s"
    age = None
    if snapshot.lost_since is not None:
        age = {
            "label": "last seen",
            "seconds": max(0.0, (moment - snapshot.lost_since).total_seconds()),
            "ticking": True,
            "suffix": "ago",
        }
    where = "in the sandbox" if snapshot.is_sandbox else "on the service"
    bill = "It is free." if snapshot.is_sandbox else "It will be billed if it succeeds."
    return {
        "word": "Lost contact",
        "tone": "warn",
        "icon": "lost",
        "actions": [
            {"id": "try_now", "label": "Try now"},
            {"id": "stop_watching", "label": "Stop watching", "quiet": True},
        ],
        "numbers": numbers,
        "elapsed": age,
        "after": [f"reconnecting{retry}"],
        "notes": [
            {
                "strong": f"Still running {where}, as far as known.",
                "text": f"{bill} Nothing is lost if this notebook closes; this picks it up:",
                "command": f"%wiro wait {snapshot.short_id}",
            }
        ],
    }


def _uncertain(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    return {
        "word": "Sent, answer lost",
        "tone": "warn",
        "icon": "lost",
        "actions": [
            {"id": "try_now", "label": "Look again"},
            {"id": "stop_watching", "label": "Stop watching", "quiet": True},
        ],
        "notes": [
            _note(
                snapshot.message or "Whether the service took the request is not known yet.",
                "It is never sent a second time by itself; it is billed once if it exists and succeeds.",
            ),
            _note("", "If its task is at the service:") | {"command": "%wiro attach TASK"},
            _note("", "If it is not:") | {"command": f"%wiro forget {snapshot.short_id}"},
        ],
    }


def _failed(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    return {
        "word": state_label(snapshot),
        "tone": "err",
        "icon": "failed",
        "elapsed": _elapsed(snapshot, "elapsed", ticking=False),
        "aside": f"billed: {_billed(snapshot)}",
        "notes": [_note(snapshot.message or "The service gave no reason."), *_exit_note(snapshot)],
        "below": [_EDIT | {"quiet": False}, _again(again_price)],
    }


def _exit_note(snapshot: Snapshot) -> list[dict[str, str]]:
    if snapshot.exit_code in (None, "", "0") or f"exit code {snapshot.exit_code}" in snapshot.message:
        return []
    return [_note("", f"The model ended with exit code {snapshot.exit_code}. Failed runs are not billed.")]


def _cancelled(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    note = snapshot.message
    if not note and snapshot.elapsed_s is not None:
        note = f"Stopped after {format_duration(snapshot.elapsed_s)}."
    elif not note:
        note = "Stopped before it was sent."
    return {
        "word": "Cancelled",
        "tone": "off",
        "icon": "cancelled",
        "aside": f"billed: {_billed(snapshot)}",
        "actions": [_again(again_price)],
        "notes": [_note("", note)],
    }


def _done(snapshot: Snapshot, moment: datetime, again_price: str) -> dict[str, Any]:
    return {
        "word": "Done",
        "tone": "ok",
        "icon": "done",
        "facts": _facts(snapshot),
        "settings": _settings(snapshot),
        "outputs": [_output(output) for output in snapshot.outputs],
        "notes": [_note("", snapshot.message)] if snapshot.message else [],
        "below": [_again(again_price), dict(_COPY), dict(_EDIT)],
    }


def _settings(snapshot: Snapshot) -> list[list[str]]:
    rows = [[name, _setting_text(value)] for name, value in snapshot.parameters.items()]
    for name, files in snapshot.files.items():
        rows.append([name, ", ".join(str(item.get("name") or item.get("url") or "file") for item in files)])
    return rows


def _setting_text(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text if len(text) <= _SETTING_LENGTH else text[:_SETTING_LENGTH] + "…"


def _facts(snapshot: Snapshot) -> list[list[str]]:
    first = snapshot.outputs[0] if snapshot.outputs else None
    facts: list[tuple[str, str | None]] = []
    if snapshot.seed:
        facts.append(("Seed", str(snapshot.seed.get("value", ""))))
    if first is not None:
        size = f"{first.width} × {first.height}" if first.width and first.height else None
        facts.append(("Size", size))
        facts.append(("Frames", str(first.frames) if first.frames else None))
        facts.append(("Rate", f"{first.fps:g} fps" if first.fps else None))
        facts.append(("Length", f"{first.duration_s:.1f} s" if first.duration_s else None))
    if snapshot.elapsed_s is not None:
        facts.append(("Elapsed", format_duration(snapshot.elapsed_s)))
    facts.append(("Cost", format_cost(snapshot)))
    facts.append(("Forecast", format_cost_forecast(snapshot)))
    if first is not None:
        facts.append(("File size", format_size(first.size_bytes) if first.size_bytes is not None else None))
        facts.append(("sha256", first.sha256[:8] if first.sha256 else None))
    return [[label, value] for label, value in facts if value]


def _output(output: RunOutput) -> dict[str, Any]:
    text = "" if output.content is None else raw_text(output.content)[:_RAW_LENGTH]
    return {
        "name": output.name,
        "type": output.content_type,
        "path": output.path or "",
        "width": output.width,
        "height": output.height,
        "text": text,
        "problem": output.problem,
    }


def _value_text(view: dict[str, Any], snapshot: Snapshot) -> str:
    percent = view["percent"]
    if view["kind"] == "lost":
        seen = snapshot.stage.value + (f" at {percent:.0f} percent" if percent is not None else "")
        return f"Lost contact. Last seen {seen}, reconnecting"
    parts = [view["word"]]
    if percent is not None:
        parts.append(f"{percent:.0f} percent")
    if snapshot.step is not None and snapshot.steps:
        parts.append(f"step {snapshot.step} of {snapshot.steps}")
    if view["after"]:
        parts.append(view["after"][0].replace(" s left", " seconds left").replace(" min left", " minutes left"))
    return ", ".join(parts)


_FILL = {
    "slot": _slot,
    "sending": _sending,
    "queued": _queued,
    "running": _running,
    "lost": _lost,
    "uncertain": _uncertain,
    "failed": _failed,
    "cancelled": _cancelled,
    "done": _done,
}
