"""Reads media files: type by content, size and length, a small poster, frames and sound.

Type and size are read with the standard library. Pictures need Pillow, frames and sound need PyAV too (both
come with the extra `sandbox`); without them posters are left out and nothing else is missed.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InvalidFile, MissingExtra
from wiro_nb.media import MediaError
from wiro_nb.media.mp4 import MediaInfo, probe_mp4
from wiro_nb.media.sniffing import image_size, sniff

if TYPE_CHECKING:
    from PIL.Image import Image

POSTER_WIDTH = 416
THUMB_BYTES, THUMB_WIDTH = 5_000, 208
POSTER_BYTES = 7_400
"""A notebook holds a poster twice, as text: with posters of this size a finished run adds less than 30 kB."""
_HEAD_BYTES = 4096
_FRAMES_TRIED = 48
_DARK = 12
"""Mean luma (0..255) up to which a frame counts as black."""
SAMPLE_RATE = 48_000
_BLACK_LUMA, _GREY_CHROMA = 16, 128
DECODE_ERRORS = (OSError, ValueError, EOFError, SyntaxError)
"""What PyAV (whose errors are also these) and Pillow raise for files they cannot read."""


def sniff_file(path: Path) -> str:
    """Returns a file's media type by its first bytes; "application/octet-stream" when they match no type."""
    with path.open("rb") as stream:
        return sniff(stream.read(_HEAD_BYTES))


def is_clip(path: Path) -> bool:
    """True for a video by its first bytes."""
    return sniff_file(path).startswith("video/")


def probe(path: Path) -> MediaInfo:
    """Returns what a file says about itself; None where it does not, never an error for a strange file.

    Raises:
        OSError: The file cannot be read.
    """
    content_type = sniff_file(path)
    try:
        if content_type.startswith("image/"):
            with path.open("rb") as stream:
                return MediaInfo(*(image_size(stream) or _pillow_size(path)))
        if content_type in ("video/mp4", "video/quicktime"):
            with suppress(MediaError):
                if (found := probe_mp4(path)) is not None:
                    return found
        if content_type.startswith(("video/", "audio/")):
            return _av_probe(path)
    except (*DECODE_ERRORS, ImportError):
        pass
    return MediaInfo()


def make_poster(path: Path, max_bytes: int = POSTER_BYTES) -> bytes | None:
    """Makes a small picture of a clip or an image.

    Args:
        path: The file.
        max_bytes: Size to stay under; quality falls first, then the picture shrinks.

    Returns:
        A JPEG at most 416 pixels wide, of the first frame near the start that is not black; None when the file
        has no picture or cannot be read, or when Pillow or (for clips) PyAV is not installed.
    """
    try:
        read = {"video": _bright_frame, "image": _open_image}.get(sniff_file(path).partition("/")[0])
        picture = read(path) if read is not None else None
        return None if picture is None else _small_jpeg(picture, max_bytes, POSTER_WIDTH)
    except (*DECODE_ERRORS, ImportError):
        return None


def make_thumb(poster: bytes, max_bytes: int = THUMB_BYTES, width: int = THUMB_WIDTH) -> bytes:
    """Returns a poster shrunk for a page of many; the poster itself where Pillow is missing or cannot read it."""
    try:
        from PIL import Image

        with Image.open(io.BytesIO(poster)) as picture:
            return _small_jpeg(picture.convert("RGB"), max_bytes, width)
    except (*DECODE_ERRORS, ImportError):
        return poster


def frame(path: Path, index: int) -> bytes:
    """Returns one frame of a clip as PNG; negative indices count from the end.

    Raises:
        MissingExtra: PyAV or Pillow is not installed.
        InvalidFile: There is no such frame, or the file has none.
    """
    require_decoder()
    picture = _find_frame(path, index)
    if picture is None:
        raise InvalidFile(
            f"{path.name} has no frame {index}.",
            hint="count from 0, or -1 for the last",
            name="frame",
            value=index,
        )
    with io.BytesIO() as stream:
        picture.save(stream, "PNG")
        return stream.getvalue()


def frame_at(path: Path, at_s: float) -> int:
    """Returns the number, from 0, of the frame that a clip shows at a moment.

    Args:
        path: The clip.
        at_s: Seconds from its beginning.

    Raises:
        MissingExtra: PyAV or Pillow is not installed.
        InvalidFile: The clip has no picture at that moment.
    """
    require_decoder()
    shown, end_s = -1, 0.0
    with suppress(*DECODE_ERRORS):
        for number, decoded in enumerate(frames(path)):
            start_s = decoded.time or 0.0
            # Half a millisecond: times are typed with three digits at most.
            if start_s > at_s + 0.0005:
                return shown
            shown = number
            end_s = start_s + float(decoded.duration * decoded.time_base if decoded.duration else 0)
    if 0 <= at_s < end_s:
        return shown
    raise InvalidFile(
        f"{path.name} has no frame at {at_s:g} s: it is {end_s:g} s long.",
        hint=f"--at 0s to {end_s:.3g}s",
        name="at",
        value=at_s,
    )


def require_decoder() -> None:
    """Raises `MissingExtra` when PyAV or Pillow is not installed."""
    MissingExtra.require("Reading frames with PyAV and Pillow", "sandbox", "av", "PIL")


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Opens a file with PyAV; its tags may be in any encoding.

    Raises:
        OSError, ValueError: As PyAV does for files it cannot read; see `DECODE_ERRORS`.
    """
    import av

    # PyAV 19 removed `metadata_errors` and always reads tags that are not UTF-8; up to 18 they raise without it.
    options: Any = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
    with av.open(str(path), **options) as container:
        yield container


def frames(path: Path) -> Iterator[Any]:
    """Yields the decoded frames of a clip's first video track; nothing where there is none."""
    with open_media(path) as container:
        for track in container.streams.video[:1]:
            track.codec_context.thread_count = 1  # threads take longer to start than they save
            yield from container.decode(track)


def fitted_frames(path: Path, width: int, height: int, rate: Fraction, fps: Fraction) -> Iterator[Any]:
    """Yields a clip's frames at another size and rate: with bars where the shape differs, repeated or left out.

    Args:
        path: The clip.
        width: Pixels, even.
        height: Pixels, even.
        rate: Frames a second of the clip.
        fps: Frames a second that are wanted.

    Yields:
        Arrays of planar YUV 4:2:0 of shape (height * 3 / 2, width).
    """
    made = 0
    for number, decoded in enumerate(frames(path)):
        picture = None
        while Fraction(made) / fps < Fraction(number + 1) / rate:
            picture = _fit(decoded, width, height) if picture is None else picture
            made += 1
            yield picture


def _fit(decoded: Any, width: int, height: int) -> Any:
    if (decoded.width, decoded.height) == (width, height):
        return decoded.reformat(format="yuv420p").to_ndarray()
    import numpy as np

    scale = min(width / decoded.width, height / decoded.height)
    wide, high = (
        max(2, min(side, round(own * scale / 2) * 2))
        for side, own in ((width, decoded.width), (height, decoded.height))
    )
    small = decoded.reformat(width=wide, height=high, format="yuv420p").to_ndarray()
    left, top = (width - wide) // 4, (height - high) // 4  # of chroma, which has half the size of luma
    right, bottom = (width - wide) // 2 - left, (height - high) // 2 - top
    luma = np.pad(small[:high], ((2 * top, 2 * bottom), (2 * left, 2 * right)), constant_values=_BLACK_LUMA)
    planes = small[high:].reshape(2, high // 2, wide // 2)
    chroma = np.pad(planes, ((0, 0), (top, bottom), (left, right)), constant_values=_GREY_CHROMA)
    return np.concatenate([luma, chroma.reshape(height // 2, width)])


def read_sound(path: Path, count: int) -> Any:
    """Returns the sound of a file as exactly this many samples: cut, or silent at the end, or silent throughout.

    Args:
        path: A clip or a sound file.
        count: Samples at 48 kHz.

    Returns:
        An array of float samples of shape (2, count).
    """
    import av
    import numpy as np

    sound = np.zeros((2, count), np.float32)
    at = 0
    resampler = av.AudioResampler("fltp", "stereo", SAMPLE_RATE)
    try:
        with open_media(path) as container:
            for decoded in container.decode(audio=0) if container.streams.audio else ():
                if at >= count:
                    break
                for piece in resampler.resample(decoded):
                    samples = piece.to_ndarray()[:, : count - at]
                    sound[:, at : at + samples.shape[1]] = samples
                    at += samples.shape[1]
    except DECODE_ERRORS:
        pass  # what could be read is kept
    return sound


def _find_frame(path: Path, index: int) -> Image | None:
    count, newest = 0, None
    with suppress(*DECODE_ERRORS):
        for decoded in frames(path):
            count, newest = count + 1, decoded
            if count == index + 1:
                break
    if newest is not None and index in (count - 1, -1):
        picture: Image = newest.to_image()
        return picture
    # Read again: keeping all frames of a long clip would fill the memory.
    return _find_frame(path, count + index) if -count <= index < 0 else None


def _bright_frame(path: Path) -> Image | None:
    from PIL import ImageStat

    first: Image | None = None
    for decoded in itertools.islice(frames(path), _FRAMES_TRIED):
        scale = min(1.0, POSTER_WIDTH / decoded.width, 2 * POSTER_WIDTH / decoded.height)
        width, height = (max(1, round(side * scale)) for side in (decoded.width, decoded.height))
        # The conversion to RGB scales in a quarter of the time that Pillow takes.
        picture: Image = decoded.to_image(width=width, height=height)
        if ImageStat.Stat(picture.convert("L").resize((32, 32))).mean[0] > _DARK:
            return picture
        first = first or picture
    return first


def _open_image(path: Path) -> Image:
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        return ImageOps.exif_transpose(opened).convert("RGBA")


def _small_jpeg(picture: Image, max_bytes: int, width: int) -> bytes:
    from PIL import Image

    if picture.mode != "RGB":
        # Transparent parts turn white: on black a drawing could vanish.
        page = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(page, picture.convert("RGBA")).convert("RGB")
    picture.thumbnail((width, width * 2))
    data = b""
    for scale, quality in itertools.product((1.0, 0.75, 0.5, 0.35, 0.2), (80, 65, 50, 35, 22)):
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        with io.BytesIO() as stream:
            picture.resize(size).save(stream, "JPEG", quality=quality, optimize=True)
            data = stream.getvalue()
        if len(data) <= max_bytes:
            break
    return data


def _pillow_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as opened:
        return opened.size


def _av_probe(path: Path) -> MediaInfo:
    with open_media(path) as container:
        duration_s = container.duration / 1_000_000 if container.duration else None
        if not container.streams.video:
            return MediaInfo(duration_s=duration_s)
        stream = container.streams.video[0]
        fps = float(stream.average_rate) if stream.average_rate else None
        return MediaInfo(stream.width or None, stream.height or None, duration_s, fps, stream.frames or None)
