"""Input pictures: seen in the clip, upright, in order, and refused in words when they are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.media import read_picture

from .conftest import SMALL, Make

RED, BLUE, WHITE = (220, 20, 30), (20, 40, 220), (255, 255, 255)


def _halves(first: tuple[int, int, int], second: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGB", (64, 48), first)
    image.paste(second, (32, 0, 64, 48))
    return image


def test_the_picture_is_in_the_clip(make: Make, tmp_path: Path) -> None:
    _halves(RED, BLUE).save(tmp_path / "a.png")
    frame = make("wiro/SkyReels-V1", files=(tmp_path / "a.png",), size="160x96", numFrames=2).frames[0]
    left, right = frame[30:60, 5:40].mean((0, 1)), frame[30:60, 120:155].mean((0, 1))
    assert left[0] > left[2] + 80
    assert right[2] > right[0] + 80


def test_several_pictures_follow_one_another(make: Make, tmp_path: Path) -> None:
    files = []
    for index, colour in enumerate((RED, BLUE, WHITE)):
        Image.new("RGB", (60, 40), colour).save(tmp_path / f"{index}.png")
        files.append(tmp_path / f"{index}.png")
    frames = make("pruna/vace", files=tuple(files), **{**SMALL, "frames": 9}).frames[:, 10:60].mean((1, 2))
    assert frames[0][0] > frames[0][2] + 100
    assert frames[4][2] > frames[4][0] + 100
    assert frames[8].min() > 190


def test_other_picture_bytes_give_another_clip_and_seeds_differ(make: Make, tmp_path: Path) -> None:
    _halves(RED, BLUE).save(tmp_path / "a.png")
    _halves(BLUE, RED).save(tmp_path / "b.png")
    first = make(files=(tmp_path / "a.png",), seed="1", **SMALL)
    assert first.data == make(files=(tmp_path / "a.png",), seed="1", **SMALL).data
    assert first.data != make(files=(tmp_path / "b.png",), seed="1", **SMALL).data
    other = make(files=(tmp_path / "a.png",), seed="2", **SMALL)
    assert np.abs(first.frames - other.frames)[:, :80].mean() > 2


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn a quarter clockwise
    _halves(RED, BLUE).save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.size == (48, 64)
    top, bottom = picture.getpixel((24, 5)), picture.getpixel((24, 58))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert top[0] > 150 > top[2]
    assert bottom[2] > 150 > bottom[0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    if mode == "P":
        image = Image.new("P", (20, 20), 0)
        image.save(tmp_path / "a.png", transparency=0)
    else:
        image.convert(mode).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").getpixel((10, 10)) == WHITE


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (30, 30), RED), Image.new("RGB", (30, 30), BLUE)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    pixel = read_picture(tmp_path / "a.gif").getpixel((3, 3))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 150 > pixel[2]


def test_a_video_gives_its_first_frame(make: Make) -> None:
    clip = make(prompt="sunset", seed="1", **SMALL)
    picture = np.asarray(read_picture(clip.path), np.float32)
    assert np.abs(picture - clip.frames[0]).mean() < 2


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am text", b"\x89PNG\r\n\x1a\n\x00\x00", b"\x00\x00\x00\x18ftypheic"]
)
def test_what_is_no_picture_is_refused(make: Make, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(EngineError, match=r"a\.png"):
        make(files=(tmp_path / "a.png",), prompt="x", **SMALL)


def test_a_cut_picture_and_a_missing_file_are_refused(make: Make, tmp_path: Path) -> None:
    Image.effect_noise((80, 80), 90).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(EngineError, match=r"cut\.png"):
        make(files=(tmp_path / "cut.png",), **SMALL)
    with pytest.raises(EngineError, match=r"gone\.png"):
        make(files=(tmp_path / "gone.png",), **SMALL)
