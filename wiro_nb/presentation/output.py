"""What commands return: values that read well in a notebook, in a terminal and in code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from wiro_nb.presentation.run_page import Bundle

T = TypeVar("T")


class Page:
    """Static output with nothing behind it.

    Args:
        bundle: HTML and its plain twin.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def __repr__(self) -> str:
        return self._bundle["text/plain"]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Bundle:
        return dict(self._bundle)


class Listing(list[T], Generic[T]):
    """A list that shows itself as a table.

    Args:
        items: What it holds.
        draw: Makes the bundle when the list is shown, so that code that only reads it pays nothing.
    """

    def __init__(self, items: Iterable[T], draw: Callable[[], Bundle]) -> None:
        super().__init__(items)
        self._draw = draw

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Bundle:
        return self._draw()

    def __repr__(self) -> str:
        return self._draw()["text/plain"]


def line_page(text: str) -> Page:
    """Returns one line as a page."""
    from wiro_nb.presentation import markup

    html = f'<div style="font-size:13px">{markup.escape(text)}</div>'
    return Page({"text/html": html, "text/plain": f"wiro: {text}"})
