"""Composes a landscape from a request and paints its frames.

All parts are placed in units of the canvas' height, so one request looks alike at any size. Everything
slow is painted once; a frame is a handful of additions over shifted layers.
"""

from __future__ import annotations

import math

import numpy as np

from wiro_nb.sandbox.render.hills import Range, RangePlan, paint_range
from wiro_nb.sandbox.render.landmarks import boat, lighthouse
from wiro_nb.sandbox.render.noise import Plane, make_rng
from wiro_nb.sandbox.render.request import ClipRequest
from wiro_nb.sandbox.render.sky import Sky
from wiro_nb.sandbox.render.water import Water
from wiro_nb.sandbox.render.weather import Weather
from wiro_nb.sandbox.render.words import Wish, mix, read_wish, sky_moods

__all__ = ["Landscape"]

_MAX_TRAVEL = 0.5  # frame widths the nearest layer may move in one clip, so that layers stay of bounded width


class Landscape:
    """A painted landscape.

    Args:
        request: What to paint.
        width: Of the canvas in pixels (the frame's or more, where the camera moves).
        height: Of the canvas in pixels.
        pan: -1 or 1 where the camera pans and the layers follow its direction, else 0: the seed decides.
    """

    def __init__(self, request: ClipRequest, width: int, height: int, pan: int = 0) -> None:
        layout, detail = make_rng("layout", request.layout_key), make_rng("detail", request.detail_key)
        wish = read_wish(request.prompt)
        moods = sky_moods()
        palette = wish.palette(moods[int(layout.integers(len(moods)))])
        drift = pan or (1 if layout.random() < 0.5 else -1)
        speed = 0.022 * (1.6 if pan else 1.0)
        self._travel = drift * min(_MAX_TRAVEL, speed * request.duration_s + (0.06 if pan else 0.0)) * width
        shore = round(height * float(layout.uniform(0.68, 0.75))) if wish.water else height
        self._sky = Sky(layout, detail, palette, wish, width, height, shore, request.duration_s)
        ranges = _plan(layout, wish, 3 if wish.water else 4)
        self._layers: list[Range] = []
        for index, plan in enumerate(ranges):
            self._layers.append(
                paint_range(
                    detail=make_rng("range", request.layout_key, str(index)),
                    plan=plan,
                    wish=wish,
                    palette=palette,
                    sun_x=self._sky.sun_x,
                    width=width,
                    height=height,
                    bottom=shore,
                    travel_px=abs(self._travel) * plan.nearness,
                )
            )
        for behind, before in zip(self._layers, self._layers[1:], strict=False):
            behind.hide_below(before.solid_from)
        self._sky.rows = min(self._layers[0].solid_from, shore)
        self._water = None
        if wish.water:
            deep = mix(palette.near, palette.zenith, 0.5)
            self._water = Water(detail, width, height, shore, deep, palette.glow, wish.sky == "storm")
        self._lighthouse = lighthouse(palette, height) if wish.lighthouse else None
        self._boat = boat(palette, height) if wish.boat else None
        self._foot_y = shore + 0.012 * height if wish.water else 0.9 * height
        away = 0.27 if self._sky.sun_x > 0.5 else 0.73  # landmarks stand across from the sun
        self._lighthouse_x, self._boat_x = away * width, (1 - away + 0.08) * width
        self._weather = Weather(detail, wish, width, height, request.duration_s)
        self._canvas = np.zeros((3, height, width), np.float32)

    def frame(self, u: float) -> Plane:
        """Paints the moment `u` (0 first frame, 1 last).

        Returns:
            Shape (3, height, width), 0 to 255. The same array each time: use it before the next call.
        """
        canvas = self._canvas
        self._sky.paint(canvas, u)
        for layer in self._layers:
            layer.paint(canvas, self._travel * layer.nearness, u)
        at_s = u * self._sky.duration_s
        if self._lighthouse is not None:
            beat = max(0.0, math.sin(at_s * 2.1)) ** 3
            x = self._lighthouse_x - self._travel * (u - 0.5) * 0.6
            self._lighthouse.paint(canvas, x, self._foot_y, 0.35 + 0.65 * beat)
        if self._water is not None:
            self._water.paint(canvas, at_s, self._sky.sun_at(u)[0])
        if self._boat is not None:
            height = canvas.shape[1]
            bob = 0.004 * height * math.sin(at_s * 1.7)
            x = self._boat_x - self._travel * (u - 0.5) * 1.4
            self._boat.paint(canvas, x, self._foot_y + 0.075 * height + bob)
        self._weather.paint(canvas, u)
        return canvas


def _plan(layout: np.random.Generator, wish: Wish, count: int) -> list[RangePlan]:
    """Places the ranges from far to near."""
    plans: list[RangePlan] = []
    bottom = 0.70 if wish.water else 0.93
    top = float(layout.uniform(0.46, 0.54)) if not wish.water else float(layout.uniform(0.47, 0.53))
    rugged = float(layout.uniform(0.7, 1.2)) * (0.8 if wish.city else 1.0)
    for index in range(count):
        nearness = index / (count - 1)
        base = top + (bottom - top) * nearness**1.15
        plans.append(
            RangePlan(
                base=base + float(layout.uniform(-0.02, 0.02)),
                height=(0.105 - 0.035 * nearness) * rugged * float(layout.uniform(0.8, 1.2)),
                width=float(layout.uniform(0.55, 0.95)) * (1 - 0.25 * nearness),
                nearness=0.16 + 0.84 * nearness,
                tone=nearness,
            )
        )
    return plans
