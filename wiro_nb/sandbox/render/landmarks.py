"""A lighthouse on a rock and a sailing boat: drawn with Pillow four times as large, then scaled down."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from wiro_nb.sandbox.render.noise import Plane
from wiro_nb.sandbox.render.words import Colour, Palette, mix

__all__ = ["Landmark", "boat", "lighthouse"]

_SCALE = 4


class Landmark:
    """A small picture with a transparent ground, standing on a row."""

    def __init__(self, image: Image.Image, lamp: Colour | None, lamp_at: tuple[float, float]) -> None:
        """Keeps the picture; `lamp_at` is the lamp's place as shares of its width and height."""
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
        self._cover = pixels[3] / 255
        self._colour = pixels[:3] * self._cover
        self._lamp, self._lamp_at = lamp, lamp_at

    def paint(self, canvas: Plane, middle_x: float, foot_y: float, light: float = 0.0) -> None:
        """Lays it over `canvas` (3, height, width); `light` 0 to 1 is the lamp's brightness now."""
        rows, columns = self._cover.shape
        left, top = round(middle_x - columns / 2), round(foot_y - rows)
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(canvas.shape[2], left + columns), min(canvas.shape[1], top + rows)
        if x0 >= x1 or y0 >= y1:
            return
        inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        patch = canvas[:, y0:y1, x0:x1]
        patch *= 1 - self._cover[inside]
        patch += self._colour[:, inside[0], inside[1]]
        if self._lamp is not None and light > 0:
            at_x, at_y = left + self._lamp_at[0] * columns, top + self._lamp_at[1] * rows
            self._shine(canvas, self._lamp, at_x, at_y, rows * 0.8, light)

    def _shine(self, canvas: Plane, lamp: Colour, at_x: float, at_y: float, reach: float, light: float) -> None:
        x0, x1 = max(0, int(at_x - reach)), min(canvas.shape[2], int(at_x + reach) + 1)
        y0, y1 = max(0, int(at_y - reach)), min(canvas.shape[1], int(at_y + reach) + 1)
        x = (np.arange(x0, x1, dtype=np.float32) - np.float32(at_x)) / np.float32(reach)
        y = (np.arange(y0, y1, dtype=np.float32) - np.float32(at_y)) / np.float32(reach)
        away = x**2 + y[:, None] ** 2
        glow = (0.95 * np.exp(-away * 160) + 0.5 * np.exp(-away * 14)) * np.clip(1 - away, 0, 1) * light
        for channel in range(3):
            patch = canvas[channel, y0:y1, x0:x1]
            patch += glow.astype(np.float32) * (lamp[channel] - patch)


def lighthouse(palette: Palette, height: int) -> Landmark:
    """A lighthouse on a rock for a canvas of `height` rows."""
    high = max(16, round(0.30 * height))
    wide = round(high * 0.9)
    image, pen = _sheet(wide, high)
    w, h = wide * _SCALE, high * _SCALE
    dark = mix(palette.near, (0, 0, 0), 0.35)
    white, red = mix((240, 236, 228), palette.near, 0.25), mix((186, 52, 44), palette.near, 0.3)
    rock = [(0, 1), (0.08, 0.93), (0.22, 0.87), (0.34, 0.82), (0.62, 0.81), (0.74, 0.88), (0.9, 0.92), (1, 1)]
    pen.polygon([(x * w, y * h) for x, y in rock], fill=_fill(dark))
    for band in range(5):
        y0, y1 = 0.20 + band * 0.126, 0.20 + (band + 1) * 0.126
        half0, half1 = 0.062 + 0.05 * (y0 - 0.2), 0.062 + 0.05 * (y1 - 0.2)
        outline = [(0.48 - half0, y0), (0.48 + half0, y0), (0.48 + half1, y1), (0.48 - half1, y1)]
        pen.polygon([(x * w, y * h) for x, y in outline], fill=_fill(red if band % 2 else white))
        shade = [(0.48 + half0 * 0.35, y0), (0.48 + half0, y0), (0.48 + half1, y1), (0.48 + half1 * 0.35, y1)]
        pen.polygon([(x * w, y * h) for x, y in shade], fill=_fill(mix(red if band % 2 else white, dark, 0.4)))
    pen.rectangle([0.395 * w, 0.185 * h, 0.565 * w, 0.205 * h], fill=_fill(dark))
    pen.rectangle([0.44 * w, 0.11 * h, 0.52 * w, 0.19 * h], fill=_fill((255, 240, 190)))
    pen.polygon([(0.42 * w, 0.115 * h), (0.54 * w, 0.115 * h), (0.48 * w, 0.05 * h)], fill=_fill(red))
    return Landmark(_small(image, wide, high), (255, 240, 200), (0.48, 0.15))


def boat(palette: Palette, height: int) -> Landmark:
    """A sailing boat for a canvas of `height` rows."""
    high = max(10, round(0.13 * height))
    wide = round(high * 0.95)
    image, pen = _sheet(wide, high)
    w, h = wide * _SCALE, high * _SCALE
    hull = mix((92, 48, 34), palette.near, 0.35)
    sail = mix((252, 246, 232), palette.horizon, 0.25)
    pen.polygon(
        [(0.47 * w, 0.04 * h), (0.47 * w, 0.76 * h), (0.08 * w, 0.76 * h)], fill=_fill(mix(sail, hull, 0.18))
    )
    pen.polygon([(0.51 * w, 0.10 * h), (0.51 * w, 0.76 * h), (0.90 * w, 0.70 * h)], fill=_fill(sail))
    pen.rectangle([0.475 * w, 0.02 * h, 0.50 * w, 0.84 * h], fill=_fill(mix(hull, (0, 0, 0), 0.4)))
    pen.polygon(
        [(0.06 * w, 0.82 * h), (0.96 * w, 0.82 * h), (0.82 * w, 0.99 * h), (0.20 * w, 0.99 * h)], fill=_fill(hull)
    )
    return Landmark(_small(image, wide, high), None, (0.0, 0.0))


def _sheet(wide: int, high: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGBA", (wide * _SCALE, high * _SCALE), (0, 0, 0, 0))
    return image, ImageDraw.Draw(image)


def _small(image: Image.Image, wide: int, high: int) -> Image.Image:
    return image.resize((wide, high), Image.Resampling.BOX)


def _fill(colour: Colour) -> tuple[int, int, int, int]:
    return (round(colour[0]), round(colour[1]), round(colour[2]), 255)
