"""Reading and writing the box structure of MP4 and QuickTime files, without their media data.

Only box heads and the small `moov` box are ever held in memory; media data is streamed.
Source: ISO/IEC 14496-12 (ISO base media file format), section 4.2, and the QuickTime File Format
Specification ("Metadata", "User data atoms").
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from wiro_nb.media import MediaError

MAX_MOOV_BYTES = 64 * 2**20
MAX_BOXES = 100_000
"""Boxes at the top of a file or in its `moov`; hours of fragments stay far below."""
_CONTAINERS = frozenset({b"moov", b"udta", b"trak", b"mdia", b"minf", b"stbl", b"meta", b"ilst"})
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class BoxHead:
    """The position of a box in a file: four-letter type, first byte, header size, total size."""

    type: bytes
    start: int
    head_bytes: int
    size: int

    @property
    def end(self) -> int:
        """The first byte after the box."""
        return self.start + self.size


@dataclass(slots=True)
class Box:
    """A box in memory: either `children` or `payload` counts; `prefix` stands before children."""

    type: bytes
    payload: bytes = b""
    children: list[Box] | None = None
    prefix: bytes = b""

    def find(self, *path: bytes) -> Box | None:
        """Returns the first box at this path of types below this one, or None."""
        here: Box | None = self
        for name in path:
            here = next((child for child in (here.children or ()) if child.type == name), None) if here else None
        return here

    def all(self, name: bytes) -> list[Box]:
        """Returns the direct children of this type."""
        return [child for child in self.children or () if child.type == name]

    def add(self, child: Box) -> Box:
        """Adds a box at the end of the children and returns it."""
        self.children = [*(self.children or ()), child]
        return child

    def to_bytes(self) -> bytes:
        """Returns the serialised box."""
        body = self.payload
        if self.children is not None:
            body = self.prefix + b"".join(child.to_bytes() for child in self.children)
        return struct.pack(">I4s", 8 + len(body), self.type) + body


def read_heads(file: BinaryIO) -> Iterator[BoxHead]:
    """Yields the top-level boxes of a file in their order, reading only their heads.

    Raises:
        MediaError: After the whole boxes: the next one reaches past the end of the file or is smaller than its own
            head, or there are more than `MAX_BOXES`.
    """
    at, size = 0, file.seek(0, os.SEEK_END)
    for _ in range(MAX_BOXES):
        file.seek(at)
        raw = file.read(16)
        length, name = struct.unpack(">I4s", raw[:8]) if len(raw) >= 8 else (1, b"")
        head_bytes = 16 if length == 1 else 8
        if len(raw) < head_bytes:
            raise MediaError(f"the file ends inside the head of a box at byte {at}")
        if length < 2:
            length = int.from_bytes(raw[8:], "big") if length else size - at
        head = BoxHead(name, at, head_bytes, length)
        if head.size < head_bytes:
            raise MediaError(f"the box at byte {at} is smaller than its own head")
        if head.end > size:
            raise MediaError(f"the box at byte {at} reaches {head.end - size} bytes past the end")
        yield head
        at = head.end
        if at == size:
            return
    raise MediaError("it has too many boxes")


def read_box(file: BinaryIO, head: BoxHead) -> Box:
    """Returns a top-level box with its children.

    A container inside it whose content cannot be parsed is kept as plain bytes, so that writing it back
    changes nothing; only `moov` itself must parse.

    Raises:
        MediaError: It is larger than 64 MiB or cut, has more than `MAX_BOXES`, or is a `moov` that does not parse.
    """
    if head.size > MAX_MOOV_BYTES:
        raise MediaError(f"its {head.type.decode('latin-1')} box is too large to read")
    file.seek(head.start + head.head_bytes)
    payload = file.read(head.size - head.head_bytes)
    if len(payload) != head.size - head.head_bytes:
        raise MediaError("the file is cut")
    return _parse(head.type, payload, b"", 0, [MAX_BOXES])


def content_starts_with(file: BinaryIO, head: BoxHead, start: bytes) -> bool:
    """Returns whether the content of a top-level box begins with these bytes."""
    file.seek(head.start + head.head_bytes)
    return file.read(min(len(start), head.size - head.head_bytes)) == start


def _parse(name: bytes, payload: bytes, parent: bytes, depth: int, left: list[int]) -> Box:
    """Parses a box; `left` holds how many boxes may still follow."""
    if not (name in _CONTAINERS or parent == b"ilst") or depth == _MAX_DEPTH:
        return Box(name, payload)
    start = at = 4 if name == b"meta" and payload[4:8] != b"hdlr" else 0
    parts: list[tuple[bytes, bytes]] = []
    while at < len(payload):
        size, child = struct.unpack_from(">I4s", payload, at) if len(payload) - at >= 8 else (0, b"")
        if size < 8 or at + size > len(payload):  # also the zero that ends a list of user data
            if name == b"moov":
                raise MediaError("a box does not fit its container")
            return Box(name, payload)
        left[0] -= 1
        if left[0] < 0:
            raise MediaError("it has too many boxes")
        parts.append((child, payload[at + 8 : at + size]))
        at += size
    children = [_parse(child, content, name, depth + 1, left) for child, content in parts]
    return Box(name, children=children, prefix=payload[:start])
