"""Submits a request from a notebook: reuses the run that already answers it, and keeps where it was asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InputError
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.context import ExecutionContext, injected_parameters
from wiro_nb.notebook.session import session
from wiro_nb.presentation.formatting import MAX_USD, parse_usd

if TYPE_CHECKING:
    from wiro_nb.execution.requests import Origin
    from wiro_nb.execution.run import Run
    from wiro_nb.ledger.rows import LedgerRow
    from wiro_nb.schema.values import Prepared
    from wiro_nb.session.manager import Manager

ALREADY_MADE = "Already made by this notebook: shown at no cost. --fresh runs it anew."
ALREADY_RUNNING = "Already under way: this is the run that was started before. --fresh starts another one."
MAY_BE_RUNNING = "Sent before without an answer: the service is asked again. --fresh sends anew and may pay twice."
FILES_GONE = "Already made by this notebook, but its file is gone: %wiro download {} gets it again at no cost."


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """How a request is submitted.

    Attributes:
        kind: "magic", "form" or "python".
        fresh: True never reuses an earlier run.
        max_cost_usd: Refuses when the run may cost more, in USD.
        out_dir: Folder of the files; beside the notebook when None.
    """

    kind: str
    fresh: bool = False
    max_cost_usd: Decimal | None = None
    out_dir: str | None = None


def read_limit(usd: Decimal | float | str | None) -> Decimal | None:
    """Returns what one run may cost at most, in USD; None stays None.

    Raises:
        InputError: It is no amount of money.
    """
    if usd is None:
        return None
    amount = parse_usd(usd)
    if amount is None:
        raise InputError(
            f"max_cost_usd is an amount from 0 to {MAX_USD} USD, not {usd!r}", hint="max_cost_usd=0.50"
        )
    return amount


def merge_inputs(inputs: Mapping[str, Any] | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the inputs of a mapping and those given by keyword together.

    Raises:
        InputError: `inputs` is no mapping, or an input is given in both.
    """
    if inputs is None:
        return dict(values)
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"inputs are a mapping by name, not {type(inputs).__name__}", hint='wiro_nb.run(MODEL, {"seed": 7})'
        )
    twice = next((name for name in inputs if name in values), None)
    if twice is not None:
        raise InputError(f"{twice} is given in the mapping and again by keyword", hint=f"leave one {twice} out")
    return {**inputs, **values}


def submit_or_reuse(
    prepared: Prepared,
    context: ExecutionContext,
    options: SubmitOptions,
    *,
    parent: dict[str, Any] | None = None,
    is_rerun: bool = False,
) -> tuple[Run, str]:
    """Submits a request, unless this notebook already has its run; returns the run and a notice about that.

    Args:
        prepared: The request.
        context: Where it is asked for.
        options: How.
        parent: The run it continues, or is made again from.
        is_rerun: True reuses only runs with the same parent: the parent itself is no answer.

    Raises:
        BudgetExceeded: It could cost more than `max_cost_usd` or the notebook's budget.
    """
    session.remember_schema(prepared.schema)
    returned = session.returned_in(context)
    made_from = str(parent["run_id"]) if parent and is_rerun else None
    handle, notice = (None, "")
    if not options.fresh:
        handle, notice = _find_earlier(prepared, context, options.kind, returned, made_from)
    if handle is None:
        handle = submit(prepared, context, options, parent=parent)
    returned.add(handle.id)
    session.last_run = handle
    bridge.follow(handle)
    return handle, notice


def submit(
    prepared: Prepared,
    context: ExecutionContext,
    options: SubmitOptions,
    *,
    parent: dict[str, Any] | None = None,
) -> Run:
    """Submits a request; the run is on disk when this returns.

    Raises:
        BudgetExceeded: It could cost more than `max_cost_usd` or the notebook's budget.
    """
    handle = session.manager().submit(
        prepared,
        origin=origin_of(context, options.kind),
        max_cost_usd=options.max_cost_usd,
        parent=parent,
        out_dir=options.out_dir,
    )
    session.last_run = handle
    return handle


def _find_earlier(
    prepared: Prepared, context: ExecutionContext, kind: str, returned: Collection[str], made_from: str | None
) -> tuple[Run | None, str]:
    """Returns the run that already answers this request in this notebook, and a notice about it.

    A run in flight counts for a cell that is run again. For Python it counts only when an earlier kernel started
    it: Python that asks twice means it, but a notebook run anew after a crash means the run it has. One that may
    have been sent counts always: sending it again could be paid twice.
    """
    from wiro_nb.ledger.state import RunState

    if context.notebook is None:
        return None, ""
    manager = session.manager()

    def accept(row: LedgerRow) -> bool:
        if row.run_id in returned or made_from not in (None, (row.parent or {}).get("run_id")):
            return False
        may_be_meant_twice = kind != "magic" and manager.started_here(row.run_id)
        return not may_be_meant_twice or row.state in (RunState.SUCCEEDED, RunState.UNCERTAIN)

    handle = manager.find_made(prepared, context.notebook, accept=accept)
    if handle is None:
        return None, ""
    if handle.row.state is not RunState.SUCCEEDED:
        manager.follow(handle)
        return handle, MAY_BE_RUNNING if handle.row.state is RunState.UNCERTAIN else ALREADY_RUNNING
    if handle.lacks_files and not context.is_headless:
        return handle, FILES_GONE.format(handle.short_id)
    if handle.lacks_files:  # nobody can download it later, and later cells need the file
        handle.download()
    return handle, ALREADY_MADE


def origin_of(context: ExecutionContext, kind: str) -> Origin:
    """Returns where a run is asked for, as the ledger keeps it; `kind` is "magic", "form" or "python"."""
    from wiro_nb.execution.requests import Origin

    given = injected_parameters() if context.is_headless else None
    return Origin(context.notebook, context.cell_id, context.source_sha256, kind, given)


def parent_of(values: Mapping[str, Any], manager: Manager) -> dict[str, Any] | None:
    """Returns the run that the first input made by a run comes from, or None.

    The ledger finds the parent by the content of an input file too; this finds it where the content differs: a
    picture from `run.frame()` is encoded again, and an output at the service has no content here.

    Args:
        values: As given: a `Run`, "run:ID", an output or a picture from `run.frame()` names its run.
        manager: Finds runs.
    """
    from wiro_nb.execution.inputs import read_run_text
    from wiro_nb.execution.run import FRAME_OF, Run
    from wiro_nb.ledger.state import RunOutput

    for value in values.values():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            info = getattr(item, "info", None)
            named = read_run_text(item) if isinstance(item, str) else None
            if isinstance(item, Run):
                return {"run_id": item.id, "output": 0}
            if isinstance(item, RunOutput) and item.sha256 is not None:
                made = manager.ledger.find_maker(item.sha256)
                if made is not None:
                    return {"run_id": made.run_id, "output": made.output}
            if named is not None:
                frame = {} if named[1] is None else {"frame": named[1]}
                return {"run_id": manager.get(named[0]).id, "output": 0, **frame}
            if isinstance(info, dict) and isinstance(info.get(FRAME_OF), str):
                return {"run_id": info[FRAME_OF], "output": 0}
    return None
