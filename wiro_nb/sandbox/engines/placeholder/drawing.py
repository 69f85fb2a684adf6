"""Drawing tools: deterministic noise, lines and dots, and the camera. Sizes in pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from wiro_nb.sandbox.engines.media import FloatImage

__all__ = [
    "STILL",
    "FloatImage",
    "Path",
    "View",
    "camera_path",
    "canvas_size",
    "crop",
    "draw_lines",
    "fbm",
    "make_rng",
    "smoothstep",
    "view",
]

Points = Sequence[tuple[float, float]]


def make_rng(*keys: str) -> np.random.Generator:
    """Returns a generator seeded by texts."""
    return np.random.Generator(np.random.PCG64(list("\x00".join(keys).encode())))


def fbm(
    rng: np.random.Generator,
    width: int,
    height: int,
    cell_px: float,
    octaves: int,
    gain: float = 0.5,
    stretch: float = 1.0,
) -> FloatImage:
    """Returns fractal noise, shape (height, width), mean 0, standard deviation 1.

    Args:
        rng: Source of the lattices.
        width: In pixels.
        height: In pixels.
        cell_px: Height of the coarsest cells.
        octaves: Number of lattices, each with half the cell size; those below 1.5 px are left out.
        gain: Weight of an octave relative to the coarser one.
        stretch: Width of a cell relative to its height.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        cell_y = cell_px / 2**octave
        if octave and cell_y < 1.5:
            break
        columns, rows = width / (cell_y * stretch), height / cell_y
        lattice = rng.random((math.ceil(rows) + 4, math.ceil(columns) + 4), dtype=np.float32)
        box = (1.5, 1.5, 1.5 + columns, 1.5 + rows)
        scaled = Image.fromarray(lattice).resize((width, height), Image.Resampling.BICUBIC, box=box)
        total += np.float32(gain**octave) * np.asarray(scaled, np.float32)
    total -= total.mean()
    return np.asarray(total / max(float(total.std()), 1e-6), np.float32)


def smoothstep(low: float, high: float, value: FloatImage) -> FloatImage:
    """Returns 0 below `low`, 1 above `high`, and a smooth curve between; same shape as `value`."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def crop(sheet: FloatImage, left: float, width: int) -> FloatImage:
    """Cuts `width` columns out of the last axis, from a fractional column on, with linear interpolation."""
    whole = int(left)
    part = np.float32(left - whole)
    cut = sheet[..., whole : whole + width]
    if part == 0:
        return cut
    return np.asarray(cut * (1 - part) + sheet[..., whole + 1 : whole + 1 + width] * part, np.float32)


def draw_lines(width: int, height: int, lines: Sequence[Points], thickness: float) -> FloatImage:
    """Returns the coverage (0 to 1) of polylines.

    Coordinates run from -1 to 1; `thickness` is in frame heights.
    """
    image = Image.new("L", (width, height))
    pen = ImageDraw.Draw(image)
    for line in lines:
        points = [((x + 1) / 2 * width, (y + 1) / 2 * height) for x, y in line]
        pen.line(points, fill=255, width=max(1, round(thickness * height)), joint="curve")
    return np.asarray(image, np.float32) / 255


@dataclass(frozen=True)
class View:
    """The camera at one moment.

    Attributes:
        x, y: Offset from the middle, in frame widths to the right and frame heights down.
        zoom: Above 1 is closer.
        roll_deg: Clockwise rotation of the picture.
    """

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0

    def then(self, other: View) -> View:
        """Returns both moves combined."""
        return View(self.x + other.x, self.y + other.y, self.zoom * other.zoom, self.roll_deg + other.roll_deg)


STILL = View()
Path = Callable[[float], View]
"""From time in the clip (0 first frame, 1 last) to the view."""

_REACH, _ZOOM, _ROLL_DEG, _SAMPLES = 0.09, 1.38, 9.0, 240


def camera_path(move: str) -> Path | None:
    """Returns the path of a camera move by its label (`ZoomIn`, `PanLeft`, ...), or None for other texts."""
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


def canvas_size(path: Path, width: int, height: int) -> tuple[int, int]:
    """Returns the even size of a canvas that covers the frame along the whole path."""
    half_x, half_y = width / 2, height / 2
    for step in range(_SAMPLES + 1):
        a, b, c, d, e, f = _coefficients(path(step / _SAMPLES), width, height, width, height)
        for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
            half_x = max(half_x, abs(a * x + b * y + c - width / 2))
            half_y = max(half_y, abs(d * x + e * y + f - height / 2))
    return math.ceil(half_x) * 2, math.ceil(half_y) * 2


def view(canvas: FloatImage, at: View, width: int, height: int) -> FloatImage:
    """Returns the frame (3, height, width) that a camera sees of a canvas; the frame is centred in it."""
    coefficients = _coefficients(at, width, height, canvas.shape[2], canvas.shape[1])
    channels = [
        Image.fromarray(channel).transform(
            (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
        )
        for channel in canvas
    ]
    return np.stack([np.asarray(channel, np.float32) for channel in channels])


def _coefficients(
    at: View, width: int, height: int, canvas_w: int, canvas_h: int
) -> tuple[float, float, float, float, float, float]:
    """Returns Pillow's affine transform from a pixel of the frame to a pixel of the canvas."""
    angle = math.radians(at.roll_deg)
    cos, sin = math.cos(angle) / at.zoom, math.sin(angle) / at.zoom
    x = canvas_w / 2 + at.x * width - cos * width / 2 - sin * height / 2
    y = canvas_h / 2 + at.y * height + sin * width / 2 - cos * height / 2
    return cos, sin, x, -sin, cos, y
