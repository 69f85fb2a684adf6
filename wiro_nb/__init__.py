"""Run generative-video models of the Wiro service from a notebook.

    %load_ext wiro_nb        the magics: %wiro, %%wiro
    wiro_nb.run(...)         the same from Python

Names are looked up at first use: `import wiro_nb` costs next to nothing and imports no HTTP client, no
video library and no widget.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wiro_nb.errors import WiroError
    from wiro_nb.execution.run import Run
    from wiro_nb.notebook.compare.reproduce import compare, rerun, rerun_all, verify
    from wiro_nb.notebook.magic.lookups import budget, info, login, logout, models, status, use
    from wiro_nb.notebook.magic.spending import spent
    from wiro_nb.notebook.run.actions import attach, cancel, fetch, forget, form, last, run, show, wait
    from wiro_nb.notebook.run.actions import list_runs as runs
    from wiro_nb.notebook.sweep.actions import sweep
    from wiro_nb.sweeps.sweep import Sweep

__version__ = "0.1.0"

__all__ = [
    "Run",
    "Sweep",
    "WiroError",
    "attach",
    "budget",
    "cancel",
    "compare",
    "fetch",
    "forget",
    "form",
    "info",
    "last",
    "load_ipython_extension",
    "login",
    "logout",
    "models",
    "rerun",
    "rerun_all",
    "run",
    "runs",
    "show",
    "spent",
    "status",
    "sweep",
    "unload_ipython_extension",
    "use",
    "verify",
    "wait",
]

_ACTIONS = "wiro_nb.notebook.run.actions"
_LOOKUPS = "wiro_nb.notebook.magic.lookups"
_REPRODUCE = "wiro_nb.notebook.compare.reproduce"
_PLACES = {
    "Run": ("wiro_nb.execution.run", "Run"),
    "Sweep": ("wiro_nb.sweeps.sweep", "Sweep"),
    "WiroError": ("wiro_nb.errors", "WiroError"),
    "spent": ("wiro_nb.notebook.magic.spending", "spent"),
    "sweep": ("wiro_nb.notebook.sweep.actions", "sweep"),
    **{name: (_ACTIONS, name) for name in ("attach", "cancel", "fetch", "forget", "form")},
    **{name: (_ACTIONS, name) for name in ("last", "run", "show", "wait")},
    "runs": (_ACTIONS, "list_runs"),
    **{name: (_LOOKUPS, name) for name in ("budget", "info", "login", "logout", "models", "status", "use")},
    **{name: (_REPRODUCE, name) for name in ("compare", "rerun", "rerun_all", "verify")},
}


if not TYPE_CHECKING:  # a checker that saw it would accept every misspelt name

    def __getattr__(name: str) -> Any:
        if name not in _PLACES:
            raise AttributeError(f"module 'wiro_nb' has no attribute {name!r}")
        module, attribute = _PLACES[name]
        return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ipython: Any) -> None:
    """Called by `%load_ext wiro_nb`."""
    from wiro_nb.notebook.extension import load

    load(ipython)


def unload_ipython_extension(ipython: Any) -> None:
    """Called by `%unload_ext wiro_nb`."""
    from wiro_nb.notebook.extension import unload

    unload(ipython)
