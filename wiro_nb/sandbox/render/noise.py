"""Smooth noise, the painter's only brush. Deterministic for a given generator.

Fractal value noise: random lattices of ever finer cells, each scaled up by Pillow's bicubic filter, summed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Plane", "fbm", "fbm_line", "make_rng", "smoothstep"]

Plane = NDArray[np.floating[Any]]
"""One channel or a stack of channels, float32 wherever it is large; shape said where it is used."""


def make_rng(*keys: str) -> np.random.Generator:
    """Returns a generator fixed by `keys` (hex digests or plain words)."""
    words = np.frombuffer("\x00".join(keys).encode(), dtype=np.uint8).astype(np.uint32)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(word) for word in words])))


def fbm(
    rng: np.random.Generator,
    width: int,
    height: int,
    cell_px: float,
    octaves: int,
    gain: float = 0.5,
    stretch: float = 1.0,
) -> Plane:
    """Returns fractal noise, shape (height, width), mean about 0, standard deviation 1.

    Args:
        rng: Source of the lattices.
        width: In pixels.
        height: In pixels.
        cell_px: Height of the coarsest lattice's cells.
        octaves: How many lattices, each with half the cell size; those below 1.5 px are left out.
        gain: Weight of an octave over that of the coarser one.
        stretch: Width of a cell over its height.
    """
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(octaves):
        cell_y = cell_px / 2**octave
        if octave and cell_y < 1.5:
            break
        cell_x = cell_y * stretch
        columns, rows = width / cell_x, height / cell_y
        lattice = rng.random((math.ceil(rows) + 4, math.ceil(columns) + 4), dtype=np.float32)
        scaled = Image.fromarray(lattice).resize(
            (width, height), Image.Resampling.BICUBIC, box=(1.5, 1.5, 1.5 + columns, 1.5 + rows)
        )
        total += weight * np.asarray(scaled, np.float32)
        weight *= gain
    total -= total.mean()
    spread = float(total.std())
    if spread > 0:
        total /= spread
    return total


def fbm_line(rng: np.random.Generator, width: int, cell_px: float, octaves: int, gain: float = 0.5) -> Plane:
    """Returns one line of fractal noise, shape (width,), mean about 0, standard deviation 1."""
    total = np.zeros(width, np.float32)
    x = np.arange(width, dtype=np.float32)
    weight = 1.0
    for octave in range(octaves):
        cell = max(cell_px / 2**octave, 1.0)
        knots = rng.random(math.ceil(width / cell) + 3, dtype=np.float32)
        at = x / cell
        left = at.astype(np.int32)
        ease = at - left
        ease = ease * ease * (3 - 2 * ease)
        total += weight * (knots[left] * (1 - ease) + knots[left + 1] * ease)
        weight *= gain
    total -= total.mean()
    spread = float(total.std())
    if spread > 0:
        total /= spread
    return total


def smoothstep(low: float, high: float, value: Plane) -> Plane:
    """Returns 0 below `low`, 1 above `high`, and a smooth curve between; same shape as `value`."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)
