"""Files are known by their bytes; posters are small and not black; without decoders nothing breaks."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wiro_nb.errors import InvalidFile, MissingExtra
from wiro_nb.media import decode
from wiro_nb.media.sniffing import image_size, sniff

FPS = 8


def make_clip(path: Path, levels: list[int], size: tuple[int, int] = (640, 360)) -> Path:
    """A clip of flat grey frames, one of each level."""
    codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for level in levels:
            pixels = np.full((size[1], size[0], 3), level, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", [0, 0, 0, 90, 120, 150, 180, 210])


def encoded(kind: str, size: tuple[int, int] = (37, 21), **options: object) -> bytes:
    with io.BytesIO() as stream:
        Image.new("RGB", size, "teal").save(stream, kind, **options)
        return stream.getvalue()


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"\0\0\0\x14ftypqt  ", "video/quicktime"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x20ftypheic", "image/heic"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x64", "audio/mpeg"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"<!DOCTYPE html><html><h1>403</h1>", "text/html"),
        (b"\xef\xbb\xbf\n <HTML>", "text/html"),
        (b'<?xml version="1.0"?>\n<html xmlns="x">', "text/html"),
        (b"a fox in snow\n\xc3", "text/plain"),
        (b"the free and the wide", "text/plain"),
        (b"\0\0\0\x08free\0\0\0\x08moov", "video/quicktime"),
        (b'{"result": false}', "application/json"),
        (b"\xff\xfe\x00\x00", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"\x00\x01\x02", "application/octet-stream"),
    ],
)
def test_types_are_told_by_the_first_bytes(head: bytes, content_type: str) -> None:
    assert sniff(head) == content_type


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_image_headers_tell_type_and_size(kind: str, options: dict[str, object]) -> None:
    data = encoded(kind, **options)
    assert sniff(data) == f"image/{kind.lower()}"
    assert image_size(io.BytesIO(data)) == (37, 21)


def test_a_jpeg_with_an_empty_comment_tells_its_size() -> None:
    data = encoded("JPEG")
    assert image_size(io.BytesIO(data[:2] + b"\xff\xfe\x00\x02" + data[2:])) == (37, 21)


def test_an_extended_webp_tells_its_size() -> None:
    with io.BytesIO() as stream:
        Image.new("RGBA", (37, 21), (0, 0, 0, 9)).save(stream, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
        data = stream.getvalue()
    assert data[12:16] == b"VP8X"
    assert image_size(io.BytesIO(data)) == (37, 21)


@given(
    data=st.binary(max_size=200),
    magic=st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFFxxxxWEBPVP8 "]),
)
def test_cut_and_wild_headers_never_raise(data: bytes, magic: bytes) -> None:
    sniff(magic + data)
    size = image_size(io.BytesIO(magic + data))
    assert size is None or min(size) > 0


def test_a_clip_tells_its_size_and_length(clip: Path) -> None:
    info = decode.probe(clip)
    assert (info.width, info.height, info.frames) == (640, 360, 8)
    assert info.fps == pytest.approx(FPS)
    assert info.duration_s == pytest.approx(1.0, abs=0.05)


def test_a_webm_is_probed_too(tmp_path: Path) -> None:
    info = decode.probe(make_clip(tmp_path / "x.webm", [50, 90], size=(64, 48)))
    assert (info.width, info.height) == (64, 48)


def test_strange_files_are_probed_without_an_error(tmp_path: Path) -> None:
    strange = {
        "empty.mp4": b"",
        "cut.mp4": b"\0\0\0\x20ftypisom" + b"\0" * 20,
        "page.mp4": b"<html>gone</html>",
        "cut.webm": b"\x1aE\xdf\xa3" + b"\0" * 50,
        "cut.jpg": b"\xff\xd8\xff\xe0\x00",
        "cut.png": encoded("PNG")[:20],
    }
    for name, data in strange.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert decode.probe(path).duration_s is None
        assert decode.make_poster(path) is None


def test_an_image_tells_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(encoded("PNG"))
    assert (decode.probe(path).width, decode.probe(path).height) == (37, 21)


def test_a_poster_is_small_and_skips_black_frames(clip: Path) -> None:
    poster = decode.make_poster(clip)
    assert poster is not None
    assert len(poster) <= decode.POSTER_BYTES
    with Image.open(io.BytesIO(poster)) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (416, 234)
        assert picture.convert("L").getpixel((200, 100)) == pytest.approx(90, abs=8)


def test_a_poster_of_noise_still_fits(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (900, 1600, 3), dtype=np.uint8)
    path = tmp_path / "noise.png"
    Image.fromarray(noise).save(path)
    poster = decode.make_poster(path)
    assert poster is not None
    assert len(poster) <= decode.POSTER_BYTES


def test_a_black_clip_has_a_poster_all_the_same(tmp_path: Path) -> None:
    assert decode.make_poster(make_clip(tmp_path / "black.mp4", [0, 0], size=(64, 48))) is not None


def test_a_clip_whose_tags_are_not_utf8_has_a_poster_too(clip: Path, tmp_path: Path) -> None:
    tagged = tmp_path / "tagged.mp4"
    with av.open(str(clip)) as source, av.open(str(tagged), "w") as target:
        target.metadata["comment"] = "in Latin-1: caf?"
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    tagged.write_bytes(tagged.read_bytes().replace(b"caf?", b"caf\xe9"))
    assert decode.make_poster(tagged) is not None


@pytest.mark.parametrize("version", ["16.0.0", "18.1.0", "19.0.2"])
def test_each_release_of_pyav_is_asked_only_what_it_knows(
    version: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = av.open, []

    def open_file(path: str, **options: str) -> object:
        asked.append(options)
        return real(path)

    release = ModuleType("av")
    vars(release).update(vars(av), open=open_file, __version__=version)
    monkeypatch.setitem(sys.modules, "av", release)
    assert decode.make_poster(clip) is not None
    assert asked == [{} if version.startswith("19") else {"metadata_errors": "replace"}]


def grey(png: bytes) -> int:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return int(picture.convert("L").getpixel((5, 5)))  # type: ignore[arg-type]


def test_frames_are_read_by_index_from_both_ends(clip: Path) -> None:
    assert grey(decode.frame(clip, 4)) == pytest.approx(120, abs=4)
    assert grey(decode.frame(clip, -2)) == pytest.approx(180, abs=4)
    assert grey(decode.frame(clip, -1)) == pytest.approx(210, abs=4)
    for index in (8, -9, 500):
        with pytest.raises(InvalidFile, match="no frame"):
            decode.frame(clip, index)


def test_without_decoders_posters_are_left_out_and_frames_say_what_to_install(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("av", "PIL"):
        monkeypatch.setitem(sys.modules, package, None)
    assert decode.make_poster(clip) is None
    assert decode.probe(clip).frames == 8
    with pytest.raises(MissingExtra, match="PyAV") as caught:
        decode.frame(clip, 0)
    assert "pip install" in caught.value.hint
