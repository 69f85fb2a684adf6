"""Arguments from Python that are none: refused in a sentence, before anything is looked up or sent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

import wiro_nb
from wiro_nb.errors import InputError
from wiro_nb.notebook.run.submit import SubmitOptions, merge_inputs
from wiro_nb.session.manager import Manager


@pytest.mark.parametrize("limit", ["abc", float("nan"), float("inf"), -1, "", [1]])
def test_a_limit_that_is_no_amount_is_refused_before_anything_is_sent(limit: object) -> None:
    with pytest.raises(InputError, match="amount from 0 to 1000000 USD"):
        wiro_nb.run("wiro/animate-diff", prompt="a cat", max_cost_usd=limit)  # type: ignore[arg-type]


def test_inputs_come_as_a_mapping_by_keyword_or_both_but_never_twice() -> None:
    assert merge_inputs({"wait": 3, "seed": 7}, {"prompt": "a cat"}) == {"wait": 3, "seed": 7, "prompt": "a cat"}
    with pytest.raises(InputError, match="seed is given in the mapping and again by keyword"):
        wiro_nb.run("wiro/animate-diff", {"seed": 7}, seed=8)
    with pytest.raises(InputError, match="inputs are a mapping by name, not str"):
        wiro_nb.run("wiro/animate-diff", "a cat")  # type: ignore[arg-type]


def test_a_limit_may_be_text_or_a_number() -> None:
    typed = ("$0.50", 0.5, Decimal("0.5"), 0, None)
    limits = [SubmitOptions.of_call(fresh=False, max_cost_usd=item, out_dir=None).max_cost_usd for item in typed]
    assert limits == [*[Decimal("0.5")] * 3, Decimal(0), None]


@pytest.mark.parametrize("source", [None, 5, object()])
def test_what_can_hold_no_run_is_refused(source: object) -> None:
    from wiro_nb.notebook.session import source_text

    with pytest.raises(InputError, match="a run, its id or a file is wanted"):
        source_text(source)  # type: ignore[arg-type]


def test_inputs_named_like_arguments_are_inputs(sandbox: Any, point_at: Any, process_manager: Manager) -> None:
    point_at(sandbox)
    inputs = {"model": "large", "inputs": "x"}
    for run in (
        wiro_nb.run("sandbox/no-schema", **inputs),  # type: ignore[arg-type]
        wiro_nb.run("sandbox/no-schema", inputs),
    ):
        assert dict(run.wait(60).parameters) == inputs
