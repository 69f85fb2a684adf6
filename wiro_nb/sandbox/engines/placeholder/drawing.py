"""Drawing tools: deterministic noise, lines, the camera, and the band with prompt and seed. Sizes in pixels.

Pillow's built-in font is always available but covers little beyond Latin. Text in other scripts is
named and counted ("[CJK x4]") instead of showing empty boxes.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wiro_nb.sandbox.engines.media import FloatImage

Points = Sequence[tuple[float, float]]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_NOT_A_GLYPH = "\U0010fffd"
_MAX_CHARACTERS = 400
_SPELLINGS = 'i o l d d th ss ae oe e ng h \' \' , " " " - - - ...'
_SPELLED = dict(zip("ıøłđðþßæœəŋħ‘’‚“”„–—−…", _SPELLINGS.split(), strict=True))


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


# The camera ----------------------------------------------------------------------------------


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


# The label -----------------------------------------------------------------------------------


class Label:
    """A label for frames of one size; `draw` burns it in."""

    def __init__(self, top: int, ink: FloatImage) -> None:
        """Takes the band's first row and the text's coverage (0 to 1), shape (band height, width)."""
        self.top = top
        self._keep = np.asarray(0.34 * (1 - ink), np.float32)
        self._add = np.asarray(12 * (1 - ink) + 238 * ink, np.float32)

    def draw(self, frame: FloatImage) -> None:
        """Darkens the band of `frame`, shape (3, height, width), 0 to 255, and writes the text; in place."""
        band = frame[:, self.top :, :]
        band *= self._keep
        band += self._add


def make_label(prompt: str, seed: str, width: int, height: int) -> Label:
    """Returns the label for frames of `width` x `height` pixels; a long prompt is cut with dots."""
    size = max(9.0, min(height * 0.028, width * 0.03, 30.0))
    font = ImageFont.load_default(size)
    band_h = min(height // 2, round(size * 2.1))
    image = Image.new("L", (width, band_h))
    pen = ImageDraw.Draw(image)
    margin, middle = round(size * 0.8), band_h / 2
    right = spell(f"seed {seed}") if seed else ""
    if len(right) > 26:
        right = right[:23] + "..."
    room = width - 2 * margin
    left = "SANDBOX"
    if right and pen.textlength(left + "   " + right, font) > room:
        right = ""
    if right:
        pen.text((width - margin, middle), right, fill=235, font=font, anchor="rm")
        room -= round(pen.textlength("   " + right, font))
    if prompt.strip():
        left = _cut(pen, font, left, f" · {spell(prompt)}", room)
    while pen.textlength(left, font) > width - 4 and size > 6:
        size -= 0.5
        font = ImageFont.load_default(size)
        margin = 2
    pen.text((margin, middle), left, fill=255, font=font, anchor="lm")
    return Label(height - band_h, np.asarray(image, np.float32) / 255)


def _cut(pen: ImageDraw.ImageDraw, font: Font, head: str, tail: str, room: float) -> str:
    if pen.textlength(head + tail, font) <= room:
        return head + tail
    while len(tail) > 3 and pen.textlength(head + tail + "...", font) > room:
        tail = tail[:-1]
    return head + tail.rstrip() + "..." if len(tail) > 3 else head


def spell(text: str) -> str:
    """Returns `text` in one line of characters that the built-in font can draw.

    Accents that the font lacks are dropped; runs of other characters become their script and number.
    """
    parts: list[str] = []
    for script, run in groupby(unicodedata.normalize("NFC", text[:_MAX_CHARACTERS]), _script_to_name):
        characters = "".join(run)
        parts.append(
            f"[{script} x{len(characters)}]" if script else "".join(_spell_one(char) or "" for char in characters)
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
    if _is_drawable(char):
        return char
    if spelled := _SPELLED.get(char.lower()):
        return spelled if char == char.lower() else spelled.capitalize()
    if category == "So" and (name := unicodedata.name(char, "")):
        return f"[{name.lower()}]"
    plain = "".join(part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part))
    return plain if plain and all(map(_is_drawable, plain)) else None


def _script_to_name(char: str) -> str:
    """Returns the script of a character without drawable text, "" for all others."""
    if _spell_one(char) is not None:
        return ""
    return unicodedata.name(char, "Character").split()[0]


@lru_cache(maxsize=4096)
def _is_drawable(char: str) -> bool:
    size, mask = _glyph(char)
    return size != (0, 0) and any(mask) and (size, mask) != _glyph(_NOT_A_GLYPH)


@lru_cache(maxsize=4096)
def _glyph(char: str) -> tuple[tuple[int, int], bytes]:
    mask = ImageFont.load_default(24).getmask(char)
    return mask.size, bytes(mask)
