"""Ranges of hills: silhouette, light on the slopes, mist in the valleys, and what stands on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wiro_nb.sandbox.render.noise import Plane, fbm, fbm_line, smoothstep
from wiro_nb.sandbox.render.sky import shift_crop
from wiro_nb.sandbox.render.words import Palette, Wish, mix

__all__ = ["Range", "RangePlan", "paint_range"]


@dataclass(frozen=True)
class RangePlan:
    """Where a range stands. Lengths in canvas heights from the top.

    Attributes:
        base: Mean height of the ridge.
        height: One standard deviation of the ridge.
        width: Distance between great peaks.
        nearness: How fast it moves, 0 to 1.
        tone: 0 the colour of the far hills, 1 that of the near ones.
    """

    base: float
    height: float
    width: float
    nearness: float
    tone: float


class Range:
    """One painted range, wider than the canvas by the way it travels."""

    def __init__(self, colour: Plane, cover: Plane, top: int, travel_px: float, nearness: float) -> None:
        """Keeps `colour` (3, rows, columns), already weighted by `cover` (rows, columns), from row `top` on."""
        self.nearness = nearness
        self.solid_from = top + cover.shape[0]
        self._edge_rows = cover.shape[0]
        self._colour, self._cover, self._top, self._travel_px = colour, cover, top, travel_px

    def hide_below(self, row: int) -> None:
        """Says that rows from `row` on are covered by a nearer range and need no paint."""
        self._colour = self._colour[:, : max(0, row - self._top)]
        self._edge_rows = min(self._edge_rows, self._colour.shape[1])
        self._cover = self._cover[: self._edge_rows]

    def paint(self, canvas: Plane, travel_px: float, u: float) -> None:
        """Lays the range over `canvas` (3, height, width), moved `u` of the way, to the left where positive."""
        width = canvas.shape[2]
        left = self._travel_px * (u if travel_px >= 0 else 1 - u)
        edge = self._edge_rows
        colour = shift_crop(self._colour, left, width)
        band = canvas[:, self._top : self._top + edge]
        band *= 1 - shift_crop(self._cover, left, width)
        band += colour[:, :edge]
        canvas[:, self._top + edge : self._top + colour.shape[1]] = colour[:, edge:]


def paint_range(
    *,
    detail: np.random.Generator,
    plan: RangePlan,
    wish: Wish,
    palette: Palette,
    sun_x: float,
    width: int,
    height: int,
    bottom: int,
    travel_px: float,
) -> Range:
    """Paints one range down to row `bottom`."""
    columns = width + int(np.ceil(travel_px)) + 2
    ridge = _ridge(detail, plan, wish, columns, height)
    ground = ridge
    if wish.city and plan.tone > 0.2:
        ridge, ground = _with_city(detail, ridge, plan.tone, height)
    elif wish.trees and plan.tone > 0.25:
        ridge = _with_trees(detail, ridge, plan.tone, height)
    ridge = np.minimum(ridge, bottom - 1.0).astype(np.float32)
    top = max(0, int(ridge.min()) - 1)
    rows = max(bottom - top, 2)
    edge_rows = min(rows, max(1, int(np.ceil(ridge.max())) + 1 - top))
    y = np.arange(top, top + rows, dtype=np.float32)[:, None]
    depth = np.maximum(y - ridge, 0)
    colour = _slopes(detail, plan, wish, palette, depth, ground, sun_x, width, height)
    if wish.city and plan.tone > 0.2:
        lights = _windows(detail, depth, ground - ridge, plan.tone, height, wish.sky in ("night", "neon"))
        warm = ((255, 214, 140), (255, 120, 205), (110, 225, 255))
        tint = warm[int(detail.integers(3))] if wish.sky == "neon" else warm[0]
        for channel in range(3):
            colour[channel] += lights * (tint[channel] - colour[channel])
    cover = np.clip(y[:edge_rows] - ridge + 0.5, 0, 1).astype(np.float32)
    colour[:, :edge_rows] *= cover
    return Range(colour, cover, top, travel_px, plan.nearness)


def _ridge(rng: np.random.Generator, plan: RangePlan, wish: Wish, columns: int, height: int) -> Plane:
    """The silhouette: row of the ridge at each column."""
    smooth = wish.land == "desert" or wish.land == "sea"
    octaves, gain = (3, 0.32) if smooth else (8, 0.43)
    line = fbm_line(rng, columns, plan.width * height, octaves, gain)
    if not smooth:
        sharp = 1 - np.abs(fbm_line(rng, columns, plan.width * height * 0.8, 7, 0.45))  # creases become peaks
        line = 0.62 * line + (0.55 - 0.25 * plan.tone) * sharp
    return np.asarray((plan.base - plan.height * np.clip(line, -2.2, 2.6)) * height, np.float32)


def _slopes(
    rng: np.random.Generator,
    plan: RangePlan,
    wish: Wish,
    palette: Palette,
    depth: Plane,
    ground: Plane,
    sun_x: float,
    width: int,
    height: int,
) -> Plane:
    """Colour of the range: light from the sun's side, mist towards its foot, snow at its top."""
    rows, columns = depth.shape
    body = mix(palette.far, palette.near, plan.tone**0.9)
    mist = mix(palette.far, palette.horizon, 0.55)
    folds = fbm(rng, columns, rows, 0.10 * height, 5, 0.55, stretch=1.3)
    side = np.sign(sun_x * width + (columns - width) / 2 - np.arange(columns, dtype=np.float32))
    across = np.gradient(folds, axis=1) * np.float32(0.035 * height) + 0.25 * np.gradient(ground)
    light = np.tanh(-across * side * np.float32(0.8)) * np.float32(0.13) + folds * np.float32(0.018)
    light *= np.exp(-depth / np.float32(0.16 * height)) * np.float32(0.8) + np.float32(0.2)
    haze = smoothstep(0.0, 0.30 * height, depth) * np.float32(0.62 * (1 - 0.75 * plan.tone))
    colour = np.empty((3, rows, columns), np.float32)
    for channel in range(3):
        colour[channel] = body[channel] * (1 + light)
        colour[channel] += haze * (mist[channel] - colour[channel])
    if wish.snow:
        line = np.float32(0.055 * height) * (1.1 + 0.75 * folds + 0.5 * np.sign(across * side) * np.abs(folds))
        cap = smoothstep(-1.5, 1.5, line - depth) * np.float32(0.80 - 0.45 * plan.tone)
        bright = mix(palette.cloud_light, palette.zenith, 0.10)
        for channel in range(3):
            colour[channel] += cap * (bright[channel] * (0.94 + light) - colour[channel])
    return colour


def _with_trees(rng: np.random.Generator, ridge: Plane, tone: float, height: int) -> Plane:
    """Adds a line of conifers to a ridge."""
    columns = ridge.size
    tall = (0.020 + 0.075 * tone**1.6) * height
    line = ridge.copy()
    x = 0.0
    while x < columns:
        tree_h = tall * float(rng.uniform(0.45, 1.15))
        half = max(1.5, tree_h * float(rng.uniform(0.17, 0.24)))
        left, right = max(0, int(x - half)), min(columns, int(x + half) + 2)
        if right > left:
            away = np.abs(np.arange(left, right) - x) / half
            # Saw teeth on a cone: boughs.
            outline = np.clip(1 - away, 0, 1) + 0.05 * ((away * 6) % 1.0) * (away < 1)
            foot = ridge[min(columns - 1, max(0, int(x)))] + 0.1 * tree_h
            line[left:right] = np.minimum(
                line[left:right], np.where(away < 1, foot - tree_h * outline, ridge[left:right])
            )
        x += half * float(rng.uniform(0.55, 1.9))
    return line


def _with_city(rng: np.random.Generator, ridge: Plane, tone: float, height: int) -> tuple[Plane, Plane]:
    """Adds blocks and towers to a ridge; returns (skyline, the flat ground they stand on)."""
    columns = ridge.size
    ground = np.full(columns, ridge.mean(), np.float32)
    line = ground.copy()
    x = 0.0
    while x < columns:
        wide = max(3.0, height * float(rng.uniform(0.022, 0.06)) * (0.7 + 0.6 * tone))
        tall = height * (0.03 + 0.20 * float(rng.random()) ** 2.2) * (1.15 - 0.35 * tone)
        left, right = int(x), min(columns, int(x + wide))
        line[left:right] -= np.float32(round(tall))
        if tall > 0.12 * height and rng.random() < 0.6:  # a mast on a tower
            middle = (left + right) // 2
            line[middle : middle + max(1, height // 240)] -= np.float32(round(tall * 0.22))
        x += wide + (height * float(rng.uniform(0.0, 0.012)))
    return line, ground


def _windows(rng: np.random.Generator, depth: Plane, block: Plane, tone: float, height: int, night: bool) -> Plane:
    """Lit windows in the blocks of a skyline, 0 to 1, shape of `depth`."""
    rows, columns = depth.shape
    pitch = max(4, round(height * (0.011 + 0.006 * tone)))
    lit = rng.random((rows // pitch + 2, columns // pitch + 2)) < (0.36 if night else 0.10)
    strength = rng.uniform(0.35, 1.0, lit.shape)
    grid = np.repeat(np.repeat(lit * strength, pitch, 0), pitch, 1)[:rows, :columns]
    y, x = np.mgrid[0:rows, 0:columns]
    pane = ((y % pitch) >= pitch * 0.35) & ((x % pitch) >= pitch * 0.4)
    inside = (depth > pitch * 0.6) & (depth < block) & (block > pitch)
    return np.asarray(grid * pane * inside * (0.45 + 0.5 * tone), np.float32)
