"""Drawing tools: colours, deterministic noise, rain and snow, and the band with prompt and seed. Sizes in pixels.

Pillow's built-in font is always available but covers little beyond ASCII. Text in other scripts is named and
counted ("[CJK x4]") instead of showing empty boxes.
"""

from __future__ import annotations

import math
import string
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from wiro_nb.sandbox.engines.media import FloatImage
from wiro_nb.sandbox.engines.placeholder.request import ClipRequest

Rng = np.random.Generator
Colour = NDArray[np.float64]
"""Red, green, blue, 0 to 255; or several colours, shape (count, 3)."""
Animation = Callable[[float], FloatImage]
"""Returns the frame at a moment of a clip (0 first frame, 1 last), shape (3, height, width).

The array is reused: it is consumed before the next call.
"""
Painter = Callable[[FloatImage, float], None]
"""Paints a part of a picture over a canvas, shape (3, height, width), at a moment of the clip."""

_DROPS = 160
_DRAWABLE = frozenset(string.ascii_letters + string.digits + string.punctuation + "©«°±·»‘’“”…‹›⁄™")
_SPELLINGS = 'i o l d d th ss ae oe e ng h , " - - -'
_SPELLED = dict(zip("ıøłđðþßæœəŋħ‚„–—−", _SPELLINGS.split(), strict=True))
_MAX_CHARACTERS = 400
_MAX_SEED = 26


def read_colours(text: str) -> Colour:
    """Reads colours written as `2f6fbe 7fb2e6`, shape (count, 3)."""
    return np.array([list(bytes.fromhex(colour)) for colour in text.split()], np.float64)


def mix(one: ArrayLike, other: ArrayLike, share: float) -> Colour:
    """Returns the colours `share` (0 to 1) of the way from `one` to `other`."""
    start = np.asarray(one, np.float64)
    return start + (np.asarray(other, np.float64) - start) * share


def channels(colour: ArrayLike) -> FloatImage:
    """Returns a colour as an image of one pixel, shape (3, 1, 1)."""
    return np.asarray(colour, np.float32)[:, None, None]


def make_rng(*keys: str) -> Rng:
    """Returns a generator seeded by texts."""
    return Rng(np.random.PCG64(list("\x00".join(keys).encode())))


def fbm(
    rng: Rng, width: int, height: int, cell_px: float, octaves: int, gain: float = 0.5, stretch: float = 1.0
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


def make_weather(rng: Rng, request: ClipRequest) -> Painter:
    """Returns falling rain or snow; in fair weather it paints nothing."""
    x, y, near = rng.random((_DROPS, 3)).astype(np.float32).T
    rains, snows = "rain" in request.features.others, request.features.land == "snow"
    length, slant, thickness, light = (0.09, 0.006, 0.002, 30) if rains else (0.008, 0.0, 0.007, 130)

    def paint(canvas: FloatImage, u: float) -> None:
        if not (rains or snows):
            return
        at_s = u * request.duration_s
        lean = 0.07 if rains else 0.03 * np.sin(6 * x + at_s)
        fallen = (y + (1.1 + 0.9 * near if rains else 0.05 + 0.11 * near) * np.float32(at_s)) % 1.1
        across = 2 * ((x - lean * fallen) % 1.0) - 1
        _, height, width = canvas.shape
        image = Image.new("L", (width, height))
        pen, line_px = ImageDraw.Draw(image), max(1, round(thickness * height))
        for left, top, size in zip(across.tolist(), (2.1 * fallen - 1.1).tolist(), near.tolist(), strict=True):
            ends = (left, top), (left - slant, top + length * (0.4 + 0.6 * size))
            pen.line([((a + 1) / 2 * width, (b + 1) / 2 * height) for a, b in ends], fill=255, width=line_px)
        canvas += np.asarray(image, np.float32) / 255 * np.float32(light)

    return paint


# The label -----------------------------------------------------------------------------------


def make_label(prompt: str, seed: str, width: int, height: int) -> Callable[[FloatImage], None]:
    """Returns what darkens the band of a frame, shape (3, height, width), 0 to 255, and writes the text; in place.

    A long prompt is cut with dots.
    """
    size = max(9.0, min(height * 0.028, width * 0.03, 30.0))
    font = ImageFont.load_default(size)
    band_h = min(height // 2, round(size * 2.1))
    image = Image.new("L", (width, band_h))
    pen = ImageDraw.Draw(image)
    margin, middle = round(size * 0.8), band_h / 2
    available = width - 2 * margin
    left, right = "SANDBOX", spell(f"seed {seed}") if seed else ""
    if len(right) > _MAX_SEED:
        right = right[: _MAX_SEED - 3] + "..."
    if right and pen.textlength(left + "   " + right, font) <= available:
        pen.text((width - margin, middle), right, fill=235, font=font, anchor="rm")
        available -= round(pen.textlength("   " + right, font))
    shown = spell(prompt)
    for length in range(len(shown), 0, -1):
        text = f"{left} · {shown}" if length == len(shown) else f"{left} · {shown[:length].rstrip()}..."
        if pen.textlength(text, font) <= available:
            left = text
            break
    pen.text((margin, middle), left, fill=255, font=font, anchor="lm")
    ink = np.asarray(image, np.float32) / 255
    keep, add = 0.34 * (1 - ink), 12 * (1 - ink) + 238 * ink

    def draw(frame: FloatImage) -> None:
        band = frame[:, height - band_h :]
        band *= keep
        band += add

    return draw


def spell(text: str) -> str:
    """Returns `text` in one line of characters that the built-in font can draw.

    Accents that the font lacks are dropped; runs of other characters become their script and number.
    """
    parts: list[str] = []
    for script, run in groupby(unicodedata.normalize("NFC", text[:_MAX_CHARACTERS]), _script_to_name):
        characters = "".join(run)
        parts.append(
            f"[{script} x{len(characters)}]" if script else "".join(_spell_one(c) or "" for c in characters)
        )
    return " ".join("".join(parts).split())


@lru_cache(maxsize=4096)
def _spell_one(char: str) -> str | None:
    """Returns drawable text for one character, "" to leave it out, None when there is none."""
    category = unicodedata.category(char)
    if char.isspace() or category == "Cc":
        return " "
    if category in ("Mn", "Me", "Mc", "Cf", "Sk", "Cs", "Co", "Cn"):
        return ""
    if char in _DRAWABLE:
        return char
    if spelled := _SPELLED.get(char.lower()):
        return spelled if char == char.lower() else spelled.capitalize()
    if category == "So" and (name := unicodedata.name(char, "")):
        return f"[{name.lower()}]"
    plain = "".join(part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part))
    return plain if plain and _DRAWABLE.issuperset(plain) else None


def _script_to_name(char: str) -> str:
    """Returns the script of a character without drawable text, "" for all others."""
    return "" if _spell_one(char) is not None else unicodedata.name(char, "Character").split()[0]
