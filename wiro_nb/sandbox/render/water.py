"""A sheet of water that mirrors what is above the shore."""

from __future__ import annotations

import numpy as np

from wiro_nb.sandbox.render.noise import Plane, fbm
from wiro_nb.sandbox.render.sky import shift_crop

__all__ = ["Water"]


class Water:
    """Fills the rows from `shore` down. Colours 0 to 255."""

    def __init__(
        self,
        rng: np.random.Generator,
        width: int,
        height: int,
        shore: int,
        deep: tuple[float, float, float],
        glow: tuple[float, float, float],
        rough: bool,
    ) -> None:
        self._shore, self._width, self._height = shore, width, height
        self._deep, self._glow = deep, glow
        rows = height - shore
        near = np.linspace(0, 1, rows, dtype=np.float32)
        self._near = near
        self._source = np.clip(shore - 1 - np.arange(rows) * 1.25, 0, shore - 1).astype(np.float32)
        self._amplitude = (0.5 + near * 0.010 * height * (1.8 if rough else 1.0)).astype(np.float32)
        self._columns = np.arange(width)
        self._sheet_w = width + width // 4 + 2
        self._swell = fbm(rng, self._sheet_w, rows, max(4.0, 0.045 * height), 4, 0.6, stretch=9.0)
        self._chop = fbm(rng, self._sheet_w, rows, max(3.0, 0.022 * height), 3, 0.6, stretch=6.0)
        self._blend = (0.22 + 0.42 * near)[:, None].astype(np.float32)

    def paint(self, canvas: Plane, at_s: float, sun_x: float) -> None:
        """Paints the water into `canvas` (3, height, width), whose rows above the shore are done."""
        width, shore = self._width, self._shore
        room = self._sheet_w - width - 2
        to_and_fro = 0.5 + 0.5 * np.sin(at_s * 0.23)
        swell = shift_crop(self._swell, room * float(to_and_fro), width)
        chop = shift_crop(self._chop, room * float(1 - to_and_fro), width)
        waves = swell + chop
        offset = waves * self._amplitude[:, None]
        row = np.clip(self._source[:, None] + offset * 1.6, 0, shore - 1).astype(np.intp)
        column = np.clip(self._columns + offset * 0.5, 0, width - 1).astype(np.intp)
        flat = row * width
        flat += column
        x = np.arange(width, dtype=np.float32) - np.float32(sun_x)
        spread = (0.05 + 0.20 * self._near[:, None]) * np.float32(self._height)
        path = np.exp(-((x / spread) ** 2))
        sparkle = np.clip(waves - np.float32(1.1), 0, 1.4) * path
        sparkle *= np.float32(0.5)
        shade = waves * np.float32(3.2)
        for channel in range(3):
            mirrored = canvas[channel, :shore].ravel().take(flat)
            mirrored += self._blend * (np.float32(self._deep[channel]) - mirrored)
            mirrored += shade
            mirrored += sparkle * (np.float32(self._glow[channel]) - mirrored)
            canvas[channel, shore:] = mirrored
