"""Reading and writing the box structure of MP4 and QuickTime files, without their media data.

Only box heads and the small `moov` box are ever held in memory; media data is streamed.
Source: ISO/IEC 14496-12 (ISO base media file format), section 4.2, and the QuickTime File Format
Specification ("Metadata", "User data atoms").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
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

    def to_bytes(self) -> bytes:
        """Returns the serialised box."""
        body = self.payload
        if self.children is not None:
            body = self.prefix + b"".join(child.to_bytes() for child in self.children)
        size = 8 + len(body)
        if size < 2**32:
            return struct.pack(">I4s", size, self.type) + body
        return struct.pack(">I4sQ", 1, self.type, size + 8) + body


@dataclass(slots=True)
class Layout:
    """The top-level boxes of a file, in order; `cut` says where it ends too early, "" for a whole file."""

    boxes: list[BoxHead] = field(default_factory=list)
    cut: str = ""

    def only(self, name: bytes) -> BoxHead | None:
        """Returns the box of this type when there is exactly one."""
        found = [box for box in self.boxes if box.type == name]
        return found[0] if len(found) == 1 else None


def read_layout(file: BinaryIO, size: int, *, may_be_cut: bool = False) -> Layout:
    """Returns the top-level boxes, reading only their heads.

    Args:
        file: Open for reading in binary.
        size: Bytes in the file.
        may_be_cut: True returns the whole boxes before the place where the file breaks off.

    Raises:
        MediaError: A box reaches past the end of the file, or is smaller than its own head.
    """
    layout = Layout()
    at = 0
    try:
        while at < size or not layout.boxes:
            layout.boxes.append(_read_head(file, at, size))
            at = layout.boxes[-1].end
            if len(layout.boxes) > MAX_BOXES:
                break
    except MediaError as error:
        if not may_be_cut:
            raise
        layout.cut = str(error)
    if len(layout.boxes) > MAX_BOXES:
        raise MediaError("it has too many boxes")
    return layout


def _read_head(file: BinaryIO, at: int, limit: int) -> BoxHead:
    file.seek(at)
    raw = file.read(16)
    size, name = struct.unpack(">I4s", raw[:8]) if len(raw) >= 8 else (1, b"")
    head_bytes = 16 if size == 1 else 8
    if len(raw) < head_bytes:
        raise MediaError(f"the file ends inside the head of a box at byte {at}")
    if size == 1:
        (size,) = struct.unpack(">Q", raw[8:])
    elif size == 0:
        size = limit - at
    if size < head_bytes:
        raise MediaError(f"the box at byte {at} is smaller than its own head")
    if at + size > limit:
        raise MediaError(f"the box at byte {at} reaches {at + size - limit} bytes past the end")
    return BoxHead(name, at, head_bytes, size)


def read_box(file: BinaryIO, head: BoxHead) -> Box:
    """Returns a top-level box with its children.

    Raises:
        MediaError: It is larger than 64 MiB, cut, or its children do not fill it.
    """
    if head.size > MAX_MOOV_BYTES:
        raise MediaError(f"its {head.type.decode('latin-1')} box is too large to read")
    file.seek(head.start + head.head_bytes)
    payload = file.read(head.size - head.head_bytes)
    if len(payload) != head.size - head.head_bytes:
        raise MediaError("the file is cut")
    return parse_box(head.type, payload)


def content_starts_with(file: BinaryIO, head: BoxHead, start: bytes) -> bool:
    """Returns whether the content of a top-level box begins with these bytes."""
    file.seek(head.start + head.head_bytes)
    return file.read(min(len(start), head.size - head.head_bytes)) == start


def parse_box(name: bytes, payload: bytes) -> Box:
    """Returns a box of this type, its children parsed where the type is a container.

    A container whose content cannot be parsed is kept as plain bytes, so that writing it back
    changes nothing; only `moov` itself must parse.

    Raises:
        MediaError: The `moov` box does not parse, or there are more than `MAX_BOXES`.
    """
    return _parse(name, payload, b"", 0, [MAX_BOXES])


def _parse(name: bytes, payload: bytes, parent: bytes, depth: int, left: list[int]) -> Box:
    is_container = (name in _CONTAINERS or parent == b"ilst") and depth < _MAX_DEPTH
    if not is_container:
        return Box(name, payload)
    start = 4 if name == b"meta" and payload[4:8] != b"hdlr" else 0
    try:
        parts = _split(payload, start, left)
    except _Unusual:
        if name == b"moov":
            raise
        return Box(name, payload)
    children = [_parse(child, payload[at:end], name, depth + 1, left) for child, at, end in parts]
    return Box(name, children=children, prefix=payload[:start])


class _Unusual(MediaError):
    """Box data that `Box.to_bytes` would not reproduce byte for byte."""


def _split(payload: bytes, at: int, left: list[int]) -> list[tuple[bytes, int, int]]:
    """Returns type, first byte of the content and end of each box; counts them down from `left`."""
    parts: list[tuple[bytes, int, int]] = []
    while at < len(payload):
        if len(payload) - at < 8:  # also the zero that ends a list of user data
            raise _Unusual("a box is cut")
        size, name = struct.unpack_from(">I4s", payload, at)
        if size < 8 or at + size > len(payload):
            raise _Unusual("a box does not fit its container")
        left[0] -= 1
        if left[0] < 0:
            raise MediaError("it has too many boxes")
        parts.append((name, at + 8, at + size))
        at += size
    return parts
