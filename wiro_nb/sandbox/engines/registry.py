"""The engines by name, as `wiro-nb sandbox --engine NAME` takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from wiro_nb.sandbox.engines import Engine, Kind

if TYPE_CHECKING:
    from wiro_nb.sandbox.options import Options

ENGINE_NAMES = ("placeholder", "instant", "diffusers", "videos")
_INSTANT_STEP_S = 0.15


def create_engines(options: Options) -> Mapping[Kind, Engine]:
    """Returns the engine for each kind of output."""
    if options.engine == "diffusers":
        from wiro_nb.sandbox.engines.diffusers.engine import DiffusersEngine

        return {"clip": DiffusersEngine(options.python, options.workers)}
    if options.engine == "videos":
        from wiro_nb.sandbox.engines.diffusers.videos import VideosEngine

        return {"clip": VideosEngine(options.url)}
    from wiro_nb.sandbox.engines.instant import InstantEngine

    instant = InstantEngine(_INSTANT_STEP_S / options.speed)
    if options.engine == "instant":
        return {"clip": instant, "image": instant, "text": instant}
    from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine

    return {"clip": PlaceholderEngine(), "image": instant, "text": instant}
