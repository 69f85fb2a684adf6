"""Reads the texts that programs write into the Exif data of JPEG and WebP pictures.

Source: TIFF 6.0, section 2; Exif 2.32 (CIPA DC-008), section 4.6.5 (UserComment); RFC 9649 (WebP), section 2.7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_EXIF_BYTES = 16 * 2**20
_MAX_PARTS = 10_000
_TEXT_KINDS = (1, 2, 7)  # BYTE, ASCII, UNDEFINED: all are found in use
_EXIF_FOLDER, _USER_COMMENT = 0x8769, 0x9286
_NAMES = {0x010E: "description", 0x010F: "make", 0x0110: "model", _USER_COMMENT: "parameters"}
"""ComfyUI writes its graph as make and model, A1111 its parameters as the user comment."""
_ENCODINGS = {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "utf-8", b"\0" * 8: "utf-8"}


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Returns the texts with their names; [] for other files, and what there is before a damaged place.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if head.startswith(b"\xff\xd8"):
            parts = _jpeg_segments(file)
        elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
            parts = _webp_chunks(file)
        else:
            return []
        data = next((data.removeprefix(b"Exif\0\0") for data in parts), b"")
    try:
        return list(_read_tiff(data))
    except (struct.error, IndexError):
        return []


def _jpeg_segments(file: BinaryIO) -> Iterator[bytes]:
    file.seek(2)
    for _ in range(_MAX_PARTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xD9, 0xDA):
            return
        size = int.from_bytes(head[2:], "big") - 2
        data = file.read(max(size, 0))
        if head[1] == 0xE1 and data.startswith(b"Exif\0\0"):
            yield data


def _webp_chunks(file: BinaryIO) -> Iterator[bytes]:
    for _ in range(_MAX_PARTS):
        head = file.read(8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            yield file.read(min(size, MAX_EXIF_BYTES))
        file.seek(size + size % 2 - (size if head[:4] == b"EXIF" else 0), 1)


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
