"""The nineteen effects of wan2.2-effects-extra, each a treatment of the input picture.

None of them claims to be what the model does: they are honest stand-ins, each told from the others at a
glance, so that a gallery of effects looks like one. The same seed gives the same effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from wiro_nb.sandbox.engine import EngineError
from wiro_nb.sandbox.render.camera import STILL, View
from wiro_nb.sandbox.render.noise import Plane, make_rng, smoothstep
from wiro_nb.sandbox.render.sky import shift_crop
from wiro_nb.sandbox.render.strokes import Stage

__all__ = ["EFFECTS", "Effect", "make_effect"]

Paint = Callable[[Plane, float, float], Plane]
"""(picture, time in the clip 0 to 1, seconds) to the treated picture; may write in place."""


@dataclass(frozen=True)
class Effect:
    """A camera that shakes or dives, and a treatment of what it sees."""

    paint: Paint
    view: Callable[[float, float], View] = lambda u, at_s: STILL


def make_effect(name: str, seed_key: str, width: int, height: int) -> Effect:
    """Builds an effect for frames of `width` x `height` pixels.

    Raises:
        EngineError: No effect has this name.
    """
    if name not in EFFECTS:
        raise EngineError(f"The sandbox has no effect called {name[:60]!r}.")
    return EFFECTS[name](Stage(make_rng("effect", seed_key), width, height))


def _grown(u: float, start: float = 0.12, end: float = 0.7) -> float:
    t = min(1.0, max(0.0, (u - start) / (end - start)))
    return t * t * (3 - 2 * t)


def _shake(at_s: float, size: float) -> View:
    # Two incommensurable tones a direction: it looks random, yet every run shakes alike.
    x = math.sin(at_s * 41) + 0.6 * math.sin(at_s * 67 + 1)
    y = math.sin(at_s * 47 + 2) + 0.6 * math.sin(at_s * 59)
    return View(size * x * 0.6, size * y, 1.0, size * 60 * math.sin(at_s * 37))


def _assassin(stage: Stage) -> Effect:
    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (0.78, 0.74, 0.80), 0.85, _grown(u), 1.25)
        blade = np.exp(-(((stage.x * 0.9 + stage.y * 0.5 + 1.6 - 3.6 * _grown(u, 0.3, 0.6)) / 0.05) ** 2))
        stage.lay(picture, blade * 0.75, (255, 244, 244))
        stage.lay(picture, smoothstep(0.45, 1.0, stage.radius) * np.float32(0.55 * _grown(u)), (96, 0, 8))
        return stage.darken_edges(picture, 0.85 * _grown(u))

    return Effect(paint)


def _jungle(stage: Stage) -> Effect:
    leaves = stage.noise(0.14, 3, 0.6)
    x, y, phase = (stage.rng.uniform(-1, 1, 36).astype(np.float32) for _ in range(3))

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (0.74, 1.08, 0.66), 0.3, _grown(u, 0.0, 0.4))
        frame = leaves + 3.1 * stage.radius - 1.9 + 0.15 * math.sin(at_s * 1.3)
        stage.lay(picture, smoothstep(0.0, 0.25, frame) * np.float32(0.9 * _grown(u, 0.0, 0.4)), (10, 44, 18))
        flies = stage.dots(x + 0.08 * np.sin(at_s + 6 * phase), y - 0.06 * np.cos(at_s * 1.4 + 5 * phase), 0.007)
        return stage.lay(picture, flies * 0.9, (232, 255, 130))

    return Effect(paint)


def _gun_shooting(stage: Stage) -> Effect:
    side, level = float(stage.rng.uniform(-0.4, 0.4)), float(stage.rng.uniform(0.0, 0.4))
    flame = np.exp(-(((stage.x - side) / 0.45) ** 2) - ((stage.y - level) / 0.55) ** 2)

    def since_shot(at_s: float) -> float:
        return at_s % 0.75

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (1.06, 0.98, 0.84), 0.35, 1.0, 1.12)
        flash = math.exp(-since_shot(at_s) * 11)
        return stage.lay(picture, flame * np.float32(0.92 * flash), (255, 226, 150))

    return Effect(paint, lambda u, at_s: _shake(at_s, 0.022 * math.exp(-since_shot(at_s) * 7)))


def _crash(stage: Stage) -> Effect:
    middle = (float(stage.rng.uniform(-0.3, 0.3)), float(stage.rng.uniform(-0.3, 0.3)))
    rays = []
    for ray in range(17):
        angle, radius, line = ray * 6.283 / 17 + float(stage.rng.uniform(-0.12, 0.12)), 0.0, [middle]
        while radius < 1.7:
            radius += float(stage.rng.uniform(0.08, 0.25))
            angle += float(stage.rng.uniform(-0.12, 0.12))
            line.append((middle[0] + radius * math.cos(angle) * 0.7, middle[1] + radius * math.sin(angle)))
        rays.append(line)
    cracks = stage.drawn(rays, 0.005)
    away = np.hypot((stage.x - middle[0]) * 1.4, stage.y - middle[1])

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        if u < 0.3:
            return picture
        reached = smoothstep(-0.2, 0.2, np.float32(9 * (u - 0.3)) - away)
        picture = stage.bend(picture, 0.012 * cracks * reached, 0.008 * cracks * reached)
        stage.lay(picture, cracks * reached * np.float32(0.85), (238, 244, 250))
        return stage.lay(picture, np.full_like(away, math.exp(-(u - 0.3) * 30) * 0.8), (255, 255, 255))

    def view(u: float, at_s: float) -> View:
        return STILL if u < 0.3 else _shake(at_s, 0.05 * math.exp(-(u - 0.3) * 5))

    return Effect(paint, view)


def _melting(stage: Stage) -> Effect:
    drips = np.clip(stage.line(0.09) * 0.5 + 0.6, 0, 2)

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        height = (stage.y + 1) / 2
        return stage.bend(picture, 0.01 * u * np.sin(height * 14), -0.55 * _grown(u, 0, 1) * drips * height**1.5)

    return Effect(paint)


def _bouncing(stage: Stage) -> Effect:
    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        beat = math.sin(at_s * 12.566) * 0.035
        picture = stage.bend(picture, 0.0, beat * np.exp(-((stage.y / 0.5) ** 2)) * (1 - 0.5 * stage.x**2))
        for spot, colour in enumerate(((255, 70, 160), (70, 160, 255), (255, 200, 60))):
            at = math.sin(at_s * 2.4 + 2.1 * spot)
            light = np.exp(-(((stage.x - at) / 0.4) ** 2)) * (0.30 - 0.18 * stage.y)
            stage.lay(picture, np.asarray(light, np.float32), colour)
        return picture

    return Effect(paint, lambda u, at_s: View(y=0.012 * abs(math.sin(at_s * 6.283)), zoom=1.05))


def _joker(stage: Stage) -> Effect:
    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        grown = np.float32(_grown(u))
        steps = np.round(picture / 42.0) * 42.0
        picture += (steps - picture) * (0.8 * grown)
        left = smoothstep(-0.5, 0.5, stage.x + 0.35 * np.sin(stage.y * 3 + at_s)) * np.ones_like(stage.radius)
        stage.lay(picture, left * (0.42 * grown), (86, 210, 60))
        stage.lay(picture, (1 - left) * (0.45 * grown), (120, 30, 170))
        return picture

    return Effect(paint, lambda u, at_s: View(roll_deg=5 * _grown(u) * math.sin(at_s * 2)))


def _fluffy(stage: Stage) -> Effect:
    dx, dy = stage.noise(0.012, 2), stage.noise(0.012, 2)

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        size = 0.011 * _grown(u, 0.0, 0.6)
        sway = math.sin(at_s * 2.2)
        bent = stage.bend(picture, dx * np.float32(size * (1 + 0.3 * sway)), dy * np.float32(size))
        return stage.grade(bent, (1.07, 1.03, 0.98), -0.12, _grown(u), 0.92)

    return Effect(paint)


def _eye_close_up(stage: Stage) -> Effect:
    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        lid = 1.25 - 0.38 * _grown(u) - 0.9 * math.exp(-(((u - 0.72) / 0.035) ** 2))
        almond = np.abs(stage.y) + 0.35 * stage.x**2
        return stage.lay(picture, smoothstep(lid, lid + 0.12, almond), (8, 6, 8))

    return Effect(paint, lambda u, at_s: View(y=-0.10 * _grown(u), zoom=1 + 1.3 * _grown(u, 0.0, 0.9)))


def _camera_controls(stage: Stage) -> Effect:
    corners = [
        [(sx * 0.92, sy * 0.72), (sx * 0.92, sy * 0.88), (sx * 0.82, sy * 0.88)]
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    finder = stage.drawn([*corners, [(-0.04, 0), (0.04, 0)], [(0, -0.07), (0, 0.07)]], 0.004)
    light = stage.dots(np.array([0.86], np.float32), np.array([-0.78], np.float32), 0.012)

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        stage.lay(picture, finder * np.float32(0.85), (245, 245, 245))
        return stage.lay(picture, light * np.float32(at_s % 1 < 0.5), (235, 40, 40))

    def view(u: float, at_s: float) -> View:
        turn = 6.283 * u
        return View(
            0.10 * math.sin(turn), 0.05 * math.sin(2 * turn), 1.2 - 0.12 * math.cos(turn), 3 * math.sin(turn)
        )

    return Effect(paint, view)


def _laughing(stage: Stage) -> Effect:
    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        warm = 0.5 + 0.5 * math.sin(at_s * 25)
        cheer = (
            np.exp(-(((stage.y + 0.2) / 0.9) ** 2)) * np.float32(0.10 + 0.08 * warm) * np.ones_like(stage.radius)
        )
        picture = stage.grade(picture, (1.08, 1.04, 0.92), -0.25, 1.0)
        return stage.lay(picture, cheer, (255, 226, 110))

    return Effect(paint, lambda u, at_s: View(y=0.010 * math.sin(at_s * 25), roll_deg=1.6 * math.sin(at_s * 12.5)))


def _crying(stage: Stage) -> Effect:
    x = stage.rng.uniform(-0.9, 0.9, 26).astype(np.float32)
    start, pace = (
        stage.rng.uniform(0, 2, 26).astype(np.float32),
        stage.rng.uniform(0.3, 0.8, 26).astype(np.float32),
    )

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (0.72, 0.86, 1.10), 0.5, _grown(u, 0, 0.5), 0.95)
        y = (start + pace * np.float32(at_s)) % 2 - 1
        drops = np.maximum.reduce(
            [stage.dots(x, np.clip(y - 0.06 * k, -1, 1), 0.012 - 0.002 * k) for k in range(4)]
        )
        picture = stage.bend(picture, 0.0, -0.05 * drops)
        return stage.lay(picture, drops * np.float32(0.32), (214, 234, 255))

    return Effect(paint)


def _angry(stage: Stage) -> Effect:
    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        pulse = 0.85 + 0.15 * math.sin(at_s * 9)
        picture = stage.grade(picture, (1.22, 0.66, 0.58), 0.25, _grown(u) * pulse, 1.25)
        return stage.darken_edges(picture, 0.5 * _grown(u))

    return Effect(paint, lambda u, at_s: _shake(at_s, 0.008 * _grown(u)).then(View(zoom=1 + 0.15 * _grown(u))))


def _hulk(stage: Stage) -> Effect:
    edge = stage.noise(0.12)

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        swell = -0.20 * _grown(u) * np.exp(-(stage.radius**2) * 4)
        picture = stage.bend(picture, swell * stage.x, swell * stage.y)
        risen = smoothstep(-0.15, 0.15, stage.y + 0.10 * edge + np.float32(2.6 * _grown(u, 0.1, 0.8) - 1.3))
        return stage.grade(picture, (0.52, 1.18, 0.42), 0.7, risen * np.float32(0.9), 1.15)

    return Effect(paint)


def _electrify(stage: Stage) -> Effect:
    bolts = []
    for _ in range(6):
        x = float(stage.rng.uniform(-0.8, 0.8))
        line = [(x, -1.0)]
        for step in range(12):
            x += float(stage.rng.uniform(-0.16, 0.16))
            line.append((x, -1 + (step + 1) / 6))
        bolts.append((stage.drawn([line], 0.006), stage.drawn([line], 0.02, 0.02)))

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (0.66, 0.80, 1.15), 0.4, 1.0, 1.1)
        beat = int(at_s * 8)
        core, halo = bolts[beat * 5 % len(bolts)]
        fade = np.float32(1 - (at_s * 8 - beat) * 0.7)
        stage.lay(picture, np.clip(halo * 0.9, 0, 1) * fade, (110, 160, 255))
        return stage.lay(picture, core * fade, (240, 248, 255))

    return Effect(paint)


def _spiderman(stage: Stage) -> Effect:
    spokes = [[(0.0, 0.0), (2 * math.cos(a), 2 * math.sin(a))] for a in np.linspace(0, 6.283, 17)[:-1] + 0.2]
    rings = [
        [(r * math.cos(a) * (1 - 0.06 * (i % 2)), r * math.sin(a) * (1 - 0.06 * (i % 2))) for i, a in
         enumerate(np.linspace(0, 6.283, 33) + 0.2)]
        for r in (0.16, 0.34, 0.55, 0.80, 1.1, 1.4)
    ]  # fmt: skip
    web = stage.drawn([*spokes, *rings], 0.004)

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        above = smoothstep(-0.1, 0.1, 0.15 + 0.25 * np.abs(stage.x) - stage.y)
        amount = np.float32(_grown(u))
        stage.grade(picture, (1.20, 0.42, 0.40), 0.6, above * (0.8 * amount), 1.15)
        stage.grade(picture, (0.42, 0.55, 1.15), 0.6, (1 - above) * (0.8 * amount), 1.15)
        spun = smoothstep(-0.1, 0.1, np.float32(1.3 * _grown(u, 0.05, 0.8)) - stage.radius)
        return stage.lay(picture, web * spun * np.float32(0.75), (244, 244, 248))

    return Effect(paint)


def _batman(stage: Stage) -> Effect:
    fog = stage.noise(0.25, 4, 2.5, wider=1.5)

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (0.46, 0.52, 0.66), 0.8, _grown(u, 0, 0.5), 1.3)
        drift = shift_crop(fog, u * 0.4 * stage.width, stage.width)
        stage.lay(picture, np.clip(drift * 0.16 + 0.22 * stage.y, 0, 0.6) * np.float32(_grown(u)), (58, 66, 84))
        ring = np.hypot((stage.x - 0.6 * math.sin(at_s * 0.9)) * 1.6, stage.y + 0.35)
        return stage.lay(
            picture, (1 - smoothstep(0.30, 0.42, ring)) * np.float32(0.5 * _grown(u)), (255, 232, 150)
        )

    return Effect(paint)


def _ironman(stage: Stage) -> Effect:
    def arc(radius: float, start: float, end: float) -> list[tuple[float, float]]:
        shape = stage.height / stage.width
        return [(radius * math.cos(a) * shape, radius * math.sin(a)) for a in np.linspace(start, end, 40)]

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (1.16, 0.86, 0.50), 0.55, _grown(u) * 0.85, 1.2)
        turn = at_s * 0.9
        arcs = [arc(0.55, turn + k * 2.094, turn + k * 2.094 + 1.5) for k in range(3)]
        arcs += [arc(0.70, -turn * 1.4 + k * 1.571, -turn * 1.4 + k * 1.571 + 0.6) for k in range(4)]
        arcs += [[(-0.95, -0.6 + 0.12 * k), (-0.95 + 0.10 + 0.05 * math.sin(at_s * 3 + k), -0.6 + 0.12 * k)]
                 for k in range(9)]  # fmt: skip
        return stage.lay(picture, stage.drawn(arcs, 0.006, 0.001) * np.float32(0.9 * _grown(u)), (130, 232, 255))

    return Effect(paint)


def _superman(stage: Stage) -> Effect:
    angle = np.arctan2(stage.x * 1.4, stage.y + 1.5)
    lines = stage.line(0.02)

    def paint(picture: Plane, u: float, at_s: float) -> Plane:
        picture = stage.grade(picture, (1.04, 0.96, 1.14), -0.35, _grown(u), 1.1)
        rays = np.clip(np.sin(angle * 26 + at_s * 0.8) * 0.6 + np.sin(angle * 11 - at_s * 0.5) * 0.6, 0, 1)
        stage.lay(picture, rays * (0.30 * np.float32(_grown(u))) * (1 - (stage.y + 1) / 2.6), (255, 236, 170))
        streaks = np.clip(lines - 1.1, 0, 1) * (0.5 + 0.5 * np.sin(stage.y * 5 + at_s * 22))
        return stage.lay(picture, np.asarray(streaks * 0.45 * _grown(u), np.float32), (226, 238, 255))

    return Effect(paint, lambda u, at_s: View(y=0.10 - 0.20 * _grown(u, 0, 1), zoom=1.06))


EFFECTS: Mapping[str, Callable[[Stage], Effect]] = {
    "assassin": _assassin,
    "jungle": _jungle,
    "gun-shooting": _gun_shooting,
    "crash": _crash,
    "melting-effect": _melting,
    "chest-bouncing-dance": _bouncing,
    "joker-effect": _joker,
    "fluffy-hair": _fluffy,
    "eye-close-up": _eye_close_up,
    "camera-controls": _camera_controls,
    "laughing": _laughing,
    "crying": _crying,
    "angry-face": _angry,
    "hulk-transformation": _hulk,
    "electrify": _electrify,
    "spiderman-transformation": _spiderman,
    "batman-transformation": _batman,
    "ironman-transformation": _ironman,
    "superman-transformation": _superman,
}
