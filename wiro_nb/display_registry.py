"""Registry of the functions that display runs and sweeps, so that their packages need not import the notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_loaders: dict[str, Callable[[], Callable[..., Any]]] = {}


def register_presenter(kind: str, load: Callable[[], Callable[..., Any]]) -> None:
    """Registers what displays a kind of object ("run", "sweep") in the running cell, or does an action ("extend").

    Args:
        kind: The kind.
        load: Returns the function that displays one, `show(item, *, is_value=False)`; called at first use, so that
            registering imports nothing.
    """
    _loaders[kind] = load


def call(kind: str, *arguments: Any, **options: Any) -> Any:
    """Calls what is registered for a kind of action ("extend"), and returns its value.

    Raises:
        RuntimeError: Nothing is registered: the public functions of `wiro_nb` were not used.
    """
    if kind not in _loaders:
        raise RuntimeError(f"{kind} needs the public functions: use wiro_nb.{kind}(...)")
    return _loaders[kind]()(*arguments, **options)


def present(kind: str, item: Any, *, is_value: bool = False) -> None:
    """Displays an object in the running cell; prints it outside IPython and where nothing is registered.

    Args:
        kind: As registered.
        item: The object.
        is_value: True when it is the value of the cell, which may have displayed it already.
    """
    if kind not in _loaders or "IPython" not in sys.modules:
        print(repr(item))
    else:
        call(kind, item, is_value=is_value)
