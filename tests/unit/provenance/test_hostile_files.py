"""Files from strangers cost bounded time and memory, and are refused in a sentence."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest

from wiro_nb.errors import BadRecord
from wiro_nb.media import KEYWORD, MediaError, decode, mp4, png
from wiro_nb.provenance.find import find_records, find_settings
from wiro_nb.reproduce.verify import scan_file, scan_text

MANY = 300_000


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


@pytest.fixture(autouse=True)
def five_seconds() -> object:
    begin = time.process_time()
    yield
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("unit", ["a.a.a.", "a://b:", "://", "/home/", "C:\\", "tasktoken", "a@", "x-api-key="])
def test_the_secret_scan_takes_time_in_proportion_to_the_text(unit: str) -> None:
    list(scan_text(unit * (200_000 // len(unit))))


@pytest.mark.parametrize(
    "moov",
    [
        box(b"free", b"") * MANY,
        box(b"udta", box(b"free", b"") * MANY),
        box(b"udta", box(b"meta", b"\0" * 4 + box(b"hdlr", b"\0" * 25) + box(b"ilst", box(b"abcd", b"") * MANY))),
    ],
    ids=["moov", "udta", "ilst"],
)
def test_a_clip_of_countless_boxes_is_refused(tmp_path: Path, moov: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", moov))
    with pytest.raises(MediaError, match="too many boxes"):
        mp4.read_tags(path)
    with pytest.raises(BadRecord, match="too many boxes"):
        find_records(path)
    assert decode.make_poster(path) is None


def test_a_file_of_countless_top_level_boxes_or_chunks_is_refused(tmp_path: Path) -> None:
    clip, picture = tmp_path / "a.mp4", tmp_path / "a.png"
    clip.write_bytes(box(b"ftyp", b"isom") + box(b"free", b"") * MANY)
    picture.write_bytes(png.SIGNATURE + (struct.pack(">I4s", 0, b"IDAT") + b"\0" * 4) * MANY)
    for path in (clip, picture):
        with pytest.raises(BadRecord, match="too many"):
            find_records(path)


def test_key_lists_with_many_comments_are_read_once(tmp_path: Path) -> None:
    keys = b"\0" * 8 + box(b"mdta", b"comment") * MANY
    items = box(b"ilst", box(b"abcd", b"") * 5000)
    path = tmp_path / "a.mp4"
    path.write_bytes(
        box(b"ftyp", b"isom") + box(b"moov", box(b"meta", box(b"hdlr", b"") + box(b"keys", keys) + items))
    )
    assert len(mp4.read_tags(path)) == 0


@pytest.mark.parametrize("name", ["run.json", "a.ipynb", "a.png"])
def test_a_record_of_gigabytes_is_refused_before_it_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        if name == "a.png":
            size = 3 * 2**30
            file.write(png.SIGNATURE + struct.pack(">I4s", size, b"iTXt") + KEYWORD.encode() + b"\0" * 5)
            file.seek(size + 16)
            file.write(b"\0" * 4 + struct.pack(">I4s", 0, b"IEND") + b"\0" * 4)
        os.truncate(path, 6 * 2**30)
    with pytest.raises(BadRecord, match="larger than"):
        find_records(path)
    assert scan_file(path) == []
    assert find_settings(path) is None
