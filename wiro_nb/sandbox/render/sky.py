"""The sky: gradient, sun or moon with its glow, stars, drifting clouds."""

from __future__ import annotations

import math

import numpy as np

from wiro_nb.sandbox.render.noise import Plane, fbm, smoothstep
from wiro_nb.sandbox.render.words import Palette, Wish, mix

__all__ = ["Sky", "shift_crop"]


def shift_crop(canvas: Plane, left: float, width: int) -> Plane:
    """Cuts `width` columns out of the last axis, starting at a fraction of a column, by linear blending."""
    whole = int(left)
    part = np.float32(left - whole)
    cut = canvas[..., whole : whole + width]
    if part == 0:
        return cut
    return np.asarray(cut * (1 - part) + canvas[..., whole + 1 : whole + 1 + width] * part, np.float32)


class Sky:
    """Everything behind the hills. `rows` is how many rows of it can be seen."""

    def __init__(
        self,
        layout: np.random.Generator,
        detail: np.random.Generator,
        palette: Palette,
        wish: Wish,
        width: int,
        height: int,
        shore: int,
        duration_s: float,
    ) -> None:
        self.duration_s = duration_s
        self.rows = shore
        self._size = width, height
        self._palette = palette
        self._night = wish.stars
        self._dim = (0.35 if wish.sky == "storm" else 0.7) if wish.storm else 0.6 if wish.sky == "fog" else 1.0
        self.sun_x = float(layout.uniform(0.2, 0.8))
        low = wish.sky in ("sunset", "dawn")
        self._sun_y = float(layout.uniform(0.30, 0.40)) if low else float(layout.uniform(0.13, 0.30))
        rise = {"sunset": 0.012, "dawn": -0.012}.get(wish.sky, float(layout.uniform(-0.004, 0.004)))
        self._rise = math.copysign(min(0.1, abs(rise) * duration_s), rise)
        self._radius = float(layout.uniform(0.032, 0.06)) * (0.8 if self._night else 1.0)
        self._gradient = _gradient(palette, shore, low)
        self._stars = _Stars(layout, width, shore) if wish.stars else None
        self._craters = fbm(layout, 64, 64, 20, 4)
        cover = {"fog": 0.0, "neon": 0.7}.get(wish.sky, float(layout.uniform(0.15, 0.95)))
        cover = min(cover, -0.6 if wish.storm else 0.1) if wish.rain else cover
        self._clouds = _Clouds(detail, palette, width, shore, height, cover, duration_s)

    def sun_at(self, u: float) -> tuple[float, float]:
        """Returns the middle of the sun or moon in pixels."""
        width, height = self._size
        return self.sun_x * width, (self._sun_y + self._rise * u) * height

    def paint(self, canvas: Plane, u: float) -> None:
        """Fills the first `rows` rows of `canvas`, shape (3, height, width)."""
        width, height = self._size
        sky = canvas[:, : self.rows]
        sun_x, sun_y = self.sun_at(u)
        x = np.arange(width, dtype=np.float32) - np.float32(sun_x)
        y = np.arange(self.rows, dtype=np.float32) - np.float32(sun_y)
        # Gaussians are products of a row and a column: a glow costs one multiplication a pixel.
        glow = np.multiply.outer(_bell(y, 0.50 * height), _bell(x, 0.62 * height) * np.float32(0.50 * self._dim))
        glow += np.multiply.outer(_bell(y, 0.17 * height), _bell(x, 0.17 * height) * np.float32(0.38 * self._dim))
        for channel in range(3):
            column = self._gradient[channel, : self.rows, None]
            np.multiply(glow, self._palette.glow[channel] - column, out=sky[channel])
            sky[channel] += column
        if self._stars is not None:
            self._stars.paint(sky, u * self.duration_s, glow)
        self._disc(sky, sun_x, sun_y)
        self._clouds.paint(sky, u, glow)

    def _disc(self, sky: Plane, sun_x: float, sun_y: float) -> None:
        radius = self._radius * self._size[1]
        left, right = max(0, int(sun_x - radius - 2)), min(sky.shape[2], int(sun_x + radius + 3))
        top, bottom = max(0, int(sun_y - radius - 2)), min(sky.shape[1], int(sun_y + radius + 3))
        if left >= right or top >= bottom:
            return
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        distance = np.hypot(x - np.float32(sun_x), y - np.float32(sun_y))
        cover = np.clip(radius + 0.5 - distance, 0, 1) * np.float32(min(1.0, self._dim + 0.1))
        shade: Plane = np.ones_like(cover)
        if self._night:
            column = np.clip(((x - sun_x) / radius + 1) * 31.5, 0, 63).astype(np.intp)
            row = np.clip(((y - sun_y) / radius + 1) * 31.5, 0, 63).astype(np.intp)
            shade = 0.93 + 0.05 * self._craters[row, column] - 0.10 * (distance / radius) ** 2
        patch = sky[:, top:bottom, left:right]
        for channel in range(3):
            patch[channel] += cover * (self._palette.sun[channel] * shade - patch[channel])


def _bell(distance: Plane, spread: float) -> Plane:
    return np.asarray(np.exp(-((distance / np.float32(spread)) ** 2)), np.float32)


def _gradient(palette: Palette, rows: int, low_sun: bool) -> Plane:
    """The sky's colours from zenith to horizon, shape (3, rows)."""
    stops = [0.0, 0.42, 0.78, 1.0] if low_sun else [0.0, 0.5, 0.85, 1.0]
    colours = [palette.zenith, palette.middle, palette.horizon, mix(palette.horizon, palette.glow, 0.25)]
    at = np.linspace(0, 1, rows) ** 0.85
    return np.stack([np.interp(at, stops, [c[i] for c in colours]) for i in range(3)]).astype(np.float32)


class _Stars:
    """Points of light that twinkle."""

    def __init__(self, rng: np.random.Generator, width: int, rows: int) -> None:
        count = max(24, width * rows // 1500)
        self._x = rng.integers(0, max(1, width - 1), count)
        self._y = (rng.random(count) ** 1.4 * (rows - 2)).astype(np.intp)
        self._size = rng.random(count).astype(np.float32) ** 3
        self._phase = rng.random(count).astype(np.float32) * 6.283
        self._pace = rng.uniform(0.6, 2.2, count).astype(np.float32)

    def paint(self, sky: Plane, at_s: float, glow: Plane) -> None:
        seen = self._y < sky.shape[1] - 1
        x, y = self._x[seen], self._y[seen]
        twinkle = 0.75 + 0.25 * np.sin(self._phase + self._pace * np.float32(at_s))
        light = ((26 + 190 * self._size) * twinkle)[seen] * np.clip(1 - 1.7 * glow[y, x], 0, 1)
        big = (self._size > 0.3)[seen]
        for channel, gain in enumerate((0.92, 0.95, 1.0)):
            plane = sky[channel]
            np.add.at(plane, (y, x), light * gain)
            np.add.at(plane, (y[big], x[big] + 1), light[big] * (0.45 * gain))
            np.add.at(plane, (y[big] + 1, x[big]), light[big] * (0.45 * gain))


class _Clouds:
    """Two sheets of noise at different speeds: where both are thick there is a cloud, so clouds change shape."""

    def __init__(
        self,
        rng: np.random.Generator,
        palette: Palette,
        width: int,
        rows: int,
        height: int,
        cover: float,
        duration_s: float,
    ) -> None:
        self._travel = min(0.35, 0.010 * duration_s) * width
        sheet_w = width + int(self._travel * 1.7) + 4
        self._width = width
        coarse = fbm(rng, sheet_w, rows, 0.30 * height, 6, 0.54, stretch=2.6)
        bend_y, bend_x = (fbm(rng, sheet_w, rows, 0.16 * height, 3, 0.5, stretch=1.6) for _ in range(2))
        self._first = _bent(coarse, bend_y * np.float32(0.045 * height), bend_x * np.float32(0.09 * height))
        self._second = fbm(rng, sheet_w, rows, 0.16 * height, 5, 0.55, stretch=2.2)
        high = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
        self._first += 0.55 * (high - 0.5)  # clouds gather high up and leave the horizon clear
        self._cover = cover
        self._fade = smoothstep(0.0, 0.35, high)
        self._light, self._dark, self._glow = palette.cloud_light, palette.cloud_dark, palette.glow

    def paint(self, sky: Plane, u: float, glow: Plane) -> None:
        rows = sky.shape[1]
        first = shift_crop(self._first[:rows], self._travel * u, self._width)
        second = shift_crop(self._second[:rows], self._travel * 1.7 * u, self._width)
        thick = first * np.float32(0.8)
        thick += second * np.float32(0.42)
        thick -= np.float32(self._cover)
        thick *= np.float32(1 / 1.7)
        np.clip(thick, 0, 1, out=thick)
        cover = thick * (2 - thick)
        cover *= np.float32(0.86)
        cover *= self._fade[:rows]
        shade = np.clip(thick * np.float32(1.25) - glow * np.float32(0.9), 0, 1)
        for channel in range(3):
            colour = shade * np.float32(self._dark[channel] - self._light[channel])
            colour += np.float32(self._light[channel])
            colour -= sky[channel]
            colour *= cover
            sky[channel] += colour


def _bent(sheet: Plane, bend_y: Plane, bend_x: Plane) -> Plane:
    rows, columns = sheet.shape
    y, x = np.mgrid[0:rows, 0:columns]
    source_y = np.clip(y + bend_y.astype(np.intp), 0, rows - 1)
    source_x = np.clip(x + bend_x.astype(np.intp), 0, columns - 1)
    return np.asarray(sheet[source_y, source_x], np.float32)
