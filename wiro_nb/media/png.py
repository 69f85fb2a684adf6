"""A text chunk in a PNG: writing and reading one keyword.

Source: PNG Specification (Third Edition), sections 5.3 and 11.3.3.4 (iTXt).
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from wiro_nb.files import Writer, replace_file

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"wiro_nb"

MAX_CHUNKS = 200_000
MAX_TEXT_BYTES = 64 * 2**20

_HEAD = KEYWORD + b"\0\0\0\0\0"
"""Keyword, no compression, no language, no translated keyword."""


class PngError(ValueError):
    """The file is not a whole PNG."""


def read_text(path: Path) -> str | None:
    """Returns the text under our keyword, or None.

    Raises:
        PngError: The file is cut or not a PNG.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        for name, start, size in _chunks(file):
            if name == b"iTXt" and size >= len(_HEAD):
                file.seek(start + 8)
                if file.read(len(_HEAD)) == _HEAD:
                    if size > MAX_TEXT_BYTES:
                        raise PngError("its text is larger than 64 MiB")
                    return file.read(size - len(_HEAD)).decode("utf-8", "replace")
    return None


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Returns all texts that are not compressed, with their keywords.

    Raises:
        PngError: The file is cut or not a PNG, or its texts are larger than 64 MiB.
        OSError: It cannot be read.
    """
    tags: list[tuple[str, str]] = []
    left = MAX_TEXT_BYTES
    with path.open("rb") as file:
        for kind, start, size in _chunks(file):
            if kind not in (b"tEXt", b"iTXt"):
                continue
            left -= size
            if left < 0:
                raise PngError("its texts are larger than 64 MiB")
            file.seek(start + 8)
            keyword, _, text = file.read(size).partition(b"\0")
            if kind == b"iTXt":
                if text[:1] != b"\0":
                    continue
                text = text[2:].split(b"\0", 2)[-1]
            tags.append(
                (keyword.decode("latin-1"), text.decode("utf-8" if kind == b"iTXt" else "latin-1", "replace"))
            )
    return tags


def write_text(path: Path, text: str) -> str:
    """Sets the text under our keyword in a copy that takes the file's place once it reads back.

    Returns:
        The SHA-256 (hex) of the file with the text.

    Raises:
        PngError: The file is cut or not a PNG; it is then untouched.
        OSError: The folder cannot be written; the file is then untouched.
    """
    body = _HEAD + text.encode()
    chunk = struct.pack(">I4s", len(body), b"iTXt") + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))

    def copy_with_text(target: Writer) -> None:
        if has_credentials(source):
            raise PngError("it carries Content Credentials, which a text would make invalid")
        target.write(SIGNATURE)
        for kind, start, size in _chunks(source):
            source.seek(start)
            raw = source.read(size + 12)
            if kind == b"IEND":
                target.write(chunk)
            if not (kind == b"iTXt" and raw[8:].startswith(_HEAD)):
                target.write(raw)

    def check(copy: Path) -> None:
        if read_text(copy) != text:
            raise PngError("the text did not read back")

    with path.open("rb") as source:
        return replace_file(path, copy_with_text, check=check)


def has_credentials(file: BinaryIO) -> bool:
    """True where a PNG carries a C2PA manifest, whose hash covers all other chunks.

    Raises:
        PngError: The file is cut or not a PNG.
    """
    return any(kind == b"caBX" for kind, _, _ in _chunks(file))


def hash_media(path: Path) -> str:
    """Returns the SHA-256 (hex) over the content of the picture's `IDAT` chunks.

    Raises:
        PngError: The file is cut or not a PNG.
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for kind, start, size in _chunks(file):
            if kind == b"IDAT":
                file.seek(start + 8)
                digest.update(file.read(size))
    return digest.hexdigest()


def _chunks(file: BinaryIO) -> list[tuple[bytes, int, int]]:
    file.seek(0)
    if file.read(8) != SIGNATURE:
        raise PngError("it does not begin as a PNG does")
    size_all = file.seek(0, os.SEEK_END)
    chunks: list[tuple[bytes, int, int]] = []
    at = len(SIGNATURE)
    while at < size_all:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head)
        if at + size + 12 > size_all:
            break
        chunks.append((kind, at, size))
        if len(chunks) > MAX_CHUNKS:
            raise PngError("it has too many chunks")
        if kind == b"IEND":
            return chunks
        at += size + 12
    raise PngError("the file is cut")
