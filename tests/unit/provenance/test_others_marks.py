"""What others wrote into a clip stays: credentials, comments, keys; and our record is found beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.provenance.clips import GRAPH, make_clip, media_data, metadata_of, remux
from tests.unit.provenance.signing import read_state, sign_clip
from tests.unit.provenance.test_hostile_files import box
from tests.unit.provenance.test_record import make_record
from wiro_nb.errors import BadRecord
from wiro_nb.files import hash_file
from wiro_nb.media import mp4
from wiro_nb.media.boxes import Box
from wiro_nb.provenance.embed import Embedded, embed_record, hash_media, read_embedded, read_texts
from wiro_nb.provenance.made_by import read_settings
from wiro_nb.sandbox.engines import Job, Progress
from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine

KEYS = "+use_metadata_tags"
COMFY = {"workflow": '{"nodes": []}', "prompt": json.dumps(GRAPH)}
ALL = (".mp4", ".mov", ".mkv", ".webm.mkv")
PARAMETERS = (
    "a fox in snow\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 3, Size: 64x48"
)
CODECS = {".webm": "libvpx"}


class Origin(NamedTuple):
    """Who wrote a clip: its type, tags and flags; and where its record is found after a plain stream copy.

    `galleries` is what programs that know `parameters` read afterwards: "ours", "theirs" or "" for nothing.
    """

    suffix: str
    tags: dict[str, str]
    flags: str = ""
    copies: Sequence[str] = ALL
    galleries: str = "ours"


ORIGINS = {
    "ffmpeg": Origin(".mp4", {"title": "a title"}),
    "ffmpeg, moov first": Origin(".mp4", {"title": "a title"}, "+faststart"),
    "ComfyUI": Origin(".mp4", COMFY, KEYS, galleries=""),
    "ComfyUI, moov first": Origin(".mp4", COMFY, f"{KEYS}+faststart", galleries=""),
    "VideoHelperSuite": Origin(".mp4", {"comment": json.dumps(COMFY)}, galleries=""),
    "A1111, comment": Origin(".mp4", {"comment": PARAMETERS}, galleries=""),
    "A1111, key": Origin(".mp4", {"parameters": PARAMETERS}, KEYS, galleries="theirs"),
    "comment, album": Origin(
        ".mp4", {"comment": "theirs", "album": "a set"}, copies=(".mp4", ".mkv", ".webm.mkv")
    ),
    "comment, album, synopsis": Origin(
        ".mp4", {"comment": "theirs", "album": "a set", "synopsis": "a story"}, copies=(".mkv", ".webm.mkv")
    ),
    "fragmented": Origin(".mp4", {"title": "a title"}, "frag_keyframe+empty_moov", (), ""),
    "MOV": Origin(".mov", {"title": "a title"}),
    "MOV, comment": Origin(".mov", {"comment": "theirs"}),
    "MOV, keys": Origin(".mov", COMFY | {"comment": "theirs"}, KEYS, galleries=""),
    "Matroska": Origin(".mkv", {"COMMENT": PARAMETERS}, copies=(), galleries=""),
    "WebM": Origin(".webm", {"COMMENT": PARAMETERS}, copies=(), galleries=""),
    "signed": Origin(".mp4", {}, copies=(), galleries=""),
}


def embed_twice(clip: Path) -> None:
    """Embeds a record in place of an older one, and checks that it is found and that the media stays."""
    media, hashed = media_data(clip), hash_media(clip)
    assert embed_record(clip, make_record(parameters={"prompt": "an older one"})).problem == ""
    size = clip.stat().st_size
    record = make_record(parameters={"prompt": "a longer one 😀 " * 20, "steps": 16})
    for _ in range(2):
        assert embed_record(clip, record) == Embedded("", hash_file(clip))
        assert read_embedded(clip) == record
    assert (media_data(clip), hash_media(clip)) == (media, hashed)
    assert clip.read_bytes().count(b'{"wiro_nb":{') == 1
    assert clip.stat().st_size < size + 1000


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("c2pa", reason="pip install c2pa-python")
    folder = tmp_path_factory.mktemp("signed")

    async def report(progress: Progress) -> None: ...

    request = {"prompt": "snow in the city", "width": 96, "height": 64, "frames": 5, "steps": 2, "seed": 1}
    job = Job("some/model", "clip", request, {}, folder)
    asyncio.run(PlaceholderEngine().run(job, report))
    (clip,) = folder.glob("*.mp4")
    return sign_clip(clip, folder / "signed.mp4").read_bytes()


@pytest.mark.parametrize("name", ORIGINS)
def test_a_saved_clip_keeps_what_others_wrote(tmp_path: Path, request: pytest.FixtureRequest, name: str) -> None:
    origin = ORIGINS[name]
    clip = tmp_path / f"a{origin.suffix}"
    if name == "signed":
        clip.write_bytes(request.getfixturevalue("signed"))
    else:
        make_clip(clip, tags=origin.tags, flags=origin.flags, codec=CODECS.get(origin.suffix, "libx264"))
    before, kept, settings = clip.read_bytes(), metadata_of(clip), read_settings(read_texts(clip))
    assert kept.items() >= origin.tags.items()
    if origin.suffix in (".mkv", ".webm"):
        assert embed_record(clip, make_record()).problem == "files of this type carry no record"
        assert clip.read_bytes() == before
        return
    embed_twice(clip)
    after = metadata_of(clip)
    assert after.items() >= kept.items()
    assert settings is None or read_settings(read_texts(clip)) == settings
    text = after.get("parameters", "")
    assert {"": "", PARAMETERS: "theirs"}.get(text, "ours") == origin.galleries
    assert ("wiro_nb" in text) == (origin.galleries == "ours")
    if name in ("signed", "fragmented"):
        assert clip.read_bytes().startswith(before)
    if name == "signed":
        assert read_state(clip) == "Valid"
    for suffix in ALL:
        copy = remux(clip, tmp_path / f"copy{suffix}")
        if suffix in origin.copies:
            assert read_embedded(copy) == read_embedded(clip), suffix
            if suffix in (".mp4", ".mov"):
                embed_twice(copy)
        else:
            with pytest.raises(BadRecord, match="no run record"):
                read_embedded(copy)
    if origin.copies:
        assert read_embedded(remux(clip, tmp_path / "keys.mp4", flags=KEYS)) == read_embedded(clip)


@pytest.mark.parametrize("name", [b"jumb", b"uuid", b"meta", b"abcd"])
def test_a_clip_with_unknown_boxes_stays_the_same_up_to_its_end(tmp_path: Path, name: bytes) -> None:
    clip = make_clip(tmp_path / "a.mp4", comment="theirs")
    with clip.open("ab") as file:
        file.write(box(name, b"\1" * 40))
    before = clip.read_bytes()
    embed_twice(clip)
    assert clip.read_bytes().startswith(before)
    assert clip.read_bytes()[len(before) + 4 :].startswith(b"free")


def test_a_moov_without_room_for_both_gets_a_box_at_the_end(tmp_path: Path) -> None:
    """A second `meta` box in the user data would hide the first, whose kind is unknown."""
    clip = make_clip(tmp_path / "a.mp4", comment="theirs")
    assert clip.read_bytes().count(b"mdirappl") == 1
    clip.write_bytes(clip.read_bytes().replace(b"mdirappl", b"abcdappl"))
    before = clip.read_bytes()
    embed_twice(clip)
    assert clip.read_bytes().startswith(before)


def test_records_of_older_versions_are_still_read(tmp_path: Path) -> None:
    record = make_record()
    clip = make_clip(tmp_path / "a.mp4", flags="frag_keyframe+empty_moov")
    embed_record(clip, record)
    raw = clip.read_bytes()
    at = raw.rindex(b"free")
    clip.write_bytes(raw[:at] + b"uuid" + raw[at + 4 :])
    assert read_embedded(clip) == record
    embed_twice(clip)


def test_a_last_box_without_size_takes_no_record(tmp_path: Path) -> None:
    """Nothing can stand behind a box that reaches to the end of the file."""
    clip = make_clip(tmp_path / "a.mp4", flags="+faststart")
    clip.write_bytes(clip.read_bytes() + Box(b"abcd", b"open").to_bytes().replace(b"\0\0\0\x0c", b"\0\0\0\0"))
    before = clip.read_bytes()
    assert "left as it came" in embed_record(clip, make_record()).problem
    assert clip.read_bytes() == before
    assert mp4.probe_mp4(clip) is not None


def element(kind: str, body: bytes) -> bytes:
    return bytes.fromhex(kind) + (len(body) | 1 << 56).to_bytes(8, "big") + body


@pytest.mark.parametrize(
    "body",
    [element("ec", b"") * 300_000, (bytes.fromhex("67c8") + b"\x01" + b"\0" * 7) * 300_000],
    ids=["countless", "nested"],
)
def test_a_matroska_file_of_countless_elements_is_refused(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(element("1a45dfa3", b"") + element("18538067", body))
    with pytest.raises(BadRecord, match="too many elements"):
        read_embedded(path)


def test_matroska_tags_of_gigabytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(element("1a45dfa3", b"") + bytes.fromhex("4487") + (2**31 | 1 << 56).to_bytes(8, "big"))
    os.truncate(path, 2**32)
    with pytest.raises(BadRecord, match="too large"):
        read_embedded(path)


@given(at=st.integers(0, 5000), value=st.integers(0, 255), suffix=st.sampled_from([".mkv", ".mov"]))
def test_a_damaged_byte_never_breaks_the_readers(tmp_path: Path, at: int, value: int, suffix: str) -> None:
    source = tmp_path / f"source{suffix}"
    if not source.exists():
        embed_record(make_clip(tmp_path / "a.mp4", tags=COMFY), make_record())
        remux(tmp_path / "a.mp4", source)
    raw = bytearray(source.read_bytes())
    raw[-1 - at % len(raw)] = value
    clip = tmp_path / f"damaged{suffix}"
    clip.write_bytes(raw)
    with contextlib.suppress(BadRecord):
        read_embedded(clip)
