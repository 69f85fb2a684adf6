"""Rain and snow in front of the picture."""

from __future__ import annotations

import numpy as np

from wiro_nb.sandbox.render.noise import Plane
from wiro_nb.sandbox.render.words import Wish

__all__ = ["Weather"]


class Weather:
    """Falling rain or snow; does nothing in fair weather."""

    def __init__(self, rng: np.random.Generator, wish: Wish, width: int, height: int, duration_s: float) -> None:
        self._duration_s = duration_s
        self._rain = wish.rain
        self._falls = wish.rain or wish.snow
        self._size = width, height
        count = int((150 if wish.rain else 170) * max(0.35, width / height / 1.78))
        self._x = rng.random(count).astype(np.float32)
        self._y = rng.random(count).astype(np.float32)
        self._near = rng.random(count).astype(np.float32) ** 1.5
        self._phase = rng.random(count).astype(np.float32) * 6.283
        self._wind = float(rng.uniform(-0.05, 0.05))

    def paint(self, canvas: Plane, u: float) -> None:
        """Adds what falls to `canvas` (3, height, width)."""
        if not self._falls:
            return
        if self._rain:
            self._paint_rain(canvas, u * self._duration_s)
        else:
            self._paint_snow(canvas, u * self._duration_s)

    def _paint_rain(self, canvas: Plane, at_s: float) -> None:
        width, height = self._size
        fall = 1.1 + 0.9 * self._near
        top = ((self._y + fall * np.float32(at_s)) % 1.15 - 0.12) * height
        lean = np.float32(0.07 + self._wind)
        start = ((self._x - lean * fall * np.float32(at_s)) % 1.0) * width
        length = max(4, round(0.065 * height))
        along = np.arange(length, dtype=np.float32)
        reach = 0.45 + 0.55 * self._near[:, None]
        y = top[:, None] + along * reach
        x = start[:, None] - along * reach * lean
        fade = np.sin(np.pi * (along + 0.5) / length)
        light = (10 + 26 * self._near[:, None]) * fade
        _splat(canvas, x, y, light)

    def _paint_snow(self, canvas: Plane, at_s: float) -> None:
        width, height = self._size
        fall = 0.05 + 0.11 * self._near
        y = ((self._y + fall * np.float32(at_s)) % 1.06 - 0.03) * height
        sway = 0.012 * np.sin(self._phase + np.float32(at_s) * (0.6 + 0.7 * self._near))
        x = ((self._x + self._wind * np.float32(at_s) * (0.4 + self._near) + sway) % 1.0) * width
        radius = (0.0016 + 0.0045 * self._near) * height
        reach = max(1, int(np.ceil(float(radius.max()) + 0.5)))
        offset = np.arange(-reach, reach + 1, dtype=np.float32)
        for dy in offset:
            for dx in offset:
                at_x, at_y = np.floor(x) + dx, np.floor(y) + dy
                cover = np.clip(radius + 0.5 - np.hypot(at_x - x, at_y - y), 0, 1) * np.minimum(1, radius)
                _add(canvas, at_x, at_y, cover * (90 + 120 * self._near))


def _splat(canvas: Plane, x: Plane, y: Plane, light: Plane) -> None:
    """Adds points at fractions of a pixel, shared between the two nearest columns."""
    left = np.floor(x)
    part = x - left
    _add(canvas, left, y, light * (1 - part))
    _add(canvas, left + 1, y, light * part)


def _add(canvas: Plane, x: Plane, y: Plane, light: Plane) -> None:
    _, height, width = canvas.shape
    column, row = x.astype(np.intp), y.astype(np.intp)
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (light > 0)
    flat = row[seen] * width + column[seen]
    light = np.broadcast_to(light, column.shape)[seen]
    for channel in range(3):
        np.add.at(canvas[channel].reshape(-1), flat, light)
