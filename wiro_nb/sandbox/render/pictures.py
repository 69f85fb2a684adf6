"""Input pictures: reading them, and a slow camera over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from wiro_nb.sandbox.engine import EngineError
from wiro_nb.sandbox.render.camera import Path, View, overscan, view_image
from wiro_nb.sandbox.render.effects import Effect
from wiro_nb.sandbox.render.noise import Plane, make_rng, smoothstep
from wiro_nb.sandbox.render.request import ClipRequest
from wiro_nb.sandbox.render.weather import Weather
from wiro_nb.sandbox.render.words import read_wish

__all__ = ["PictureShow", "read_picture"]

_MAX_PIXELS = 80_000_000
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_picture(path: FilePath) -> Image.Image:
    """Reads a picture as RGB, upright, on white where it is transparent.

    Of an animation or a video it reads the first frame.

    Raises:
        EngineError: It is neither a picture nor a video, is cut, or has more than 80 million pixels.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise EngineError(f"The input image {path.name} has more than {_MAX_PIXELS:,} pixels.")
            image.load()
            return _flat(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        return _first_video_frame(path)
    except _UNREADABLE as error:
        raise EngineError(f"The input file {path.name} cannot be read as an image.") from error


def _flat(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layers).convert("RGB")


def _first_video_frame(path: FilePath) -> Image.Image:
    try:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_count = 1
            for frame in container.decode(video=0):
                return Image.fromarray(frame.to_ndarray(format="rgb24"))
    except (av.FFmpegError, IndexError, ValueError, OSError) as error:
        raise EngineError(f"The input file {path.name} cannot be read as an image.") from error
    raise EngineError(f"The input file {path.name} has no picture in it.")


class PictureShow:
    """A slow camera over one to several pictures, faded into one another.

    Args:
        pictures: RGB, at least one.
        request: The seed decides the camera's way; the prompt's words bring rain or snow and a tint.
        effect: What happens to the picture, or None.
        move: A camera move asked for by name, or None.
    """

    def __init__(
        self, pictures: Sequence[Image.Image], request: ClipRequest, effect: Effect | None, move: Path | None
    ) -> None:
        layout, detail = make_rng("layout", request.layout_key), make_rng("detail", request.detail_key)
        self._size = width, height = request.width, request.height
        self._duration_s = request.duration_s
        self._effect = effect
        ways = [_ken_burns(layout) for _ in pictures]
        self._paths = [_together(way, effect, move, self._duration_s) for way in ways]
        self._canvases = [
            ImageOps.fit(picture, overscan(path, width, height), Image.Resampling.LANCZOS)
            for picture, path in zip(pictures, self._paths, strict=True)
        ]
        wish = read_wish(request.prompt)
        self._weather = Weather(detail, wish, width, height, self._duration_s)
        moody = wish.sky or wish.land
        glow = np.array(wish.palette(moody).glow if moody else (255, 255, 255), np.float32)
        self._tint = (0.86 + 0.14 * glow / glow.max())[:, None, None] if moody else None
        self._light_at = float(layout.uniform(0.2, 0.8)), float(layout.uniform(0.1, 0.5))

    def frame(self, u: float) -> Plane:
        """Returns the moment `u` (0 first frame, 1 last), shape (3, height, width), 0 to 255."""
        count = len(self._canvases)
        at = u * count
        index = min(int(at), count - 1)
        picture = self._shown(index, u)
        share = float(smoothstep(0.62, 1.0, np.asarray(at - index, np.float32)))
        if index + 1 < count and share > 0:
            picture += (self._shown(index + 1, u) - picture) * np.float32(share)
        self._light(picture, u)
        if self._tint is not None:
            picture *= self._tint
        if self._effect is not None:
            picture = self._effect.paint(picture, u, u * self._duration_s)
        self._weather.paint(picture, u)
        return picture

    def _shown(self, index: int, u: float) -> Plane:
        image = view_image(self._canvases[index], self._paths[index](u), *self._size)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1), np.float32)

    def _light(self, picture: Plane, u: float) -> None:
        """A soft light that wanders over the picture; where it starts is the seed's choice."""
        width, height = self._size
        x = np.arange(width, dtype=np.float32) / width - np.float32(self._light_at[0] + 0.25 * (u - 0.5))
        y = np.arange(height, dtype=np.float32) / height - np.float32(self._light_at[1])
        picture *= 0.95 + 0.13 * np.multiply.outer(np.exp(-((y / 0.45) ** 2)), np.exp(-((x / 0.32) ** 2)))


def _ken_burns(rng: np.random.Generator) -> Path:
    angle, closer = float(rng.uniform(0, 6.283)), float(rng.uniform(0.07, 0.13))
    away = 0.030
    inward = bool(rng.random() < 0.6)

    def path(u: float) -> View:
        v = u if inward else 1 - u
        reach = away * (2 * u - 1)
        return View(reach * float(np.cos(angle)), reach * float(np.sin(angle)), 1.03 + closer * v)

    return path


def _together(way: Path, effect: Effect | None, move: Path | None, duration_s: float) -> Path:
    def path(u: float) -> View:
        view = way(u)
        if effect is not None:
            view = view.then(effect.view(u, u * duration_s))
        return view if move is None else view.then(move(u))

    return path
