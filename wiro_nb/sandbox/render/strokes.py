"""What the effects are made of: grading, bending, drawing over. Pictures are (3, height, width), 0 to 255."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from wiro_nb.sandbox.render.noise import Plane, fbm

__all__ = ["Stage"]

Colour = tuple[float, float, float]


class Stage:
    """A frame's size and coordinates.

    `x` and `y` run from -1 to 1; `radius` is 0 in the middle and 1 at the corners.
    """

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng, self.width, self.height = rng, width, height
        self.x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        self.y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        self.radius = np.hypot(self.x, self.y) / np.float32(math.sqrt(2))
        self._columns = np.arange(width, dtype=np.float32)[None, :]
        self._rows = np.arange(height, dtype=np.float32)[:, None]

    def noise(self, cell: float, octaves: int = 4, stretch: float = 1.0, wider: float = 1.0) -> Plane:
        """Returns noise of the frame's height and `wider` times its width; `cell` in frame heights."""
        return fbm(
            self.rng, round(self.width * wider), self.height, max(2.0, cell * self.height), octaves, 0.5, stretch
        )

    def line(self, cell: float) -> Plane:
        """Returns one row of noise, shape (1, width)."""
        return fbm(self.rng, self.width, 8, max(2.0, cell * self.height), 3)[:1]

    def grade(
        self, picture: Plane, gains: Colour, grey: float, amount: float | Plane, contrast: float = 1.0
    ) -> Plane:
        """Pulls colours `grey` of the way to grey, raises contrast, multiplies by `gains`; blended by `amount`."""
        luma = picture[0] * 0.3 + picture[1] * 0.59 + picture[2] * 0.11
        for channel in range(3):
            graded = picture[channel] + np.float32(grey) * (luma - picture[channel])
            graded = ((graded - 118) * np.float32(contrast) + 118) * np.float32(gains[channel])
            picture[channel] += (np.clip(graded, 0, 255) - picture[channel]) * amount
        return picture

    def lay(self, picture: Plane, cover: Plane, colour: Colour) -> Plane:
        """Lays a colour over the picture where `cover` (0 to 1) says."""
        for channel in range(3):
            picture[channel] += cover * (np.float32(colour[channel]) - picture[channel])
        return picture

    def darken_edges(self, picture: Plane, strength: float) -> Plane:
        """Darkens towards the corners; strength 0 to 1."""
        picture *= 1 - np.float32(strength) * self.radius**2
        return picture

    def bend(self, picture: Plane, dx: Plane | float, dy: Plane | float) -> Plane:
        """Takes each pixel from `dx`, `dy` (frame heights) away."""
        column = np.clip(self._columns + dx * np.float32(self.height) + 0.5, 0, self.width - 1).astype(np.intp)
        row = np.clip(self._rows + dy * np.float32(self.height) + 0.5, 0, self.height - 1).astype(np.intp)
        flat = row * self.width + column
        return np.stack([picture[channel].ravel().take(flat) for channel in range(3)])

    def drawn(self, lines: Sequence[Sequence[tuple[float, float]]], width: float, soft: float = 0.0) -> Plane:
        """Returns the cover of polylines; points as in `x`, `y`, line width and blur in frame heights."""
        image = Image.new("L", (self.width, self.height))
        pen = ImageDraw.Draw(image)
        for line in lines:
            points = [((x + 1) / 2 * self.width, (y + 1) / 2 * self.height) for x, y in line]
            pen.line(points, fill=255, width=max(1, round(width * self.height)), joint="curve")
        if soft:
            image = image.filter(ImageFilter.GaussianBlur(soft * self.height))
        return np.asarray(image, np.float32) / 255

    def dots(self, x: Plane, y: Plane, radius: float) -> Plane:
        """Returns the cover of soft round dots; `radius` in frame heights."""
        reach = max(1, math.ceil(radius * self.height * 2))
        cover = np.zeros((self.height + 2 * reach, self.width + 2 * reach), np.float32)
        offset = np.arange(-reach, reach + 1, dtype=np.float32)
        bell = np.exp(-((offset / max(0.6, radius * self.height)) ** 2))
        stamp = np.multiply.outer(bell, bell)
        for px, py in zip((x + 1) / 2 * self.width, (y + 1) / 2 * self.height, strict=True):
            column, row = int(px) % self.width, int(py) % self.height
            cover[row : row + 2 * reach + 1, column : column + 2 * reach + 1] += stamp
        return np.clip(cover[reach:-reach, reach:-reach], 0, 1)
