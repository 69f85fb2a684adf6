"""Lists of runs: filters, and the table that shows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InputError
from wiro_nb.formatting import (
    COST_OPEN,
    STATE_FILTERS,
    format_count,
    format_duration,
    format_forecast,
    format_status,
    format_usd,
    format_when,
    shorten,
    status_of,
)
from wiro_nb.json_values import as_decimal
from wiro_nb.ledger.state import RunState, Snapshot
from wiro_nb.presentation.html import LINE, SMALL, WIDE, Child, Html, command, h, line, url
from wiro_nb.presentation.models import value_label
from wiro_nb.presentation.output import (
    Block,
    Displayable,
    Output,
    compose,
    heading,
    next_steps,
    row_table,
    status_dot,
)
from wiro_nb.schema.types import ModelSchema

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.session.manager import Manager

_KEY_SETTINGS = 3
_LONGEST_SETTING = 28
_LONGEST_PROMPT = 90
FILE_GONE = "File gone. Get it again at no cost: %wiro download {}"
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
    if state.lower() not in STATE_FILTERS:
        raise InputError(
            f"no state {state[:40]!r}", hint="%wiro runs --state done (or failed, cancelled, running)"
        )
    wanted = STATE_FILTERS[state.lower()]
    if wanted is not None:
        return manager.runs(state=wanted, limit=limit, **chosen)
    return [run for run in manager.runs(limit=None, **chosen) if not run.state.is_final][:limit]


def parse_since(text: str, now: datetime | None = None) -> datetime:
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


def describe_filters(**chosen: object) -> str:
    """Returns the filters in use as text behind a heading: ", state done, since 7d"."""
    return "".join(f", {name} {value}" for name, value in chosen.items() if value is not None)


# The table -------------------------------------------------------------------------------------


class RunList(Displayable, list["Run"]):
    """Runs that show as a table, or as a sentence about them.

    Args:
        runs: The runs.
        render: Returns what is shown of their present snapshots; called when it is shown.
    """

    def __init__(self, runs: Iterable[Run], render: Callable[[list[Snapshot]], Output]) -> None:
        super().__init__(runs)
        self._render = render

    def output(self) -> Output:
        """Returns what is shown, with the runs as they are now."""
        return self._render([run.snapshot for run in self])


def runs_output(
    snapshots: Sequence[Snapshot],
    *,
    spent: str = "",
    pictures: bool = True,
    where: str = "in this notebook",
    filters: str = "",
    schemas: Sequence[ModelSchema] = (),
    remarks: Mapping[str, str] | None = None,
) -> Output:
    """Returns the table of runs.

    Args:
        snapshots: Newest first.
        spent: A sentence about money, or "".
        pictures: True links the posters; their paths start from the folder of the runs' own notebook.
        where: Which runs these are.
        filters: The filters in use, as `describe_filters` gives them.
        schemas: The models that are known: they order the settings and name the choices.
        remarks: By run id: the notebook of a run, or that its file is gone.
    """
    if not snapshots:
        return _no_runs(where, filters)
    remarks = remarks or {}
    known = {schema.slug: schema for schema in schemas}
    settings = [key_settings(snapshot, known.get(snapshot.model)) for snapshot in snapshots]
    heads = ("Run", "Clip", "Status, when", "Prompt, model, key settings", "Cost, time", "Next command")
    rows = [
        _row(snapshot, key, pictures, remarks.get(snapshot.run_id, ""))
        for snapshot, key in zip(snapshots, settings, strict=True)
    ]
    return compose(
        heading(f"{format_count(len(snapshots), 'run')} {where}{filters}", f"newest first. {spent}".rstrip()),
        row_table(heads, rows, map(_text_row, snapshots, settings), right=frozenset({4})),
        Block(_next(snapshots)),
        style=WIDE,
    )


def _no_runs(where: str, filters: str) -> Output:
    """Returns the text of an empty list: no runs, or none that match the filters."""
    if not filters:
        others = [("%wiro runs --all", "for those of other notebooks")] if where == "in this notebook" else []
        return compose(heading(f"No runs {where} yet"), next_steps(("%wiro models", "to start one"), *others))
    all_of_them = "%wiro runs" if where == "in this notebook" else "%wiro runs --all"
    fits = f"No run {where} fits{filters.removeprefix(',')}"
    return compose(heading(fits), next_steps((all_of_them, "for all of them")))


def _next(snapshots: Sequence[Snapshot]) -> Html:
    done = [snapshot.short_id for snapshot in snapshots if snapshot.state is RunState.SUCCEEDED][:2]
    pair = ("Two runs side by side: ", command(f"%wiro compare {' '.join(done)}"), ". ") if len(done) > 1 else ""
    everywhere, narrower = command("%wiro runs --all"), command("%wiro runs --state done --since 7d")
    return line(pair, "All notebooks: ", everywhere, ". Fewer: ", narrower, style=f"margin:8px 0 0 0;{SMALL}")


def _row(snapshot: Snapshot, settings: str, pictures: bool, remark: str) -> list[Child]:
    # A link and not the picture itself: fifty rows of pictures would outweigh the notebook.
    poster = next((output.poster_path for output in snapshot.outputs if output.poster_path), None)
    frame = "display:block;width:64px;height:37px;border-radius:2px"
    picture = h("span", style=f"{frame};box-sizing:border-box;border:1px dashed {LINE}")
    if poster and pictures and FILE_GONE.format(snapshot.short_id) not in remark:
        alt = f"Clip of run {snapshot.short_id}"
        picture = h("img", src=url(poster), alt=alt, width=64, height=37, style=f"{frame};max-width:none;margin:0")
    small, below = partial(h, "span", style=SMALL), h("br")
    when = h("span", format_run_time(snapshot), style=f"margin-left:15px;{SMALL}")
    return [
        h("code", snapshot.short_id, style="background:transparent;padding:0"),
        picture,
        (status_dot(status_of(snapshot)), format_status(snapshot), below, when),
        (
            (shorten(snapshot.prompt, _LONGEST_PROMPT), below) if snapshot.prompt else "",
            small(", ".join(filter(None, (snapshot.model, settings)))),
            (below, small(remark)) if remark else "",
        ),
        (format_run_cost(snapshot), below, small(format_duration(snapshot.elapsed_s))),
        h("code", f"%wiro show {snapshot.short_id}", style="font-size:12px;white-space:normal"),
    ]


def _text_row(snapshot: Snapshot, settings: str) -> tuple[str, ...]:
    prompt = shorten(" ".join(snapshot.prompt.split()), _LONGEST_PROMPT)
    status, when, cost = format_status(snapshot), format_run_time(snapshot), format_run_cost(snapshot)
    return snapshot.short_id, status, when, cost, snapshot.model, "; ".join(filter(None, (prompt, settings)))


def format_run_time(snapshot: Snapshot) -> str:
    """Returns when a run ended; "now" until then."""
    return format_when(snapshot.finished_at or snapshot.created) if snapshot.state.is_final else "now"


def format_run_cost(snapshot: Snapshot) -> str:
    """Returns the cost in a few characters: "free", "$0.038", "about $0.04"."""
    if snapshot.is_free:
        return "free"
    if snapshot.is_cost_open:
        return COST_OPEN
    if snapshot.cost_usd is not None:
        return format_usd(snapshot.cost_usd)
    if snapshot.state in (RunState.FAILED, RunState.CANCELLED):
        return "$0"
    return format_forecast(snapshot.estimated_usd) if snapshot.estimated_usd is not None else "not listed"


def key_settings(snapshot: Snapshot, schema: ModelSchema | None = None) -> str:
    """Returns the seed and the first short settings that tell runs apart.

    With the model's schema they follow its order, non-default ones first, choices by their label.
    """
    seed = str((snapshot.seed or {}).get("parameter") or "")
    parts = [f"seed {snapshot.seed['value']}"] if snapshot.seed and snapshot.seed.get("value") else []
    for name, value in _distinctive_first(snapshot.parameters, schema):
        if len(parts) >= _KEY_SETTINGS:
            break
        if name != seed and value != "" and "rompt" not in name and len(value) <= _LONGEST_SETTING:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _distinctive_first(given: Mapping[str, object], schema: ModelSchema | None) -> list[tuple[str, str]]:
    """Returns settings as people read them; those that are not the model's default come first."""
    known = [item for item in (schema.parameters if schema is not None else ()) if item.id in given]
    known.sort(key=lambda item: _same(given[item.id], item.default))
    labels = {item.id: value_label(item, given[item.id]) for item in known}
    return [*labels.items(), *((name, str(value)) for name, value in given.items() if name not in labels)]


def _same(value: object, default: str | tuple[str, ...] | None) -> bool:
    if isinstance(value, (list, tuple)):
        return [str(item) for item in value] == list(default or ())
    number = as_decimal(str(value))
    return str(value) == (default or "") or (
        isinstance(default, str) and number is not None and number == as_decimal(default)
    )
