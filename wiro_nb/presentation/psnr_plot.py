"""A small picture of how far two clips are apart, frame by frame. Needs Pillow."""

from __future__ import annotations

import io
from collections.abc import Sequence

from wiro_nb.reproduce.diff import IDENTICAL_DB

WIDTH, HEIGHT = 480, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 20
_LINE = (47, 128, 237, 255)
_QUIET = (127, 127, 127, 255)
_GRID = (127, 127, 127, 90)
_SCALE = 2


def draw_psnr(values_db: Sequence[float]) -> bytes | None:
    """Draws PSNR over frames.

    Args:
        values_db: One value a pair of frames, in decibels; equal frames have 99.

    Returns:
        A PNG of 480x132 points at double density, transparent, readable on light and dark pages; None when there
        is nothing to draw or Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        return None
    if len(values_db) < 2:
        return None
    low, high = _range(values_db)
    image = Image.new("RGBA", (WIDTH * _SCALE, HEIGHT * _SCALE), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(11 * _SCALE)

    def x_of(frame: int) -> float:
        return (_LEFT + (WIDTH - _LEFT - _RIGHT) * frame / (len(values_db) - 1)) * _SCALE

    def y_of(value: float) -> float:
        return (_TOP + (HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)) * _SCALE

    for mark in (low, (low + high) / 2, high):
        draw.line([(x_of(0), y_of(mark)), (x_of(len(values_db) - 1), y_of(mark))], fill=_GRID, width=_SCALE)
        draw.text(((_LEFT - 6) * _SCALE, y_of(mark)), f"{mark:.0f}", fill=_QUIET, font=font, anchor="rm")
    draw.line([(x_of(at), y_of(value)) for at, value in enumerate(values_db)], fill=_LINE, width=2 * _SCALE)
    base = (HEIGHT - 4) * _SCALE
    draw.text((x_of(0), base), "frame 0", fill=_QUIET, font=font, anchor="ls")
    draw.text((x_of(len(values_db) - 1), base), str(len(values_db) - 1), fill=_QUIET, font=font, anchor="rs")
    draw.text(((_LEFT + WIDTH) / 2 * _SCALE, base), "PSNR in dB", fill=_QUIET, font=font, anchor="ms")
    with io.BytesIO() as stream:
        image.quantize(32).save(stream, "PNG", optimize=True)
        return stream.getvalue()


def _range(values_db: Sequence[float]) -> tuple[float, float]:
    low, high = min(values_db), max(values_db)
    if high - low < 4:
        low, high = low - 2, high + 2
    step = 5 if high - low > 10 else 2
    return max(0.0, low // step * step), min(IDENTICAL_DB + 1, -(-high // step) * step)
