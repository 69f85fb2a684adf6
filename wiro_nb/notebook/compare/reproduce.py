"""Making runs again, comparing them, checking what is left of them: the commands and their Python twins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from wiro_nb.errors import WiroError
from wiro_nb.notebook.context import ANY_NOTEBOOK, ExecutionContext, current_context
from wiro_nb.notebook.run import actions
from wiro_nb.notebook.run.find import source_text
from wiro_nb.notebook.run.submit import merge_inputs, origin_of, read_limit, start_prepared
from wiro_nb.notebook.session import session
from wiro_nb.presentation.output import Displayable, Output

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run
    from wiro_nb.presentation.run_list import RunList
    from wiro_nb.reproduce.compare import Comparison, Side
    from wiro_nb.reproduce.replay import Replay
    from wiro_nb.reproduce.verify import Finding


@overload
def rerun(
    source: str | Path | Run, overrides: Mapping[str, Any] | None = None, /, *, all: Literal[True], **options: Any
) -> RunList: ...
@overload
def rerun(source: str | Path | Run, overrides: Mapping[str, Any] | None = None, /, **options: Any) -> Run: ...
def rerun(
    source: str | Path | Run,
    overrides: Mapping[str, Any] | None = None,
    /,
    *,
    all: bool = False,
    yes: bool = False,
    wait: bool | None = None,
    fresh: bool = False,
    max_cost_usd: Decimal | float | str | None = None,
    out_dir: str | None = None,
    force: bool = False,
    **values: Any,
) -> Run | RunList:
    """Makes a run again with the settings, files and seed it had, and returns the new run.

    Args:
        source: A run or its id, a clip, picture, `run.json`, folder, or `NOTEBOOK#RUN`.
        overrides: Settings to change as a mapping, for those whose names are options here.
        all: True makes every run of a notebook or folder again and returns the new runs; none is sent unless
            every one can be.
        yes: With `all`, sends more runs, or more expensive ones, than the sweep limits allow without asking.
        wait: As in `run`.
        fresh: True runs even when this notebook has already made this very thing again.
        max_cost_usd: As in `run`, for each run.
        out_dir: As in `run`.
        force: True reads a record that was changed after it was written.
        **values: Settings to change, such as `seed=8`.

    Raises:
        UnknownRun, BadRecord: There is no such run, or its record is refused.
        InvalidParameter, InvalidFile: The model has changed, or an input file is not here; nothing was sent.
        BudgetExceeded: Nothing was sent.
        ConfirmationNeeded: With `all`: more runs than `sweep_limit_runs`, or they may cost more than
            `sweep_limit_usd` together, or their price is unknown; nothing was sent.
        RunFailed: Where it waits, when a run gave no result.
    """
    context = current_context()
    limit, values = read_limit(max_cost_usd), merge_inputs(overrides, values)
    if all:
        replays = plan_all(source, values, context, "python", force=force)
        total = confirm(replays, yes)
    else:
        replays = [plan(source, values, context, "python", force=force)]
    handles = []
    for replay in replays:
        handle, note = _start(replay, context, "python", fresh=fresh, max_cost_usd=limit, out_dir=out_dir)
        session.set_note(handle.id, note)
        handles.append(handle)
    if all:
        return _listing(handles, context, wait, total)
    if session.should_wait(context, wait):
        actions.wait_for(handles[0], context)
    return handles[0]


def plan(
    source: str | Path | Run,
    overrides: Mapping[str, Any],
    context: ExecutionContext,
    kind: str,
    *,
    force: bool = False,
) -> Replay:
    """Plans to make one run again; sends nothing.

    Raises:
        UnknownRun, BadRecord, UnknownModel, InvalidParameter.
    """
    from wiro_nb.reproduce.replay import find_source, plan_rerun

    manager = session.manager()
    text = source_text(source)
    found = find_source(manager, text, notebook=context.notebook, ignore_hash=force)
    return plan_rerun(manager, found, overrides, origin=origin_of(context, kind))


def plan_all(
    source: str | Path | Run,
    overrides: Mapping[str, Any],
    context: ExecutionContext,
    kind: str,
    *,
    force: bool = False,
) -> list[Replay]:
    """Plans to make every run of a source again; all of them can be sent.

    Raises:
        UnknownRun, BadRecord, UnknownModel, InvalidParameter, InvalidFile: One of them cannot.
    """
    from wiro_nb.reproduce.replay import find_sources, plan_rerun, refuse

    manager = session.manager()
    origin = origin_of(context, kind)
    found = find_sources(manager, source_text(source), notebook=context.notebook, ignore_hash=force)
    replays = [plan_rerun(manager, item, overrides, origin=origin) for item in found]
    stopped = next((item for item in replays if item.prepared is None), None)
    if stopped is not None:
        raise refuse(stopped)
    return replays


def confirm(replays: Sequence[Replay], yes: bool) -> str:
    """Asks for a word before many runs, or dear ones, are sent; a single run is asked for by its own name.

    Returns:
        Number, price, time and service of them all in words.

    Raises:
        ConfirmationNeeded: They are above the limits for sweeps, and `yes` is False.
    """
    from wiro_nb.session.totals import confirm_total

    limits = session.preferences
    return confirm_total(
        session.manager(),
        [item.prepared for item in replays if item.prepared is not None],
        yes=yes,
        limit_usd=limits.sweep_limit_usd,
        limit_runs=limits.sweep_limit_runs,
    )


def rerun_in_cell(
    replays: Sequence[Replay],
    *,
    wait: bool | None,
    fresh: bool,
    max_cost_usd: Decimal | None,
    is_many: bool,
    yes: bool = False,
    keep: Callable[[Any], None],
) -> Any:
    """Makes runs again for the magic: one shows itself in the cell, several come back as a table.

    Args:
        replays: Planned, at least one.
        wait: As in `rerun`.
        fresh: As in `rerun`.
        max_cost_usd: As in `rerun`.
        is_many: True for the runs of a whole notebook or folder.
        yes: As in `rerun`.
        keep: Called with the run (a list of runs, when many) before anything is waited for.

    Raises:
        ConfirmationNeeded: As in `rerun`.
        WiroError: One could not start, or gave no result in a cell that waits.
    """
    context = current_context()
    told = confirm(replays, yes)
    started = [_start(item, context, "magic", fresh=fresh, max_cost_usd=max_cost_usd) for item in replays]
    if is_many:
        handles = [handle for handle, _ in started]
        keep(handles)
        return _listing(handles, context, wait, told)
    ((handle, note),) = started
    keep(handle)
    lines = " ".join(f"{line[0].upper()}{line[1:]}." for line in replays[0].lines if line)
    try:
        actions.show_and_wait(handle, " ".join(filter(None, (note, lines))), context, wait)
    except KeyboardInterrupt:
        from wiro_nb.execution.run import WaitInterrupted

        raise WaitInterrupted(handle.short_id) from None
    return None


def preview(replay: Replay) -> Output:
    """Returns the page of a run that is not sent."""
    from wiro_nb.presentation.request import describe_request, explain_estimate, unsent_output

    manager = session.manager()
    record = replay.source.record
    rows = [("Run", f"{replay.source.run_id}, {record['model']['slug']}"), ("Service", manager.service_name)]
    body = None
    if replay.prepared is not None:
        facts = describe_request(replay.prepared)
        rows.append(("Request", facts["endpoint"]))
        rows.append(("Price", explain_estimate(manager.estimate(replay.prepared), manager.choice.is_sandbox)))
        body = facts.get("body") or {name: facts[name] for name in ("fields", "files") if name in facts}
    return unsent_output(f"Run {replay.source.short_id} made again", rows, body, notes=replay.lines)


def _start(
    replay: Replay,
    context: ExecutionContext,
    kind: str,
    *,
    fresh: bool,
    max_cost_usd: Decimal | None,
    out_dir: str | None = None,
) -> tuple[Run, str]:
    from wiro_nb.reproduce.replay import refuse

    if replay.prepared is None:
        raise refuse(replay)
    return start_prepared(
        replay.prepared,
        context,
        kind,
        fresh=fresh,
        max_cost_usd=max_cost_usd,
        out_dir=out_dir,
        parent=replay.parent,
        made_again=True,
    )


def _listing(handles: Sequence[Run], context: ExecutionContext, wait: bool | None, told: str) -> RunList:
    from wiro_nb.presentation.run_list import RunList

    if session.should_wait(context, wait):
        failed: WiroError | None = None
        for handle in handles:
            try:
                actions.wait_for(handle, context)
            except WiroError as error:
                failed = failed or error
        if failed is not None:
            raise failed
    return RunList(handles, spent=lambda: f"Forecast: {told}.", where="made again", schemas=session.known_schemas)


# Comparing ------------------------------------------------------------------------------------


class Compared:
    """What a comparison found; it shows itself in a notebook.

    Attributes:
        found: Settings that differ, and outputs, of each further side against the first.
        is_same: True when every output came out the same, at least frame by frame.
    """

    def __init__(self, found: Sequence[Comparison]) -> None:
        self.found = tuple(found)

    @property
    def is_same(self) -> bool:
        """True when every output came out the same, at least frame by frame."""
        return all(item.is_same for item in self.found)

    def __repr__(self) -> str:
        from wiro_nb.presentation.reproduction import comparison_output

        return "\n".join(comparison_output(item).text for item in self.found)

    def _ipython_display_(self) -> None:
        from wiro_nb.notebook.run.display import publish
        from wiro_nb.presentation.reproduction import comparison_output

        view = self._side_by_side()
        for item in self.found:
            publish(comparison_output(item, with_settings=view is None))
        if view is not None:
            publish(view.output())

    def _side_by_side(self) -> Any | None:
        """Returns the clips in step, where this machine has the runs themselves."""
        from wiro_nb.notebook.compare.comparison import comparison_view

        runs = [self.found[0].left.run, *(item.right.run for item in self.found)]
        known = [run for run in runs if run is not None]
        if len(known) < len(runs) or len({run.id for run in known}) < len(known):
            return None
        return comparison_view(known)


def compare(*sources: str | Path | Run) -> Compared:
    """Compares runs, or what is left of them: which settings differ, and whether the clips are the same.

    Args:
        *sources: Two to four runs, ids, clips, sidecars, `NOTEBOOK#RUN`; the first is held against each other
            one. One alone is compared with the run it was made from.

    Raises:
        UnknownRun, BadRecord: One of them is not there.
        MissingExtra: Files differ, and PyAV is not installed to look at their pictures.
    """
    from wiro_nb.reproduce.compare import compare_sides, find_side, parent_side

    manager, notebook = session.manager(choose=False), current_context().notebook

    def side_of(source: str | Path | Run) -> Side:
        named = source_text(source)
        word = named if isinstance(source, str) else source
        return find_side(manager, word, notebook=notebook)

    sides = [side_of(source) for source in sources]
    if len(sides) == 1:
        sides.insert(0, parent_side(manager, sides[0]))
    return Compared([compare_sides(sides[0], other) for other in sides[1:]])


# Verifying ------------------------------------------------------------------------------------


class Verified(Displayable):
    """What verify saw.

    Attributes:
        findings: One by one. ok: True when none is a problem.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        self.ok = not any(item.level == "problem" for item in findings)

    def output(self) -> Output:
        """Returns the table of what is not well."""
        from wiro_nb.presentation.reproduction import verify_output

        return verify_output(self.findings)


def verify(*paths: str | Path) -> Verified:
    """Checks notebooks, run folders and clips: hashes, files, records, agreement with the ledger, and no secret.

    Args:
        *paths: What to check; without any, this notebook and its outputs, and the ledger itself.
    """
    from wiro_nb.reproduce.verify_ledger import verify_everything

    manager = session.manager(choose=False)
    if paths:
        return Verified(verify_everything(manager, [Path(path) for path in paths]))
    return Verified(verify_everything(manager, _own_paths(current_context()), ledger=True))


def _own_paths(context: ExecutionContext) -> list[Path]:
    folder = context.folder / session.preferences.out_dir
    notebook = Path(context.notebook) if context.notebook and not context.notebook.endswith(ANY_NOTEBOOK) else None
    return [path for path in (notebook, folder) if path is not None and path.exists()]
