"""Writes frames as an H.264 MP4, one at a time, with the same bytes each time.

Colours are turned into BT.709 luma and chroma here, in float, and rounded once with a fixed dither: a
sky that is first rounded to 8-bit RGB and then converted shows bands.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import av
import numpy as np
from numpy.typing import NDArray

from wiro_nb.sandbox.render.noise import Plane

__all__ = ["Mp4Writer", "make_dither"]

# One thread and no CPU-specific shortcuts: the bytes repeat on every run and every machine of one build.
_X264 = (
    "cpu-independent=1:threads=1:lookahead-threads=1:sliced-threads=0:"
    "colorprim=bt709:transfer=bt709:colormatrix=bt709:range=tv"
)
_OPTIONS = {"preset": "faster", "crf": "24", "x264-params": _X264}


def make_dither(width: int, height: int) -> Plane:
    """Returns a fixed pattern of -0.5 to 0.5 without coarse clumps, shape (height, width).

    The same in every frame, so that it costs nothing to code where the picture stands still.
    """
    noise = np.random.Generator(np.random.PCG64(1)).random((height + 2, width + 2), dtype=np.float32)
    around = noise[:-2, 1:-1] + noise[2:, 1:-1] + noise[1:-1, :-2] + noise[1:-1, 2:]
    return np.asarray(np.clip(noise[1:-1, 1:-1] - around / 4, -0.5, 0.5), np.float32)


class Mp4Writer:
    """Context manager around one clip. Sizes in pixels, even."""

    def __init__(self, path: Path, width: int, height: int, fps: int, comment: str | None) -> None:
        self._container = av.open(
            str(path), "w", format="mp4", options={"movflags": "+faststart+use_metadata_tags"}
        )
        if comment is not None:
            self._container.metadata["comment"] = comment
        self._stream = self._container.add_stream("libx264", rate=fps, options=_OPTIONS)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1
        self._dither = make_dither(width, height)
        self._planes = np.empty((height * 3 // 2, width), np.uint8)
        self._count = 0

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for packet in self._stream.encode():
                    self._container.mux(packet)
        finally:
            self._container.close()

    def write(self, picture: Plane) -> None:
        """Codes one frame, shape (3, height, width), red green blue 0 to 255."""
        _to_yuv420(picture, self._dither, self._planes)
        frame = av.VideoFrame.from_ndarray(self._planes, format="yuv420p")
        frame.pts = self._count
        self._count += 1
        for packet in self._stream.encode(frame):
            self._container.mux(packet)


def _to_yuv420(picture: Plane, dither: Plane, planes: NDArray[np.uint8]) -> None:
    _, height, width = picture.shape
    red, green, blue = picture
    luma = red * np.float32(0.2126 * 219 / 255)
    luma += green * np.float32(0.7152 * 219 / 255)
    luma += blue * np.float32(0.0722 * 219 / 255)
    luma += np.float32(16.5)
    luma += dither
    planes[:height] = np.clip(luma, 16, 235, out=luma)
    rows = picture[:, 0::2] + picture[:, 1::2]
    small = (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25 * 224 / 255)
    y = small[0] * np.float32(0.2126) + small[1] * np.float32(0.7152) + small[2] * np.float32(0.0722)
    shift = dither[: height // 2, : width // 2] + np.float32(128.5)
    chroma_u = np.clip((small[2] - y) / np.float32(1.8556) + shift, 16, 240).astype(np.uint8)
    chroma_v = np.clip((small[0] - y) / np.float32(1.5748) + shift, 16, 240).astype(np.uint8)
    flat = planes[height:].reshape(-1)
    size = chroma_u.size
    flat[:size] = chroma_u.reshape(-1)
    flat[size:] = chroma_v.reshape(-1)
