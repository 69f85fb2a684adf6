"""Reads input pictures, and writes frames as a byte-identical H.264 MP4."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from wiro_nb.media import decode
from wiro_nb.media.join import add_h264, create_mp4
from wiro_nb.sandbox.engines import EngineError

FloatImage = NDArray[np.floating[Any]]
"""One channel (height, width) or three (3, height, width), float32, 0 to 255 where it holds colours."""

_NO_PICTURE = "The input file {} cannot be read as an image; give a PNG, JPEG or WebP file, or a clip."
_MAX_PIXELS = 80_000_000
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
_COLOURS = ("colorprim=bt709", "transfer=bt709", "colormatrix=bt709", "range=tv")


def read_picture(path: Path) -> Image.Image:
    """Reads a picture as RGB, upright, on white where it is transparent; of a video its first frame.

    Raises:
        EngineError: It is neither a picture nor a video, is truncated, or has more than 80 million pixels.
    """
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise EngineError(f"The input image {path.name} has more than {_MAX_PIXELS:,} pixels.")
            image.load()
            layers = ImageOps.exif_transpose(image).convert("RGBA")
            white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
            return Image.alpha_composite(white, layers).convert("RGB")
    except UnidentifiedImageError:
        pass
    except _UNREADABLE as error:
        raise EngineError(_NO_PICTURE.format(path.name)) from error
    with contextlib.suppress(*decode.DECODE_ERRORS):
        for frame in decode.frames(path):
            return Image.fromarray(frame.to_ndarray(format="rgb24"))
    raise EngineError(_NO_PICTURE.format(path.name))


class Mp4Writer:
    """Writes one clip, frame by frame, in a `with` block; an exception in it deletes the file.

    Args:
        path: The file.
        width, height: In pixels, even.
        fps: Frames a second.
        comment: Of the file's metadata.
        crf: x264's; lower is better and larger.
    """

    def __init__(self, path: Path, width: int, height: int, fps: int, comment: str, crf: int = 24) -> None:
        self._path = path
        self._container = create_mp4(path)
        self._container.metadata["comment"] = comment
        self._stream = add_h264(self._container, width, height, fps, crf=crf, params=_COLOURS)
        self._dither = _make_dither(width, height)
        self._planes = np.empty((height * 3 // 2, width), np.uint8)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode())
            self._container.close()
            return
        with contextlib.suppress(av.FFmpegError):  # no frame was written yet
            self._container.close()
        self._path.unlink(missing_ok=True)

    def write(self, picture: FloatImage) -> None:
        """Encodes one frame, shape (3, height, width), red green blue 0 to 255."""
        _to_yuv420(picture, self._dither, self._planes)
        frame = av.VideoFrame.from_ndarray(self._planes, format="yuv420p")
        frame.pts = self._count
        self._count += 1
        self._container.mux(self._stream.encode(frame))


def _make_dither(width: int, height: int) -> FloatImage:
    """Returns high-frequency noise of -0.5 to 0.5, the same in every frame so that still areas cost nothing.

    Rounding a smooth sky to 8 bits without it shows bands.
    """
    noise = np.random.Generator(np.random.PCG64(1)).random((height + 2, width + 2), dtype=np.float32)
    around = noise[:-2, 1:-1] + noise[2:, 1:-1] + noise[1:-1, :-2] + noise[1:-1, 2:]
    return np.asarray(np.clip(noise[1:-1, 1:-1] - around / 4, -0.5, 0.5), np.float32)


def _to_yuv420(picture: FloatImage, dither: FloatImage, planes: NDArray[np.uint8]) -> None:
    """Converts to BT.709 limited range, rounded once."""
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
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    chroma[0] = np.clip((small[2] - y) / np.float32(1.8556) + shift, 16, 240)
    chroma[1] = np.clip((small[0] - y) / np.float32(1.5748) + shift, 16, 240)
