"""The band at the bottom of every frame that says SANDBOX, the prompt and the seed.

Pillow's built-in font is always available but covers little beyond Latin. Other letters are transliterated; a
script without a transliteration is named and counted ("[CJK x4]") instead of showing empty boxes.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wiro_nb.sandbox.engines.placeholder.drawing import FloatImage

__all__ = ["Label", "make_label", "spell"]

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_NOT_A_GLYPH = "\U0010fffd"
_CYRILLIC_LETTERS = "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ"
_CYRILLIC_SPELT = "a b v g d e zh z i y k l m n o p r s t u f kh ts ch sh shch _ y _ e yu ya yo i yi ye g"
_GREEK_LETTERS = "αβγδεζηθικλμνξοπρσςτυφχψω"
_GREEK_SPELT = "a v g d e z i th i k l m n x o p r s s t y f ch ps o"
_LATIN_LETTERS = "ıøłđðþßæœəŋħ"
_LATIN_SPELT = "i o l d d th ss ae oe e ng h"
_LETTERS = {
    letter: spelt.replace("_", "")
    for letters, line in (
        (_CYRILLIC_LETTERS, _CYRILLIC_SPELT),
        (_GREEK_LETTERS, _GREEK_SPELT),
        (_LATIN_LETTERS, _LATIN_SPELT),
    )
    for letter, spelt in zip(letters, line.split(), strict=True)
}
_MARKS_SPELT = '\' \' , " " " - - - ... * - -> <- , . " " -'
_MARKS = dict(zip("‘’‚“”„–—−…•·→←、。「」・", _MARKS_SPELT.split(), strict=True))
_SYLLABLES = ("HIRAGANA LETTER ", "KATAKANA LETTER ", "HANGUL SYLLABLE ")


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
    low, high = 0, len(tail)
    while low < high:
        half = (low + high + 1) // 2
        if pen.textlength(head + tail[:half] + "...", font) <= room:
            low = half
        else:
            high = half - 1
    return head + tail[:low].rstrip() + "..." if low > 3 else head


def spell(text: str) -> str:
    """Returns `text` in one line of characters that the built-in font can draw."""
    parts: list[str] = []
    unknown: list[str] = []  # scripts of the run of characters without a spelling

    def flush_unknown() -> None:
        if unknown:
            parts.append(f"[{unknown[0]} x{len(unknown)}]")
            unknown.clear()

    for char in unicodedata.normalize("NFC", text):
        spelled = _spell_one(char)
        if spelled is None:
            script = _script(char)
            if unknown and unknown[0] != script:
                flush_unknown()
            unknown.append(script)
        elif spelled:
            flush_unknown()
            parts.append(spelled)
    flush_unknown()
    return " ".join("".join(parts).split())


@lru_cache(maxsize=4096)
def _spell_one(char: str) -> str | None:
    """Drawable text for one character, "" to leave it out, None when there is no spelling."""
    if char.isspace() or unicodedata.category(char) == "Cc":
        return " "
    if _is_drawable(char):
        return char
    if unicodedata.category(char) in ("Mn", "Me", "Mc", "Cf", "Sk", "Cs", "Co", "Cn"):
        return ""
    if char in _MARKS:
        return _MARKS[char]
    lower = _LETTERS.get(char.lower())
    if lower is not None:
        return lower if char == char.lower() else lower.capitalize()
    by_name = _spell_by_name(char)  # before decomposing: that would turn kana ga into ka
    plain = "".join(part for part in unicodedata.normalize("NFKD", char) if not unicodedata.combining(part))
    if by_name is None and plain and plain != char:
        spelled = [_spell_one(part) for part in plain]
        if all(part is not None for part in spelled):
            return "".join(part or "" for part in spelled)
    return by_name


def _spell_by_name(char: str) -> str | None:
    name = unicodedata.name(char, "")
    for syllables in _SYLLABLES:
        if name.startswith(syllables):
            return name.removeprefix(syllables).split()[-1].lower()
    if name.startswith("REGIONAL INDICATOR SYMBOL LETTER "):
        return name[-1]
    if unicodedata.category(char) == "So" and name:
        return f"[{name.lower()}]"
    return None


def _script(char: str) -> str:
    name = unicodedata.name(char, "").split()
    if not name:
        return "character"
    return "CJK" if name[0] == "CJK" else name[0].capitalize()


@lru_cache(maxsize=4096)
def _is_drawable(char: str) -> bool:
    mask = _glyph(char)
    return mask[0] != (0, 0) and mask[1].strip(b"\x00") != b"" and mask != _glyph(_NOT_A_GLYPH)


@lru_cache(maxsize=4096)
def _glyph(char: str) -> tuple[tuple[int, int], bytes]:
    font = ImageFont.load_default(24)
    mask = font.getmask(char)
    return mask.size, bytes(mask)
