"""Sweeps against a real sandbox: its books show what was sent and billed, and that nothing is sent twice."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.manager_tools import submit_request, until
from wiro_nb.errors import (
    BudgetExceeded,
    ConfirmationNeeded,
    InputError,
    InvalidFile,
    InvalidParameter,
    MissingExtra,
    RunFailed,
    UnknownRun,
)
from wiro_nb.execution.requests import Origin
from wiro_nb.ledger.state import RunState
from wiro_nb.session.manager import Manager
from wiro_nb.session.prices import Limits, Total
from wiro_nb.sweeps import Sweep
from wiro_nb.sweeps.plan import SweepPlan, plan_sweep

MODEL = "wiro/animate-diff"
SMALL: dict[str, Any] = {"prompt": "a sea", "frameNumber": 4, "steps": 2, "width": 64, "height": 64}
HERE = Origin(notebook="here.ipynb")
DEADLINE_S = 60


def runs_asked(sandbox: Any) -> int:
    """How many Run requests the sandbox has taken."""
    return int(sandbox.audit()["requests"].get("Run", 0))


def plan(manager: Manager, grid: Any, **changes: Any) -> SweepPlan:
    options = {name: changes.pop(name) for name in ("zipped", "fresh") if name in changes}
    return plan_sweep(manager, MODEL, grid, {**SMALL, **changes}, origin=HERE, **options)


def start(manager: Manager, grid: Any, **changes: Any) -> Sweep:
    return Sweep.start(manager, plan(manager, grid, **changes))


def test_every_point_is_sent_once_and_the_handle_holds_them(manager: Manager, sandbox: Any) -> None:
    before = runs_asked(sandbox)
    sweep = start(manager, {"seed": "1..2", "loraType": ["ZoomIn", "PanLeft"]}).wait(DEADLINE_S)
    assert runs_asked(sandbox) - before == 4
    assert [run.state for run in sweep] == [RunState.SUCCEEDED] * 4
    assert [run.parameters["seed"] for run in sweep] == ["1", "1", "2", "2"]
    assert sweep.at(seed=2, loraType="PanLeft") is sweep[3]
    billed = {task["task_id"]: Decimal(task["billed_usd"]) for task in sandbox.audit()["tasks"]}
    assert sweep.cost_usd == sum(billed[run.task_id] for run in sweep if run.task_id)
    assert [row["loraType"] for row in sweep.rows()] == ["ZoomIn", "PanLeft"] * 2
    assert repr(sweep) == f"<Sweep {MODEL} over seed (2), loraType (2): 4 done>"
    with pytest.raises(UnknownRun):
        sweep.at(seed=2)


def test_the_same_sweep_again_sends_nothing_and_a_larger_one_only_what_is_missing(
    manager: Manager, sandbox: Any
) -> None:
    first = start(manager, {"seed": "11..13"}).wait(DEADLINE_S)
    before = runs_asked(sandbox)
    again = start(manager, {"seed": "11..13"})
    assert [run.id for run in again] == [run.id for run in first]
    assert again.id == first.id
    larger = plan(manager, {"seed": "11..15"})
    assert larger.missing == [3, 4]
    assert "3 of 5 already made" in larger.total.describe()
    Sweep.start(manager, larger).wait(DEADLINE_S)
    assert runs_asked(sandbox) - before == 2
    assert plan(manager, {"seed": "11..13"}, fresh=True).missing == [0, 1, 2]
    elsewhere = plan_sweep(manager, MODEL, {"seed": "11..13"}, SMALL, origin=Origin(notebook="other.ipynb"))
    assert elsewhere.missing == [0, 1, 2]


def test_open_seeds_are_drawn_for_each_point_and_found_again(manager: Manager, sandbox: Any) -> None:
    sweep = start(manager, {"seed": ["random", "random", "random"]}).wait(DEADLINE_S)
    seeds = [run.parameters["seed"] for run in sweep]
    assert len(set(seeds)) == 3
    before = runs_asked(sandbox)
    again = start(manager, {"seed": ["random", "random", "random"]})
    assert {run.id for run in again} == {run.id for run in sweep}
    assert runs_asked(sandbox) == before


def test_one_that_fails_does_not_stop_the_rest_and_is_what_is_sent_again(manager: Manager, sandbox: Any) -> None:
    grid = {"prompt": ["a lake", "a lake [fail]", "a pond"]}
    fixed = {name: value for name, value in SMALL.items() if name != "prompt"}
    planned = plan_sweep(manager, MODEL, grid, fixed, origin=HERE)
    sweep = Sweep.start(manager, planned)
    with pytest.raises(RunFailed, match="1 of 3 runs"):
        sweep.wait(DEADLINE_S)
    assert [run.state for run in sweep] == [RunState.SUCCEEDED, RunState.FAILED, RunState.SUCCEEDED]
    assert sweep.tally() == "2 done, 1 failed"
    assert plan_sweep(manager, MODEL, grid, fixed, origin=HERE).missing == [1]


def test_a_sweep_can_be_awaited(manager: Manager) -> None:
    async def work() -> Sweep:
        return await start(manager, {"seed": "21..22"})

    assert asyncio.run(work()).done


def test_slots_are_respected_and_waiting_runs_can_be_cancelled(
    make_manager: Callable[..., Manager], start_sandbox: Callable[..., Any], point_at: Callable[[Any], None]
) -> None:
    sandbox = start_sandbox("--engine", "instant", "--speed", "50", "--balance", "20")  # two slots
    point_at(sandbox)
    manager = make_manager()
    sweep = start(manager, {"seed": "1..5"}, prompt="a sea [hold]")
    until(lambda: sum(run.status == "generating" for run in sweep) == 2)
    sweep.cancel(waiting_only=True)
    sent = [run for run in sweep if run.task_id]
    for run in sweep:
        if run not in sent:
            run.wait(DEADLINE_S, check=False)
    assert len(sent) == 2
    assert sorted(run.state for run in sweep if not run.task_id) == [RunState.CANCELLED] * 3
    for run in sent:
        sandbox.release(run.task_id)
    sweep.wait(DEADLINE_S, check=False)
    assert [run.state for run in sent] == [RunState.SUCCEEDED] * 2
    assert len(sandbox.audit()["tasks"]) == 2


def test_an_interrupted_sweep_goes_on_in_another_process_and_sends_nothing_twice(
    make_manager: Callable[..., Manager], start_sandbox: Callable[..., Any], point_at: Callable[[Any], None]
) -> None:
    sandbox = start_sandbox("--engine", "instant", "--speed", "50", "--balance", "20")
    point_at(sandbox)
    first = make_manager()
    begun = start(first, {"seed": "1..4"}, prompt="a sea [hold]")
    until(lambda: sum(run.task_id is not None for run in begun) == 2)
    ids = [run.id for run in begun]
    first.close()
    second = make_manager()
    sweep = start(second, {"seed": "1..4"}, prompt="a sea [hold]")
    assert [run.id for run in sweep] == ids
    released: set[str] = set()

    def let_go() -> bool:
        for task in sandbox.audit()["tasks"]:
            if task["task_id"] not in released:
                released.add(task["task_id"])
                sandbox.release(task["task_id"])
        return sweep.done

    until(let_go)
    sweep.wait(DEADLINE_S)
    assert len(sandbox.audit()["tasks"]) == 4


def test_points_are_checked_before_anything_is_sent(manager: Manager, sandbox: Any, tmp_path: Path) -> None:
    before = runs_asked(sandbox)
    with pytest.raises(InvalidParameter, match="not one of") as caught:
        plan(manager, {"seed": "1..3", "loraType": ["ZoomIn", "ZoomSideways"]})
    assert "3 of the 6 points" in caught.value.details[0]
    with pytest.raises(InvalidParameter, match="seeed is no input"):
        plan(manager, {"seeed": "1..3"})
    with pytest.raises(InvalidFile):
        plan_sweep(manager, "pruna/vace", {"seed": "1..3"}, {"prompt": "x", "inputImage": "gone.png"}, origin=HERE)
    with pytest.raises(InputError, match=r"10,000 runs, .*\$") as refused:
        plan(manager, {"seed": "1..100", "loraType": ["ZoomIn"], "negativePrompt": [str(n) for n in range(100)]})
    assert refused.value.runs == 10_000
    assert runs_asked(sandbox) == before


def test_equal_points_are_run_once(manager: Manager) -> None:
    planned = plan(manager, {"seed": ["5", 5, "6"]})
    assert [request.parameters["seed"] for request in planned.batch.requests] == ["5", "6"]
    assert any("once" in note for note in planned.notes)


@pytest.mark.parametrize(
    ("grid", "limit_usd", "limit_runs", "reason"),
    [
        ({"seed": "1..13"}, "1000", 12, "more than 12 runs"),
        ({"seed": "1..3"}, "0.001", 12, "more than"),
        ({"seed": "1..12"}, "1", 12, None),
    ],
)
def test_large_or_dear_sweeps_need_a_yes(
    manager: Manager, grid: Any, limit_usd: str, limit_runs: int, reason: str | None
) -> None:
    planned = plan(manager, grid, prompt="never sent")
    limits = Limits(Decimal(limit_usd), limit_runs)
    if reason is None:
        planned.total.confirm(limits, "this sweep")
        return
    with pytest.raises(ConfirmationNeeded, match=reason) as caught:
        planned.total.confirm(limits, "this sweep")
    assert caught.value.runs == len(planned.points)
    assert "--yes" in caught.value.hint


def test_an_unknown_price_needs_a_yes(manager: Manager) -> None:
    planned = plan_sweep(manager, "sandbox/text", {"prompt": ["one", "two"]}, {}, origin=HERE)
    assert not planned.total.cost.known
    with pytest.raises(ConfirmationNeeded, match="price is unknown"):
        planned.total.confirm(Limits(), "this sweep")


def test_a_sweep_fits_the_budget_as_a_whole_or_is_refused_as_a_whole(manager: Manager, sandbox: Any) -> None:
    manager.ledger.set_budget("here.ipynb", Decimal("0.10"))
    before = runs_asked(sandbox)
    effects, picture = "wiro/wan2.2-effects-extra", {"inputImage": _picture()}
    planned = plan_sweep(manager, effects, {"seed": "31..33"}, picture, origin=HERE)
    with pytest.raises(BudgetExceeded, match=r"3 runs would go over the budget of \$0\.10 by \$0\.05"):
        Sweep.start(manager, planned)
    assert manager.ledger.list(notebook="here.ipynb") == ()
    assert runs_asked(sandbox) == before
    manager.ledger.set_budget("here.ipynb", Decimal("0.15"))
    Sweep.start(manager, planned).wait(DEADLINE_S)
    assert manager.budget("here.ipynb").spent_usd == Decimal("0.15")


def test_a_budget_of_zero_lets_nothing_through(manager: Manager) -> None:
    manager.ledger.set_budget("here.ipynb", Decimal(0))
    with pytest.raises(BudgetExceeded):
        start(manager, {"seed": "1..2"}, prompt="nothing")


def test_the_setting_caps_every_notebook(manager: Manager) -> None:
    manager.settings = replace(manager.settings, budget_usd=Decimal("0.001"))
    with pytest.raises(BudgetExceeded) as caught:
        start(manager, {"seed": "1..2"}, prompt="nothing")
    assert "budget_usd" in caught.value.hint
    assert manager.budget("here.ipynb").limit_usd == Decimal("0.001")


def test_the_best_is_one_run_and_survives_a_restart(
    make_manager: Callable[..., Manager], sandbox: Any, point_at: Callable[[Any], None]
) -> None:
    point_at(sandbox)
    first = make_manager()
    sweep = start(first, {"seed": "41..43"}).wait(DEADLINE_S)
    assert sweep.best is None
    sweep.best = 0
    sweep.best = sweep[2]
    assert [run.snapshot.starred for run in sweep] == [False, False, True]
    first.star(sweep[1], True)  # as a card or a comparison does
    assert [run.snapshot.starred for run in sweep] == [False, True, False]
    first.star(sweep[2], True)
    first.close()
    again = start(make_manager(), {"seed": "41..43"})
    assert again.best is not None
    assert again.best.id == sweep[2].id
    again.best = None
    assert again.best is None


def test_a_table_needs_pandas_and_says_so(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = start(manager, {"seed": "51..51"}).wait(DEADLINE_S)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match="pandas"):
        sweep.to_pandas()


def test_forecasts_hold_what_the_sandbox_bills(manager: Manager, sandbox: Any) -> None:
    asked = {
        "pruna/vace": {"prompt": "x", "frameNum": "17"},
        "Wan-AI/Wan2.2-TI2V-5B-text-to-video": {"prompt": "x", "numFrames": 5, "steps": 2},
        "wiro/wan2.2-effects-extra": {"inputImage": _picture()},
        "sandbox/plain-clip": {"prompt": "x"},
        "sandbox/image": {"prompt": "x"},
    }
    for model, values in asked.items():
        prepared = manager.prepare(model, values)
        estimate = manager.prices.estimate(prepared)
        run = submit_request(manager, prepared).wait(DEADLINE_S)
        assert estimate.known, model
        assert estimate.high_usd is not None, model
        assert run.cost_usd is not None
        assert estimate.low_usd <= run.cost_usd <= estimate.high_usd, model


def test_runs_of_several_models_are_forecast_each_by_its_own_price(manager: Manager) -> None:
    requests = [
        manager.prepare("pruna/vace", {"prompt": "x", "frameNum": "17"}),
        manager.prepare("sandbox/image", {"prompt": "x"}),
        manager.prepare("pruna/vace", {"prompt": "x", "frameNum": "81"}),
    ]
    prices = [manager.prices.estimate(prepared) for prepared in requests]
    assert prices[0].low_usd != prices[1].low_usd
    assert manager.prices.forecast(requests) == prices
    assert Total.of(manager.prices.forecast(requests), "").cost.low_usd == sum(price.low_usd for price in prices)


def test_a_price_is_told_from_what_is_known_and_asked_for_ahead(manager: Manager) -> None:
    prepared = manager.prepare("pruna/vace", {"prompt": "x", "frameNum": "17"})
    assert not manager.prices.estimate(prepared, ask=False).known, "nobody was asked yet, and nobody is asked now"
    known = threading.Event()
    manager.prices.ask_ahead("pruna/vace", known.set)
    assert known.wait(DEADLINE_S)
    assert manager.prices.estimate(prepared, ask=False) == manager.prices.estimate(prepared)
    assert manager.prices.estimate(prepared).known


def _picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(stream, "PNG")
    return stream.getvalue()
