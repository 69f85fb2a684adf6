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
    from wiro_nb.films import Film
    from wiro_nb.notebook.account import budget, login, logout, set_budget, spent, status, use
    from wiro_nb.notebook.compare import compare
    from wiro_nb.notebook.extension import load_ipython_extension, unload_ipython_extension
    from wiro_nb.notebook.film.actions import film, join
    from wiro_nb.notebook.form.controller import form
    from wiro_nb.notebook.models import info, models
    from wiro_nb.notebook.reproduce import rerun, verify
    from wiro_nb.notebook.run.actions import attach, cancel, download, extend, forget, last, run, show, wait
    from wiro_nb.notebook.run.listing import monitor, runs
    from wiro_nb.notebook.sweep.view import sweep
    from wiro_nb.sweeps import Sweep

__version__ = "0.1.0"

__all__ = [
    "Film",
    "Run",
    "Sweep",
    "WiroError",
    "attach",
    "budget",
    "cancel",
    "compare",
    "download",
    "extend",
    "film",
    "forget",
    "form",
    "info",
    "join",
    "last",
    "load_ipython_extension",
    "login",
    "logout",
    "models",
    "monitor",
    "rerun",
    "run",
    "runs",
    "set_budget",
    "show",
    "spent",
    "status",
    "sweep",
    "unload_ipython_extension",
    "use",
    "verify",
    "wait",
]

_MODULES = {
    "wiro_nb.errors": "WiroError",
    "wiro_nb.execution.run": "Run",
    "wiro_nb.films": "Film",
    "wiro_nb.notebook.account": "budget login logout set_budget spent status use",
    "wiro_nb.notebook.models": "info models",
    "wiro_nb.notebook.compare": "compare",
    "wiro_nb.notebook.reproduce": "rerun verify",
    "wiro_nb.notebook.extension": "load_ipython_extension unload_ipython_extension",
    "wiro_nb.notebook.film.actions": "film join",
    "wiro_nb.notebook.form.controller": "form",
    "wiro_nb.notebook.run.actions": "attach cancel download extend forget last run show wait",
    "wiro_nb.notebook.run.listing": "monitor runs",
    "wiro_nb.notebook.sweep.view": "sweep",
    "wiro_nb.sweeps": "Sweep",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker that saw it would accept every misspelt name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'wiro_nb' has no attribute {name!r}")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
