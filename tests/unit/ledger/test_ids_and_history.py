"""Run ids sort by time and are found again by what people type; history forecasts seconds of work."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb import config as paths
from wiro_nb.errors import ConfigError
from wiro_nb.ids import ALPHABET, match_ids, new_run_id, short_id
from wiro_nb.ledger.queries import PastRun, expected_seconds
from wiro_nb.ledger.rows import work_signature, work_units


def make_ids(moments_ms: Sequence[int], randomness: bytes) -> list[str]:
    """Makes an id at each moment, by a copy of the module that has made none."""
    clock, found = iter(moments_ms), find_spec("wiro_nb.ids")
    assert found is not None
    assert found.loader is not None
    fresh = module_from_spec(found)
    found.loader.exec_module(fresh)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.time_ns", lambda: next(clock) * 1_000_000)
        patch.setattr("os.urandom", lambda count: randomness)
        return [fresh.new_run_id() for _ in moments_ms]


def test_an_id_spells_its_time_and_randomness() -> None:
    # Source: the example of the ULID specification, 01ARZ3NDEKTSV4RRFFQ69G5FAV.
    randomness = 0xD6764C61EFB99302BD5B
    assert make_ids([1469922850259], randomness.to_bytes(10, "big")) == ["01ARZ3NDEKTSV4RRFFQ69G5FAV"]


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30))
def test_ids_rise_even_when_the_clock_stands_or_goes_back(moments: list[int]) -> None:
    made = make_ids(moments, b"\xff" * 10)
    assert made == sorted(set(made))
    assert all(len(one) == 26 and set(one) <= set(ALPHABET) for one in made)


def test_new_ids_differ_and_rise() -> None:
    made = [new_run_id() for _ in range(1000)]
    assert made == sorted(set(made))


def test_what_people_type_finds_the_id() -> None:
    first, second = "01AAAAAAAAAAAAAAAAAAA0K3F9", "01BBBBBBBBBBBBBBBBBBBBBBB1"
    assert short_id(first) == "0k3f9"
    for query in (first.lower(), "01a", "0K3F9", "ok3f9", " #0k3f9 ", "3f9"):
        assert match_ids(query, [first, second]) == [first]
    third = "01AAABBBBBBBBBBBBBBBBBBBBB"
    assert match_ids("01A", [first, third]) == [first, third]
    assert match_ids("bbbbi", [first, second]) == [second]
    assert match_ids("", [first]) == match_ids("zzz", [first]) == match_ids(first[-2:], [first]) == []


def test_a_short_id_wins_over_a_prefix() -> None:
    assert match_ids("01AAA", ["01AAABBBBBBBBBBBBBBBBBBBBB", "01CCCCCCCCCCCCCCCCCCC01AAA"]) == [
        "01CCCCCCCCCCCCCCCCCCC01AAA"
    ]


@pytest.mark.parametrize(
    ("parameters", "units"),
    [
        ({"size": "832*480", "numFrames": 81, "steps": 25}, 832 * 480 * 81 * 25),
        ({"width": 512, "height": "512", "frameNumber": 18, "steps": 16}, 512 * 512 * 18 * 16),
        ({"resolution": "480p", "frameNum": "81", "sampleSteps": "50"}, 480 * 480 * 16 / 9 * 81 * 50),
        ({"prompt": "x", "steps": "0"}, None),
        ({}, None),
    ],
)
def test_work_grows_with_pixels_frames_and_steps(parameters: dict[str, object], units: float | None) -> None:
    assert work_units(parameters) == (None if units is None else pytest.approx(units))


def test_the_prompt_makes_no_difference_to_the_work() -> None:
    one, other = {"prompt": "a", "seed": 1, "steps": 20}, {"prompt": "b", "seed": 2, "steps": "20"}
    assert work_signature(one) == work_signature(other) == "steps=20"


def test_expected_seconds_prefers_the_same_work_then_scales() -> None:
    signature = work_signature({"steps": 10})
    past = [PastRun(12.0, signature, 10.0), PastRun(10.0, signature, 10.0), PastRun(90.0, signature, 10.0)]
    assert expected_seconds(past, {"steps": 10}) == 12.0
    assert expected_seconds(past, {"steps": 20}) == pytest.approx(24.0)
    assert expected_seconds(past, {"prompt": "x"}) is None
    assert expected_seconds([], {"steps": 10}) is None


def test_the_data_folder_is_private_and_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(paths.DATA_DIR_VARIABLE, str(tmp_path / "a" / "b"))
    assert paths.ledger_path() == tmp_path / "a" / "b" / "ledger.sqlite3"
    for folder in (paths.data_dir(), paths.cache_dir(), paths.sandbox_dir()):
        assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.delenv(paths.DATA_DIR_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert paths.data_dir().is_relative_to(tmp_path)


def test_a_data_folder_that_cannot_be_made_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(paths.DATA_DIR_VARIABLE, str(tmp_path / "file" / "data"))
    with pytest.raises(ConfigError, match="cannot be made") as caught:
        paths.data_dir()
    assert paths.DATA_DIR_VARIABLE in caught.value.hint
