"""The painter: makes the sandbox's clips.

A job's words, seed and pictures become a real H.264 clip of a painted landscape, or of the given
pictures in motion, with "SANDBOX" burnt in, so that nobody takes it for a model's work. A clip is a
pure function of the parameters and the bytes of the input files: no clock, no task id, no threads.
That is what lets the tutorials promise that a replayed run gives the same file.

May import: `wiro_nb.sandbox.engine`, the standard library, and (only once a job starts) numpy, Pillow
and PyAV. Importing this package loads none of the three: `painter` and `request` are light, all other
modules are imported by `PainterEngine.start`.
"""

from __future__ import annotations

from wiro_nb.sandbox.render.painter import PainterEngine

__all__ = ["PainterEngine"]
