"""What a job asks for: its wire parameters, and what the words of its prompt name. Standard library only."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from wiro_nb.files import hash_file
from wiro_nb.sandbox.engines import EngineError, Job, fit_area, read_size, read_text, read_whole

Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""
MOODS = ("day", "sunset", "dawn", "night", "spring", "sea", "autumn", "forest")
"""The moods of prompts without any known word."""
MIN_SIDE_PX, MAX_SIDE_PX = 64, 2048
MAX_FRAMES = 1000
MAX_FPS = 120
MAX_STEPS = 1000
_IGNORED = {"callbackurl", "projectid"}
_NAMES_A_FILE = re.compile(r"(image|video|file|audio|mask)s?(url)?$|url$", re.IGNORECASE)
_FRAME_NAMES = ("frameNumber", "numFrames", "frameNum", "frames")


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


# The option values of animate-diff's loraType, by their labels.
CAMERA_MOVES: Mapping[str, str] = {
    "FILE:169584": "ZoomIn",
    "FILE:169585": "ZoomOut",
    "FILE:169578": "PanLeft",
    "FILE:169579": "PanRight",
    "FILE:169583": "TiltUp",
    "FILE:169582": "TiltDown",
    "FILE:169581": "RollingClockwise",
    "FILE:169580": "RollingAnticlockwise",
}


# Parameters ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Defaults:
    width: int = 512
    height: int = 288
    frames: int = 33
    fps: int = 16
    steps: int = 20
    follows_picture: bool = False  # the size comes from the picture's aspect when no size is given
    needs_picture: bool = False


_PLAIN = _Defaults()
_MODELS: Mapping[str, _Defaults] = {
    "wiro/animate-diff": _Defaults(512, 512, 18, 8, 16),
    "wiro/wan2-2-effects-extra": _Defaults(832, 480, 81, 16, 20, follows_picture=True, needs_picture=True),
    "pruna/vace": _Defaults(832, 480, 81, 16, 50),
    "wan-ai/wan2-2-ti2v-5b-text-to-video": _Defaults(832, 480, 121, 16, 25),
    "wiro/skyreels-v1": _Defaults(960, 544, 97, 24, 30),
}


@dataclass(frozen=True)
class ClipRequest:
    """A checked request. Sizes in pixels (even), `fps` in frames a second.

    Attributes:
        seed: The seed as given, or "".
        camera: One of `CAMERA_MOVES`' names, or "".
        effect: effectType as given, or "".
        style: selectedModel as given, or "".
        layout_key: Seeds the composition: model, prompt, seed.
        detail_key: Seeds details such as clouds: every parameter and every input byte.
    """

    prompt: str
    seed: str
    width: int
    height: int
    frames: int
    fps: int
    camera: str
    effect: str
    style: str
    layout_key: str
    detail_key: str

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.fps


def input_files(job: Job) -> list[Path]:
    """Returns all input files of a job, in the order of its parameters."""
    return [path for paths in job.inputs.values() for path in paths]


def read_steps(job: Job) -> int:
    """Returns the number of progress steps of a job, 1 to 1000; an unreadable value counts as absent."""
    try:
        steps = _whole(job.parameters, ("steps", "sampleSteps", "numInferenceSteps"), _defaults(job.model).steps)
    except EngineError:
        steps = _defaults(job.model).steps
    return min(max(steps, 1), MAX_STEPS)


def read_request(job: Job, picture_aspect: float | None) -> ClipRequest:
    """Reads and checks a job's parameters.

    Args:
        job: The job.
        picture_aspect: Width over height of the first input picture, or None when there is none.

    Raises:
        EngineError: A number cannot be read or is out of the sandbox's bounds, or a needed picture is missing.
    """
    parameters, defaults = job.parameters, _defaults(job.model)
    if defaults.needs_picture and picture_aspect is None:
        raise EngineError("This model needs an input image and none was given.")
    width, height = _size(parameters, defaults, picture_aspect)
    prompt, seed = read_text(parameters, "prompt"), read_text(parameters, "seed")
    slug = _slug(job.model)
    return ClipRequest(
        prompt=prompt,
        seed=seed,
        width=width,
        height=height,
        frames=_bounded("frames", _whole(parameters, _FRAME_NAMES, defaults.frames), 1, MAX_FRAMES),
        fps=_bounded("frames a second", _whole(parameters, ("fps",), defaults.fps), 1, MAX_FPS),
        camera=CAMERA_MOVES.get(read_text(parameters, "loraType"), read_text(parameters, "loraType")),
        effect=read_text(parameters, "effectType"),
        style=read_text(parameters, "selectedModel") or read_text(parameters, "selectedModelPrivate"),
        layout_key=_digest([slug, prompt, seed]),
        detail_key=_digest([slug, _visible(parameters), [_hash_input(path) for path in input_files(job)]]),
    )


def _slug(model: str) -> str:
    # Page and run path spell one model differently: wan2.2-effects-extra, wan2-2-effects-extra.
    return model.strip().strip("/").lower().replace(".", "-")


def _defaults(model: str) -> _Defaults:
    return _MODELS.get(_slug(model), _PLAIN)


def _visible(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Returns the parameters that may change the picture, as text: 5 and "5" are one request.

    Files count by their bytes, not by their address.
    """
    return {
        name: str(value).strip()
        for name, value in sorted(parameters.items())
        if name.lower() not in _IGNORED and not _NAMES_A_FILE.search(name)
    }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _hash_input(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise EngineError(f"The input file {path.name} cannot be read.") from error


def _whole(parameters: Mapping[str, Any], names: tuple[str, ...], default: int) -> int:
    given = next((name for name in names if read_text(parameters, name)), names[0])
    return read_whole(parameters, given, default)


def _bounded(what: str, number: int, low: int, high: int) -> int:
    if not low <= number <= high:
        raise EngineError(f"The sandbox renders {low} to {high} {what}; {number} were asked for.")
    return number


def _size(parameters: Mapping[str, Any], defaults: _Defaults, aspect: float | None) -> tuple[int, int]:
    width, height = _asked_size(parameters, defaults, aspect)
    if min(width, height) < MIN_SIDE_PX or max(width, height) > MAX_SIDE_PX:
        limits = f"sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels"
        raise EngineError(f"The sandbox renders {limits}; {width} x {height} were asked for.")
    return width // 2 * 2, height // 2 * 2  # H.264 4:2:0 has no odd sides


def _asked_size(parameters: Mapping[str, Any], defaults: _Defaults, aspect: float | None) -> tuple[int, int]:
    if read_text(parameters, "size"):
        return read_size(parameters, "size", (defaults.width, defaults.height))
    resolution, ratio = read_text(parameters, "resolution"), read_text(parameters, "ratio")
    if resolution or ratio:
        return _from_resolution(resolution, ratio, aspect)
    if defaults.follows_picture and aspect is not None and not read_text(parameters, "width"):
        return fit_area(832 * 480, aspect)
    return _whole(parameters, ("width",), defaults.width), _whole(parameters, ("height",), defaults.height)


def _from_resolution(resolution: str, ratio: str, aspect: float | None) -> tuple[int, int]:
    lines = {"": 480, "480p": 480, "720p": 720}.get(resolution.lower())
    if lines is None:
        raise EngineError(f"resolution must be 480p or 720p, got {resolution[:40]!r}.")
    wide = (832, 480) if lines == 480 else (1280, 720)
    if ratio.lower() in ("", "auto"):
        return wide if aspect is None else fit_area(wide[0] * wide[1], aspect)
    if ratio not in ("16:9", "9:16"):
        raise EngineError(f"ratio must be auto, 16:9 or 9:16, got {ratio[:40]!r}.")
    return wide if ratio == "16:9" else (wide[1], wide[0])
