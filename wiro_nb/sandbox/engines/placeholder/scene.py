"""Renders the landscape: sky, clouds, hills, water, weather.

Lengths are relative to the canvas' height, so that a request looks alike at any size. Everything slow is
painted once; a frame combines shifted layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from wiro_nb.sandbox.engines.media import FloatImage
from wiro_nb.sandbox.engines.placeholder.drawing import crop, draw_lines, fbm, make_rng, smoothstep
from wiro_nb.sandbox.engines.placeholder.request import (
    MOODS,
    TABLES,
    ClipRequest,
    Colour,
    Palette,
    PromptFeatures,
    mix,
    read_features,
)

_MAX_TRAVEL = 0.5  # frame widths that the nearest layer moves in one clip, which bounds the layers' width


@dataclass(frozen=True)
class _Plan:
    """What the parts of a landscape are painted for: the prompt's words and colours, sizes, the sun's place.

    `shore` is the row where water begins, or the height of the canvas.
    """

    features: PromptFeatures
    palette: Palette
    width: int
    height: int
    shore: int
    sun_x: float
    duration_s: float


class Scene:
    """A landscape, composed by the prompt's words and the seed.

    Args:
        request: What to paint.
        width, height: Size of the canvas: the frame's, or more where the camera moves.
        pan: -1 or 1 where the camera pans and the layers follow its direction, else 0: the seed decides.
    """

    def __init__(self, request: ClipRequest, width: int, height: int, pan: int = 0) -> None:
        layout, detail = make_rng("layout", request.layout_key), make_rng("detail", request.detail_key)
        features = read_features(request.prompt)
        palette = features.palette(MOODS[int(layout.integers(len(MOODS)))])
        direction = pan or (1 if layout.random() < 0.5 else -1)
        self._duration_s = request.duration_s
        speed = 0.035 if pan else 0.022
        self._travel = direction * width * min(_MAX_TRAVEL, speed * request.duration_s + (0.06 if pan else 0))
        has_water = features.has("water")
        shore = round(height * float(layout.uniform(0.68, 0.75))) if has_water else height
        self._sun_x = float(layout.uniform(0.2, 0.8)) * width
        plan = _Plan(features, palette, width, height, shore, self._sun_x, request.duration_s)
        self._sky, self._glow = _paint_sky(layout, plan)
        self._clouds = _Clouds(layout, detail, plan)
        count = 3 if has_water else 4
        ranges = [make_rng("range", request.layout_key, str(index)) for index in range(count)]
        self._layers = [
            _Layer(layout, rng, index / (count - 1), plan, abs(self._travel)) for index, rng in enumerate(ranges)
        ]
        self._water = _Water(detail, plan) if has_water else None
        self._foot_y = shore + 0.012 * height if has_water else 0.9 * height
        far_x = 0.27 if self._sun_x > width / 2 else 0.73  # landmarks stand opposite the sun
        self._lighthouse = _paint_landmark("lighthouse", palette, height) if features.has("lighthouse") else None
        self._boat = _paint_landmark("boat", palette, height) if features.has("boat") else None
        self._landmark_x = far_x * width, (1.08 - far_x) * width
        self._weather = Weather(detail, features, width, height)
        self._canvas = np.zeros((3, height, width), np.float32)

    def frame(self, u: float) -> FloatImage:
        """Paints the moment `u` (0 first frame, 1 last), shape (3, height, width).

        The array is reused: consume it before the next call.
        """
        canvas = self._canvas
        at_s = u * self._duration_s
        canvas[:, : self._sky.shape[1]] = self._sky
        self._clouds.paint(canvas, u, self._glow)
        for layer in self._layers:
            layer.paint(canvas, u if self._travel >= 0 else 1 - u)
        if self._lighthouse is not None:
            x = self._landmark_x[0] - self._travel * (u - 0.5) * 0.6
            _lay(canvas, self._lighthouse, x, self._foot_y)
        if self._water is not None:
            self._water.paint(canvas, at_s, self._sun_x)
        if self._boat is not None:
            x = self._landmark_x[1] - self._travel * (u - 0.5) * 1.4
            _lay(canvas, self._boat, x, self._foot_y + canvas.shape[1] * (0.075 + 0.004 * math.sin(at_s * 1.7)))
        self._weather.paint(canvas, at_s)
        return canvas


def _paint_sky(layout: np.random.Generator, plan: _Plan) -> tuple[FloatImage, FloatImage]:
    """Returns gradient, stars, and sun or moon, shape (3, rows, width), and the sun's glow (rows, width)."""
    features, palette, width, height, rows = plan.features, plan.palette, plan.width, plan.height, plan.shore
    low, night = features.sky in ("sunset", "dawn"), features.sky in ("night", "neon")
    dim = 0.5 if features.has("storm") or features.sky == "fog" else 1.0
    sun_y = float(layout.uniform(0.30, 0.40) if low else layout.uniform(0.13, 0.30)) * height
    radius = float(layout.uniform(0.032, 0.055)) * height
    away = np.hypot(
        np.arange(width, dtype=np.float32) - plan.sun_x, np.arange(rows, dtype=np.float32)[:, None] - sun_y
    )
    glow = 0.5 * dim * np.exp(-((away / (0.55 * height)) ** 2)) + 0.4 * dim * np.exp(
        -((away / (0.17 * height)) ** 2)
    )
    disc = np.clip(radius + 0.5 - away, 0, 1) * np.float32(dim)
    stops = [0.0, 0.42, 0.78, 1.0] if low else [0.0, 0.5, 0.85, 1.0]
    colours = [palette.zenith, palette.middle, palette.horizon, mix(palette.horizon, palette.glow, 0.25)]
    at = np.linspace(0, 1, rows) ** 0.85
    stars = np.zeros((rows, width), np.float32)
    if night:
        count = max(24, width * rows // 1200)
        y, x = (layout.random(count) ** 1.4 * rows).astype(np.intp), layout.integers(0, width, count)
        stars[y, x] = 30 + 210 * layout.random(count) ** 3
        stars *= 1 - smoothstep(0.1, 0.5, glow)
        disc = disc * (1 - 0.12 * smoothstep(0, 2, fbm(layout, width, rows, 0.05 * height, 3)))
    sky = np.empty((3, rows, width), np.float32)
    for channel in range(3):
        column = np.interp(at, stops, [colour[channel] for colour in colours]).astype(np.float32)[:, None]
        sky[channel] = column + glow * (palette.glow[channel] - column) + stars
        sky[channel] += disc * (palette.sun[channel] - sky[channel])
    return sky, np.asarray(glow, np.float32)


class _Clouds:
    """Two sheets of noise at different speeds: a cloud is where both are thick, so clouds change shape."""

    def __init__(self, layout: np.random.Generator, detail: np.random.Generator, plan: _Plan) -> None:
        width, height, rows = plan.width, plan.height, plan.shore
        self._travel = min(0.35, 0.010 * plan.duration_s) * width
        self._light, self._dark = plan.palette.cloud_light, plan.palette.cloud_dark
        sheet_w = width + int(self._travel * 1.7) + 4
        high = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
        # Clouds gather high up and leave the horizon clear.
        clear = float(layout.uniform(0.15, 0.9)) - (0.8 if plan.features.has("rain") else 0.0)
        self._first = (
            0.8 * fbm(detail, sheet_w, rows, 0.28 * height, 7, 0.54, stretch=2.4) + 0.45 * (high - 0.5) - clear
        )
        self._second = 0.42 * fbm(detail, sheet_w, rows, 0.16 * height, 6, 0.55, stretch=2.2)
        self._fade = 0.86 * smoothstep(0.0, 0.35, high)

    def paint(self, canvas: FloatImage, u: float, glow: FloatImage) -> None:
        rows, width = glow.shape
        thick = crop(self._first, self._travel * u, width) + crop(self._second, self._travel * 1.7 * u, width)
        thick *= np.float32(1 / 1.7)
        np.clip(thick, 0, 1, out=thick)
        cover = thick * (2 - thick) * self._fade
        shade = np.clip(thick * np.float32(1.25) - glow * np.float32(0.9), 0, 1)
        for channel in range(3):
            sky = canvas[channel, :rows]
            colour = shade * np.float32(self._dark[channel] - self._light[channel])
            colour += np.float32(self._light[channel])
            colour -= sky
            colour *= cover
            sky += colour


class _Layer:
    """A range of hills, wider than the canvas by the distance it travels.

    `nearness` runs from 0, the farthest range, to 1.
    """

    def __init__(
        self,
        layout: np.random.Generator,
        rng: np.random.Generator,
        nearness: float,
        plan: _Plan,
        travel_px: float,
    ) -> None:
        features, palette, height, bottom = plan.features, plan.palette, plan.height, plan.shore
        self._travel_px = travel_px * (0.16 + 0.84 * nearness)
        columns = plan.width + math.ceil(self._travel_px) + 2
        ridge = _ridge(layout, rng, features, nearness, columns, height)
        if features.has("trees") and nearness > 0.25:
            ridge = _plant_trees(rng, ridge, nearness, height)
        ridge = np.clip(ridge, 0, bottom - 1).astype(np.float32)
        self._top = top = int(ridge.min())
        depth = np.arange(top, bottom, dtype=np.float32)[:, None] - ridge
        self._cover = np.clip(depth + 0.5, 0, 1)
        # Light on the slopes that face the sun, haze towards the foot.
        folds = fbm(rng, columns, bottom - top, 0.10 * height, 5, 0.55, stretch=1.3)
        side = np.sign(plan.sun_x - np.arange(columns, dtype=np.float32))
        slope = np.gradient(folds, axis=1) * np.float32(0.035 * height) + 0.25 * np.gradient(ridge)
        light = np.tanh(-0.8 * slope * side) * 0.11 + folds * 0.018
        light *= 0.2 + 0.8 * np.exp(-np.maximum(depth, 0) / (0.16 * height))
        haze = smoothstep(0.0, 0.30 * height, depth) * np.float32(0.62 * (1 - 0.75 * nearness))
        snow: FloatImage | float = 0.0
        if features.land == "snow":
            line = 0.055 * height * (1.1 + 0.75 * folds)
            snow = smoothstep(-1.5, 1.5, line - depth) * np.float32(0.80 - 0.45 * nearness)
        body, mist = mix(palette.far, palette.near, nearness**0.9), mix(palette.far, palette.horizon, 0.55)
        self._colour = np.empty((3, *depth.shape), np.float32)
        for channel in range(3):
            colour = body[channel] * (1 + light)
            colour += haze * (mist[channel] - colour)
            colour += snow * (palette.cloud_light[channel] * (0.94 + light) - colour)
            self._colour[channel] = colour * self._cover

    def paint(self, canvas: FloatImage, u: float) -> None:
        """Lays the range over the canvas, `u` of its way to the left."""
        rows, width = self._cover.shape[0], canvas.shape[2]
        left = self._travel_px * u
        band = canvas[:, self._top : self._top + rows]
        band *= 1 - crop(self._cover, left, width)
        band += crop(self._colour, left, width)


def _ridge(
    layout: np.random.Generator,
    rng: np.random.Generator,
    features: PromptFeatures,
    nearness: float,
    columns: int,
    height: int,
) -> FloatImage:
    """Returns the row of the ridge at each column."""
    smooth = features.land in ("desert", "sea")
    cell = height * float(layout.uniform(0.55, 0.95)) * (1 - 0.25 * nearness)
    line = fbm(rng, columns, 4, cell, 3 if smooth else 8, 0.32 if smooth else 0.45)[0]
    if not smooth:
        line = 0.62 * line + 0.7 * (0.6 - np.abs(fbm(rng, columns, 4, 0.8 * cell, 7, 0.45)[0]))  # peaks
    base = 0.5 + ((0.70 if features.has("water") else 0.93) - 0.5) * nearness**1.15
    base += float(layout.uniform(-0.02, 0.02))
    tall = (0.105 - 0.035 * nearness) * float(layout.uniform(0.75, 1.25))
    return np.asarray((base - tall * np.clip(line, -2.2, 2.6)) * height, np.float32)


def _plant_trees(rng: np.random.Generator, ridge: FloatImage, nearness: float, height: int) -> FloatImage:
    """Returns the ridge with a line of conifers on it."""
    columns, line, x = ridge.size, ridge.copy(), 0.0
    while x < columns:
        tall = (0.020 + 0.075 * nearness**1.6) * height * float(rng.uniform(0.45, 1.15))
        half = max(1.5, tall * float(rng.uniform(0.17, 0.24)))
        near = np.arange(max(0, int(x - half)), min(columns, int(x + half) + 2))
        away = np.abs(near - x) / half
        boughs = np.clip(1 - away + 0.05 * ((away * 6) % 1.0), 0, 1) * (away < 1)
        line[near] = np.minimum(line[near], ridge[min(columns - 1, int(x))] + 0.1 * tall - tall * boughs)
        x += half * float(rng.uniform(0.55, 1.9))
    return np.minimum(line, ridge)


class _Water:
    """A sheet of water below row `shore` that mirrors what is above it."""

    def __init__(self, rng: np.random.Generator, plan: _Plan) -> None:
        palette, width, height, shore = plan.palette, plan.width, plan.height, plan.shore
        self._shore, self._width, self._spare = shore, width, width // 4
        self._deep, self._glow = mix(palette.near, palette.zenith, 0.5), palette.glow
        rows = height - shore
        self._near = near = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
        self._source = np.clip(shore - 1 - np.arange(rows) * 1.25, 0, shore - 1).astype(np.float32)[:, None]
        self._amplitude = 0.5 + near * np.float32(0.012 * height)
        sheet_w = width + self._spare + 2
        self._swell = fbm(rng, sheet_w, rows, max(4.0, 0.045 * height), 4, 0.6, stretch=9.0)
        self._chop = fbm(rng, sheet_w, rows, max(3.0, 0.022 * height), 3, 0.6, stretch=6.0)

    def paint(self, canvas: FloatImage, at_s: float, sun_x: float) -> None:
        width, shore = self._width, self._shore
        drift = self._spare * (0.5 + 0.5 * math.sin(at_s * 0.23))
        waves = crop(self._swell, drift, width) + crop(self._chop, self._spare - drift, width)
        offset = waves * self._amplitude
        row = np.clip(self._source + offset * 1.6, 0, shore - 1).astype(np.intp)
        column = np.clip(np.arange(width) + offset * 0.5, 0, width - 1).astype(np.intp)
        flat = row * width + column
        spread = (0.05 + 0.20 * self._near) * np.float32(canvas.shape[1])
        path = np.exp(-(((np.arange(width, dtype=np.float32) - np.float32(sun_x)) / spread) ** 2))
        sparkle = 0.5 * path * np.clip(waves - np.float32(1.1), 0, 1.4)
        for channel in range(3):
            mirrored = canvas[channel, :shore].ravel().take(flat)
            mirrored += (0.22 + 0.42 * self._near) * (
                np.float32(self._deep[channel]) - mirrored
            ) + waves * np.float32(3.2)
            mirrored += sparkle * (np.float32(self._glow[channel]) - mirrored)
            canvas[channel, shore:] = mirrored


class Weather:
    """Falling rain or snow; does nothing in fair weather."""

    def __init__(self, rng: np.random.Generator, features: PromptFeatures, width: int, height: int) -> None:
        self._rain, self._snow = features.has("rain"), features.land == "snow"
        self._size = width, height
        self._drops = rng.random((160, 3)).astype(np.float32)

    def paint(self, canvas: FloatImage, at_s: float) -> None:
        """Adds what falls to `canvas` (3, height, width)."""
        if not (self._rain or self._snow):
            return
        x, y, near = self._drops.T
        lean = 0.07 if self._rain else 0.03 * np.sin(6 * x + at_s)
        y = (y + (1.1 + 0.9 * near if self._rain else 0.05 + 0.11 * near) * np.float32(at_s)) % 1.1
        x = (x - lean * y) % 1.0
        points = zip((2 * x - 1).tolist(), (2.1 * y - 1.1).tolist(), near.tolist(), strict=True)
        length, slant = (0.09, 0.006) if self._rain else (0.008, 0.0)
        lines = [[(px, py), (px - slant, py + length * (0.4 + 0.6 * n))] for px, py, n in points]
        canvas += draw_lines(*self._size, lines, 0.002 if self._rain else 0.007) * np.float32(
            30 if self._rain else 130
        )


def _paint_landmark(name: str, palette: Palette, height: int) -> FloatImage:
    """Returns a landmark with premultiplied colours and coverage, shape (4, rows, columns)."""
    landmark = TABLES["landmarks"][name]
    colours: dict[str, Colour] = {
        "dark": mix(palette.near, (0, 0, 0), 0.35),
        "white": mix((248, 242, 230), palette.near, 0.2),
        "shade": mix((220, 208, 194), palette.near, 0.3),
        "red": mix((186, 52, 44), palette.near, 0.3),
        "hull": mix((92, 48, 34), palette.near, 0.35),
        "lamp": (255, 240, 190),
    }
    rows = max(10, round(landmark["height"] * height))
    columns = round(rows * landmark["aspect"])
    image = Image.new("RGBA", (columns * 4, rows * 4), (0, 0, 0, 0))  # drawn larger: antialiasing
    for polygon in landmark["polygons"]:
        red, green, blue = (round(value) for value in colours[polygon["colour"]])
        outline = [(x * columns * 4, y * rows * 4) for x, y in polygon["points"]]
        ImageDraw.Draw(image).polygon(outline, fill=(red, green, blue, 255))
    pixels = np.asarray(image.resize((columns, rows), Image.Resampling.BOX), np.float32).transpose(2, 0, 1).copy()
    pixels[3] /= 255
    pixels[:3] *= pixels[3]
    return pixels


def _lay(canvas: FloatImage, landmark: FloatImage, middle_x: float, foot_y: float) -> None:
    """Lays a landmark over the canvas, clipped at its edges."""
    _, rows, columns = landmark.shape
    left, top = round(middle_x - columns / 2), round(foot_y - rows)
    x0, y0 = max(0, left), max(0, top)
    y1, x1 = max(0, canvas.shape[1] - top), max(0, canvas.shape[2] - left)
    part = landmark[:, y0 - top : y1, x0 - left : x1]
    patch = canvas[:, y0 : y0 + part.shape[1], x0 : x0 + part.shape[2]]
    patch *= 1 - part[3]
    patch += part[:3]
