"""The last touch on every frame: the style's tint, darker corners, the label."""

from __future__ import annotations

import hashlib

import numpy as np

from wiro_nb.sandbox.render.label import make_label
from wiro_nb.sandbox.render.noise import Plane
from wiro_nb.sandbox.render.request import ClipRequest

__all__ = ["Finish"]


class Finish:
    """Finishes the frames of one request."""

    def __init__(self, request: ClipRequest) -> None:
        x = np.linspace(-1, 1, request.width, dtype=np.float32)[None, :]
        y = np.linspace(-1, 1, request.height, dtype=np.float32)[:, None]
        corners = 1 - np.float32(0.09) * (x**2 + y**2)
        self._gain = np.array(_style_tint(request.style), np.float32)[:, None, None] * corners
        self._label = make_label(request.prompt or request.effect, request.seed, request.width, request.height)

    def apply(self, frame: Plane) -> Plane:
        """Finishes `frame`, shape (3, height, width), 0 to 255, in place, and returns it."""
        frame *= self._gain
        self._label.draw(frame)
        return np.clip(frame, 0, 255, out=frame)


def _style_tint(style: str) -> tuple[float, float, float]:
    """A gain a channel, 0.86 to 1.1; another model of styles, another tint. None for no style."""
    if not style:
        return (1.0, 1.0, 1.0)
    digest = hashlib.sha256(style.encode()).digest()
    red, green, blue = (0.86 + 0.24 * byte / 255 for byte in digest[:3])
    return (red, green, blue)
