"""Parses the request of a job: its wire parameters and the features its prompt names. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from wiro_nb.files import hash_file
from wiro_nb.sandbox.engines import EngineError, Job, fit_area, read_resolution, read_size, read_text, read_whole
from wiro_nb.schema import find_bundled

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
_STEPS_NAMES = ("steps", "sampleSteps", "numInferenceSteps")
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


def _colour(text: str) -> Colour:
    red, green, blue = bytes.fromhex(text)
    return (float(red), float(green), float(blue))


TABLES = tomllib.loads(Path(__file__).with_name("scenes.toml").read_text("utf-8"))
_PALETTES = {mood: Palette(*map(_colour, line.split())) for mood, line in TABLES["palettes"].items()}


@dataclass(frozen=True)
class PromptFeatures:
    """The features that a prompt names.

    Attributes:
        sky: Mood of the sky, or "" when the prompt names none.
        land: Mood of the land, or "".
        others: The names of `[others]` in `scenes.toml` that the prompt mentions.
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
    others = frozenset(name for name, line in TABLES["others"].items() if set(words) & set(line.split()))
    return PromptFeatures(_first(words, TABLES["sky"]), _first(words, TABLES["land"]), others)


def _first(words: list[str], moods: Mapping[str, str]) -> str:
    by_word = {word: mood for mood, line in moods.items() for word in line.split()}
    return next((by_word[word] for word in words if word in by_word), "")


def _camera_moves() -> dict[str, str]:
    """Returns the values of animate-diff's loraType with their labels, such as ZoomIn."""
    schema = find_bundled("wiro/animate-diff")
    setting = schema.get("loraType") if schema else None
    return {option.value: option.label for option in setting.options} if setting else {}


CAMERA_MOVES = _camera_moves()


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
    steps = _defaults(job.model).steps
    with contextlib.suppress(EngineError):
        steps = read_whole(job.parameters, _given(job.parameters, _STEPS_NAMES), steps)
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
        frames=read_whole(parameters, _given(parameters, _FRAME_NAMES), defaults.frames, 1, MAX_FRAMES),
        fps=read_whole(parameters, "fps", defaults.fps, 1, MAX_FPS),
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


def _given(parameters: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Returns the first of some parameters that has a value, or else the first."""
    return next((name for name in names if read_text(parameters, name)), names[0])


def _size(parameters: Mapping[str, Any], defaults: _Defaults, aspect: float | None) -> tuple[int, int]:
    width, height = _asked_size(parameters, defaults, aspect)
    if min(width, height) < MIN_SIDE_PX or max(width, height) > MAX_SIDE_PX:
        limits = f"sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels"
        raise EngineError(f"The sandbox renders {limits}; {width} x {height} were asked for.")
    return width // 2 * 2, height // 2 * 2  # H.264 4:2:0 has no odd sides


def _asked_size(parameters: Mapping[str, Any], defaults: _Defaults, aspect: float | None) -> tuple[int, int]:
    if read_text(parameters, "size"):
        return read_size(parameters, "size", (defaults.width, defaults.height))
    if read_text(parameters, "resolution") or read_text(parameters, "ratio"):
        return read_resolution(parameters, aspect)
    if defaults.follows_picture and aspect is not None and not read_text(parameters, "width"):
        return fit_area(832 * 480, aspect)
    return read_whole(parameters, "width", defaults.width), read_whole(parameters, "height", defaults.height)
