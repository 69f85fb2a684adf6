"""What commands return and cells display: HTML, the same as plain text, and what belongs to both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wiro_nb.presentation import markup


class Displayable:
    """Base of values that show themselves as `output()`, in a notebook and in a terminal."""

    def output(self) -> Output:
        """Returns what is displayed."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self.output().text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        shown = self.output()
        return shown.data, dict(shown.metadata)


@dataclass(frozen=True, slots=True, repr=False)
class Output(Displayable):
    """One static output.

    Attributes:
        html: Readable without scripts or style sheets, in an untrusted notebook too.
        text: The same for terminals and for viewers without HTML.
        jpeg: A picture as base64 text for viewers that show no HTML, or "".
        metadata: Metadata of the output.
        view: Data of a live widget by MIME type; front ends that know it prefer it to the HTML.
    """

    html: str
    text: str
    jpeg: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)

    def output(self) -> Output:
        """Returns itself."""
        return self

    @property
    def data(self) -> dict[str, Any]:
        """The MIME bundle."""
        picture = {"image/jpeg": self.jpeg} if self.jpeg else {}
        return {"text/html": self.html, "text/plain": self.text, **picture, **self.view}


def message(text: str) -> Output:
    """Returns one line of text as an output."""
    return Output(f'<div style="font-size:13px">{markup.escape(text)}</div>', f"wiro: {text}")
