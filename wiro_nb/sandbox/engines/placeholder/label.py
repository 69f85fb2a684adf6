"""The band at the bottom of every frame that says SANDBOX, the prompt and the seed.

Pillow's built-in font is always available but covers little beyond Latin. Text in other scripts is
named and counted ("[CJK x4]") instead of showing empty boxes.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from itertools import groupby

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wiro_nb.sandbox.engines.placeholder.drawing import FloatImage

__all__ = ["Label", "make_label", "spell"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_NOT_A_GLYPH = "\U0010fffd"
_MAX_CHARACTERS = 400
_SPELLINGS = 'i o l d d th ss ae oe e ng h \' \' , " " " - - - ...'
_SPELLED = dict(zip("ıøłđðþßæœəŋħ‘’‚“”„–—−…", _SPELLINGS.split(), strict=True))


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
