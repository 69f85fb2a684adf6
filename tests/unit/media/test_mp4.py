"""Tags in real clips: moov first and last, keyed and listed tags, fragments, 64-bit boxes, cut files."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.provenance.clips import make_clip, media_data, metadata_of
from tests.unit.provenance.test_record import make_record
from wiro_nb.errors import BadRecord
from wiro_nb.files import hash_file, replace_file
from wiro_nb.media import MediaError, boxes, is_record, mp4, png
from wiro_nb.provenance.embed import Embedded, embed_record, read_embedded, write_texts

LAYOUTS = {
    "moov last": "",
    "moov first": "+faststart",
    "keyed tags": "+faststart+use_metadata_tags",
    "fragments": "frag_keyframe+empty_moov",
}


def record_text(path: Path) -> str | None:
    return next((text for _, text in mp4.read_tags(path) if is_record(text)), None)


def own_text(text: str) -> str:
    return json.dumps({"wiro_nb": text}, ensure_ascii=False)


@pytest.mark.parametrize("old", [None, "an older comment"])
@pytest.mark.parametrize("flags", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_tag_changes_nothing_but_the_tag(tmp_path: Path, flags: str, old: str | None) -> None:
    clip = make_clip(tmp_path / "a.mp4", flags=flags, comment=old)
    before = media_data(clip)
    for text in (own_text("long é😀 " * 500), own_text("short")):
        write_texts(clip, mp4, text)
        assert record_text(clip) == text
        assert media_data(clip) == before
        if flags != LAYOUTS["fragments"]:
            assert metadata_of(clip)["comment"] == (old or text)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


def test_a_clip_keeps_its_place_for_streaming(tmp_path: Path) -> None:
    """A clip whose index stands first, as browsers like it, still has it first with a tag."""
    clip = make_clip(tmp_path / "a.mp4", flags="+faststart")
    write_texts(clip, mp4, own_text("x" * 5000))
    with clip.open("rb") as file:
        names = [box.type for box in boxes.read_heads(file)]
    assert names.index(b"moov") < names.index(b"mdat")


def test_boxes_with_64_bit_sizes_are_read_and_kept(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", flags="")
    before = media_data(clip)
    raw = clip.read_bytes()
    with clip.open("rb") as file:
        (head,) = (box for box in boxes.read_heads(file) if box.type == b"mdat")
    if head.head_bytes == 8:
        # The eight bytes before mdat are a free box in files ffmpeg writes: the wide head takes their place.
        assert raw[head.start - 4 : head.start] == b"free"
        wide = struct.pack(">I4sQ", 1, b"mdat", head.size + 8)
        clip.write_bytes(raw[: head.start - 8] + wide + raw[head.start + 8 :])
    assert media_data(clip) == before
    write_texts(clip, mp4, own_text("tagged"))
    assert record_text(clip) == own_text("tagged")
    assert media_data(clip) == before


def test_facts_of_a_clip(tmp_path: Path) -> None:
    facts = mp4.probe_mp4(make_clip(tmp_path / "a.mp4", frames=12))
    assert facts == mp4.MediaInfo(width=64, height=48, duration_s=0.75, fps=16.0, frames=12)


@pytest.mark.parametrize("frames", [2, 3, 9, 17, 31, 32, 33])
def test_the_length_is_that_of_the_frames(tmp_path: Path, frames: int) -> None:
    """A track of reordered frames may say it is one frame longer than what it shows."""
    facts = mp4.probe_mp4(make_clip(tmp_path / "a.mp4", frames=frames, crf="24"))
    assert facts is not None
    assert (facts.frames, facts.fps) == (frames, 16.0)


def test_a_large_file_is_streamed(tmp_path: Path) -> None:
    """A 200 MB clip is tagged with a few megabytes of memory."""
    clip = make_clip(tmp_path / "a.mp4", flags="+faststart")
    with clip.open("ab") as file:
        file.write(struct.pack(">I4s", 200 * 2**20, b"free"))
        file.truncate(file.tell() + 200 * 2**20 - 8)
    tracemalloc.start()
    write_texts(clip, mp4, own_text("x" * 3000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert record_text(clip) == own_text("x" * 3000)
    assert peak < 8 * 2**20


def test_a_cut_clip_is_refused_and_left_alone(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "a.mp4", flags="+faststart").read_bytes()
    clip = tmp_path / "cut.mp4"
    for length in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        clip.write_bytes(whole[:length])
        with pytest.raises(MediaError):
            write_texts(clip, mp4, "x")
        assert clip.read_bytes() == whole[:length]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.mp4", "cut.mp4"]


@given(data=st.binary(max_size=300))
def test_random_bytes_never_break_the_reader(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "random.mp4"
    path.write_bytes(struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\0\0" + data)
    for read in (mp4.read_tags, mp4.probe_mp4):
        try:
            read(path)
        except MediaError:
            continue


@given(at=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_damaged_byte_never_breaks_the_writer(tmp_path: Path, at: int, value: int) -> None:
    """Either the tag is written and reads back, or the file is exactly as it was."""
    clip = tmp_path / "damaged.mp4"
    source = tmp_path / "source.mp4"
    if not source.exists():
        make_clip(source, flags="+faststart", comment="old", frames=3)
    raw = bytearray(source.read_bytes())
    raw[at % len(raw)] = value
    clip.write_bytes(raw)
    try:
        write_texts(clip, mp4, own_text("new"))
    except MediaError:
        assert clip.read_bytes() == bytes(raw)
    else:
        assert record_text(clip) == own_text("new")


BOX = st.recursive(
    st.builds(boxes.Box, st.sampled_from([b"free", b"skip", b"abcd", b"\xa9nam"]), st.binary(max_size=20)),
    lambda inner: st.builds(
        lambda name, children: boxes.Box(name, children=children, prefix=b"\0\0\0\0" if name == b"meta" else b""),
        st.sampled_from([b"udta", b"trak", b"meta"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


@given(st.lists(BOX, max_size=4))
def test_what_is_parsed_is_written_back_the_same(children: list[boxes.Box]) -> None:
    raw = boxes.Box(b"moov", children=children).to_bytes()
    (head,) = boxes.read_heads(io.BytesIO(raw))
    assert boxes.read_box(io.BytesIO(raw), head).to_bytes() == raw


def test_a_record_travels_inside_clip_and_picture(tmp_path: Path) -> None:
    from PIL import Image

    record = make_record()
    clip = make_clip(tmp_path / "a.mp4")
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    for path in (clip, picture):
        assert embed_record(path, record).problem == ""
        assert embed_record(path, record) == Embedded("", hash_file(path))
        assert read_embedded(path) == record
    with Image.open(picture) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
        assert "wiro_nb" in image.text  # type: ignore[attr-defined]
    assert picture.read_bytes().count(b"iTXt") == 2  # the record, XMP
    assert picture.read_bytes().count(b"tEXtparameters\0") == 1


def test_a_file_deleted_while_it_is_written_stays_deleted(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with pytest.raises(FileNotFoundError):
        replace_file(path, lambda file: (file.write(b"new"), path.unlink()))
    assert list(tmp_path.iterdir()) == []
    replace_file(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    path.chmod(0o600)
    replace_file(path, lambda file: file.write(b"newer"))
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"newer", 0o600)


def test_files_without_room_say_so(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(b"hello there, this is text")
    assert "no record" in embed_record(text, make_record()).problem
    clip = tmp_path / "cut.mp4"
    clip.write_bytes(make_clip(tmp_path / "a.mp4").read_bytes()[:-20])
    assert "left as it came" in embed_record(clip, make_record()).problem


def test_a_clip_without_record_says_what_to_do(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", comment="somebody else's words")
    with pytest.raises(BadRecord) as caught:
        read_embedded(clip)
    assert caught.value.reason == "none"
    assert caught.value.hint


def test_a_cut_picture_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    raw = picture.read_bytes()
    picture.write_bytes(raw[:-6])
    with pytest.raises(MediaError):
        write_texts(picture, png, "x")
    assert picture.read_bytes() == raw[:-6]


def test_a_clip_that_broke_off_behind_its_record_still_tells_it(tmp_path: Path) -> None:
    clip, record = make_clip(tmp_path / "a.mp4", flags="+faststart"), make_record()
    assert embed_record(clip, record).problem == ""
    with clip.open("rb") as file:
        (media,) = (box for box in boxes.read_heads(file) if box.type == b"mdat")
    whole = clip.read_bytes()
    clip.write_bytes(whole[: media.start + 20])
    assert read_embedded(clip) == record
    clip.write_bytes(whole[: media.start - 20])
    with pytest.raises(BadRecord, match="past the end"):
        read_embedded(clip)
