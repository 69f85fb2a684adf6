"""Runs: one run's life from the intent to the record, whatever kernel, loop or process it lives through.

May import `schema`, `api` and `provenance`: a run is asked for in the words of a schema, goes through the
service's API, and ends by writing its record. It knows nothing of IPython, widgets or screens; those
look at immutable snapshots.

Threads: everything that waits (sockets, files of the service, timers) happens on one I/O thread
(`loop`), which starts at first use. `manager` is the face for all other threads; it plans runs, which
means writing them to the `ledger`, and hands them over. On the I/O thread `worker` leads a run through
`submit` (sent once, never twice), `watch` (events first, questions where they fail) and `finish`
(files, record); `jobs.Desk` is the one place where a change reaches ledger, handle and listeners.
`tracker`, `gate` and `requests` are pure and can be tested without any of it.

Importing this package loads none of the network libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wiro_nb.runs.manager import Manager, close_manager, get_manager
    from wiro_nb.runs.requests import Origin
    from wiro_nb.runs.run import Run, WaitInterrupted
    from wiro_nb.runs.settings import Settings
    from wiro_nb.runs.snapshot import RunOutput, RunState, Snapshot, Stage

__all__ = [
    "Manager",
    "Origin",
    "Run",
    "RunOutput",
    "RunState",
    "Settings",
    "Snapshot",
    "Stage",
    "WaitInterrupted",
    "close_manager",
    "get_manager",
]

_HOMES = {
    **dict.fromkeys(("Manager", "close_manager", "get_manager"), "manager"),
    **dict.fromkeys(("Run", "WaitInterrupted"), "run"),
    **dict.fromkeys(("RunOutput", "RunState", "Snapshot", "Stage"), "snapshot"),
    "Origin": "requests",
    "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    # At first use: who needs a snapshot's fields shall not pay for SQLite and the loop.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
