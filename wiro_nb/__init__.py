"""Run generative-video models of the Wiro service from a notebook.

    %load_ext wiro_nb        the magics: %wiro, %%wiro
    wiro_nb.run(...)         the same from Python

Names are looked up at first use: `import wiro_nb` costs next to nothing and imports no HTTP client, no
video library and no widget.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wiro_nb.errors import WiroError
    from wiro_nb.notebook.actions import attach, cancel, fetch, forget, form, last, run, show, wait
    from wiro_nb.notebook.actions import list_runs as runs
    from wiro_nb.notebook.lookups import budget, info, login, logout, models, status, use
    from wiro_nb.notebook.reproduce import compare, rerun, rerun_all, verify
    from wiro_nb.notebook.spending import spent
    from wiro_nb.notebook.sweeps import sweep
    from wiro_nb.runs.run import Run
    from wiro_nb.runs.sweep import Sweep

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

_ACTIONS = "wiro_nb.notebook.actions"
_LOOKUPS = "wiro_nb.notebook.lookups"
_REPRODUCE = "wiro_nb.notebook.reproduce"
_PLACES = {
    "Run": ("wiro_nb.runs.run", "Run"),
    "Sweep": ("wiro_nb.runs.sweep", "Sweep"),
    "WiroError": ("wiro_nb.errors", "WiroError"),
    "spent": ("wiro_nb.notebook.spending", "spent"),
    "sweep": ("wiro_nb.notebook.sweeps", "sweep"),
    **{name: (_ACTIONS, name) for name in ("attach", "cancel", "fetch", "forget", "form")},
    **{name: (_ACTIONS, name) for name in ("last", "run", "show", "wait")},
    **{name: (_LOOKUPS, name) for name in ("budget", "info", "login", "logout", "models", "status", "use")},
    **{name: (_REPRODUCE, name) for name in ("compare", "rerun", "rerun_all", "verify")},
}


class _CallableRuns(ModuleType):
    """The package `wiro_nb.runs`, which lists the runs when it is called."""

    def __call__(self, **choices: Any) -> Any:
        """Returns the runs of this notebook; see `wiro_nb.notebook.actions.list_runs`."""
        return importlib.import_module(_ACTIONS).list_runs(**choices)


class _Package(ModuleType):
    """This package. An import of `wiro_nb.runs` binds that name here, over the function a person calls."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "runs" and isinstance(value, ModuleType):
            value.__class__ = _CallableRuns
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


if not TYPE_CHECKING:  # a checker that saw it would accept every misspelt name

    def __getattr__(name: str) -> Any:
        if name == "runs":
            return importlib.import_module("wiro_nb.runs")
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
