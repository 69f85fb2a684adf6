"""Finds the run that an id, a variable name or "last" means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wiro_nb.errors import InputError, UnknownRun
from wiro_nb.ids import SHORT_LENGTH
from wiro_nb.notebook.context import current_context, current_shell
from wiro_nb.notebook.session import session

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run


def run_in_variable(name: str) -> Run | None:
    """Returns the run that a variable of this kernel holds, or None."""
    from wiro_nb.execution.run import Run

    held = getattr(current_shell(), "user_ns", {}).get(name)
    return held if isinstance(held, Run) else None


def find_run(query: str | Run, *, ends_it: bool = False) -> Run:
    """Returns the run of an id, of a variable that holds one, or the handle itself.

    Args:
        query: A handle, "last", the name of a variable, or an id.
        ends_it: True asks for the whole short id where the run is not of this notebook.

    Raises:
        UnknownRun: None, or several; or too little of the id of another notebook's run.
    """
    if not isinstance(query, str):
        return query
    last = session.last_run
    if query in ("last", "_") and last is not None:
        return last
    if (held := run_in_variable(query)) is not None:
        return held
    context = current_context()
    found = session.manager().get(query, context.notebook)
    if ends_it and found.row.notebook != context.notebook and len(query.strip().lstrip("#")) < SHORT_LENGTH:
        raise UnknownRun(
            f"{query!r} fits run {found.short_id}, which is not of this notebook",
            hint=f"give its whole short id: {found.short_id}",
            query=query,
            near=[found.id],
        )
    return found


def source_text(source: str | Path | Run) -> str:
    """Returns a path or address as text, and the id of the run that a handle, "last" or a variable means.

    Raises:
        InputError: It can hold no run.
    """
    if not isinstance(source, (str, Path)):
        run_id: object = getattr(source, "id", None)
        if not isinstance(run_id, str):
            raise InputError(f"a run, its id or a file is wanted, not {type(source).__name__}", hint="%wiro runs")
        return run_id
    last = session.last_run
    if source in ("last", "_") and last is not None:
        return last.id
    held = run_in_variable(str(source))
    return str(source) if held is None else held.id
