"""The label: any text in the world becomes letters the font has, in one line that fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageFont

from wiro_nb.sandbox.engines.placeholder.camera import CAMERA_PATHS
from wiro_nb.sandbox.engines.placeholder.drawing import make_label, spell
from wiro_nb.sandbox.engines.placeholder.request import CAMERA_MOVES, read_features

FONT = ImageFont.load_default(24)


def _bitmap(char: str) -> tuple[tuple[int, int], bytes]:
    mask = FONT.getmask(char)
    return mask.size, bytes(mask)


MISSING = _bitmap("\U0010fffd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deniz kıyısında gün batımı", "deniz kiyisinda gun batimi"),
        ("İstanbul ŞEHİR ğüşöç", "Istanbul SEHIR gusoc"),
        ("привет, Щука", "[CYRILLIC x6], [CYRILLIC x4]"),
        ("Αθήνα", "[GREEK x5]"),
        ("がか カタ", "[HIRAGANA x2] [KATAKANA x2]"),
        ("서울", "[HANGUL x2]"),
        ("中文提示 hello", "[CJK x4] hello"),
        ("שלום", "[HEBREW x4]"),
        ("a 🍊 b", "a [tangerine] b"),
        ("two\nlines\tand\x00nul", "two lines and nul"),
        ("", ""),
    ],
)
def test_what_the_font_lacks_is_spelled(text: str, expected: str) -> None:
    assert spell(text) == expected


@given(st.text(max_size=40))
def test_no_text_gives_a_missing_glyph(text: str) -> None:
    spelled = spell(text)
    assert "\n" not in spelled
    assert all(char == " " or _bitmap(char) != MISSING for char in spelled)


@pytest.mark.parametrize("size", [(64, 64), (160, 96), (832, 480), (2048, 64), (64, 2048)])
@pytest.mark.parametrize("seed", ["", "7", "9" * 80])
def test_the_label_fits_any_frame(size: tuple[int, int], seed: str) -> None:
    width, height = size
    frame = np.zeros((3, height, width), np.float32)
    make_label("a prompt that never ends " * 20, seed, width, height)(frame)
    written = np.argwhere(frame[0] > 150)
    assert len(written) > 20
    assert written[:, 1].min() >= 1
    assert written[:, 1].max() <= width - 2
    assert frame[:, : height // 2].max() == 0


def test_prompt_and_seed_are_written() -> None:
    def ink(prompt: str, seed: str) -> bytes:
        frame = np.zeros((3, 120, 400), np.float32)
        make_label(prompt, seed, 400, 120)(frame)
        return frame.tobytes()

    assert len({ink("one", "7"), ink("two", "7"), ink("one", "8"), ink("one", "")}) == 4


def test_words_choose_sky_land_and_weather() -> None:
    features = read_features("A lighthouse above a stormy SEA at sunset")
    assert (features.sky, features.land) == ("sunset", "sea")
    assert all(name in features.others for name in ("water", "rain", "lighthouse"))
    assert read_features("deniz kıyısında gün batımı").sky == "sunset"
    assert not read_features("rainbow research season").others
    assert read_features("").sky == ""


def test_all_eight_camera_moves_have_a_path() -> None:
    assert len(CAMERA_MOVES) == 8
    assert set(CAMERA_MOVES.values()) == set(CAMERA_PATHS)
