"""Reads and writes PNG text chunks: the record, and settings that other programs read.

Source: PNG Specification (Third Edition), sections 5.3 and 11.3.3.4 (iTXt).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wiro_nb.media import KEYWORD, PARAMETERS, PARAMETERS_MARK, XMP_MARK, MediaError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 200_000
MAX_TEXT_BYTES = 64 * 2**20

XMP = "XML:com.adobe.xmp"
_OWN_MARKS = (XMP_MARK.encode(), PARAMETERS_MARK.encode())

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_NO_OPTIONS = b"\0\0\0\0\0"
"""Of an iTXt chunk: no compression, no language, no translated keyword."""
_HEAD = KEYWORD.encode() + _NO_OPTIONS


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Returns all texts with their keywords, but for iTXt that is compressed, which no known program writes.

    Raises:
        MediaError: The file is cut or not a PNG, or its texts are larger than 64 MiB.
        OSError: It cannot be read.
    """
    tags: list[tuple[str, str]] = []
    left = MAX_TEXT_BYTES
    with path.open("rb") as file:
        for kind, start, size in _chunks(file):
            if kind not in _TEXTS:
                continue
            left -= size
            if left < 0:
                raise MediaError("its texts are larger than 64 MiB")
            file.seek(start + 8)
            keyword, _, text = file.read(size).partition(b"\0")
            if kind == b"zTXt":
                text = _unpack(text[1:], left)
                left -= len(text)
            elif kind == b"iTXt":
                if text[:1] != b"\0":
                    continue
                text = text[2:].split(b"\0", 2)[-1]
            tags.append(
                (keyword.decode("latin-1"), text.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace"))
            )
    return tags


def _unpack(data: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, max(most, 1))
    except zlib.error:
        return b""


def copy_with_texts(source: BinaryIO, target: BinaryIO, text: str, xmp: str, parameters: str) -> None:
    """Copies a PNG and sets the text under our keyword.

    Args:
        source: The file.
        target: Where the copy is written.
        text: Takes the place of an older one.
        xmp: XMP with `media.XMP_MARK`; left out where the file has some of another program.
        parameters: Settings with `media.PARAMETERS_MARK`, left out likewise.

    Raises:
        MediaError: The file is cut, not a PNG, or signed.
    """
    if has_credentials(source):
        raise MediaError("it carries Content Credentials, which a text would make invalid")
    target.write(SIGNATURE)
    added = {KEYWORD: text} | ({XMP: xmp} if xmp else {}) | ({PARAMETERS: parameters} if parameters else {})
    for kind, start, size in _chunks(source):
        source.seek(start)
        raw = source.read(size + 12)
        if kind in _TEXTS:
            keyword = raw[8:].partition(b"\0")[0].decode("latin-1")
            is_marked = keyword in (XMP, PARAMETERS) and any(mark in raw for mark in _OWN_MARKS)
            if is_marked or raw[8:].startswith(_HEAD):
                continue
            added.pop(keyword, None)
        if kind == b"IEND":
            target.writelines(_text_chunk(name, value) for name, value in added.items())
        target.write(raw)


def _text_chunk(keyword: str, text: str) -> bytes:
    kind, body = b"iTXt", keyword.encode() + _NO_OPTIONS + text.encode()
    if keyword == PARAMETERS and not any(ord(letter) > 0xFF for letter in text):  # galleries read iTXt seldom
        kind, body = b"tEXt", keyword.encode() + b"\0" + text.encode("latin-1")
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def has_credentials(file: BinaryIO) -> bool:
    """True where a PNG carries a C2PA manifest, whose hash covers all other chunks.

    Source: C2PA Technical Specification, "Embedding manifests into PNG".

    Raises:
        MediaError: The file is cut or not a PNG.
    """
    return any(kind == b"caBX" for kind, _, _ in _chunks(file))


def read_media(file: BinaryIO) -> Iterator[bytes]:
    """Yields the content of a picture's `IDAT` chunks.

    Raises:
        MediaError: The file is cut or not a PNG.
    """
    for kind, start, size in _chunks(file):
        if kind == b"IDAT":
            file.seek(start + 8)
            yield file.read(size)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields type, position and content size of each chunk; of a cut file raises behind the last whole one."""
    file.seek(0)
    if file.read(8) != SIGNATURE:
        raise MediaError("it does not begin as a PNG does")
    at, end = len(SIGNATURE), file.seek(0, os.SEEK_END)
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        size, kind = struct.unpack(">I4s", head) if len(head) == 8 else (end, b"")
        if at + size + 12 > end:
            raise MediaError("the file is cut")
        yield kind, at, size
        if kind == b"IEND":
            return
        at += size + 12
    raise MediaError("it has too many chunks")
