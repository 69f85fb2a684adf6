"""Forecasts: every method, every way a table can be odd, and never an exception."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.api.pricing import Estimate, estimate, read_pricing


def priced(rows: Any, parameters: dict[str, Any] | None = None, files: Any = None, **more: Any) -> Estimate:
    history_s = more.pop("history_s", None)
    pricing = read_pricing({"dynamicprice": json.dumps(rows), **more})
    return estimate(pricing, parameters or {}, files or {}, history_s=history_s)


def row(method: str, price: Any = "0.02", **more: Any) -> dict[str, Any]:
    return {"inputs": {}, "price": price, "priceMethod": method, **more}


@pytest.mark.parametrize(
    ("method", "parameters", "low", "high"),
    [
        ("cpr", {}, "0.02", "0.02"),
        ("cpo", {}, "0.02", "0.02"),
        ("cpo", {"num_outputs": "4"}, "0.08", "0.08"),
        ("cpt", {"maxTokens": "100"}, "0.02", "2.00"),
        ("cp-pixel", {"width": 1024, "height": 1024}, "0.02", "0.02"),
        ("cp-pixel", {"width": 1025, "height": 1024}, "0.04", "0.04"),
        ("cp-pixel", {"size": "832*480"}, "0.02", "0.02"),
        ("cp-pixel", {"size": "1920x1080"}, "0.04", "0.04"),
        ("cp-pixel", {"resolution": "1080p"}, "0.04", "0.04"),
        ("cp-audiosecondslength", {"duration": "30"}, "0.60", "0.60"),
        ("cp-promptlength", {"prompt": "two words"}, "0.04", "0.18"),
        ("cp-outputVideoLength", {"duration": "5s"}, "0.10", "0.10"),
        ("cp-outputVideoLength", {"numFrames": 81, "fps": "16"}, "0.10125", "0.10125"),
        ("cp-outputVideoLength", {"numFrames": 120}, "0.08", "0.30"),
        ("cp-realtimeturn", {"turns": 3}, "0.02", "0.06"),
    ],
)
def test_each_method_counts_its_unit(method: str, parameters: dict[str, Any], low: str, high: str) -> None:
    found = priced([row(method)], parameters)
    assert found.known
    assert (found.low_usd, found.high_usd) == (Decimal(low), Decimal(high))
    assert "0.02 USD" in found.basis
    assert "$" not in found.basis


def test_seconds_of_work_are_priced_by_past_runs() -> None:
    assert priced([row("cps")], history_s=7.5).low_usd == Decimal("0.150")
    assert not priced([row("cps")]).known


@pytest.mark.parametrize(
    "method",
    [
        "cps",
        "cpt",
        "cp-pixel",
        "cp-audiosecondslength",
        "cp-promptlength",
        "cp-outputVideoLength",
        "cp-realtimeturn",
        "cp-readoutput",
        "cp-of-tomorrow",
    ],
)
def test_what_the_inputs_do_not_tell_is_unknown_with_a_reason_or_the_services_own_forecast(method: str) -> None:
    found = priced([row(method)])
    assert (found.known, found.high_usd) == (False, None)
    assert "0.02 USD" in found.basis
    fallback = priced([row(method)], approximatelycost="0.31")
    assert (fallback.known, fallback.low_usd) == (True, Decimal("0.31"))


@pytest.mark.parametrize("method", ["cpr", "cp-readoutput", "cp-of-tomorrow"])
def test_a_price_of_zero_is_free(method: str) -> None:
    found = priced([row(method, 0)])
    assert (found.known, found.low_usd, found.high_usd) == (True, 0, 0)


ROWS = [
    {"inputs": {}, "price": 1, "priceMethod": "cpr"},
    {"inputs": {"resolution": "480p"}, "price": 2, "priceMethod": "cpr"},
    {"inputs": {"resolution": ["720p", "1080p"], "steps": "5"}, "price": "3", "priceMethod": "cpr"},
    {"inputs": {"inputImage": "QUANTITY:2"}, "price": 4, "priceMethod": "cpr"},
]


@pytest.mark.parametrize(
    ("parameters", "files", "price"),
    [
        ({}, {}, 1),
        ({"resolution": "480p"}, {}, 2),
        ({"resolution": "480P"}, {}, 2),
        ({"resolution": "720p"}, {}, 1),
        ({"resolution": "720p", "steps": 5}, {}, 3),
        ({"resolution": "1080p", "steps": "5.0"}, {}, 3),
        ({}, {"inputImage": ("a",)}, 1),
        ({}, {"inputImage": ("a", "b")}, 4),
        ({"inputImage": ["https://a", "https://b"]}, {}, 4),
    ],
)
def test_the_row_that_asks_for_most_and_fits_is_the_price(parameters: Any, files: Any, price: int) -> None:
    for rows in (ROWS, ROWS[::-1]):
        assert priced(rows, parameters, files).low_usd == price


def test_where_no_row_fits_the_forecast_goes_from_the_lowest_to_the_highest() -> None:
    found = priced(ROWS[1:], {"resolution": "4k"})
    assert (found.low_usd, found.high_usd, found.known) == (Decimal(2), Decimal(4), True)
    assert "no row" in found.basis
    assert not priced([*ROWS[1:], {**ROWS[1], "priceMethod": "cp-readoutput"}], {"resolution": "4k"}).known


def test_an_extra_amount_gives_a_range_that_holds_both_readings() -> None:
    found = priced([row("cp-outputVideoLength", "0.10", priceExtra="0.05")], {"duration": 5})
    assert (found.low_usd, found.high_usd) == (Decimal("0.30"), Decimal("0.55"))
    assert "range" in found.basis
    once = priced([row("cpr", "0.10", priceExtra=0)])
    assert (once.low_usd, once.high_usd) == (Decimal("0.10"), Decimal("0.10"))
    assert priced([row("cpr", "0.10", priceExtra={"odd": 1})]).high_usd is None


def test_a_price_of_inputs_counts_the_files_and_a_name_says_what_to_count_by() -> None:
    found = priced([row("cpr", "0.10", priceInput="0.01")], {}, {"images": ("a", "b", "c")})
    assert (found.low_usd, found.high_usd) == (Decimal("0.10"), Decimal("0.13"))
    named = priced([row("cp-outputVideoLength", "0.10", priceInput="clipLength")], {"clipLength": "8"})
    assert (named.low_usd, named.high_usd) == (Decimal("0.80"), Decimal("0.80"))


def test_without_a_table_past_runs_then_the_services_forecast_then_unknown() -> None:
    tool = {"cps": "0.000585", "approximatelycost": "0.0035"}
    by_time = estimate(read_pricing(tool), {}, {}, history_s=6)
    assert (by_time.low_usd, by_time.known) == (Decimal("0.00351"), True)
    assert estimate(read_pricing(tool), {}, {}).low_usd == Decimal("0.0035")
    by_rate = estimate(read_pricing({"cps": "0.000585"}), {}, {})
    assert not by_rate.known
    assert "0.000585 USD a second" in by_rate.basis
    assert not estimate(read_pricing({"cps": "0", "approximatelycost": 0}), {}, {}).known


@pytest.mark.parametrize(
    "table",
    [
        None,
        "",
        "[]",
        "null",
        "{}",
        '[{"inputs": {',
        "not json",
        7,
        [None, 1, "x"],
        [{}],
        [{"price": "free"}],
        [{"price": -1}],
        [{"price": "NaN"}],
        [{"price": "1e999999"}],
        {"inputs": {}},
    ],
)
def test_a_broken_table_is_unknown_and_never_an_exception(table: Any) -> None:
    pricing = read_pricing({"dynamicprice": table})
    found = estimate(pricing, {"a": object()}, {})
    assert (found.known, found.low_usd, found.high_usd) == (False, 0, None)
    assert found.basis


def test_a_table_with_one_bad_row_says_so() -> None:
    assert "row" in read_pricing({"dynamicprice": [row("cpr"), None]}).note
    assert "table" in read_pricing({"dynamicprice": '[{"inputs'}).note


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("QUANTITY:2")
METHODS = [
    "cpr",
    "cps",
    "cpo",
    "cpt",
    "cp-pixel",
    "cp-promptlength",
    "cp-outputVideoLength",
    "cp-realtimeturn",
    None,
]
TABLES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "inputs": st.none()
            | st.dictionaries(st.sampled_from(["a", "duration", "size"]), VALUES | st.lists(VALUES)),
            "price": VALUES | st.decimals().map(str),
            "priceMethod": st.sampled_from(METHODS),
            "priceExtra": VALUES,
            "priceInput": VALUES,
        },
    )
    | VALUES,
    max_size=4,
)


@given(
    TABLES,
    st.dictionaries(st.sampled_from(["a", "duration", "size", "prompt", "fps", "numFrames"]), VALUES),
    VALUES,
)
def test_no_table_and_no_inputs_raise_and_amounts_are_never_negative(
    table: Any, given_: Any, history: Any
) -> None:
    for form in (table, json.dumps(table)):
        found = estimate(read_pricing({"dynamicprice": form, "cps": history}), given_, {}, history_s=history)
        assert found.basis
        assert found.low_usd >= 0
        if found.high_usd is not None:
            assert found.low_usd <= found.high_usd
