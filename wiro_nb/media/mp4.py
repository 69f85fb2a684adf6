"""Facts about an MP4 and its comment tag, with the standard library only.

The tag is the one players and ffprobe show as "comment". A file is never changed in place: a copy
with the new tag is written beside it, read back, and then takes its place.
Source: ISO/IEC 14496-12 sections 8.1 to 8.7; the QuickTime File Format Specification, "Metadata".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from wiro_nb.files import Writer, replace_file
from wiro_nb.media.boxes import Box, BoxError, BoxHead, Layout, read_box, read_layout

COMMENT = b"\xa9cmt"
OWN_BOX = bytes.fromhex("f51c5a1e8b0e4d0c9d0a7769726f6e62")
"""Type of the `uuid` box that carries a text where `moov` cannot be changed (fragmented files)."""

_TEXT = 1
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
    """True when the file begins as MP4 or QuickTime files do."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[4:8] in (b"ftyp", b"moov", b"wide") or (head[4:8] in (b"free", b"skip", b"mdat"))


def probe_mp4(path: Path) -> MediaInfo | None:
    """Returns the facts of the first video track, or None when there is none.

    Raises:
        BoxError: The file is cut or not an MP4.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        moov = _read_moov(file, path.stat().st_size)[1]
    for track in moov.all(b"trak"):
        handler = track.find(b"mdia", b"hdlr")
        if handler and handler.payload[8:12] == b"vide":
            return _describe_track(track)
    return None


def read_comment(path: Path) -> str | None:
    """Returns the comment tag's text, or None when there is none.

    A clip that broke off behind its `moov`, as an interrupted copy does, still has its record.

    Raises:
        BoxError: The file is not an MP4, or cut so that the tag is gone.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        layout, moov = _read_moov(file, path.stat().st_size, may_be_cut=True)
        own = _find_own_box(file, layout)
        if own:
            file.seek(own.start + own.head_bytes + 16)
            return file.read(min(own.size - own.head_bytes - 16, 64 * 2**20)).decode("utf-8", "replace")
    value = _keyed_comment(moov) or _listed_comment(moov)
    data = value.find(b"data") if value else None
    if data is None and layout.cut:
        raise BoxError(layout.cut)
    return data.payload[8:].decode("utf-8", "replace") if data else None


def write_comment(path: Path, text: str) -> str:
    """Sets the comment tag; media data and everything else stay as they are.

    Args:
        path: An MP4 or QuickTime file; replaced in one step by a copy with the tag.
        text: The new comment.

    Returns:
        The SHA-256 (hex) of the file with the tag.

    Raises:
        BoxError: The file is cut, not an MP4, or did not read back; it is then untouched.
        OSError: The folder cannot be written; the file is then untouched.
    """

    def check(copy: Path) -> None:
        if read_comment(copy) != text:
            raise BoxError("the tag did not read back")

    with path.open("rb") as source:
        layout, moov = _read_moov(source, path.stat().st_size)
        if layout.has(b"moof"):
            return replace_file(path, lambda file: _copy_with_own_box(source, layout, file, text), check=check)
        return replace_file(path, lambda file: _copy_with_moov(source, layout, moov, file, text), check=check)


def hash_media(path: Path) -> str:
    """Returns the SHA-256 (hex) over the content of the file's `mdat` boxes.

    Raises:
        BoxError: The file is cut or not an MP4.
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
        raise BoxError(layout.cut or "it has no single moov box, so it is not a whole MP4")
    return layout, read_box(file, head)


def _find_own_box(file: BinaryIO, layout: Layout) -> BoxHead | None:
    for head in reversed(layout.boxes):
        if head.type == b"uuid":
            file.seek(head.start + head.head_bytes)
            if file.read(16) == OWN_BOX:
                return head
    return None


def _copy_with_moov(source: BinaryIO, layout: Layout, moov: Box, target: Writer, text: str) -> None:
    head = layout.only(b"moov")
    assert head is not None
    _set_comment(moov, text)
    growth = len(moov.to_bytes()) - head.size
    _shift_chunks(moov, after=head.start, by=growth)
    for box in layout.boxes:
        if box is head:
            target.write(moov.to_bytes())
        else:
            _copy_range(source, target, box.start, box.size)


def _copy_with_own_box(source: BinaryIO, layout: Layout, target: Writer, text: str) -> None:
    """Fragments name absolute positions in many ways: leave all as it is and add a box at the end."""
    own = _find_own_box(source, layout)
    for box in layout.boxes:
        if box is not own:
            _copy_range(source, target, box.start, box.size)
    target.write(Box(b"uuid", OWN_BOX + text.encode()).to_bytes())


def _copy_range(source: BinaryIO, target: Writer, start: int, size: int) -> None:
    for chunk in _read_range(source, start, size):
        target.write(chunk)


def _read_range(source: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    source.seek(start)
    while size > 0:
        chunk = source.read(min(size, _COPY_BYTES))
        if not chunk:
            raise BoxError("the file is cut")
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
                raise BoxError("a table of chunk positions is cut")
            shape = f">{count}{'I' if width == 4 else 'Q'}"
            places = struct.unpack_from(shape, child.payload, 8)
            moved = [place + by if place > after else place for place in places]
            if width == 4 and moved and max(moved) >= 2**32:
                raise BoxError("it is too large for a tag before its media data")
            child.payload = child.payload[:8] + struct.pack(shape, *moved) + child.payload[8 + count * width :]


def _set_comment(moov: Box, text: str) -> None:
    value = _keyed_comment(moov)
    if value is None:
        listed = _ensure_list(moov)
        listed.children = [child for child in listed.children or () if child.type != COMMENT]
        value = Box(COMMENT, children=[])
        listed.children.append(value)
    value.children = [Box(b"data", struct.pack(">II", _TEXT, 0) + text.encode())]


def _listed_comment(moov: Box) -> Box | None:
    return moov.find(b"udta", b"meta", b"ilst", COMMENT)


def _keyed_comment(moov: Box) -> Box | None:
    """Returns the item of the key "comment" in a list with keys ("mdta"), as ffmpeg can write."""
    for meta in (moov.find(b"meta"), moov.find(b"udta", b"meta")):
        keys = meta.find(b"keys") if meta else None
        items = meta.find(b"ilst") if meta else None
        if keys is None or items is None:
            continue
        numbered = {item.type: item for item in reversed(items.children or ())}
        for number, key in enumerate(_read_keys(keys.payload), start=1):
            if key in (b"comment", b"com.apple.quicktime.comment"):
                found = numbered.get(struct.pack(">I", number))
                if found is not None and found.children is not None:
                    return found
    return None


def _read_keys(payload: bytes) -> list[bytes]:
    keys: list[bytes] = []
    at = 8
    while at + 8 <= len(payload):
        size = _uint(payload, at)
        if size < 8 or at + size > len(payload):
            break
        keys.append(payload[at + 8 : at + size])
        at += size
    return keys


def _ensure_list(moov: Box) -> Box:
    """Returns `udta/meta/ilst`, adding what is missing."""
    children = moov.children if moov.children is not None else []
    user_data = next((box for box in children if box.type == b"udta" and box.children is not None), None)
    if user_data is None:
        user_data = Box(b"udta", children=[])
        children.append(user_data)
    meta = user_data.find(b"meta")
    handler = meta.find(b"hdlr") if meta else None
    if meta is None or meta.children is None or handler is None or handler.payload[8:12] != b"mdir":
        user_data.children = [box for box in user_data.children or () if box.type != b"meta"]
        handler_body = struct.pack(">II4s4sIIB", 0, 0, b"mdir", b"appl", 0, 0, 0)
        meta = Box(b"meta", children=[Box(b"hdlr", handler_body)], prefix=b"\0\0\0\0")
        user_data.children.append(meta)
    items = meta.find(b"ilst")
    if items is None or items.children is None:
        meta.children = [box for box in meta.children or () if box.type != b"ilst"]
        items = Box(b"ilst", children=[])
        meta.children.append(items)
    return items


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
        raise BoxError("a box is cut")
    return int.from_bytes(data[at : at + width], "big")
