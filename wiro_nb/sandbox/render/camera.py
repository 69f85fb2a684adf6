"""Where the camera looks at a moment of the clip, and the affine map that shows it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from wiro_nb.sandbox.render.noise import Plane

__all__ = ["STILL", "Path", "View", "camera_path", "overscan", "view_image", "view_plane"]


@dataclass(frozen=True)
class View:
    """The camera at one moment.

    Attributes:
        x: Where it looks, in frame widths right of the middle: the picture moves left.
        y: In frame heights below the middle: the picture moves up.
        zoom: Above 1 is closer.
        roll_deg: How far the picture is turned clockwise, as the viewer sees it.
    """

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0

    def then(self, other: View) -> View:
        """Returns both moves together."""
        return View(self.x + other.x, self.y + other.y, self.zoom * other.zoom, self.roll_deg + other.roll_deg)


STILL = View()
Path = Callable[[float], View]
"""From time in the clip (0 first frame, 1 last) to the view."""

_SAMPLES = 240
_REACH, _ZOOM, _ROLL_DEG = 0.09, 1.38, 9.0


def camera_path(move: str) -> Path | None:
    """Returns the path of a camera move by its label (`ZoomIn`, `PanLeft`, ...), or None for any other text."""
    paths: dict[str, Path] = {
        "ZoomIn": lambda u: View(zoom=_ZOOM**u),
        "ZoomOut": lambda u: View(zoom=_ZOOM ** (1 - u)),
        "PanLeft": lambda u: View(x=_REACH * (1 - 2 * u)),
        "PanRight": lambda u: View(x=_REACH * (2 * u - 1)),
        "TiltUp": lambda u: View(y=_REACH * (1 - 2 * u)),
        "TiltDown": lambda u: View(y=_REACH * (2 * u - 1)),
        "RollingClockwise": lambda u: View(roll_deg=_ROLL_DEG * (2 * u - 1)),
        "RollingAnticlockwise": lambda u: View(roll_deg=_ROLL_DEG * (1 - 2 * u)),
    }
    return paths.get(move)


def overscan(path: Path, width: int, height: int) -> tuple[int, int]:
    """Returns the size (width, height) of the canvas that this path never leaves, in pixels, even."""
    half_x, half_y = width / 2, height / 2
    for step in range(_SAMPLES + 1):
        a, b, c, d, e, f = _coefficients(path(step / _SAMPLES), width, height, width, height)
        for x in (0, width):
            for y in (0, height):
                half_x = max(half_x, abs(a * x + b * y + c - width / 2))
                half_y = max(half_y, abs(d * x + e * y + f - height / 2))
    return _even(2 * half_x), _even(2 * half_y)


def view_plane(canvas: Plane, view: View, width: int, height: int) -> Plane:
    """Shows a canvas through the camera.

    Args:
        canvas: Shape (3, canvas height, canvas width); the frame sits in its middle.
        view: The camera.
        width: Of the frame, in pixels.
        height: Of the frame, in pixels.

    Returns:
        Shape (3, height, width), float32.
    """
    _, canvas_h, canvas_w = canvas.shape
    coefficients = _coefficients(view, width, height, canvas_w, canvas_h)
    shown = np.empty((3, height, width), np.float32)
    for channel in range(3):
        image = Image.fromarray(canvas[channel])
        moved = image.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
        shown[channel] = np.asarray(moved)
    return shown


def view_image(canvas: Image.Image, view: View, width: int, height: int) -> Image.Image:
    """Shows an RGB picture through the camera; the frame of `width` x `height` pixels sits in its middle."""
    coefficients = _coefficients(view, width, height, *canvas.size)
    return canvas.transform((width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)


def _coefficients(
    view: View, width: int, height: int, canvas_w: int, canvas_h: int
) -> tuple[float, float, float, float, float, float]:
    """Pillow's affine: from a frame's pixel to the canvas' pixel."""
    angle = math.radians(view.roll_deg)
    cos, sin = math.cos(angle) / view.zoom, math.sin(angle) / view.zoom
    middle_x = canvas_w / 2 + view.x * width
    middle_y = canvas_h / 2 + view.y * height
    return (
        cos, sin, middle_x - cos * width / 2 - sin * height / 2,
        -sin, cos, middle_y + sin * width / 2 - cos * height / 2,
    )  # fmt: skip


def _even(length: float) -> int:
    return math.ceil(length / 2) * 2
