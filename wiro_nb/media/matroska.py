"""Reads the text tags of Matroska and WebM files.

Source: RFC 8794 (EBML) and RFC 9559 (Matroska), section 5.1.8.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

SIGNATURE = b"\x1aE\xdf\xa3"
MAX_TAGS_BYTES = 64 * 2**20
MAX_ELEMENTS = 100_000

_SEGMENT, _NAME, _STRING = 0x18538067, 0x45A3, 0x4487
_ENTERED = frozenset({_SEGMENT, 0x1254C367, 0x7373, 0x67C8})
"""Segment, Tags, Tag, SimpleTag: the walk goes on with their first child."""


class MatroskaError(ValueError):
    """The file has too many elements, or tags that are too large."""


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Returns all text tags with their names, in lower case.

    Raises:
        MatroskaError: The file has too many elements, or tags that are too large.
        OSError: It cannot be read.
    """
    tags: list[tuple[str, str]] = []
    left = MAX_TAGS_BYTES
    with path.open("rb") as file:
        for kind, size in _walk(file, path.stat().st_size):
            if kind not in (_NAME, _STRING):
                continue
            left -= size
            if left < 0:
                raise MatroskaError("its tags are too large to read")
            text = file.read(size).rstrip(b"\0").decode("utf-8", "replace")
            if kind == _NAME:
                tags.append((text.lower(), ""))
            elif tags:
                tags[-1] = (tags[-1][0], text)
    return tags


def _walk(file: BinaryIO, limit: int) -> Iterator[tuple[int, int]]:
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
    raise MatroskaError("it has too many elements")


def _width(head: bytes, at: int) -> int:
    """Returns how many bytes the number has that begins here; 9 for none."""
    return 9 - head[at].bit_length() if at < len(head) else 9
