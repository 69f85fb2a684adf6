"""Submits a request from a notebook: reuses the run that already answers it, and records its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any, Self

from wiro_nb.errors import InputError
from wiro_nb.execution.requests import Origin, read_run_text
from wiro_nb.execution.run import FRAME_INDEX, FRAME_OF, Run
from wiro_nb.formatting import read_usd
from wiro_nb.ledger.state import RunOutput, RunState
from wiro_nb.notebook.bridge import bridge
from wiro_nb.notebook.run.display import gone_note
from wiro_nb.notebook.session import ExecutionContext, injected_parameters, session
from wiro_nb.schema.values import Prepared
from wiro_nb.session.manager import Manager
from wiro_nb.session.submission import Batch


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

    @classmethod
    def of_call(cls, fresh: bool, max_cost_usd: Decimal | float | str | None, out_dir: str | None) -> Self:
        """Returns the options of a Python call.

        Raises:
            InputError: `max_cost_usd` is no amount of money.
        """
        return cls("python", fresh, read_usd(max_cost_usd, "max_cost_usd", "max_cost_usd=0.50"), out_dir)


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
) -> Run:
    """Submits a request, unless a run answers it already; returns the run, and keeps a notice about that.

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
    # Pressing Run twice in a form is no loop: only a cell or script that asks twice means two runs.
    returned = set() if options.kind == "form" else session.returned_in(context)
    batch = Batch(
        [prepared],
        origin_of(context, options.kind),
        [parent],
        fresh=options.fresh,
        is_rerun=is_rerun,
        exclude=frozenset(returned),
    )
    manager = session.manager()
    (submission,) = manager.submit(batch, max_cost_usd=options.max_cost_usd, out_dir=options.out_dir)
    run = submission.run
    returned.add(run.id)
    session.last_run = run
    bridge.follow(run)
    if context.is_headless and run.state is RunState.SUCCEEDED and run.lacks_files:
        run.download()  # later cells need the file
    session.notices[run.id] = ". ".join(filter(None, (submission.notice, gone_note(run))))
    return run


def origin_of(context: ExecutionContext, kind: str) -> Origin:
    """Returns the origin of a run as the ledger keeps it; `kind` is "magic", "form" or "python"."""
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
    lists = (value if isinstance(value, (list, tuple)) else (value,) for value in values.values())
    for item in chain.from_iterable(lists):
        info = getattr(item, "info", None)
        if isinstance(item, Run):
            return {"run_id": item.id, "output": 0}
        if isinstance(item, RunOutput) and item.sha256 is not None:
            if (made := manager.ledger.find_maker(item.sha256)) is not None:
                return {"run_id": made.run_id, "output": made.output}
        elif isinstance(item, str) and (named := read_run_text(item)) is not None:
            frame = {} if named[1] is None else {"frame": named[1]}
            return {"run_id": manager.get(named[0]).id, "output": 0, **frame}
        elif isinstance(info, dict) and isinstance(info.get(FRAME_OF), str):
            return {"run_id": info[FRAME_OF], "output": 0, "frame": info.get(FRAME_INDEX, -1)}
    return None
