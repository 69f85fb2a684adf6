"""Reads the properties and text tags of an MP4 and writes its comment, using only the standard library.

A file is never changed in place: a copy with the new text is written beside it, read back, and then
takes its place.
Source: ISO/IEC 14496-12 sections 8.1 to 8.7.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wiro_nb.files import replace_file
from wiro_nb.media import KEYWORD, XMP_MARK, MediaError, mp4_tags
from wiro_nb.media.boxes import MAX_MOOV_BYTES, Box, BoxHead, Layout, content_starts_with, read_box, read_layout
from wiro_nb.media.sniffing import sniff

OWN_BOX = bytes.fromhex("f51c5a1e8b0e4d0c9d0a7769726f6e62")
"""First bytes of a text in a `free` box at the end of a file; older versions wrote a `uuid` box of this type."""

_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

_PLAIN_BOXES = frozenset({b"ftyp", b"styp", b"pdin", b"moov", b"mdat", b"free", b"skip", b"wide"})
"""Top-level boxes that name no position in the file and vouch for no bytes of it, `moov` apart."""

_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a clip is: pixels, seconds, frames a second, frame count; None where it does not say."""

    width: int | None
    height: int | None
    duration_s: float | None
    fps: float | None
    frames: int | None


def is_mp4(path: Path) -> bool:
    """True when the file begins as MP4 or QuickTime files do; AVIF and HEIC pictures only look alike."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return not sniff(head).startswith("image/")
    return head[4:8] in (b"moov", b"wide", b"free", b"skip", b"mdat")


def probe_mp4(path: Path) -> MediaInfo | None:
    """Returns the facts of the first video track, or None when there is none.

    Raises:
        MediaError: The file is cut or not an MP4.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        moov = _read_moov(file, path.stat().st_size)[1]
    for track in moov.all(b"trak"):
        handler = track.find(b"mdia", b"hdlr")
        if handler and handler.payload[8:12] == b"vide":
            return _describe_track(track)
    return None


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Returns all texts beside the media with their names, such as "comment"; a text at the end comes first.

    A clip truncated after its `moov`, for example by an interrupted copy, still has these texts.

    Raises:
        MediaError: The file is not an MP4, or cut so that its `moov` is gone.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        layout, moov = _read_moov(file, path.stat().st_size, may_be_cut=True)
        tags = [(tag.name, tag.text) for tag in mp4_tags.read_tags(moov) if tag.text]
        own = next((head for head in reversed(layout.boxes) if _is_own_box(file, head)), None)
        if own is not None:
            start = own.head_bytes + len(OWN_BOX)
            file.seek(own.start + start)
            text = file.read(min(own.size - start, MAX_MOOV_BYTES)).decode("utf-8", "replace")
            tags.insert(0, (KEYWORD, text))
    return tags


def write_comment(path: Path, text: str, xmp: str = "", parameters: str = "") -> None:
    """Adds a text beside the media; media data and other programs' texts are unchanged.

    The text becomes the comment; where another program's comment stands, the album, the synopsis, or a tag called
    "wiro_nb". Where `moov` has no place for it, or other boxes may depend on the file's bytes (fragments, Content
    Credentials, unknown ones), it goes into a `free` box at the end of the file, before which no byte changes.

    Args:
        path: An MP4 or QuickTime file; replaced in one step by a copy with the text.
        text: JSON that begins with the key "wiro_nb"; it takes the place of an older one.
        xmp: XMP with `media.XMP_MARK`, added where the file has no other box that may depend on its bytes.
        parameters: Settings with `media.PARAMETERS_MARK`, added where the text goes into `moov`.

    Raises:
        MediaError: The file is cut, not an MP4, or did not read back; it is then untouched.
        OSError: The folder cannot be written; the file is then untouched.
    """

    def check(copy: Path) -> None:
        if all(found != text for _, found in read_tags(copy)):
            raise MediaError("the tag did not read back")

    with path.open("rb") as source:
        layout, moov = _read_moov(source, path.stat().st_size)
        while _is_own_box(source, layout.boxes[-1]) or _is_own_xmp(source, layout.boxes[-1]):
            layout.boxes.pop()
        is_plain = all(head.type in _PLAIN_BOXES and not _is_own_box(source, head) for head in layout.boxes)
        if is_plain and mp4_tags.set_texts(moov, text, parameters):
            replace_file(path, lambda file: _copy_with_moov(source, layout, moov, file, xmp), check=check)
        else:
            replace_file(path, lambda file: _copy_with_own_box(source, layout, file, text), check=check)


def hash_media(path: Path) -> str:
    """Returns the SHA-256 (hex) over the content of the file's `mdat` boxes.

    Raises:
        MediaError: The file is cut or not an MP4.
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for box in read_layout(file, path.stat().st_size).boxes:
            if box.type == b"mdat":
                for chunk in _read_range(file, box.start + box.head_bytes, box.size - box.head_bytes):
                    digest.update(chunk)
    return digest.hexdigest()


def _read_moov(file: BinaryIO, size: int, *, may_be_cut: bool = False) -> tuple[Layout, Box]:
    layout = read_layout(file, size, may_be_cut=may_be_cut)
    head = layout.only(b"moov")
    if head is None:
        raise MediaError(layout.cut or "it has no single moov box, so it is not a whole MP4")
    return layout, read_box(file, head)


def _is_own_box(file: BinaryIO, head: BoxHead) -> bool:
    return head.type in (b"free", b"uuid") and content_starts_with(file, head, OWN_BOX)


def _is_own_xmp(file: BinaryIO, head: BoxHead) -> bool:
    if head.type != b"uuid" or head.size > MAX_MOOV_BYTES or not content_starts_with(file, head, _XMP_BOX):
        return False
    return XMP_MARK.encode() in file.read(head.end - file.tell())


def _copy_with_moov(source: BinaryIO, layout: Layout, moov: Box, target: BinaryIO, xmp: str) -> None:
    head = layout.only(b"moov")
    assert head is not None
    content = moov.to_bytes()
    _shift_chunks(moov, after=head.start, by=len(content) - head.size)
    for box in layout.boxes:
        if box is head:
            target.write(moov.to_bytes())
        else:
            _copy_range(source, target, box.start, box.size)
    if xmp:
        target.write(Box(b"uuid", _XMP_BOX + xmp.encode()).to_bytes())


def _copy_with_own_box(source: BinaryIO, layout: Layout, target: BinaryIO, text: str) -> None:
    _copy_range(source, target, 0, layout.boxes[-1].end)
    target.write(Box(b"free", OWN_BOX + text.encode()).to_bytes())


def _copy_range(source: BinaryIO, target: BinaryIO, start: int, size: int) -> None:
    for chunk in _read_range(source, start, size):
        target.write(chunk)


def _read_range(source: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    source.seek(start)
    while size > 0:
        chunk = source.read(min(size, _COPY_BYTES))
        if not chunk:
            raise MediaError("the file is cut")
        yield chunk
        size -= len(chunk)


def _shift_chunks(moov: Box, *, after: int, by: int) -> None:
    """Moves the chunk positions behind `moov`, which its own growth pushes back."""
    for track in moov.all(b"trak"):
        table = track.find(b"mdia", b"minf", b"stbl")
        for child in (table.children if table else None) or ():
            width = {b"stco": 4, b"co64": 8}.get(child.type)
            if width is None:
                continue
            count = _uint(child.payload, 4)
            if len(child.payload) < 8 + count * width:
                raise MediaError("a table of chunk positions is cut")
            shape = f">{count}{'I' if width == 4 else 'Q'}"
            places = struct.unpack_from(shape, child.payload, 8)
            moved = [place + by if place > after else place for place in places]
            if width == 4 and moved and max(moved) >= 2**32:
                raise MediaError("it is too large for a tag before its media data")
            child.payload = child.payload[:8] + struct.pack(shape, *moved) + child.payload[8 + count * width :]


def _describe_track(track: Box) -> MediaInfo:
    head, media = track.find(b"tkhd"), track.find(b"mdia", b"mdhd")
    times = track.find(b"mdia", b"minf", b"stbl", b"stts")
    width = height = None
    if head and len(head.payload) >= 8:
        width, height = (value >> 16 for value in struct.unpack(">II", head.payload[-8:]))
    scale = length = 0
    if media and media.payload:
        wide = media.payload[0] == 1
        scale = _uint(media.payload, 20 if wide else 12)
        length = _uint(media.payload, 24 if wide else 16, 8 if wide else 4)
    frames, shown = _read_times(times.payload) if times else (0, 0)
    # The table of times has the shown duration; writers of reordered frames may name a longer track.
    length = shown or length
    duration = length / scale if scale and length else None
    return MediaInfo(
        width=width or None,
        height=height or None,
        duration_s=round(duration, 6) if duration else None,
        fps=round(frames / duration, 3) if duration and frames else None,
        frames=frames or None,
    )


def _read_times(payload: bytes) -> tuple[int, int]:
    """Returns how many samples a track has and how long they last together, in its time units."""
    count = max(min(_uint(payload, 4), (len(payload) - 8) // 8), 0)
    frames = length = 0
    for samples, each in struct.iter_unpack(">II", payload[8 : 8 + count * 8]):
        frames, length = frames + samples, length + samples * each
    return frames, length


def _uint(data: bytes, at: int, width: int = 4) -> int:
    if at + width > len(data):
        raise MediaError("a box is cut")
    return int.from_bytes(data[at : at + width], "big")
