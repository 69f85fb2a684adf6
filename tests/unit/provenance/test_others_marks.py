"""What others wrote into a clip stays: credentials, comments, keys; and our record is found beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.provenance.clips import make_clip, media_data, metadata_of
from tests.unit.provenance.signing import read_state, sign_clip
from tests.unit.provenance.test_hostile_files import box
from tests.unit.provenance.test_record import make_record
from wiro_nb.errors import BadRecord
from wiro_nb.files import hash_file
from wiro_nb.media import mp4
from wiro_nb.media.boxes import Box
from wiro_nb.provenance.embed import Embedded, embed_record, hash_media, read_embedded
from wiro_nb.sandbox.engines import Job, Progress
from wiro_nb.sandbox.engines.placeholder import PlaceholderEngine

COMFY = {"workflow": '{"nodes": []}', "prompt": '{"3": {"class_type": "KSampler"}}'}
KEYS = "+use_metadata_tags"
FLAGS = {
    "moov last": "",
    "moov first": "+faststart",
    "keys": KEYS,
    "keys, moov first": "+faststart+use_metadata_tags",
}


def embed_twice(clip: Path) -> None:
    """Embeds a record in place of an older one, and checks that it is found and that the media stays."""
    media, hashed = media_data(clip), hash_media(clip)
    assert embed_record(clip, make_record(parameters={"prompt": "an older one"})).problem == ""
    size = clip.stat().st_size
    record = make_record(parameters={"prompt": "a longer one 😀 " * 40})
    for _ in range(2):
        assert embed_record(clip, record) == Embedded("", hash_file(clip))
        assert read_embedded(clip) == record
    assert (media_data(clip), hash_media(clip)) == (media, hashed)
    assert clip.read_bytes().count(b'{"wiro_nb":{') == 1
    assert clip.stat().st_size < size + 1000


def remux(clip: Path, target: Path, *, flags: str = "") -> Path:
    """Copies the streams into another container, as `ffmpeg -c copy` does."""
    options = {"movflags": flags} if flags else {}
    with av.open(str(clip)) as source, av.open(str(target), "w", options=options) as copy:
        copy.metadata.update(source.metadata)
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return target


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    pytest.importorskip("c2pa", reason="pip install c2pa-python")
    folder = tmp_path_factory.mktemp("signed")

    async def report(progress: Progress) -> None: ...

    request = {"prompt": "snow in the city", "width": 96, "height": 64, "frames": 5, "steps": 2, "seed": 1}
    job = Job("1", "some/model", "clip", request, {}, folder)
    asyncio.run(PlaceholderEngine().run(job, report))
    (clip,) = folder.glob("*.mp4")
    return sign_clip(clip, folder / "signed.mp4").read_bytes()


def test_credentials_hold_with_a_record_in_the_clip(tmp_path: Path, signed: bytes) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes(signed)
    assert read_state(clip) == "Valid"
    embed_twice(clip)
    assert read_state(clip) == "Valid"
    assert clip.read_bytes().startswith(signed)


@pytest.mark.parametrize("name", [b"jumb", b"uuid", b"meta", b"abcd"])
def test_a_clip_with_unknown_boxes_stays_the_same_up_to_its_end(tmp_path: Path, name: bytes) -> None:
    clip = make_clip(tmp_path / "a.mp4", comment="theirs")
    with clip.open("ab") as file:
        file.write(box(name, b"\1" * 40))
    before = clip.read_bytes()
    embed_twice(clip)
    assert clip.read_bytes().startswith(before)
    assert clip.read_bytes()[len(before) + 4 :].startswith(b"free")


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS.keys())
@pytest.mark.parametrize("comment", [None, "theirs"])
def test_comments_and_keys_of_others_stay(tmp_path: Path, suffix: str, flags: str, comment: str | None) -> None:
    theirs = COMFY | {"title": "a title"} | ({"comment": comment} if comment else {})
    clip = make_clip(tmp_path / f"a{suffix}", flags=flags, tags=theirs)
    kept = metadata_of(clip)
    assert ("workflow" in kept) == ("use_metadata_tags" in flags)
    embed_twice(clip)
    assert metadata_of(clip).items() >= kept.items()
    again = tmp_path / "again.mkv"
    assert read_embedded(remux(clip, again)) == read_embedded(clip)
    assert metadata_of(again).get("COMMENT", "theirs") == comment or comment is None


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm.mkv"])
def test_a_record_is_found_after_a_remux(tmp_path: Path, suffix: str) -> None:
    record = make_record()
    for name, flags in FLAGS.items():
        clip = make_clip(tmp_path / f"{name}.mp4", flags=flags, tags=COMFY)
        assert embed_record(clip, record).problem == ""
        copy = remux(clip, tmp_path / f"{name} copy{suffix}")
        assert read_embedded(copy) == record
        if suffix in (".mp4", ".mov"):
            embed_twice(copy)


@pytest.mark.parametrize(("suffix", "copy_flags"), [(".mp4", ""), (".mp4", KEYS), (".mov", KEYS), (".mkv", "")])
@pytest.mark.parametrize("flags", ["", KEYS])
@pytest.mark.parametrize("tags", [{"comment": "theirs"}, {"comment": "theirs", "synopsis": "a story"}])
def test_a_record_beside_a_comment_survives_a_remux(
    tmp_path: Path, suffix: str, copy_flags: str, flags: str, tags: dict[str, str]
) -> None:
    """It is the synopsis then, which ffmpeg keeps in MP4; with both taken it is where all names are kept."""
    clip = make_clip(tmp_path / "a.mp4", tags=tags, flags=flags)
    embed_twice(clip)
    copy = remux(clip, tmp_path / f"copy{suffix}", flags=copy_flags)
    assert {name.lower(): text for name, text in metadata_of(copy).items()}.items() >= tags.items()
    if "synopsis" in tags and not copy_flags and suffix == ".mp4":
        with pytest.raises(BadRecord, match="no run record"):
            read_embedded(copy)
    else:
        assert read_embedded(copy) == read_embedded(clip)


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


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
