"""Input pictures in motion: a slow camera, cross-fades, and the effects of wan2.2-effects-extra.

An effect is a table row of colour grade, distortion, overlay and camera move: a placeholder that is visibly
different from the other effects. The same seed gives the same effect.
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
    draw_lines,
    fbm,
    make_rng,
    smoothstep,
    view,
)
from wiro_nb.sandbox.engines.placeholder.request import ClipRequest, Colour, read_features
from wiro_nb.sandbox.engines.placeholder.scene import Weather

__all__ = ["EFFECTS", "Slideshow"]

_WHITE = (255.0, 255.0, 255.0)


@dataclass(frozen=True)
class Effect:
    """A treatment of the input picture.

    Attributes:
        gains, grey, contrast: Colour grade: gain per channel, share of grey, contrast.
        levels: Colours a channel after posterizing, 0 for all.
        edges: How dark the corners become, 0 to 1.
        bend: Name of a distortion in `_bend`, and its size in frame heights.
        overlay: Name of a shape in `_OVERLAYS`, with `colour` and `strength` 0 to 1.
        timing: Name of the overlay's intensity over time in `_TIMINGS`.
        fall: Frame heights a second that the overlay moves down.
        shake, zoom, roll_deg: Camera: shake in frame heights, final zoom, swing to both sides.
    """

    gains: Colour = (1.0, 1.0, 1.0)
    grey: float = 0.0
    contrast: float = 1.0
    levels: int = 0
    edges: float = 0.0
    bend: tuple[str, float] = ("", 0.0)
    overlay: str = ""
    colour: Colour = _WHITE
    strength: float = 0.8
    timing: str = "grow"
    fall: float = 0.0
    shake: float = 0.0
    zoom: float = 1.0
    roll_deg: float = 0.0


EFFECTS: Mapping[str, Effect] = {
    "assassin": Effect((0.8, 0.72, 0.76), 0.9, 1.25, edges=0.9, overlay="slash", colour=(190, 0, 16)),
    "jungle": Effect((0.74, 1.08, 0.66), 0.3, overlay="leaves", colour=(10, 44, 18), strength=0.9),
    "gun-shooting": Effect(
        (1.06, 0.98, 0.84), 0.35, 1.12, overlay="disc", colour=(255, 226, 150), timing="flash", shake=0.02
    ),
    "crash": Effect(bend=("cracks", 0.012), overlay="cracks", colour=(238, 244, 250), shake=0.012),
    "melting-effect": Effect(bend=("melt", 0.55)),
    "chest-bouncing-dance": Effect(
        (1.15, 0.9, 1.15),
        bend=("bounce", 0.035),
        overlay="beams",
        colour=(70, 160, 255),
        strength=0.5,
        timing="beat",
    ),
    "joker-effect": Effect(
        (0.95, 1.15, 0.8), 0.0, 1.1, levels=6, overlay="half", colour=(120, 30, 170), roll_deg=5
    ),
    "fluffy-hair": Effect((1.07, 1.03, 0.98), -0.12, 0.92, bend=("fur", 0.011)),
    "eye-close-up": Effect(overlay="lids", colour=(8, 6, 8), strength=1.0, zoom=1.9),
    "camera-controls": Effect(overlay="finder", colour=(245, 60, 60), timing="blink", zoom=1.3, roll_deg=4),
    "laughing": Effect((1.1, 1.06, 0.85), -0.35, bend=("bounce", 0.012), roll_deg=2.5, shake=0.004),
    "crying": Effect(
        (0.72, 0.86, 1.10), 0.5, 0.95, overlay="drops", colour=(214, 234, 255), strength=0.6, fall=0.4
    ),
    "angry-face": Effect((1.22, 0.66, 0.58), 0.25, 1.25, edges=0.6, shake=0.008, zoom=1.15),
    "hulk-transformation": Effect((0.52, 1.18, 0.42), 0.7, 1.15, bend=("swell", 0.2)),
    "electrify": Effect((0.66, 0.80, 1.15), 0.4, 1.1, overlay="bolts", colour=(225, 240, 255), timing="flicker"),
    "spiderman-transformation": Effect((1.15, 0.5, 0.6), 0.5, 1.15, overlay="web", colour=(244, 244, 248)),
    "batman-transformation": Effect(
        (0.46, 0.52, 0.66), 0.8, 1.3, overlay="disc", colour=(255, 232, 150), strength=0.6
    ),
    "ironman-transformation": Effect((1.16, 0.86, 0.50), 0.55, 1.2, overlay="rings", colour=(130, 232, 255)),
    "superman-transformation": Effect(
        (1.04, 0.96, 1.14), -0.35, 1.1, overlay="rays", colour=(255, 236, 170), strength=0.45, zoom=1.1
    ),
}


def _grown(u: float) -> float:
    t = min(1.0, max(0.0, (u - 0.1) / 0.55))
    return t * t * (3 - 2 * t)


_TIMINGS: Mapping[str, Callable[[float, float], float]] = {
    "grow": lambda u, at_s: _grown(u),
    "flash": lambda u, at_s: math.exp(-11 * (at_s % 0.75)),
    "blink": lambda u, at_s: 1.0 if at_s % 1 < 0.5 else 0.35,
    "beat": lambda u, at_s: 0.5 + 0.5 * math.sin(at_s * 12.6),
    "flicker": lambda u, at_s: 1 - 0.8 * (at_s * 4 % 1),
}


class _Frame:
    """Size and coordinates of a frame: `x` and `y` run from -1 to 1, `radius` is 1 at the corners."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng, self.width, self.height = rng, width, height
        self.x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        self.y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        self.radius = np.hypot(self.x, self.y) / np.float32(math.sqrt(2))

    def noise(self, cell: float, octaves: int = 3) -> FloatImage:
        return fbm(self.rng, self.width, self.height, max(2.0, cell * self.height), octaves)

    def lines(self, lines: Sequence[Sequence[tuple[float, float]]], thickness: float) -> FloatImage:
        return draw_lines(self.width, self.height, lines, thickness)

    def arc(self, radius: float, start: float, length: float) -> list[tuple[float, float]]:
        turn = np.linspace(start, start + length, 40)
        return list(zip(radius * np.cos(turn) * self.height / self.width, radius * np.sin(turn), strict=True))

    def jagged(self, x: float, y: float, dx: float, dy: float, jitter: float) -> list[tuple[float, float]]:
        steps = self.rng.uniform(-jitter, jitter, (13, 2))
        return [
            (x + dx * k / 12 + steps[k, 0] * (k > 0), y + dy * k / 12 + steps[k, 1] * (k > 0)) for k in range(13)
        ]


def _finder(frame: _Frame) -> FloatImage:
    sides = [(sx, sy) for sx in (-1, 1) for sy in (-1, 1)]
    corners = [[(sx * 0.9, sy * 0.6), (sx * 0.9, sy * 0.8), (sx * 0.8, sy * 0.8)] for sx, sy in sides]
    return frame.lines([*corners, [(-0.05, 0), (0.05, 0)], [(0, -0.08), (0, 0.08)]], 0.008)


def _web(frame: _Frame) -> FloatImage:
    turns = np.linspace(0, 2 * math.pi, 17) + 0.2
    spokes = [[(0.0, 0.0), (2 * math.cos(a), 2 * math.sin(a))] for a in turns]
    rings = [[(r * math.cos(a), r * math.sin(a)) for a in turns] for r in (0.16, 0.34, 0.55, 0.80, 1.1, 1.4)]
    return frame.lines([*spokes, *rings], 0.004)


_OVERLAYS: Mapping[str, Callable[[_Frame], FloatImage]] = {
    "": lambda frame: np.zeros((1, 1), np.float32),
    "slash": lambda frame: np.exp(-(((frame.x * 0.9 + frame.y * 0.5) / 0.05) ** 2)),
    "leaves": lambda frame: smoothstep(0.0, 0.25, frame.noise(0.14) + 3.1 * frame.radius - 1.9),
    "disc": lambda frame: np.exp(-((frame.x / 0.3) ** 4) - ((frame.y + 0.2) / 0.45) ** 4),
    "beams": lambda frame: np.clip(np.sin(frame.x * 6 + frame.y), 0, 1),
    "half": lambda frame: smoothstep(-0.4, 0.4, frame.x + 0.3 * np.sin(frame.y * 3)),
    "lids": lambda frame: smoothstep(0.62, 0.78, np.abs(frame.y) + 0.35 * frame.x**2),
    "rays": lambda frame: np.clip(np.sin(np.arctan2(frame.x * 1.4, frame.y + 1.5) * 26), 0, 1) * (1 - frame.y) / 2,
    "cracks": lambda frame: frame.lines(
        [frame.jagged(0.1, -0.1, 2 * math.cos(a), 2 * math.sin(a), 0.05) for a in np.linspace(0, 6.1, 15)], 0.006
    ),
    "bolts": lambda frame: frame.lines(
        [frame.jagged(float(x), -1, 0.1, 2, 0.1) for x in frame.rng.uniform(-0.8, 0.8, 3)], 0.008
    ),
    "drops": lambda frame: frame.lines(
        [[(x, y), (x, y + 0.1)] for x, y in frame.rng.uniform(-1, 1, (40, 2)).tolist()], 0.012
    ),
    "rings": lambda frame: frame.lines(
        [frame.arc(r, start + r, 1.4) for r in (0.5, 0.7) for start in (0, 2.1, 4.2)], 0.01
    ),
    "finder": _finder,
    "web": _web,
}


def _bend(frame: _Frame, name: str) -> tuple[FloatImage, FloatImage]:
    """Returns the offsets to the source pixels along x and y, in units of the distortion's size."""
    zero = np.zeros_like(frame.radius)
    match name:
        case "melt":
            drips = np.clip(frame.noise(0.09)[:1] * 0.5 + 0.6, 0, 2)
            return zero, zero - drips * ((frame.y + 1) / 2) ** 1.5
        case "bounce":
            return zero, np.exp(-((frame.y / 0.5) ** 2)) * (1 - 0.5 * frame.x**2)
        case "swell":
            bell = -np.exp(-4 * frame.radius**2)
            return bell * frame.x, bell * frame.y
        case "cracks":
            shifted = frame.noise(0.3, 1)
            return np.sign(shifted), np.sign(shifted)
        case _:
            return frame.noise(0.012, 2), frame.noise(0.012, 2)


class _Treatment:
    """An effect applied to frames of one size."""

    def __init__(self, effect: Effect, rng: np.random.Generator, width: int, height: int) -> None:
        self._effect = effect
        self._frame = frame = _Frame(rng, width, height)
        self._cover = np.asarray(_OVERLAYS[effect.overlay](frame), np.float32)
        self._bend = _bend(frame, effect.bend[0]) if effect.bend[0] else None

    def view(self, u: float, at_s: float) -> View:
        """Returns the camera's part of the effect."""
        effect = self._effect
        # Incommensurable tones look random, yet every run shakes alike.
        x, y = (math.sin(at_s * 41) + math.sin(at_s * 67), math.sin(at_s * 47 + 2) + math.sin(at_s * 59))
        zoom = 1 + (effect.zoom - 1) * _grown(u)
        return View(effect.shake * x, effect.shake * y, zoom, effect.roll_deg * _grown(u) * math.sin(at_s * 4))

    def apply(self, picture: FloatImage, u: float, at_s: float) -> FloatImage:
        """Returns the treated picture, shape (3, height, width)."""
        effect, grown = self._effect, np.float32(_grown(u))
        if self._bend is not None:
            name, size = effect.bend
            picture = self._bent(picture, size * (math.sin(at_s * 12.6) if name == "bounce" else float(grown)))
        luma = picture[0] * 0.3 + picture[1] * 0.59 + picture[2] * 0.11
        for channel in range(3):
            graded = picture[channel] + np.float32(effect.grey) * (luma - picture[channel])
            graded = ((graded - 118) * np.float32(effect.contrast) + 118) * np.float32(effect.gains[channel])
            if effect.levels:
                graded = np.round(graded * (effect.levels / 255)) * (255 / effect.levels)
            picture[channel] += (np.clip(graded, 0, 255) - picture[channel]) * grown
        picture *= 1 - np.float32(effect.edges) * grown * self._frame.radius**2
        if effect.overlay:
            cover = np.roll(self._cover, round(effect.fall * at_s * self._frame.height), 0)
            cover = cover * np.float32(effect.strength * _TIMINGS[effect.timing](u, at_s))
            picture += cover * (np.array(effect.colour, np.float32)[:, None, None] - picture)
        return picture

    def _bent(self, picture: FloatImage, size: float) -> FloatImage:
        assert self._bend is not None
        height, width = picture.shape[1:]
        dx, dy = (np.float32(size * height) * offset for offset in self._bend)
        column = np.clip(np.arange(width) + dx, 0, width - 1).astype(np.intp)
        row = np.clip(np.arange(height)[:, None] + dy, 0, height - 1).astype(np.intp)
        flat = row * width + column
        return np.stack([channel.ravel().take(flat) for channel in picture])


class Slideshow:
    """A slow camera over one or more pictures, cross-faded into one another.

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
        effect = EFFECTS.get(request.effect, Effect())
        self._treatment = _Treatment(effect, make_rng("effect", request.layout_key), width, height)
        layout, detail = make_rng("layout", request.layout_key), make_rng("detail", request.detail_key)
        move = camera_path(request.camera) or (lambda u: STILL)
        self._paths = [self._combined(_ken_burns(layout), move) for _ in pictures]
        self._canvases = [
            np.asarray(
                ImageOps.fit(picture, canvas_size(path, width, height), Image.Resampling.LANCZOS), np.float32
            ).transpose(2, 0, 1)
            for picture, path in zip(pictures, self._paths, strict=True)
        ]
        self._weather = Weather(detail, read_features(request.prompt), width, height)
        x, y = (
            np.linspace(0, 1, width) - layout.uniform(0.2, 0.8),
            np.linspace(0, 1, height) - layout.uniform(0.1, 0.5),
        )
        light = np.multiply.outer(np.exp(-((y / 0.45) ** 2)), np.exp(-((x / 0.32) ** 2)))
        self._light = (0.95 + 0.13 * light).astype(np.float32)

    def _combined(self, way: Path, move: Path) -> Path:
        return lambda u: way(u).then(self._treatment.view(u, u * self._duration_s)).then(move(u))

    def frame(self, u: float) -> FloatImage:
        """Returns the moment `u` (0 first frame, 1 last), shape (3, height, width)."""
        count = len(self._canvases)
        index = min(int(u * count), count - 1)
        picture = self._shown(index, u)
        share = smoothstep(0.62, 1.0, np.asarray(u * count - index, np.float32))
        if index + 1 < count and share > 0:
            picture += (self._shown(index + 1, u) - picture) * share
        picture = self._treatment.apply(picture * self._light, u, u * self._duration_s)
        self._weather.paint(picture, u * self._duration_s)
        return picture

    def _shown(self, index: int, u: float) -> FloatImage:
        return view(self._canvases[index], self._paths[index](u), *self._size)


def _ken_burns(rng: np.random.Generator) -> Path:
    angle, closer, inward = float(rng.uniform(0, 6.283)), float(rng.uniform(0.07, 0.13)), rng.random() < 0.6

    def path(u: float) -> View:
        reach = 0.03 * (2 * u - 1)
        zoom = 1.03 + closer * (u if inward else 1 - u)
        return View(reach * math.cos(angle), reach * math.sin(angle), zoom)

    return path
