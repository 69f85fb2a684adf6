"""Registry of what displays runs and sweeps, so that their packages need not import the notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_loaders: dict[str, Callable[[], Callable[..., None]]] = {}


def register_presenter(kind: str, load: Callable[[], Callable[..., None]]) -> None:
    """Registers what displays a kind of object ("run", "sweep") in the running cell.

    Args:
        kind: The kind.
        load: Returns the function that displays one, `show(item, *, is_value=False)`; called at first use, so that
            registering imports nothing.
    """
    _loaders[kind] = load


def present(kind: str, item: Any, *, is_value: bool = False) -> None:
    """Displays an object in the running cell; prints it outside IPython and where nothing is registered.

    Args:
        kind: As registered.
        item: The object.
        is_value: True when it is the value of the cell, which may have displayed it already.
    """
    load = _loaders.get(kind)
    if load is None or "IPython" not in sys.modules:
        print(repr(item))
    else:
        load()(item, is_value=is_value)
