"""Registry of what displays runs and sweeps, so that their packages need not import the notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol


class Presenter(Protocol):
    """Displays objects of one kind in IPython."""

    def show(self, item: Any) -> Any:
        """Displays the object in the running cell."""

    def mimebundle(self, item: Any) -> Any:
        """Returns what `_repr_mimebundle_` returns for the object."""


_loaders: dict[str, Callable[[], Any]] = {}


def register_presenter(kind: str, load: Callable[[], Any]) -> None:
    """Registers the presenter of a kind of object ("run", "sweep").

    Args:
        kind: The kind.
        load: Returns the presenter; called at first use, so that registering imports nothing.
    """
    _loaders[kind] = load


def find_presenter(kind: str) -> Presenter | None:
    """Returns the presenter of a kind of object; None outside IPython and where none is registered."""
    load = _loaders.get(kind)
    if load is None or "IPython" not in sys.modules:
        return None
    presenter: Presenter = load()
    return presenter
