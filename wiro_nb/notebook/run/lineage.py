"""Which run an input comes from, so that a clip made from another clip says so in its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from wiro_nb.execution.inputs import read_run_text
from wiro_nb.execution.run import FRAME_OF, Run
from wiro_nb.ledger.state import RunOutput

if TYPE_CHECKING:
    from wiro_nb.session.manager import Manager

_LATEST = 200


def parent_of(values: Mapping[str, Any], manager: Manager) -> dict[str, Any] | None:
    """Returns the run and output that the first input made by a run comes from, or None.

    Args:
        values: As given: a `Run`, "run:ID", a `RunOutput`, or a picture from `run.frame()`.
        manager: Looks runs up.
    """
    for value in _flat(values):
        if isinstance(value, Run):
            return _parent(value, 0)
        if isinstance(value, str) and (named := read_run_text(value)) is not None:
            return _parent(manager.get(named[0]), 0)
        if isinstance(value, RunOutput):
            return _owner_of(value, manager)
        note = getattr(value, "info", None)
        if isinstance(note, dict) and isinstance(note.get(FRAME_OF), str):
            return {"run_id": note[FRAME_OF], "output": 0}
    return None


def _flat(values: Mapping[str, Any]) -> Iterator[Any]:
    for value in values.values():
        yield from value if isinstance(value, (list, tuple)) else (value,)


def _parent(run: Run, output: int) -> dict[str, Any]:
    return {"run_id": run.id, "output": output}


def _owner_of(output: RunOutput, manager: Manager) -> dict[str, Any] | None:
    if output.sha256 is None:
        return None
    for run in manager.runs(limit=_LATEST):
        for position, own in enumerate(run.outputs):
            if own.sha256 == output.sha256 and own.path == output.path:
                return _parent(run, position)
    return None
