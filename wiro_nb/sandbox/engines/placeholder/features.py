"""What the words of a prompt ask for: colours, landscape, weather. Standard library only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace

__all__ = ["MOODS", "Colour", "Palette", "PromptFeatures", "mix", "read_features"]

Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""
MOODS = ("day", "sunset", "dawn", "night", "spring", "sea", "autumn", "forest")
"""The moods of prompts without any known word."""


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Returns the colour `share` (0 to 1) of the way from `one` to `other`."""
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return (red, green, blue)


@dataclass(frozen=True)
class Palette:
    """Colours of one mood. `far` and `near` are the first and the last range of hills."""

    zenith: Colour
    middle: Colour
    horizon: Colour
    sun: Colour
    glow: Colour
    far: Colour
    near: Colour
    cloud_light: Colour
    cloud_dark: Colour


#                zenith middle horizon sun    glow   far    near   cloud light, dark
_PALETTES: Mapping[str, Palette] = {
    name: Palette(
        *((float(n >> 16), float(n >> 8 & 255), float(n & 255)) for n in (int(c, 16) for c in line.split()))
    )
    for name, line in {
        "day": "2f6fbe 7fb2e6 e3eff6 fffbe8 fff3d0 94b0cc 1f4150 ffffff b4c4d6",
        "sunset": "3d4178 d9705c ffc27c fff2cc ffb45e b57f86 241a33 ffc49a 87526f",
        "dawn": "52739f c39dbd ffd6b4 fff5df ffc79a a29cbd 2b3857 ffe3d8 9f8bb0",
        "night": "050818 121a42 343d78 eef2ff 6675cc 3a4272 080b1c 56609a 1a2148",
        "neon": "0a0520 36105e c43a8c ffe6f7 ff55b8 5a2b80 10071f 9a48ac 2b1154",
        "storm": "262e38 515d69 a3adac e6e9e2 c2c8bd 6c7981 161e25 98a2a6 333c45",
        "fog": "8d99a3 b4bdc3 d9dcd9 fbf8ec f2eddc aab4b9 3c4a52 e8eae8 a4aeb5",
        "snow": "5b8cc2 a6c6e4 eef3f8 fffdf0 fff6df b3c5db 41576f ffffff b5c6d9",
        "desert": "3f88bd a3c6d0 f9deb0 fff6d6 ffe0a0 d9a26c 6b3219 fff3dd cfae8c",
        "autumn": "5f93b8 cfc5a4 fbdca0 fff3cf ffd086 bc9a68 4a2010 fff0d6 c2a583",
        "spring": "4a9cd6 a2d6ec f2f8dc fffbe0 fff0bd a2cdb0 1f5c38 ffffff b7d3d6",
        "forest": "6aa7b8 b0d5ca eaf3da fffae0 fbf0b8 8cb6a2 0e2f24 fbfff4 a9c4bb",
        "sea": "2279bf 74bce4 dff3f2 fffbe6 fff0c4 86b2c8 163f56 ffffff b0cbd8",
    }.items()
}
_SKY_WORDS = {
    "neon": "neon cyberpunk synthwave vaporwave hologram futuristic disco",
    "night": "night midnight moon moonlight moonlit stars starry star galaxy cosmos nebula space gece yildiz",
    "sunset": "sunset dusk evening golden twilight sundown batimi aksam gunbatimi",
    "dawn": "dawn sunrise morning daybreak sabah safak",
    "fog": "fog foggy mist misty haze hazy smoke sis",
    "day": "noon sunny day daylight gunes gunesli",
}
_LAND_WORDS = {
    "snow": "snow snowy snowing winter ice icy arctic glacier frost frozen christmas kar kis",
    "desert": "desert dune dunes sahara sand sandy canyon mars cactus col",
    "autumn": "autumn fall october maple sonbahar",
    "spring": "spring meadow blossom blossoms flower flowers garden cherry ilkbahar cicek",
    "forest": "forest woods woodland jungle tree trees pine deer bear wolf fox rainforest orman agac",
    "sea": "sea ocean beach coast island wave waves surf whale dolphin deniz sahil",
}
_OTHER_WORDS = {
    "storm": "storm stormy thunder lightning hurricane tempest overcast war battle firtina",
    "rain": "rain rainy raining drizzle downpour storm stormy thunder hurricane tempest firtina yagmur",
    "water": "water lake river pond boat ship harbour harbor lighthouse fjord bay reflection pier swan sail "
    "sailboat tekne gemi gol nehir sea ocean beach coast island wave waves surf whale dolphin deniz sahil",
    "trees": "forest woods woodland jungle tree trees pine fir deer bear wolf fox rainforest orman agac",
    "lighthouse": "lighthouse fener",
    "boat": "boat ship sail sailboat tekne gemi",
}


@dataclass(frozen=True)
class PromptFeatures:
    """What a prompt asks for.

    Attributes:
        sky: Mood of the sky, or "" when the prompt names none.
        land: Mood of the land, or "".
        others: The names in `_OTHER_WORDS` that the prompt mentions.
    """

    sky: str
    land: str
    others: frozenset[str]

    def has(self, name: str) -> bool:
        """Returns whether storm, rain, water, trees, lighthouse or boat is asked for."""
        return name in self.others

    def palette(self, fallback: str) -> Palette:
        """Returns the colours: the sky's mood, with hills that lean towards the land's.

        Args:
            fallback: Mood when the prompt names none.
        """
        sky = _PALETTES[self.sky or self.land or fallback]
        if self.has("storm"):
            sky = _blend(sky, _PALETTES["storm"], 0.35 if self.sky or self.land else 1.0)
        land, share = _PALETTES[self.land] if self.land else sky, 0.25 if self.sky in ("night", "neon") else 0.55
        hills = _blend(sky, land, share)
        return replace(sky, far=hills.far, near=hills.near)


def _blend(one: Palette, other: Palette, share: float) -> Palette:
    return Palette(*(mix(a, b, share) for a, b in zip(astuple(one), astuple(other), strict=True)))


def read_features(prompt: str) -> PromptFeatures:
    """Reads a prompt. The first word that names a mood decides; unknown words are ignored."""
    plain = unicodedata.normalize("NFKD", prompt.lower().replace("ı", "i"))
    words = re.findall(r"[a-z]+", "".join(char for char in plain if not unicodedata.combining(char)))
    others = frozenset(name for name, line in _OTHER_WORDS.items() if set(words) & set(line.split()))
    return PromptFeatures(_first(words, _SKY_WORDS), _first(words, _LAND_WORDS), others)


def _first(words: list[str], moods: Mapping[str, str]) -> str:
    by_word = {word: mood for mood, line in moods.items() for word in line.split()}
    return next((by_word[word] for word in words if word in by_word), "")
