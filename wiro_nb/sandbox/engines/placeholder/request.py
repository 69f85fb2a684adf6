"""Reads the parameters of a job, and the features that its prompt names. Standard library only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from wiro_nb.files import hash_file
from wiro_nb.sandbox.engines import EngineError, Job, Parameters, fit_area
from wiro_nb.schema import find_bundled

MIN_SIDE_PX, MAX_SIDE_PX = 64, 2048
MAX_FRAMES = 1000
MAX_FPS = 120
MAX_STEPS = 1000
TABLES = tomllib.loads(Path(__file__).with_name("scenes.toml").read_text("utf-8"))
_IGNORED = {"callbackurl", "projectid"}
_NAMES_A_FILE = re.compile(r"(image|video|file|audio|mask)s?(url)?$|url$", re.IGNORECASE)
_STEPS_NAMES = ("steps", "sampleSteps", "numInferenceSteps")
_FRAME_NAMES = ("frameNumber", "numFrames", "frameNum", "frames")


def _camera_moves() -> dict[str, str]:
    """Returns the values of animate-diff's loraType with their labels, such as ZoomIn."""
    schema = find_bundled("wiro/animate-diff")
    setting = schema.get("loraType") if schema else None
    return {option.value: option.label for option in setting.options} if setting else {}


CAMERA_MOVES = _camera_moves()


@dataclass(frozen=True)
class _Defaults:
    """What a model makes unless asked otherwise; one that animates its picture has its shape, and needs it."""

    width: int = 512
    height: int = 288
    frames: int = 33
    fps: int = 16
    steps: int = 20
    animates_picture: bool = False


_MODELS = {name: _Defaults(**entry) for name, entry in TABLES["models"].items()}


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


def read_features(prompt: str) -> PromptFeatures:
    """Reads a prompt. The first word that names a mood decides; unknown words are ignored."""
    plain = unicodedata.normalize("NFKD", prompt.lower().replace("ı", "i"))
    words = re.findall(r"[a-z]+", "".join(char for char in plain if not unicodedata.combining(char)))

    def first(table: str) -> str:
        by_word = {word: mood for mood, line in TABLES[table].items() for word in line.split()}
        return next((by_word[word] for word in words if word in by_word), "")

    others = frozenset(name for name, line in TABLES["others"].items() if set(words) & set(line.split()))
    return PromptFeatures(first("sky"), first("land"), others)


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
    features: PromptFeatures

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.frames / self.fps


def input_files(job: Job) -> list[Path]:
    """Returns all input files of a job, in the order of its parameters."""
    return [path for paths in job.inputs.values() for path in paths]


def read_steps(job: Job) -> int:
    """Returns the number of progress steps of a job, 1 to 1000; an unreadable value counts as absent."""
    parameters, steps = Parameters(job.parameters), _defaults(job.model).steps
    with contextlib.suppress(EngineError):
        steps = parameters.whole(_given(parameters, _STEPS_NAMES), steps)
    return min(max(steps, 1), MAX_STEPS)


def read_request(job: Job, picture_aspect: float | None) -> ClipRequest:
    """Reads and checks a job's parameters.

    Args:
        job: The job.
        picture_aspect: Width over height of the first input picture, or None when there is none.

    Raises:
        EngineError: A number cannot be read or is out of the sandbox's bounds, or a needed picture is missing.
    """
    given, defaults, slug = Parameters(job.parameters), _defaults(job.model), _slug(job.model)
    if defaults.animates_picture and picture_aspect is None:
        raise EngineError("This model needs an input image and none was given.")
    width, height = _asked_size(given, defaults, picture_aspect)
    if min(width, height) < MIN_SIDE_PX or max(width, height) > MAX_SIDE_PX:
        limits = f"sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels"
        raise EngineError(f"The sandbox renders {limits}; {width} x {height} were asked for.")
    prompt, seed, move = given.text("prompt"), given.text("seed"), given.text("loraType")
    # 5 and "5" are one request; files count by their bytes, not by their address.
    visible = {
        name: str(value).strip()
        for name, value in sorted(job.parameters.items())
        if name.lower() not in _IGNORED and not _NAMES_A_FILE.search(name)
    }
    return ClipRequest(
        prompt=prompt,
        seed=seed,
        width=width // 2 * 2,  # H.264 4:2:0 has no odd sides
        height=height // 2 * 2,
        frames=given.whole(_given(given, _FRAME_NAMES), defaults.frames, 1, MAX_FRAMES),
        fps=given.whole("fps", defaults.fps, 1, MAX_FPS),
        camera=CAMERA_MOVES.get(move, move),
        effect=given.text("effectType"),
        style=given.text("selectedModel") or given.text("selectedModelPrivate"),
        layout_key=_digest([slug, prompt, seed]),
        detail_key=_digest([slug, visible, [hash_file(path) for path in input_files(job)]]),
        features=read_features(prompt),
    )


def _slug(model: str) -> str:
    # Page and run path spell one model differently: wan2.2-effects-extra, wan2-2-effects-extra.
    return model.strip().strip("/").lower().replace(".", "-")


def _defaults(model: str) -> _Defaults:
    return _MODELS.get(_slug(model), _Defaults())


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _given(parameters: Parameters, names: tuple[str, ...]) -> str:
    """Returns the first of some parameters that has a value, or else the first."""
    return next((name for name in names if parameters.text(name)), names[0])


def _asked_size(given: Parameters, defaults: _Defaults, aspect: float | None) -> tuple[int, int]:
    if given.text("size"):
        return given.size("size", (defaults.width, defaults.height))
    if given.text("resolution") or given.text("ratio"):
        return given.resolution(aspect)
    if defaults.animates_picture and aspect is not None and not given.text("width"):
        return fit_area(832 * 480, aspect)
    return given.whole("width", defaults.width), given.whole("height", defaults.height)
