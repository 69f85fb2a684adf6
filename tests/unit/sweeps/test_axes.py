"""Sweeps on paper: what is typed becomes points; what cannot be meant is refused before it is counted out."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.errors import InvalidParameter
from wiro_nb.schema import find_bundled
from wiro_nb.sweeps.axes import (
    Axis,
    Span,
    check_axes,
    count_points,
    first_point,
    list_points,
    make_axis,
    read_axis,
)

SCHEMA = find_bundled("wiro/animate-diff")


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=1..6", ["1", "2", "3", "4", "5", "6"]),
        ("seed=1..6..2", ["1", "3", "5"]),
        ("scale=0.1..0.5..0.1", ["0.1", "0.2", "0.3", "0.4", "0.5"]),
        ("scale=0.5..2..0.5", ["0.5", "1", "1.5", "2"]),
        ("x=-2..2..2", ["-2", "0", "2"]),
        ("seed=5..5", ["5"]),
        ("seed=1..3,7", ["1", "2", "3", "7"]),
        ("loraType=ZoomIn, PanLeft", ["ZoomIn", "PanLeft"]),
        ('prompt="a, b","c"', ["a, b", "c"]),
        ("prompt='it is \"so\"',x", ['it is "so"', "x"]),
        ('seed="1..6"', ["1..6"]),
        ('style=a,"",b', ["a", "", "b"]),
        ("image=../a.png,b.png", ["../a.png", "b.png"]),
        ("word=a..z", ["a..z"]),
    ],
)
def test_what_is_typed_becomes_values(text: str, values: list[str]) -> None:
    assert read_axis(text).values() == values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seed=", "empty"),
        ("seed", "not name=values"),
        ("=1,2", "not name=values"),
        ("seed=1..", "never ends"),
        ("seed=..6", "never ends"),
        ("seed=1..6..", "never ends"),
        ("seed=1..6..0", "never ends"),
        ("seed=6..1", "reversed"),
        ("seed=1..6..-1", "backwards"),
        ("scale=0.1..0.5", "needs a step"),
        ("seed=1,,2", "empty value"),
        ('prompt="a', "not closed"),
        ('prompt="a"b', "closing quote"),
        ("seed=1..99999999999999999999", "too long"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_something_to_type(text: str, reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason) as caught:
        read_axis(text)
    assert caught.value.hint
    assert caught.value.billed == "Nothing was sent and nothing was billed."


@given(st.decimals(-1000, 1000, places=2), st.integers(0, 400), st.decimals(Decimal("0.01"), 5, places=2))
def test_a_range_is_exact(start: Decimal, steps: int, step: Decimal) -> None:
    span = Span(start, start + step * steps, step)
    values = [Decimal(value) for value in span]
    assert len(span) == len(values) == steps + 1
    assert values == [start + step * index for index in range(steps + 1)]


def test_a_range_of_a_billion_is_counted_and_not_written_out() -> None:
    axes = [read_axis("seed=1..1000000000"), read_axis("steps=1..1000000000")]
    assert count_points(axes, zipped=False) == 10**18
    assert first_point(axes) == {"seed": "1", "steps": "1"}


def test_several_axes_multiply_with_the_last_fastest_or_go_in_pairs() -> None:
    axes = [read_axis("seed=1,2"), read_axis("loraType=ZoomIn,PanLeft")]
    assert [tuple(point.values()) for point in list_points(axes, zipped=False)] == [
        ("1", "ZoomIn"),
        ("1", "PanLeft"),
        ("2", "ZoomIn"),
        ("2", "PanLeft"),
    ]
    assert [tuple(point.values()) for point in list_points(axes, zipped=True)] == [
        ("1", "ZoomIn"),
        ("2", "PanLeft"),
    ]


def test_python_values_are_lists_ranges_and_text_with_one_range() -> None:
    assert make_axis("seed", range(3)).values() == [0, 1, 2]
    assert make_axis("seed", "2..4").values() == ["2", "3", "4"]
    assert make_axis("prompt", "a lake").values() == ["a lake"]
    assert make_axis("seed", 7).values() == [7]
    assert len(make_axis("seed", range(1, 10**12))) == 10**12 - 1
    for values in ([], (), iter(())):
        with pytest.raises(InvalidParameter, match="empty"):
            make_axis("seed", values)
    with pytest.raises(InvalidParameter, match="commas"):
        make_axis("prompt", "red, wet")


def test_a_generator_that_never_ends_is_not_followed() -> None:
    def endless():
        number = 0
        while True:
            yield number
            number += 1

    assert len(make_axis("seed", endless())) == 1001


@pytest.mark.parametrize(
    ("texts", "fixed", "zipped", "reason"),
    [
        ([], {}, False, "nothing is varied"),
        (["seeed=1"], {}, False, "Did you mean seed"),
        (["camera=1,2"], {}, False, "camera is no input"),
        (["seed=1,2", "Seed=3"], {}, False, "varied twice"),
        (["seed=1,2"], {"seed": 3}, False, "also given one value"),
        (["seed=1,2", "steps=1,2,3"], {}, True, "seed has 2, steps has 3"),
    ],
)
def test_axes_that_do_not_fit_model_or_one_another_are_refused(
    texts: list[str], fixed: dict[str, object], zipped: bool, reason: str
) -> None:
    assert SCHEMA is not None
    axes: list[Axis] = [read_axis(text) for text in texts]
    with pytest.raises(InvalidParameter, match=reason):
        check_axes(SCHEMA, axes, fixed, zipped=zipped)
