"""Registry of what displays runs and sweeps, so that their packages need not import the notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_loaders: dict[str, Callable[[], Callable[[Any], None]]] = {}


def register_presenter(kind: str, load: Callable[[], Callable[[Any], None]]) -> None:
    """Registers what displays a kind of object ("run", "sweep") in the running cell.

    Args:
        kind: The kind.
        load: Returns the function that displays one; called at first use, so that registering imports nothing.
    """
    _loaders[kind] = load


def present(kind: str, item: Any) -> None:
    """Displays an object in the running cell; prints it outside IPython and where nothing is registered."""
    load = _loaders.get(kind)
    if load is None or "IPython" not in sys.modules:
        print(repr(item))
    else:
        load()(item)
