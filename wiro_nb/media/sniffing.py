"""Detects media types and picture sizes, and reads the text tags of Matroska, JPEG and WebP.

Source: RFC 8794 (EBML); RFC 9559 (Matroska), section 5.1.8; TIFF 6.0, section 2; Exif 2.32 (CIPA DC-008), section
4.6.5 (UserComment); ITU-T T.81 (JPEG), annex B; RFC 9649 (WebP), section 2.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wiro_nb.media import MediaError

HTML = "text/html"
UNKNOWN = "application/octet-stream"

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    **dict.fromkeys((b"M4A ", b"M4B ", b"M4P "), "audio/mp4"),
    **dict.fromkeys((b"heic", b"heix", b"mif1", b"msf1", b"hevc"), "image/heic"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    b"qt  ": "video/quicktime",
}
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script|h1|center)\b", re.IGNORECASE)

MAX_TAGS_BYTES = 64 * 2**20
MAX_ELEMENTS = 100_000
_MATROSKA = b"\x1aE\xdf\xa3"
_NAME, _STRING = 0x45A3, 0x4487
_ENTERED = frozenset({0x18538067, 0x1254C367, 0x7373, 0x67C8})
"""Segment, Tags, Tag, SimpleTag: the walk continues with their first child."""

_MAX_PART_BYTES = 16 * 2**20
_MAX_PARTS = 10_000
_EXIF = b"Exif\0\0"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TEXT_KINDS = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: all are found in use
_EXIF_FOLDER, _USER_COMMENT = 0x8769, 0x9286
_NAMES = {0x010E: "description", 0x010F: "make", 0x0110: "model", _USER_COMMENT: "parameters"}
"""ComfyUI writes its graph as make and model, A1111 its parameters as the user comment."""
_ENCODINGS = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "utf-8", b"\0" * 8: "utf-8"}


def sniff(head: bytes) -> str:
    """Returns the media type of a file by its first bytes.

    Args:
        head: The first bytes; 4 KB are enough.

    Returns:
        A media type; "text/html" for a page, which where a clip was asked for is an error page;
        "application/octet-stream" when they match no type.
    """
    for magic, content_type in _MAGIC:
        if head.startswith(magic):
            return content_type
    if head[:4] in (b"RIFF", b"RF64"):
        return _RIFF.get(head[8:12], UNKNOWN)
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    # A text may have the names of the last three, but does not begin with a zero byte.
    if head[4:8] in (b"moov", b"mdat") or (head[:1] == b"\0" and head[4:8] in (b"wide", b"free", b"skip")):
        return "video/quicktime"
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] & 0xF0 not in (0x00, 0xF0):
        return "audio/mpeg"
    return _sniff_text(head)


def _sniff_text(head: bytes) -> str:
    body = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not body or b"\0" in body:
        return UNKNOWN
    # An XML declaration or a comment may stand before the first known tag.
    if body.startswith(b"<") and _HTML.search(body[:1024]):
        return HTML
    if re.search(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]", body):
        return UNKNOWN
    if body[:1] in b"{[" and body.rstrip()[-1:] in b"}]" and len(head) < 4096:
        return "application/json"
    try:
        # The cut may have gone through a character.
        body[:-3].decode()
    except UnicodeDecodeError:
        return UNKNOWN
    return "text/plain"


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Returns the texts with their names, Matroska's in lower case; [] for a file of another type.

    Of a damaged file, the texts before the damaged place.

    Raises:
        MediaError: A Matroska file has too many elements, or tags that are too large.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) == _MATROSKA:
            return _read_matroska(file, path.stat().st_size)
        parts = (data for kind, data in _picture_parts(file) if kind == b"EXIF" or data.startswith(_EXIF))
        exif = next(parts, b"").removeprefix(_EXIF)
    try:
        return list(_read_tiff(exif))
    except (struct.error, IndexError):
        return []


def _read_matroska(file: BinaryIO, limit: int) -> list[tuple[str, str]]:
    tags: list[tuple[str, str]] = []
    left = MAX_TAGS_BYTES
    for kind, size in _walk_matroska(file, limit):
        if kind not in (_NAME, _STRING):
            continue
        left -= size
        if left < 0:
            raise MediaError("its tags are too large to read")
        text = file.read(size).rstrip(b"\0").decode("utf-8", "replace")
        if kind == _NAME:
            tags.append((text.lower(), ""))
        elif tags:
            tags[-1] = (tags[-1][0], text)
    return tags


def _walk_matroska(file: BinaryIO, limit: int) -> Iterator[tuple[int, int]]:
    """Yields type and size of each element, the file at its content; ends at one of unknown size or a cut."""
    at = 0
    for _ in range(MAX_ELEMENTS):
        file.seek(at)
        head = file.read(12)
        id_bytes = _width(head, 0)
        size_bytes = _width(head, id_bytes)
        if id_bytes > 4 or size_bytes > 8 or len(head) < id_bytes + size_bytes:
            return
        kind = int.from_bytes(head[:id_bytes], "big")
        mask = (1 << 7 * size_bytes) - 1
        size = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big") & mask
        at += id_bytes + size_bytes
        if kind in _ENTERED:
            continue
        if size == mask or at + size > limit:
            return
        file.seek(at)
        yield kind, size
        at += size
    raise MediaError("it has too many elements")


def _width(head: bytes, at: int) -> int:
    """Returns how many bytes the number has that begins here; 9 for none."""
    return 9 - head[at].bit_length() if at < len(head) else 9


def image_size(stream: BinaryIO) -> tuple[int, int] | None:
    """Returns width and height in pixels of a PNG, JPEG, GIF or WebP, or None.

    Args:
        stream: Seekable.
    """
    stream.seek(0)
    head = stream.read(24)
    size = None
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) == 24:
        size = struct.unpack(">II", head[16:])
    elif head.startswith((b"GIF87a", b"GIF89a")) and len(head) >= 10:
        size = struct.unpack("<HH", head[6:10])
    else:
        size = next(filter(None, (_frame_size(kind, data) for kind, data in _picture_parts(stream))), None)
    return (size[0], size[1]) if size and all(size) else None


def _frame_size(kind: bytes, data: bytes) -> tuple[int, ...] | None:
    if len(kind) == 1 and kind[0] in _JPEG_FRAMES and len(data) >= 5:
        return struct.unpack(">HH", data[1:5])[::-1]
    if kind == b"VP8X" and len(data) >= 10:
        return int.from_bytes(data[4:7], "little") + 1, int.from_bytes(data[7:10], "little") + 1
    if kind == b"VP8L" and len(data) >= 5 and data[0] == 0x2F:
        bits = int.from_bytes(data[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 10 and data[3:6] == b"\x9d\x01\x2a":
        return tuple(side & 0x3FFF for side in struct.unpack("<HH", data[6:10]))
    return None


def _picture_parts(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yields the segments of a JPEG by their marker and the chunks of a WebP by their type; ends at damage."""
    file.seek(0)
    head = file.read(12)
    is_jpeg = head.startswith(b"\xff\xd8")
    if not is_jpeg and (head[:4] != b"RIFF" or head[8:] != b"WEBP"):
        return
    file.seek(2 if is_jpeg else 12)
    for _ in range(_MAX_PARTS):
        if is_jpeg:
            lead, kind = file.read(1), file.read(1)
            if lead != b"\xff" or not kind or kind in b"\xd9\xda":
                return
            if kind == b"\xff":
                file.seek(-1, 1)  # a fill byte
            if kind == b"\x01" or b"\xd0" <= kind <= b"\xd8" or kind == b"\xff":
                continue
            size = int.from_bytes(file.read(2), "big") - 2
        else:
            kind, size = file.read(4), int.from_bytes(file.read(4), "little")
        start = file.tell()
        data = file.read(min(max(size, 0), _MAX_PART_BYTES))
        if size < 0 or not kind:
            return
        yield kind, data
        file.seek(start + size + (0 if is_jpeg else size % 2))


def _read_tiff(data: bytes) -> Iterator[tuple[str, str]]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    folders = [struct.unpack_from(f"{order}I", data, 4)[0]] if order else []
    for folder in folders:  # the second is added by the first
        (count,) = struct.unpack_from(f"{order}H", data, folder)
        for number in range(count):
            at = folder + 2 + number * 12
            tag, kind, size, place = struct.unpack_from(f"{order}HHII", data, at)
            if tag == _EXIF_FOLDER and len(folders) == 1:
                folders.append(place)
            elif tag in _NAMES and kind in _TEXT_KINDS:
                raw = data[place : place + size] if size > 4 else data[at + 8 : at + 8 + size]
                yield _NAMES[tag], _decode(raw, is_comment=tag == _USER_COMMENT)


def _decode(raw: bytes, *, is_comment: bool) -> str:
    encoding = "utf-8"
    if is_comment and (named := _ENCODINGS.get(raw[:8])):
        # UTF-16 comes in both orders, whatever that of the file: a first letter of ASCII tells which.
        encoding, raw = named, raw[8:]
        if named == "utf-16-be" and raw[1:2] == b"\0":
            encoding = "utf-16-le"
    return raw.decode(encoding, "replace").rstrip("\0")
