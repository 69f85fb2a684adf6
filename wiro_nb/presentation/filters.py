"""Which runs a list shows: states and moments as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InputError
from wiro_nb.ledger.state import RunState

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.session.manager import Manager

STATES: dict[str, RunState | None] = {
    "done": RunState.SUCCEEDED,
    "succeeded": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "cancelled": RunState.CANCELLED,
    "uncertain": RunState.UNCERTAIN,
    "running": None,
}
"""The states as people type them; None is every run that has not ended."""
_AGO = re.compile(r"(\d{1,4})\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def runs_in_state(manager: Manager, state: str | None, *, limit: int, **chosen: Any) -> list[Run]:
    """Returns runs, latest first.

    Args:
        manager: Holds them.
        state: As people type it, or None; "running" is every run that has not ended.
        limit: At most this many.
        **chosen: Further filters of `manager.runs`.

    Raises:
        InputError: There is no such state.
    """
    if state is None:
        return manager.runs(limit=limit, **chosen)
    if state.lower() not in STATES:
        raise InputError(
            f"no state {state[:40]!r}", hint="%wiro runs --state done (or failed, cancelled, running)"
        )
    wanted = STATES[state.lower()]
    if wanted is not None:
        return manager.runs(state=wanted, limit=limit, **chosen)
    return [run for run in manager.runs(limit=None, **chosen) if not run.state.is_final][:limit]


def read_since(text: str, now: datetime | None = None) -> datetime:
    """Returns the moment meant by "today", "yesterday", "7d", "3h" or a date, in UTC.

    Args:
        text: As typed; days begin at midnight of this machine's time zone.
        now: The present, UTC; for tests.

    Raises:
        InputError: It is none of these.
    """
    present = now or datetime.now(UTC)
    word = text.strip().lower()
    midnight = present.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    if word in ("today", "yesterday"):
        return (midnight - timedelta(days=word == "yesterday")).astimezone(UTC)
    if found := _AGO.fullmatch(word):
        return present - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InputError(
            f"no moment {text[:40]!r}", hint="%wiro runs --since 7d (or today, yesterday, 3h, 2026-11-20)"
        ) from None
    return moment.astimezone(UTC)


def chosen_words(**chosen: object) -> str:
    """Returns the filters in use as words behind a heading: ", state done, since 7d"."""
    return "".join(f", {name} {value}" for name, value in chosen.items() if value is not None)
