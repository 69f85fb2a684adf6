"""Reads the properties and text tags of an MP4 and writes its comment, using only the standard library.

Texts stand in metadata keys, in tags as iTunes writes them, and in QuickTime's user data;
those of other programs are kept.
Source: ISO/IEC 14496-12 sections 8.1 to 8.7; the QuickTime File Format Specification, "Metadata" and "User data
atoms".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from wiro_nb.media import KEYWORD, PARAMETERS, XMP_MARK, MediaError, is_own, is_record
from wiro_nb.media.boxes import MAX_MOOV_BYTES, Box, BoxHead, content_starts_with, read_box, read_heads

OWN_BOX = bytes.fromhex("f51c5a1e8b0e4d0c9d0a7769726f6e62")
"""First bytes of a text in a `free` box at the end of a file; older versions wrote a `uuid` box of this type."""

C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")

_PLAIN_BOXES = frozenset({b"ftyp", b"styp", b"pdin", b"moov", b"mdat", b"free", b"skip", b"wide"})
"""Top-level boxes that name no position in the file and vouch for no bytes of it, `moov` apart."""

_COPY_BYTES = 1 << 20

_FREEFORM = b"----"
_ITEMS = {"comment": b"\xa9cmt", "album": b"\xa9alb", "synopsis": b"ldes"}
"""Names for a record, best first. ffmpeg copies the first two into MP4 and MOV, the third into MP4."""
_STANDARD_NAMES = {item.decode("latin-1"): name for name, item in _ITEMS.items()} | {
    "com.apple.quicktime.comment": "comment",
    "com.apple.quicktime.album": "album",
}
_TEXT = struct.pack(">I", 1)
"""The type of a text's data; that of other programs may be 0."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a clip is: pixels, seconds, frames a second, frame count; None where it does not say."""

    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    fps: float | None = None
    frames: int | None = None


def probe_mp4(path: Path) -> MediaInfo | None:
    """Returns the facts of the first video track, or None when there is none.

    Raises:
        MediaError: The file is cut or not an MP4.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        moov = _read_moov(file)[1]
    for track in moov.all(b"trak"):
        if _has_handler(track.find(b"mdia"), b"vide"):
            try:
                return _describe_track(track)
            except struct.error:
                raise MediaError("a box is cut") from None
    return None


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Returns all texts beside the media with their names, such as "comment"; a text at the end comes first.

    A clip truncated after its `moov`, for example by an interrupted copy, still has these texts.

    Raises:
        MediaError: The file is not an MP4, or cut so that its `moov` is gone.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        heads, moov = _read_moov(file, may_be_cut=True)
        tags = [(tag.name, tag.text) for tag in _read_tags(moov) if tag.text]
        own = next((head for head in reversed(heads) if _is_own_box(file, head)), None)
        if own is not None:
            start = own.head_bytes + len(OWN_BOX)
            file.seek(own.start + start)
            text = file.read(min(own.size - start, MAX_MOOV_BYTES)).decode("utf-8", "replace")
            tags.insert(0, (KEYWORD, text))
    return tags


def copy_with_texts(source: BinaryIO, target: BinaryIO, text: str, xmp: str, parameters: str) -> None:
    """Copies an MP4 or QuickTime file and adds texts beside the media; other programs' texts are unchanged.

    The text becomes the comment; where another program's comment stands, the album, the synopsis, or a tag called
    "wiro_nb". Where `moov` has no place for it, or other boxes may depend on the file's bytes (fragments, Content
    Credentials, unknown ones), it goes into a `free` box at the end of the file, before which no byte changes.

    Args:
        source: The file.
        target: Where the copy is written.
        text: JSON that begins with the key "wiro_nb"; it takes the place of an older one.
        xmp: XMP with `media.XMP_MARK`, added where the file has no other box that may depend on its bytes.
        parameters: Settings with `media.PARAMETERS_MARK`, added where the text goes into `moov`.

    Raises:
        MediaError: The file is cut or not an MP4.
    """
    heads, moov = _read_moov(source)
    while _is_own_box(source, heads[-1]) or _is_own_xmp(source, heads[-1]):
        heads.pop()
    is_plain = all(head.type in _PLAIN_BOXES and not _is_own_box(source, head) for head in heads)
    changed, added = b"", Box(b"free", OWN_BOX + text.encode()).to_bytes()
    if is_plain and _set_texts(moov, text, parameters):
        place = next(head for head in heads if head.type == b"moov")
        _shift_chunks(moov, after=place.start, by=len(moov.to_bytes()) - place.size)
        changed, added = moov.to_bytes(), Box(b"uuid", _XMP_BOX + xmp.encode()).to_bytes() if xmp else b""
    for head in heads:
        is_changed = changed and head.type == b"moov"
        target.writelines([changed] if is_changed else _read_range(source, head.start, head.size))
    target.write(added)


def has_credentials(file: BinaryIO) -> bool:
    """True where a file carries a C2PA manifest; one that breaks off is read up to there.

    Source: C2PA Technical Specification, "Embedding manifests into BMFF-based assets".

    Raises:
        MediaError: There is none up to the place where the file is damaged.
    """
    return any(
        head.type == b"jumb" or (head.type == b"uuid" and content_starts_with(file, head, C2PA_BOX))
        for head in read_heads(file)
    )


def read_media(file: BinaryIO) -> Iterator[bytes]:
    """Yields the content of a file's `mdat` boxes in parts.

    Raises:
        MediaError: The file is cut or not an MP4.
    """
    for head in read_heads(file):
        if head.type == b"mdat":
            yield from _read_range(file, head.start + head.head_bytes, head.size - head.head_bytes)


def _read_moov(file: BinaryIO, *, may_be_cut: bool = False) -> tuple[list[BoxHead], Box]:
    """Returns the top-level boxes and the `moov`; with `may_be_cut` also where the file breaks off behind it."""
    heads: list[BoxHead] = []
    problem = MediaError("it has no single moov box, so it is not a whole MP4")
    try:
        for head in read_heads(file):
            heads.append(head)
    except MediaError as error:
        if not may_be_cut:
            raise
        problem = error
    moovs = [head for head in heads if head.type == b"moov"]
    if len(moovs) != 1:
        raise problem
    return heads, read_box(file, moovs[0])


def _is_own_box(file: BinaryIO, head: BoxHead) -> bool:
    return head.type in (b"free", b"uuid") and content_starts_with(file, head, OWN_BOX)


def _is_own_xmp(file: BinaryIO, head: BoxHead) -> bool:
    if head.type != b"uuid" or head.size > MAX_MOOV_BYTES or not content_starts_with(file, head, _XMP_BOX):
        return False
    return XMP_MARK.encode() in file.read(head.end - file.tell())


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
            letter = {b"stco": "I", b"co64": "Q"}.get(child.type)
            if letter is None:
                continue
            try:
                (count,) = struct.unpack_from(">I", child.payload, 4)
                shape = f">{count}{letter}"
                places = struct.unpack_from(shape, child.payload, 8)
            except struct.error:
                raise MediaError("a table of chunk positions is cut") from None
            moved = [place + by if place > after else place for place in places]
            if letter == "I" and moved and max(moved) >= 2**32:
                raise MediaError("it is too large for a tag before its media data")
            end = 8 + struct.calcsize(shape)
            child.payload = child.payload[:8] + struct.pack(shape, *moved) + child.payload[end:]


def _describe_track(track: Box) -> MediaInfo:
    head, media = track.find(b"tkhd"), track.find(b"mdia", b"mdhd")
    times = track.find(b"mdia", b"minf", b"stbl", b"stts")
    width = height = scale = length = frames = shown = 0
    if head and len(head.payload) >= 8:
        width, height = (value >> 16 for value in struct.unpack(">II", head.payload[-8:]))
    if media and media.payload:
        is_wide = media.payload[0] == 1
        scale, length = struct.unpack_from(">IQ" if is_wide else ">II", media.payload, 20 if is_wide else 12)
    if times:
        (count,) = struct.unpack_from(">I", times.payload, 4)
        whole = (len(times.payload) - 8) // 8
        for samples, each in struct.iter_unpack(">II", times.payload[8 : 8 + min(count, whole) * 8]):
            frames, shown = frames + samples, shown + samples * each
    # The table of times has the shown duration; writers of reordered frames may name a longer track.
    duration = (shown or length) / scale if scale else 0
    return MediaInfo(
        width=width or None,
        height=height or None,
        duration_s=round(duration, 6) if duration else None,
        fps=round(frames / duration, 3) if duration and frames else None,
        frames=frames or None,
    )


# Text tags -----------------------------------------------------------------------------------


class _Tag(NamedTuple):
    """A text ("" for other data), its name ("comment" for comments of every kind), and the box that holds it."""

    name: str
    text: str
    box: Box


def _read_tags(moov: Box) -> list[_Tag]:
    """Returns all tags: keys first, then those of iTunes, then those of QuickTime's user data."""
    metas = sorted(_list_metas(moov), key=lambda meta: meta.find(b"keys") is None)
    tags = [tag for meta in metas for tag in _read_items(meta)]
    for box in (child for user_data in moov.all(b"udta") for child in user_data.children or ()):
        if box.type[:1] == b"\xa9" and box.children is None and len(box.payload) >= 4:
            size = int.from_bytes(box.payload[:2], "big")
            tags.append(_tag(box.type.decode("latin-1"), box.payload[4 : 4 + size], box))
    return tags


def _read_items(meta: Box) -> Iterator[_Tag]:
    """Yields the items of a list with keys, or of one as iTunes writes it."""
    keys, items = meta.find(b"keys"), meta.find(b"ilst")
    names = {struct.pack(">I", number): key for number, key in enumerate(_read_keys(keys), start=1)}
    for item in (items.children if items else None) or ():
        label = item.find(b"name") if item.type == _FREEFORM else None
        name = label.payload[4:].decode("utf-8", "replace") if label else item.type.decode("latin-1")
        if keys is not None:
            if item.type not in names:
                continue
            name = names.pop(item.type).decode("utf-8", "replace")
        data = item.find(b"data")
        is_text = data is not None and data.payload[:4] in (b"\0\0\0\0", _TEXT)
        yield _tag(name, data.payload[8:] if data and is_text else b"", item)


def _tag(name: str, text: bytes, box: Box) -> _Tag:
    return _Tag(_STANDARD_NAMES.get(name, name), text.decode("utf-8", "replace"), box)


def _read_keys(box: Box | None) -> list[bytes]:
    keys: list[bytes] = []
    payload, at = box.payload if box else b"", 8
    while at + 8 <= len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        if size < 8 or at + size > len(payload):
            break
        keys.append(payload[at + 8 : at + size])
        at += size
    return keys


def _list_metas(moov: Box) -> list[Box]:
    return [meta for parent in (moov, *moov.all(b"udta")) for meta in parent.all(b"meta")]


def _has_handler(box: Box | None, name: bytes) -> bool:
    handler = box.find(b"hdlr") if box else None
    return handler is not None and handler.payload[8:12] == name


def _set_texts(moov: Box, record: str, parameters: str) -> bool:
    """Writes texts into `moov`, replacing older ones of wiro_nb and keeping those of other programs.

    Args:
        moov: Changed in place.
        record: The text of a record.
        parameters: Settings as A1111 writes them, for a metadata key of that name; left out where another
            program has one, or `moov` has a list of another kind.

    Returns:
        False where no place for the record leaves everything else as it is; `moov` is then unchanged.
    """
    tags = _read_tags(moov)
    taken = {tag.name for tag in tags if not is_record(tag.text)}
    own = [tag for tag in tags if is_own(tag.name, tag.text) and tag.box.children is not None]
    name = next((name for name in _ITEMS if name not in taken), KEYWORD)
    item = next((tag.box for tag in own if is_record(tag.text)), None) or _add_key(moov, name)
    item = item or _add_item(moov, name)
    if item is None:
        return False
    _set_data(item, record)
    settings = next((tag.box for tag in own if tag.name == PARAMETERS), None)
    if settings is None and parameters and PARAMETERS not in taken:
        settings = _add_key(moov, PARAMETERS) or _add_key_list(moov, PARAMETERS)
    if settings is not None:
        _set_data(settings, parameters)
    outdated = {id(tag.box) for tag in tags if is_record(tag.text) and tag.box.children is None}
    for user_data in moov.all(b"udta"):
        if user_data.children is not None:
            user_data.children = [child for child in user_data.children if id(child) not in outdated]
    return True


def _set_data(item: Box, text: str) -> None:
    item.children = [child for child in item.children or () if child.type != b"data"]
    item.add(Box(b"data", _TEXT + b"\0" * 4 + text.encode()))


def _add_key(moov: Box, name: str) -> Box | None:
    """Adds an item to a list with keys, as ffmpeg's `use_metadata_tags` and cameras write."""
    for meta in _list_metas(moov):
        keys, items = meta.find(b"keys"), meta.find(b"ilst")
        if keys is None or items is None or items.children is None or not _has_handler(meta, b"mdta"):
            continue
        names = _read_keys(keys)
        count = struct.pack(">I", len(names))
        if keys.payload[4:8] != count or len(keys.payload) != 8 + sum(8 + len(key) for key in names):
            continue
        number = struct.pack(">I", len(names) + 1)
        key = struct.pack(">I4s", 8 + len(name), b"mdta") + name.encode()
        keys.payload = keys.payload[:4] + number + keys.payload[8:] + key
        return items.add(Box(number, children=[]))
    return None


def _add_key_list(moov: Box, name: str) -> Box | None:
    """Adds a list with one key to a `moov` that has no metadata of its own; that in its user data stays."""
    if moov.find(b"meta") is not None:
        return None
    moov.add(_new_meta(b"mdta", b"\0" * 4, Box(b"keys", b"\0" * 8), Box(b"ilst", children=[])))
    return _add_key(moov, name)


def _add_item(moov: Box, name: str) -> Box | None:
    """Adds an item to `udta/meta/ilst`, and the boxes around it where there are none."""
    parents = [box for box in moov.all(b"udta") if box.children is not None]
    metas = [meta for parent in parents for meta in parent.all(b"meta")]
    meta = next((meta for meta in metas if _has_handler(meta, b"mdir")), None)
    if meta is None:
        if metas:
            return None  # metadata of an unknown kind; user data may have one `meta` only
        parent = parents[0] if parents else moov.add(Box(b"udta"))
        meta = parent.add(_new_meta(b"mdir", b"appl"))
    items = meta.find(b"ilst") or meta.add(Box(b"ilst", children=[]))
    if items.children is None:
        return None
    item = items.add(Box(_ITEMS.get(name, _FREEFORM), children=[]))
    if name not in _ITEMS:
        item.children = [Box(b"mean", b"\0\0\0\0com.apple.iTunes"), Box(b"name", b"\0\0\0\0" + name.encode())]
    return item


def _new_meta(handler: bytes, maker: bytes, *boxes: Box) -> Box:
    head = Box(b"hdlr", struct.pack(">II4s4sIIB", 0, 0, handler, maker, 0, 0, 0))
    return Box(b"meta", children=[head, *boxes], prefix=b"\0\0\0\0")
