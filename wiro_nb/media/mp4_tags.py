"""Text tags inside a `moov` box: metadata keys, tags as iTunes writes them, and QuickTime's user data.

Every text without one of the `marks` belongs to another program and is kept.
Source: the QuickTime File Format Specification, "Metadata" and "User data atoms".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from wiro_nb.media import KEYWORD, PARAMETERS, is_own, is_record
from wiro_nb.media.boxes import Box

_FREEFORM = b"----"
_ITEMS = {"comment": b"\xa9cmt", "album": b"\xa9alb", "synopsis": b"ldes"}
"""Names for a record, best first. ffmpeg copies the first two into MP4 and MOV, the third into MP4."""
_STANDARD_NAMES = {item.decode("latin-1"): name for name, item in _ITEMS.items()} | {
    "com.apple.quicktime.comment": "comment",
    "com.apple.quicktime.album": "album",
}
_TEXT = 1


class Tag(NamedTuple):
    """A text ("" for other data), its name ("comment" for comments of every kind), and the box that holds it."""

    name: str
    text: str
    box: Box


def read_tags(moov: Box) -> list[Tag]:
    """Returns all tags: keys first, then those of iTunes, then those of QuickTime's user data."""
    keyed = [tag for meta in _list_metas(moov) for tag in _read_keyed(meta)]
    listed = [tag for meta in _list_metas(moov) for tag in _read_listed(meta)]
    return [*keyed, *listed, *_read_user_data(moov)]


def set_texts(moov: Box, record: str, parameters: str = "") -> bool:
    """Writes texts into `moov`, replacing older ones of wiro_nb and keeping those of other programs.

    Args:
        moov: Changed in place.
        record: The text of a record.
        parameters: Settings as A1111 writes them, for a metadata key of that name; left out where another
            program has one, or `moov` has a list of another kind.

    Returns:
        False where no place for the record leaves everything else as it is; `moov` is then unchanged.
    """
    tags = read_tags(moov)
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
    item.children.append(Box(b"data", struct.pack(">II", _TEXT, 0) + text.encode()))


def _list_metas(moov: Box) -> list[Box]:
    return [meta for parent in (moov, *moov.all(b"udta")) for meta in parent.all(b"meta")]


def _has_handler(meta: Box, name: bytes) -> bool:
    handler = meta.find(b"hdlr")
    return handler is not None and handler.payload[8:12] == name


def _read_keyed(meta: Box) -> Iterator[Tag]:
    keys, items = meta.find(b"keys"), meta.find(b"ilst")
    if keys is None or items is None:
        return
    numbered = {item.type: item for item in reversed(items.children or ())}
    for number, key in enumerate(_read_keys(keys.payload), start=1):
        item = numbered.get(struct.pack(">I", number))
        if item is not None:
            yield Tag(_normal_name(key.decode("utf-8", "replace")), _read_text(item), item)


def _read_listed(meta: Box) -> Iterator[Tag]:
    items = meta.find(b"ilst")
    if items is None or meta.find(b"keys") is not None:
        return
    for item in items.children or ():
        label = item.find(b"name") if item.type == _FREEFORM else None
        name = label.payload[4:].decode("utf-8", "replace") if label else item.type.decode("latin-1")
        yield Tag(_normal_name(name), _read_text(item), item)


def _read_user_data(moov: Box) -> Iterator[Tag]:
    for user_data in moov.all(b"udta"):
        for box in user_data.children or ():
            if box.type[:1] == b"\xa9" and box.children is None and len(box.payload) >= 4:
                size = int.from_bytes(box.payload[:2], "big")
                text = box.payload[4 : 4 + size].decode("utf-8", "replace")
                yield Tag(_normal_name(box.type.decode("latin-1")), text, box)


def _read_text(item: Box) -> str:
    data = item.find(b"data")
    is_text = data is not None and data.payload[:4] in (b"\0\0\0\0", struct.pack(">I", _TEXT))
    return data.payload[8:].decode("utf-8", "replace") if data and is_text else ""


def _normal_name(name: str) -> str:
    return _STANDARD_NAMES.get(name, name)


def _read_keys(payload: bytes) -> list[bytes]:
    keys: list[bytes] = []
    at = 8
    while at + 8 <= len(payload):
        size = int.from_bytes(payload[at : at + 4], "big")
        if size < 8 or at + size > len(payload):
            break
        keys.append(payload[at + 8 : at + size])
        at += size
    return keys


def _add_key(moov: Box, name: str) -> Box | None:
    """Adds an item to a list with keys, as ffmpeg's `use_metadata_tags` and cameras write."""
    for meta in _list_metas(moov):
        keys, items = meta.find(b"keys"), meta.find(b"ilst")
        if keys is None or items is None or items.children is None or not _has_handler(meta, b"mdta"):
            continue
        names = _read_keys(keys.payload)
        count = struct.pack(">I", len(names))
        if keys.payload[4:8] != count or len(keys.payload) != 8 + sum(8 + len(key) for key in names):
            continue
        number = struct.pack(">I", len(names) + 1)
        key = struct.pack(">I4s", 8 + len(name), b"mdta") + name.encode()
        keys.payload = keys.payload[:4] + number + keys.payload[8:] + key
        item = Box(number, children=[])
        items.children.append(item)
        return item
    return None


def _add_key_list(moov: Box, name: str) -> Box | None:
    """Adds a list with one key to a `moov` that has no metadata of its own; that in its user data stays."""
    if moov.find(b"meta") is not None or moov.children is None:
        return None
    moov.children.append(_new_meta(b"mdta", b"\0" * 4, Box(b"keys", b"\0" * 8), Box(b"ilst", children=[])))
    return _add_key(moov, name)


def _add_item(moov: Box, name: str) -> Box | None:
    """Adds an item to `udta/meta/ilst`, and the boxes around it where there are none."""
    parents = [box for box in moov.all(b"udta") if box.children is not None]
    metas = [meta for parent in parents for meta in parent.all(b"meta")]
    meta = next((meta for meta in metas if _has_handler(meta, b"mdir")), None)
    if meta is None and metas:
        return None  # metadata of an unknown kind; user data may have one `meta` only
    item = Box(_ITEMS.get(name, _FREEFORM), children=[])
    if name not in _ITEMS:
        item.children = [Box(b"mean", b"\0\0\0\0com.apple.iTunes"), Box(b"name", b"\0\0\0\0" + name.encode())]
    items = meta.find(b"ilst") if meta else None
    if items is not None:
        if items.children is None:
            return None
        items.children.append(item)
        return item
    items = Box(b"ilst", children=[item])
    if meta is not None and meta.children is not None:
        meta.children.append(items)
        return item
    meta = _new_meta(b"mdir", b"appl", items)
    if parents and parents[0].children is not None:
        parents[0].children.append(meta)
    elif moov.children is not None:
        moov.children.append(Box(b"udta", children=[meta]))
    return item


def _new_meta(handler: bytes, maker: bytes, *boxes: Box) -> Box:
    head = Box(b"hdlr", struct.pack(">II4s4sIIB", 0, 0, handler, maker, 0, 0, 0))
    return Box(b"meta", children=[head, *boxes], prefix=b"\0\0\0\0")
