"""Paints landscapes: sky, clouds, hills, landmarks, water, weather.

Lengths are relative to the canvas' height, so that a request looks alike at any size. Each part is a painter:
everything slow is computed once, and a frame combines shifted sheets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from wiro_nb.sandbox.engines.media import FloatImage
from wiro_nb.sandbox.engines.placeholder.drawing import (
    Animation,
    Colour,
    Painter,
    Rng,
    channels,
    crop,
    fbm,
    make_rng,
    make_weather,
    mix,
    read_colours,
    smoothstep,
)
from wiro_nb.sandbox.engines.placeholder.request import TABLES, ClipRequest, PromptFeatures

MOODS = ("day", "sunset", "dawn", "night", "spring", "sea", "autumn", "forest")
"""The moods of prompts without any known word."""
_MAX_TRAVEL = 0.5  # frame widths that the nearest layer moves in one clip, which bounds the layers' width


class Palette(NamedTuple):
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


_PALETTES = {mood: read_colours(line) for mood, line in TABLES["palettes"].items()}


def _read_palette(features: PromptFeatures, fallback: str) -> Palette:
    """Returns the colours of a prompt: the sky's mood, with hills that lean towards the land's.

    Args:
        features: Of the prompt.
        fallback: Mood when the prompt names none.
    """
    colours = _PALETTES[features.sky or features.land or fallback]
    if "storm" in features.others:
        colours = mix(colours, _PALETTES["storm"], 0.35 if features.sky or features.land else 1.0)
    palette = Palette(*colours)
    if not features.land:
        return palette
    share = 0.25 if features.sky in ("night", "neon") else 0.55
    hills = Palette(*mix(colours, _PALETTES[features.land], share))
    return palette._replace(far=hills.far, near=hills.near)


@dataclass(frozen=True)
class _Plan:
    """What the parts of a landscape are painted for: the prompt's words and colours, sizes, the sun's place.

    `shore` is the row where water begins, or the height of the canvas. `travel_px` is how far the nearest layer
    moves to the left; below 0 to the right.
    """

    features: PromptFeatures
    palette: Palette
    width: int
    height: int
    shore: int
    sun_x: float
    travel_px: float
    duration_s: float


def animate_scene(request: ClipRequest, width: int, height: int, pan: int = 0) -> Animation:
    """Returns a landscape, composed by the prompt's words and the seed.

    Args:
        request: What to paint.
        width: Of the canvas, in pixels: the frame's, or more where the camera moves.
        height: The same.
        pan: -1 or 1 where the camera pans and the layers follow its direction, else 0: the seed decides.
    """
    layout, detail = make_rng("layout", request.layout_key), make_rng("detail", request.detail_key)
    features, others = request.features, request.features.others
    palette = _read_palette(features, MOODS[int(layout.integers(len(MOODS)))])
    direction = pan or (1 if layout.random() < 0.5 else -1)
    speed = 0.035 if pan else 0.022
    travel_px = direction * width * min(_MAX_TRAVEL, speed * request.duration_s + (0.06 if pan else 0))
    shore = round(height * float(layout.uniform(0.68, 0.75))) if "water" in others else height
    sun_x = float(layout.uniform(0.2, 0.8)) * width
    plan = _Plan(features, palette, width, height, shore, sun_x, travel_px, request.duration_s)

    sky, glow = _paint_sky(layout, plan)
    painters = [_clouds(layout, detail, plan, glow)]
    count = 3 if "water" in others else 4
    for index in range(count):
        rng = make_rng("range", request.layout_key, str(index))
        painters.append(_hills(layout, rng, index / (count - 1), plan))
    far_x = 0.27 if sun_x > width / 2 else 0.73  # landmarks stand opposite the sun
    foot_y = shore + 0.012 * height if "water" in others else 0.9 * height
    if "lighthouse" in others:
        painters.append(_landmark("lighthouse", plan, far_x * width, foot_y, 0.6))
    if "water" in others:
        painters.append(_water(detail, plan))
    if "boat" in others:
        painters.append(_landmark("boat", plan, (1.08 - far_x) * width, foot_y + 0.075 * height, 1.4, 0.004))
    painters.append(make_weather(detail, request))
    canvas = np.zeros((3, height, width), np.float32)

    def frame(u: float) -> FloatImage:
        canvas[:, :shore] = sky
        for paint in painters:
            paint(canvas, u)
        return canvas

    return frame


def _paint_sky(layout: Rng, plan: _Plan) -> tuple[FloatImage, FloatImage]:
    """Returns gradient, stars, and sun or moon, shape (3, rows, width), and the sun's glow (rows, width)."""
    features, palette, width, height, rows = plan.features, plan.palette, plan.width, plan.height, plan.shore
    low, night = features.sky in ("sunset", "dawn"), features.sky in ("night", "neon")
    dim = 0.5 if "storm" in features.others or features.sky == "fog" else 1.0
    sun_y = float(layout.uniform(0.30, 0.40) if low else layout.uniform(0.13, 0.30)) * height
    radius = float(layout.uniform(0.032, 0.055)) * height
    away = np.hypot(
        np.arange(width, dtype=np.float32) - plan.sun_x, np.arange(rows, dtype=np.float32)[:, None] - sun_y
    )
    glow = 0.5 * dim * np.exp(-((away / (0.55 * height)) ** 2))
    glow = glow + 0.4 * dim * np.exp(-((away / (0.17 * height)) ** 2))
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
    gradient = np.array([np.interp(at, stops, values) for values in np.transpose(colours)], np.float32)[..., None]
    sky = gradient + glow * (channels(palette.glow) - gradient) + stars
    sky += disc * (channels(palette.sun) - sky)
    return sky, np.asarray(glow, np.float32)


def _clouds(layout: Rng, detail: Rng, plan: _Plan, glow: FloatImage) -> Painter:
    """Two sheets of noise at different speeds: a cloud is where both are thick, so clouds change shape."""
    width, height, rows, palette = plan.width, plan.height, plan.shore, plan.palette
    travel = min(0.35, 0.010 * plan.duration_s) * width
    light, dark = channels(palette.cloud_light), channels(palette.cloud_dark - palette.cloud_light)
    sheet_w = width + int(travel * 1.7) + 4
    high = np.linspace(1, 0, rows, dtype=np.float32)[:, None]
    # Clouds gather high up and leave the horizon clear.
    clear = float(layout.uniform(0.15, 0.9)) - (0.8 if "rain" in plan.features.others else 0.0)
    first = 0.8 * fbm(detail, sheet_w, rows, 0.28 * height, 7, 0.54, stretch=2.4) + 0.45 * (high - 0.5) - clear
    second = 0.42 * fbm(detail, sheet_w, rows, 0.16 * height, 6, 0.55, stretch=2.2)
    fade = 0.86 * smoothstep(0.0, 0.35, high)

    def paint(canvas: FloatImage, u: float) -> None:
        thick = crop(first, travel * u, width) + crop(second, travel * 1.7 * u, width)
        thick *= np.float32(1 / 1.7)
        np.clip(thick, 0, 1, out=thick)
        shade = np.clip(thick * np.float32(1.25) - glow * np.float32(0.9), 0, 1)
        sky = canvas[:, :rows]
        colour = shade * dark
        colour += light
        colour -= sky
        colour *= thick * (2 - thick) * fade
        sky += colour

    return paint


def _hills(layout: Rng, rng: Rng, nearness: float, plan: _Plan) -> Painter:
    """A range of hills, wider than the canvas by the distance it travels.

    `nearness` runs from 0, the farthest range, to 1.
    """
    features, palette, height, bottom = plan.features, plan.palette, plan.height, plan.shore
    travel_px = abs(plan.travel_px) * (0.16 + 0.84 * nearness)
    columns = plan.width + math.ceil(travel_px) + 2
    ridge = _ridge(layout, rng, nearness, plan, columns)
    if "trees" in features.others and nearness > 0.25:
        ridge = _plant_trees(rng, ridge, nearness, height)
    ridge = np.clip(ridge, 0, bottom - 1).astype(np.float32)
    top = int(ridge.min())
    depth = np.arange(top, bottom, dtype=np.float32)[:, None] - ridge
    cover = np.clip(depth + 0.5, 0, 1)
    # Light on the slopes that face the sun, haze towards the foot.
    folds = fbm(rng, columns, bottom - top, 0.10 * height, 5, 0.55, stretch=1.3)
    side = np.sign(plan.sun_x - np.arange(columns, dtype=np.float32))
    slope = np.gradient(folds, axis=1) * np.float32(0.035 * height) + 0.25 * np.gradient(ridge)
    light = np.tanh(-0.8 * slope * side) * 0.11 + folds * 0.018
    light *= 0.2 + 0.8 * np.exp(-np.maximum(depth, 0) / (0.16 * height))
    haze = smoothstep(0.0, 0.30 * height, depth) * np.float32(0.62 * (1 - 0.75 * nearness))
    colour = channels(mix(palette.far, palette.near, nearness**0.9)) * (1 + light)
    colour += haze * (channels(mix(palette.far, palette.horizon, 0.55)) - colour)
    if features.land == "snow":
        line = 0.055 * height * (1.1 + 0.75 * folds)
        snow = smoothstep(-1.5, 1.5, line - depth) * np.float32(0.80 - 0.45 * nearness)
        colour += snow * (channels(palette.cloud_light) * (0.94 + light) - colour)
    colour *= cover

    def paint(canvas: FloatImage, u: float) -> None:
        left = travel_px * (u if plan.travel_px >= 0 else 1 - u)
        band = canvas[:, top:bottom]
        band *= 1 - crop(cover, left, plan.width)
        band += crop(colour, left, plan.width)

    return paint


def _ridge(layout: Rng, rng: Rng, nearness: float, plan: _Plan, columns: int) -> FloatImage:
    """Returns the row of the ridge at each column."""
    smooth, height = plan.features.land in ("desert", "sea"), plan.height
    cell = height * float(layout.uniform(0.55, 0.95)) * (1 - 0.25 * nearness)
    line = fbm(rng, columns, 4, cell, 3 if smooth else 8, 0.32 if smooth else 0.45)[0]
    if not smooth:
        line = 0.62 * line + 0.7 * (0.6 - np.abs(fbm(rng, columns, 4, 0.8 * cell, 7, 0.45)[0]))  # peaks
    base = 0.5 + ((0.70 if "water" in plan.features.others else 0.93) - 0.5) * nearness**1.15
    base += float(layout.uniform(-0.02, 0.02))
    tall = (0.105 - 0.035 * nearness) * float(layout.uniform(0.75, 1.25))
    return np.asarray((base - tall * np.clip(line, -2.2, 2.6)) * height, np.float32)


def _plant_trees(rng: Rng, ridge: FloatImage, nearness: float, height: int) -> FloatImage:
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


def _water(rng: Rng, plan: _Plan) -> Painter:
    """A sheet of water below the shore that mirrors what is above it."""
    palette, width, height, shore = plan.palette, plan.width, plan.height, plan.shore
    rows, spare = height - shore, width // 4
    deep, glow = channels(mix(palette.near, palette.zenith, 0.5)), channels(palette.glow)
    near = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    source = np.clip(shore - 1 - np.arange(rows) * 1.25, 0, shore - 1).astype(np.float32)[:, None]
    amplitude = 0.5 + near * np.float32(0.012 * height)
    swell = fbm(rng, width + spare + 2, rows, max(4.0, 0.045 * height), 4, 0.6, stretch=9.0)
    chop = fbm(rng, width + spare + 2, rows, max(3.0, 0.022 * height), 3, 0.6, stretch=6.0)
    spread = (0.05 + 0.20 * near) * np.float32(height)
    path = np.exp(-(((np.arange(width, dtype=np.float32) - np.float32(plan.sun_x)) / spread) ** 2))

    def paint(canvas: FloatImage, u: float) -> None:
        drift = spare * (0.5 + 0.5 * math.sin(u * plan.duration_s * 0.23))
        waves = crop(swell, drift, width) + crop(chop, spare - drift, width)
        offset = waves * amplitude
        row = np.clip(source + offset * 1.6, 0, shore - 1).astype(np.intp)
        column = np.clip(np.arange(width) + offset * 0.5, 0, width - 1).astype(np.intp)
        mirrored = canvas[:, :shore].reshape(3, -1).take(row * width + column, axis=1)
        mirrored += (0.22 + 0.42 * near) * (deep - mirrored) + waves * np.float32(3.2)
        sparkle = 0.5 * path * np.clip(waves - np.float32(1.1), 0, 1.4)
        canvas[:, shore:] = mirrored + sparkle * (glow - mirrored)

    return paint


def _landmark(
    name: str, plan: _Plan, middle_x: float, foot_y: float, parallax: float, swing: float = 0.0
) -> Painter:
    """A landmark that moves `parallax` times as far as the nearest layer, and swings by a share of the height."""
    pixels = _draw_landmark(TABLES["landmarks"][name], plan.palette, plan.height)
    _, rows, columns = pixels.shape

    def paint(canvas: FloatImage, u: float) -> None:
        x = middle_x - plan.travel_px * (u - 0.5) * parallax
        y = foot_y + plan.height * swing * math.sin(u * plan.duration_s * 1.7)
        left, top = round(x - columns / 2), round(y - rows)
        x0, y0 = max(0, left), max(0, top)
        y1, x1 = max(0, canvas.shape[1] - top), max(0, canvas.shape[2] - left)
        part = pixels[:, y0 - top : y1, x0 - left : x1]
        patch = canvas[:, y0 : y0 + part.shape[1], x0 : x0 + part.shape[2]]
        patch *= 1 - part[3]
        patch += part[:3]

    return paint


def _draw_landmark(landmark: dict[str, Any], palette: Palette, height: int) -> FloatImage:
    """Returns a landmark with premultiplied colours and coverage, shape (4, rows, columns)."""
    rows = max(10, round(landmark["height"] * height))
    columns = round(rows * landmark["aspect"])
    image = Image.new("RGBA", (columns * 4, rows * 4), (0, 0, 0, 0))  # drawn larger: antialiasing
    for polygon in landmark["polygons"]:
        shade = TABLES["shades"][polygon["colour"]]
        colour = mix(read_colours(shade["colour"])[0], palette.near, shade["share"])
        red, green, blue = (round(value) for value in colour)
        outline = [(x * columns * 4, y * rows * 4) for x, y in polygon["points"]]
        ImageDraw.Draw(image).polygon(outline, fill=(red, green, blue, 255))
    pixels = np.asarray(image.resize((columns, rows), Image.Resampling.BOX), np.float32).transpose(2, 0, 1).copy()
    pixels[3] /= 255
    pixels[:3] *= pixels[3]
    return pixels
