"""Statuses, numbers, amounts, times and progress as text: one table of statuses for every front end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, TextIO

from wiro_nb.api.pricing import Estimate
from wiro_nb.config import FREE_SERVICES, LOCAL, SANDBOX
from wiro_nb.errors import InputError
from wiro_nb.ledger.budget import BudgetState
from wiro_nb.ledger.state import RunState, Snapshot, Stage
from wiro_nb.terminal import fit_terminal


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

STATE_FILTERS: dict[str, RunState | None] = {str(state): state for state in _FINAL}
STATE_FILTERS |= {"done": RunState.SUCCEEDED, "running": None}
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


def tally(snapshots: Iterable[Snapshot]) -> str:
    """Returns how many runs have which status: "3 done, 1 generating"."""
    counts = Counter(status_of(snapshot).short_label for snapshot in snapshots)
    return ", ".join(f"{count} {label}" for label, count in counts.items())


MAX_USD = 1_000_000
"""A larger amount is a typing error."""
_SMALL_USD = Decimal("0.10")
_KB = 1000
_BAR_CELLS = 14


def parse_usd(typed: Decimal | float | str) -> Decimal | None:
    """Returns an amount in US dollars from 0 to `MAX_USD`, typed with or without "$"; None for anything else."""
    try:
        amount = Decimal(str(typed).strip().removeprefix("$"))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount <= MAX_USD else None


def read_usd(typed: Decimal | float | str | None, name: str, example: str) -> Decimal | None:
    """Returns an amount in US dollars; None stays None.

    Args:
        typed: As `parse_usd` takes it.
        name: What the amount is called, for the error.
        example: What to type in its place.

    Raises:
        InputError: It is no amount of money.
    """
    amount = None if typed is None else parse_usd(typed)
    if typed is not None and amount is None:
        raise InputError(f"{name} is an amount from 0 to {MAX_USD} USD, not {typed!r}", hint=example)
    return amount


def format_usd(amount_usd: Decimal) -> str:
    """Returns "$0.038" or "$0.04": up to three decimals under ten cents, else two; nothing at all is "$0"."""
    if amount_usd == 0:
        return "$0"
    sign, size = ("-", -amount_usd) if amount_usd < 0 else ("", amount_usd)
    step = Decimal("0.001") if size < _SMALL_USD else Decimal("0.01")
    rounded = size.quantize(step, ROUND_HALF_UP)
    if rounded == 0:
        return f"{sign}under $0.001"
    text = f"{rounded:,}"
    return f"{sign}${text[:-1] if size < _SMALL_USD and text.endswith('0') else text}"


def format_forecast(amount_usd: Decimal) -> str:
    """Returns a forecast: "about $0.04", or "under $0.001" where that says more."""
    text = format_usd(amount_usd)
    return text if text.startswith(("under", "$0")) and amount_usd < Decimal("0.001") else f"about {text}"


def format_estimate(estimate: Estimate | None, free: str = "") -> str:
    """Returns an estimate as text: "about $0.04", "$0.03 to $0.12", "price not listed", or what is free."""
    if free:
        return free
    if estimate is None or not estimate.known:
        return "price not listed"
    if estimate.high_usd is not None and estimate.high_usd != estimate.low_usd:
        return f"{format_usd(estimate.low_usd)} to {format_usd(estimate.high_usd)}"
    return format_forecast(estimate.low_usd)


def format_duration(seconds: float | None) -> str:
    """Returns "0:05" or "1:02:05" for a length of time in seconds; "" for None."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds + 0.5))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def format_time_left(seconds: float) -> str:
    """Returns "about 12 s left" or "about 3 min left"."""
    return f"about {max(1, round(seconds))} s left" if seconds < 90 else f"about {round(seconds / 60)} min left"


def format_size(size_bytes: int | None) -> str:
    """Returns "172 KB", with decimal units as file managers show them; "" for None."""
    if size_bytes is None:
        return ""
    if size_bytes < _KB:
        return f"{size_bytes} bytes"
    power, unit = next(found for found in ((3, "GB"), (2, "MB"), (1, "KB")) if size_bytes >= _KB ** found[0])
    value = size_bytes / _KB**power
    return f"{value:.0f} {unit}" if power == 1 or (power == 2 and value >= 100) else f"{value:.1f} {unit}"


def format_number(value: float) -> str:
    """Returns a number without needless zeros: 16, 5.1, 23.976."""
    return f"{round(value, 3):g}"


def format_datetime(moment: datetime) -> str:
    """Returns "21 Nov 2026 14:02" in the kernel's time zone."""
    local = moment.astimezone()
    return f"{local.day} {local:%b %Y %H:%M}"


def format_when(moment: datetime) -> str:
    """Returns "14:02" for today, "yesterday 14:02", else the date."""
    local = moment.astimezone()
    days = (datetime.now(UTC).astimezone().date() - local.date()).days
    if days == 0:
        return f"{local:%H:%M}"
    return f"yesterday {local:%H:%M}" if days == 1 else f"{local.day} {local:%b %Y}"


def format_count(number_of: int, noun: str) -> str:
    """Returns "1 run" or "2 runs"."""
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def as_sentence(text: str) -> str:
    """Returns text with a capital letter and one full stop; "" stays ""."""
    return f"{text[0].upper()}{text[1:].removesuffix('.')}." if text else ""


def shorten(text: str, longest: int) -> str:
    """Returns text cut to a number of characters, the last one an ellipsis."""
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def raw_text(content: Any) -> str:
    """Returns the text of a language model's output: its answer where there is one, else the JSON."""
    if isinstance(content, Mapping):
        answer = content.get("answer")
        if isinstance(answer, list) and answer:
            return "\n".join(str(part) for part in answer)
        if content.get("raw"):
            return str(content["raw"])
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)


COST_OPEN = "not known yet"


def format_billed(snapshot: Snapshot) -> str:
    """Returns what a run without a result cost: "billed: nothing", "billed: $0.04", "cost not known yet"."""
    if snapshot.is_cost_open and not snapshot.is_free:
        return f"cost {COST_OPEN}"
    return f"billed: {format_usd(snapshot.cost_usd) if snapshot.cost_usd and not snapshot.is_free else 'nothing'}"


def describe_billed(snapshot: Snapshot) -> str:
    """Returns what was billed for a run; "" where nothing is known, and for a free service."""
    return "" if snapshot.is_free or snapshot.cost_usd is None else format_usd(snapshot.cost_usd)


def describe_cost(snapshot: Snapshot) -> str:
    """Returns what the run costs: "$0.038", "about $0.04 if it succeeds", "not known yet", "billed: nothing"."""
    if snapshot.is_free:
        return FREE_SERVICES.get(snapshot.service, "")
    if snapshot.is_cost_open:
        return COST_OPEN
    if snapshot.state in (RunState.FAILED, RunState.CANCELLED):
        return format_billed(snapshot)
    if snapshot.cost_usd is not None:
        return format_usd(snapshot.cost_usd)
    if snapshot.estimated_usd is None:
        return "price not listed"
    return f"{format_forecast(snapshot.estimated_usd)} if it succeeds"


def format_place(service: str, elsewhere: str = "on the service") -> str:
    """Returns "in the sandbox", "on this machine", or the words for every other service."""
    return {SANDBOX: "in the sandbox", LOCAL: "on this machine"}.get(service, elsewhere)


def format_status(snapshot: Snapshot) -> str:
    """Returns the status, of a moving run with its percent: "Generating 60%"."""
    moving = snapshot.percent is not None and not snapshot.state.is_final
    return status_of(snapshot).label + (f" {snapshot.percent:.0f}%" if moving else "")


def format_step(snapshot: Snapshot) -> str:
    """Returns "step 6 of 10"; "" where the model reports no steps."""
    return f"step {snapshot.step} of {snapshot.steps}" if snapshot.step is not None and snapshot.steps else ""


def format_progress(snapshot: Snapshot) -> str:
    """Returns one line for a terminal: "Generating 60%, step 6 of 10, 0:05, about 3 s left"."""
    parts = [format_status(snapshot), format_step(snapshot), format_duration(snapshot.elapsed_s)]
    if snapshot.remaining_s is not None and (snapshot.step or 0) > 1:
        parts.append(format_time_left(snapshot.remaining_s))
    return ", ".join(filter(None, parts))


def format_bar(snapshot: Snapshot, stream: TextIO) -> str:
    """Returns a progress bar and its numbers, "8k2qf [###--] Generating 60%, 0:05", in the terminal's width."""
    full, rest = ("█", "░") if (getattr(stream, "encoding", "") or "").lower().startswith("utf") else ("#", "-")
    done = round((100 if snapshot.state is RunState.SUCCEEDED else snapshot.percent or 0) / 100 * _BAR_CELLS)
    bar = full * done + rest * (_BAR_CELLS - done)
    return fit_terminal(f"{snapshot.short_id} [{bar}] {format_progress(snapshot)}", stream)


def format_budget(state: BudgetState) -> str:
    """Returns "spent $0.31 of $2.00 in this notebook, in flight about $0.04, $1.65 left"."""
    limit, left, reserved = state.limit_usd, state.left_usd, state.reserved_usd
    flying = f", in flight {format_forecast(reserved)}" if reserved else ""
    if limit is None or left is None:
        return f"spent {format_usd(state.spent_usd)} in this notebook{flying}; no budget is set"
    left_text = format_usd(max(left, Decimal(0)))
    return f"spent {format_usd(state.spent_usd)} of {format_usd(limit)} in this notebook{flying}, {left_text} left"
