"""Animates input pictures: slow camera moves, cross-fades, and the effects of wan2.2-effects-extra.

An effect is a colour grade and an overlay, listed in `scenes.toml`: a placeholder that visibly differs from the
other effects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.media import FloatImage
from wiro_nb.sandbox.engines.placeholder.drawing import (
    STILL,
    Path,
    View,
    camera_path,
    canvas_size,
    make_rng,
    smoothstep,
    view,
)
from wiro_nb.sandbox.engines.placeholder.request import TABLES, ClipRequest, Colour, read_features
from wiro_nb.sandbox.engines.placeholder.scene import Weather

__all__ = ["EFFECTS", "Slideshow"]


@dataclass(frozen=True)
class Effect:
    """A treatment of the input picture.

    Attributes:
        gains, grey: Colour grade: gain of each channel, share of grey; below 0 colours are stronger.
        overlay: Name of a shape in `_OVERLAYS`, or "", and its `colour`.
    """

    gains: Colour = (1.0, 1.0, 1.0)
    grey: float = 0.0
    overlay: str = ""
    colour: Colour = (255.0, 255.0, 255.0)


EFFECTS = {name: Effect(**entry) for name, entry in TABLES["effects"].items()}
_OVERLAYS: Mapping[str, Callable[[FloatImage, FloatImage], FloatImage]] = {
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


class Slideshow:
    """A slow camera over one or more pictures, cross-faded into one another, under an effect.

    Args:
        pictures: RGB, at least one.
        request: The seed decides the camera's way; its prompt brings rain or snow.

    Raises:
        EngineError: The request names an unknown effect.
    """

    def __init__(self, pictures: Sequence[Image.Image], request: ClipRequest) -> None:
        self._size = width, height = request.width, request.height
        self._duration_s = request.duration_s
        if request.effect and request.effect not in EFFECTS:
            raise EngineError(f"The sandbox has no effect called {request.effect[:60]!r}.")
        self._effect = EFFECTS.get(request.effect, Effect())
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        self._cover = np.asarray(_OVERLAYS[self._effect.overlay](x, y), np.float32)
        layout, detail = make_rng("layout", request.layout_key), make_rng("detail", request.detail_key)
        move = camera_path(request.camera) or (lambda u: STILL)
        self._paths = [_ken_burns(layout, move) for _ in pictures]
        self._canvases = [
            np.asarray(
                ImageOps.fit(picture, canvas_size(path, width, height), Image.Resampling.LANCZOS), np.float32
            ).transpose(2, 0, 1)
            for picture, path in zip(pictures, self._paths, strict=True)
        ]
        self._weather = Weather(detail, read_features(request.prompt), width, height)
        away = ((x - layout.uniform(-0.6, 0.6)) / 0.64) ** 2 + ((y - layout.uniform(-0.8, 0)) / 0.9) ** 2
        self._light = (0.95 + 0.13 * np.exp(-away)).astype(np.float32)

    def frame(self, u: float) -> FloatImage:
        """Returns the moment `u` (0 first frame, 1 last), shape (3, height, width)."""
        count = len(self._canvases)
        index = min(int(u * count), count - 1)
        picture = self._shown(index, u)
        share = smoothstep(0.62, 1.0, np.asarray(u * count - index, np.float32))
        if index + 1 < count and share > 0:
            picture += (self._shown(index + 1, u) - picture) * share
        picture = self._treated(picture * self._light, smoothstep(0.1, 0.65, np.asarray(u, np.float32)))
        self._weather.paint(picture, u * self._duration_s)
        return picture

    def _treated(self, picture: FloatImage, share: FloatImage) -> FloatImage:
        """Returns a picture with `share` (0 to 1) of the effect."""
        gains, colour = (
            np.array(values, np.float32)[:, None, None] for values in (self._effect.gains, self._effect.colour)
        )
        luma = picture[0] * 0.3 + picture[1] * 0.59 + picture[2] * 0.11
        graded = np.clip((picture + np.float32(self._effect.grey) * (luma - picture)) * gains, 0, 255)
        graded += self._cover * (colour - graded)
        return np.asarray(picture + (graded - picture) * share, np.float32)

    def _shown(self, index: int, u: float) -> FloatImage:
        return view(self._canvases[index], self._paths[index](u), *self._size)


def _ken_burns(rng: np.random.Generator, move: Path) -> Path:
    """Returns a slow camera in a random direction, on top of `move`."""
    angle, closer, inward = float(rng.uniform(0, 6.283)), float(rng.uniform(0.07, 0.13)), rng.random() < 0.6

    def path(u: float) -> View:
        reach = 0.03 * (2 * u - 1)
        zoom = 1.03 + closer * (u if inward else 1 - u)
        return View(reach * math.cos(angle), reach * math.sin(angle), zoom).then(move(u))

    return path
