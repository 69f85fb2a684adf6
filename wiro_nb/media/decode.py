"""Reads media files: type by content, size and length, a small poster, single frames.

Type and size are read with the standard library. Pictures need Pillow, and frames of a clip need PyAV too (both
come with the extra `sandbox`); without them posters are left out and nothing else is missed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import InvalidFile, MissingExtra
from wiro_nb.media import MediaError
from wiro_nb.media.mp4 import MediaInfo, probe_mp4
from wiro_nb.media.sniffing import image_size, sniff

if TYPE_CHECKING:
    from PIL.Image import Image

POSTER_WIDTH = 416
POSTER_BYTES = 8 * 1024
_HEAD_BYTES = 4096
_UNKNOWN = MediaInfo(None, None, None, None, None)
_FRAMES_TRIED = 48
_DARK = 12
"""Mean luma (0..255) up to which a frame counts as black."""
DECODE_ERRORS = (OSError, ValueError, EOFError, SyntaxError)
"""What PyAV (whose errors are also these) and Pillow raise for files they cannot read."""


def sniff_file(path: Path) -> str:
    """Returns a file's media type by its first bytes; "application/octet-stream" when they match no type."""
    with path.open("rb") as stream:
        return sniff(stream.read(_HEAD_BYTES))


def probe(path: Path) -> MediaInfo:
    """Returns what a file says about itself; None where it does not, never an error for a strange file.

    Raises:
        OSError: The file cannot be read.
    """
    content_type = sniff_file(path)
    if content_type.startswith("image/"):
        with path.open("rb") as stream:
            size = image_size(stream) or _pillow_size(path)
        return MediaInfo(*size, None, None, None) if size else _UNKNOWN
    if content_type in ("video/mp4", "video/quicktime"):
        try:
            found = probe_mp4(path)
        except MediaError:
            found = None
        if found is not None:
            return found
    if content_type.startswith(("video/", "audio/")):
        return _av_probe(path)
    return _UNKNOWN


def make_poster(path: Path, max_bytes: int = POSTER_BYTES) -> bytes | None:
    """Makes a small picture of a clip or an image.

    Args:
        path: The file.
        max_bytes: Size to stay under; quality falls first, then the picture shrinks.

    Returns:
        A JPEG at most 416 pixels wide, of the first frame near the start that is not black; None when the file
        has no picture, or when Pillow or (for clips) PyAV is not installed.
    """
    content_type = sniff_file(path)
    if not _installed("PIL"):
        return None
    try:
        if content_type.startswith("video/"):
            picture = _bright_frame(path) if _installed("av") else None
        elif content_type.startswith("image/"):
            picture = _open_image(path)
        else:
            picture = None
        return None if picture is None else _small_jpeg(picture, max_bytes)
    except DECODE_ERRORS:
        return None


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
    try:
        for number, decoded in enumerate(frames(path)):
            start_s = decoded.time or 0.0
            # Half a millisecond: times are typed with three digits at most.
            if start_s > at_s + 0.0005:
                return shown
            shown = number
            end_s = start_s + float(decoded.duration * decoded.time_base if decoded.duration else 0)
    except DECODE_ERRORS:
        pass
    if 0 <= at_s < end_s:
        return shown
    raise InvalidFile(
        f"{path.name} has no frame at {at_s:g} s: it is {end_s:g} s long.",
        hint=f"--at 0s to {end_s:.3g}s",
        name="at",
        value=at_s,
    )


@cache
def _installed(package: str) -> bool:
    return find_spec(package) is not None


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


def _find_frame(path: Path, index: int) -> Image | None:
    count, newest = 0, None
    try:
        for count, newest in enumerate(frames(path), start=1):
            if count - 1 == index:
                return _picture(newest)
    except DECODE_ERRORS:
        pass
    if index == -1:
        return None if newest is None else _picture(newest)
    # Read again: keeping all frames of a long clip would fill the memory.
    return _find_frame(path, count + index) if -count <= index < 0 else None


def _bright_frame(path: Path) -> Image | None:
    first: Image | None = None
    for number, decoded in enumerate(frames(path)):
        picture = _picture(decoded)
        first = first or picture
        if _luma(picture) > _DARK:
            return picture
        if number >= _FRAMES_TRIED:
            break
    return first


def _picture(decoded: Any) -> Image:
    picture: Image = decoded.to_image()
    return picture


def _luma(picture: Image) -> float:
    counts = picture.convert("L").resize((32, 32)).histogram()
    return sum(level * count for level, count in enumerate(counts)) / (32 * 32)


def _open_image(path: Path) -> Image:
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        return ImageOps.exif_transpose(opened).convert("RGBA")


def _small_jpeg(picture: Image, max_bytes: int) -> bytes:
    from PIL import Image

    if picture.mode != "RGB":
        # Transparent parts turn white: on black a drawing could vanish.
        page = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(page, picture.convert("RGBA")).convert("RGB")
    picture.thumbnail((POSTER_WIDTH, POSTER_WIDTH * 2))
    data = b""
    for scale in (1.0, 0.75, 0.5, 0.35, 0.2):
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        resized = picture.resize(size) if scale < 1 else picture
        for quality in (80, 65, 50, 35, 22):
            with io.BytesIO() as stream:
                resized.save(stream, "JPEG", quality=quality, optimize=True)
                data = stream.getvalue()
            if len(data) <= max_bytes:
                return data
    return data


def _pillow_size(path: Path) -> tuple[int, int] | None:
    if not _installed("PIL"):
        return None
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return opened.size
    except DECODE_ERRORS:
        return None


def _av_probe(path: Path) -> MediaInfo:
    if not _installed("av"):
        return _UNKNOWN
    try:
        with open_media(path) as container:
            duration_s = container.duration / 1_000_000 if container.duration else None
            if not container.streams.video:
                return MediaInfo(None, None, duration_s, None, None)
            stream = container.streams.video[0]
            fps = float(stream.average_rate) if stream.average_rate else None
            return MediaInfo(stream.width or None, stream.height or None, duration_s, fps, stream.frames or None)
    except DECODE_ERRORS:
        return _UNKNOWN
