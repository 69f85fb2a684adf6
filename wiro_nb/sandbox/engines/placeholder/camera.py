"""Moves a camera over input pictures or a landscape, and grades pictures with the effects of wan2.2-effects-extra.

An effect is a colour grade and an overlay, listed in `scenes.toml`: a placeholder that visibly differs from the
other effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.media import FloatImage
from wiro_nb.sandbox.engines.placeholder.drawing import (
    Animation,
    Rng,
    channels,
    make_rng,
    make_weather,
    smoothstep,
)
from wiro_nb.sandbox.engines.placeholder.request import TABLES, ClipRequest
from wiro_nb.sandbox.engines.placeholder.scene import animate_scene


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


Path = Callable[[float], View]
"""From time in the clip (0 first frame, 1 last) to the view."""

_REACH, _ZOOM, _ROLL_DEG, _SAMPLES = 0.09, 1.38, 9.0, 240
CAMERA_PATHS: dict[str, Path] = {
    "ZoomIn": lambda u: View(zoom=_ZOOM**u),
    "ZoomOut": lambda u: View(zoom=_ZOOM ** (1 - u)),
    "PanLeft": lambda u: View(x=_REACH * (1 - 2 * u)),
    "PanRight": lambda u: View(x=_REACH * (2 * u - 1)),
    "TiltUp": lambda u: View(y=_REACH * (1 - 2 * u)),
    "TiltDown": lambda u: View(y=_REACH * (2 * u - 1)),
    "RollingClockwise": lambda u: View(roll_deg=_ROLL_DEG * (2 * u - 1)),
    "RollingAnticlockwise": lambda u: View(roll_deg=_ROLL_DEG * (1 - 2 * u)),
}
"""The camera moves by their labels on the page of animate-diff."""


def animate(request: ClipRequest, pictures: Sequence[Image.Image]) -> Animation:
    """Returns a clip of pictures, or of a landscape where there are none.

    Raises:
        EngineError: The request names an unknown effect.
    """
    if pictures:
        return _animate_pictures(request, pictures)
    width, height, path = request.width, request.height, CAMERA_PATHS.get(request.camera)
    if path is None:
        return animate_scene(request, width, height)
    pan = {"PanRight": 1, "PanLeft": -1}.get(request.camera, 0)
    scene = animate_scene(request, *_canvas_size(path, width, height), pan)
    return lambda u: _view(scene(u), path(u), width, height)


def _canvas_size(path: Path, width: int, height: int) -> tuple[int, int]:
    """Returns the even size of a canvas that covers the frame along the whole path."""
    half_x, half_y = width / 2, height / 2
    for step in range(_SAMPLES + 1):
        a, b, c, d, e, f = _coefficients(path(step / _SAMPLES), width, height, width, height)
        for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
            half_x = max(half_x, abs(a * x + b * y + c - width / 2))
            half_y = max(half_y, abs(d * x + e * y + f - height / 2))
    return math.ceil(half_x) * 2, math.ceil(half_y) * 2


def _view(canvas: FloatImage, at: View, width: int, height: int) -> FloatImage:
    """Returns the frame (3, height, width) that a camera sees of a canvas; the frame is centred in it."""
    coefficients = _coefficients(at, width, height, canvas.shape[2], canvas.shape[1])
    move = Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    seen = [Image.fromarray(channel).transform((width, height), *move) for channel in canvas]
    return np.stack([np.asarray(channel, np.float32) for channel in seen])


def _coefficients(
    at: View, width: int, height: int, canvas_w: int, canvas_h: int
) -> tuple[float, float, float, float, float, float]:
    """Returns Pillow's affine transform from a pixel of the frame to a pixel of the canvas."""
    angle = math.radians(at.roll_deg)
    cos, sin = math.cos(angle) / at.zoom, math.sin(angle) / at.zoom
    x = canvas_w / 2 + at.x * width - cos * width / 2 - sin * height / 2
    y = canvas_h / 2 + at.y * height + sin * width / 2 - cos * height / 2
    return cos, sin, x, -sin, cos, y


# Pictures ------------------------------------------------------------------------------------


EFFECTS: dict[str, dict[str, Any]] = TABLES["effects"]
_NO_EFFECT: dict[str, Any] = {"gains": (1, 1, 1), "grey": 0.0, "overlay": "", "colour": (255, 255, 255)}
_OVERLAYS: dict[str, Callable[[FloatImage, FloatImage], FloatImage]] = {
    "": lambda x, y: np.zeros((1, 1), np.float32),
    "slash": lambda x, y: np.exp(-(((x * 0.9 + y * 0.5) / 0.05) ** 2)),
    "edges": lambda x, y: smoothstep(0.3, 1.3, np.hypot(x, y)),
    "disc": lambda x, y: np.exp(-(((x / 0.35) ** 2 + ((y + 0.2) / 0.5) ** 2) ** 2)),
    "beams": lambda x, y: 0.6 * np.clip(np.sin(np.arctan2(x * 1.4, y + 1.5) * 26), 0, 1),
    "half": lambda x, y: smoothstep(-0.4, 0.4, x + 0.3 * np.sin(y * 3)),
    "lids": lambda x, y: smoothstep(0.62, 0.78, np.abs(y) + 0.35 * x**2),
    "cracks": lambda x, y: smoothstep(0.9, 1.0, np.sin(5 * x + 4 * np.abs(np.sin(4 * y)) + np.sin(17 * y))),
    "drips": lambda x, y: 0.7 * smoothstep(0.5, 0.9, np.sin(19 * x + np.sin(3 * y)) - 0.5 * y),
    "rings": lambda x, y: smoothstep(0.7, 0.9, np.sin(np.hypot(1.6 * x, y) * 14)),
}
"""How much of the colour covers the picture, 0 to 1; `x` and `y` run from -1 to 1."""


def _animate_pictures(request: ClipRequest, pictures: Sequence[Image.Image]) -> Animation:
    """Returns a slow camera over pictures, cross-faded into one another, under an effect.

    The seed decides the camera's way, and the prompt brings rain or snow.
    """
    if request.effect and request.effect not in EFFECTS:
        raise EngineError(f"The sandbox has no effect called {request.effect[:60]!r}.")
    effect, width, height = _NO_EFFECT | EFFECTS.get(request.effect, {}), request.width, request.height
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    cover, gains, colour = (
        _OVERLAYS[effect["overlay"]](x, y),
        channels(effect["gains"]),
        channels(effect["colour"]),
    )
    layout, detail = make_rng("layout", request.layout_key), make_rng("detail", request.detail_key)
    paths = [_ken_burns(layout, CAMERA_PATHS.get(request.camera, lambda u: View())) for _ in pictures]
    canvases = [
        ImageOps.fit(picture, _canvas_size(path, width, height), Image.Resampling.LANCZOS)
        for picture, path in zip(pictures, paths, strict=True)
    ]
    sheets = [np.asarray(canvas, np.float32).transpose(2, 0, 1) for canvas in canvases]
    weather = make_weather(detail, request)
    away = ((x - layout.uniform(-0.6, 0.6)) / 0.64) ** 2 + ((y - layout.uniform(-0.8, 0)) / 0.9) ** 2
    light = (0.95 + 0.13 * np.exp(-away)).astype(np.float32)

    def graded(picture: FloatImage) -> FloatImage:
        luma = picture[0] * 0.3 + picture[1] * 0.59 + picture[2] * 0.11
        result: FloatImage = np.clip((picture + np.float32(effect["grey"]) * (luma - picture)) * gains, 0, 255)
        result += cover * (colour - result)
        return result

    def frame(u: float) -> FloatImage:
        index = min(int(u * len(sheets)), len(sheets) - 1)
        picture = _view(sheets[index], paths[index](u), width, height)
        fade = smoothstep(0.62, 1.0, np.asarray(u * len(sheets) - index, np.float32))
        if index + 1 < len(sheets) and fade > 0:
            picture += (_view(sheets[index + 1], paths[index + 1](u), width, height) - picture) * fade
        picture *= light
        picture += (graded(picture) - picture) * smoothstep(0.1, 0.65, np.asarray(u, np.float32))
        weather(picture, u)
        return picture

    return frame


def _ken_burns(rng: Rng, move: Path) -> Path:
    """Returns a slow camera in a random direction, on top of `move`."""
    angle, closer, inward = float(rng.uniform(0, 6.283)), float(rng.uniform(0.07, 0.13)), rng.random() < 0.6

    def path(u: float) -> View:
        reach, at = 0.03 * (2 * u - 1), move(u)
        zoom = 1.03 + closer * (u if inward else 1 - u)
        return View(reach * math.cos(angle) + at.x, reach * math.sin(angle) + at.y, zoom * at.zoom, at.roll_deg)

    return path
