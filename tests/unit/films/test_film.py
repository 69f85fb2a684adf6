"""Films against a real sandbox: its audit log shows what was sent, and that nothing is sent twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.manager_tools import VACE, WAN
from tests.unit.ledger.ledger_tools import done
from wiro_nb.errors import (
    BudgetExceeded,
    ConfirmationNeeded,
    InputError,
    InvalidParameter,
    RunCancelled,
    RunFailed,
    TimedOut,
    UnknownRun,
    WiroError,
)
from wiro_nb.execution.requests import Origin
from wiro_nb.films import Film
from wiro_nb.films.extend import ordered, read_shots
from wiro_nb.films.film_file import FilmTarget
from wiro_nb.films.plan import FilmPlan, confirm, plan_film
from wiro_nb.ledger.state import RunState
from wiro_nb.notebook.film.rendering import plan_output
from wiro_nb.provenance.embed import read_embedded
from wiro_nb.session.manager import Manager
from wiro_nb.session.prices import Limits

DEADLINE_S = 60
Given = list[dict[str, Any]]
STORM: Given = [
    {"name": "opening", "prompt": "a storm"},
    {"name": "waves", "prompt": "waves", "from": "previous"},
    {"name": "boat", "prompt": "a boat", "from": "previous"},
    {"name": "harbour", "prompt": "a harbour", "model": WAN},
]


def plan(
    manager: Manager, given: Given, name: str = "film", target: FilmTarget | None = None, **options: Any
) -> FilmPlan:
    origin = Origin(notebook=str(Path.cwd() / "here.ipynb"))
    target = target or FilmTarget(Path.cwd() / f"{name}.mp4", Path.cwd())
    return plan_film(manager, read_shots(given, model=VACE), target, origin=origin, **options)


def start(manager: Manager, given: Given, name: str = "film", **options: Any) -> Film:
    return Film.start(manager, plan(manager, given, name, **options), Limits())


def changed(given: Given, name: str, **values: Any) -> Given:
    return [{**item, **values} if item["name"] == name else item for item in given]


def runs_asked(sandbox: Any) -> int:
    return int(sandbox.audit()["requests"].get("Run", 0))


def confirmed(manager: Manager, found: FilmPlan) -> None:
    confirm(manager, found, Limits())


def test_shots_run_in_order_of_what_they_need_and_only_changed_ones_again(manager: Manager, sandbox: Any) -> None:
    before = runs_asked(sandbox)
    film = start(manager, STORM).wait(DEADLINE_S)
    assert runs_asked(sandbox) - before == 4
    assert [run.state for run in film.runs] == [RunState.SUCCEEDED] * 4
    opening, waves, boat, harbour = film.runs
    parents = [(run.record or {})["parent"] for run in film.runs]
    line = [{"run_id": run.id, "output": 0, "frame": -1} for run in (opening, waves)]
    assert parents[1:3] == [line[0], {**line[1], "parent": line[0]}]
    assert parents[0] is parents[3] is None
    assert film.path is not None
    record = read_embedded(film.path)
    assert [part["name"] for part in record["film"]["parts"]] == ["opening", "waves", "boat", "harbour"]
    assert [part["dropped_frames"] for part in record["film"]["parts"]] == [1, 1, 0, 0]
    assert record["outputs"][0]["frames"] == 4 * 8 - 2
    written = film.path.stat().st_mtime_ns

    again = start(manager, STORM).wait(DEADLINE_S)
    assert [run.id for run in again.runs] == [run.id for run in film.runs]
    assert again.path is not None
    assert again.path.stat().st_mtime_ns == written, "the file is this very film"
    assert runs_asked(sandbox) - before == 4

    other = changed(STORM, "waves", prompt="higher waves")
    assert plan(manager, other).missing == ["waves", "boat"]
    assert "2 of 4 already made" in plan(manager, other).total.describe()
    third = start(manager, other).wait(DEADLINE_S)
    assert [run.id for run in third.runs][::3] == [opening.id, harbour.id]
    assert third.runs[1].id != waves.id
    assert third.runs[2].id == boat.id, "this engine's clips all end alike: the same frame is the same request"
    assert runs_asked(sandbox) - before == 5


def test_a_killed_film_goes_on_and_sends_nothing_twice(
    make_manager: Callable[..., Manager], sandbox: Any, point_at: Callable[[Any], None]
) -> None:
    point_at(sandbox)
    given = changed(STORM, "waves", prompt="waves that wait [hold]")
    before, first = runs_asked(sandbox), make_manager()
    film = start(first, given)
    held = sandbox.task_of("waves that wait [hold]")
    first.close()  # as a kernel that ends: the runs are left to another process
    film.wait(DEADLINE_S, check=False)
    second = make_manager()
    again = start(second, given)
    assert runs_asked(sandbox) - before == 3
    assert again.run("waves") is not None
    sandbox.release(held)
    again.wait(DEADLINE_S)
    assert runs_asked(sandbox) - before == 4
    assert [run.task_id for run in again.runs if run.task_id == held] == [held]
    assert again.path is not None


def test_a_failed_shot_is_retried_alone_and_what_is_made_stays(manager: Manager, sandbox: Any) -> None:
    before = runs_asked(sandbox)
    film = start(manager, changed(STORM, "waves", prompt="waves [fail]"), "failing")
    with pytest.raises(RunFailed, match="2 of 4 shots gave no result; 2 are done and kept") as caught:
        film.wait(DEADLINE_S)
    assert "boat: not sent: it continues from waves" in caught.value.details
    assert runs_asked(sandbox) - before == 3
    assert film.path is None
    film.retry().wait(DEADLINE_S, check=False)
    assert runs_asked(sandbox) - before == 4, "the failed shot alone is sent again"
    assert plan(manager, changed(STORM, "waves", prompt="waves [fail]"), "failing").missing == ["waves", "boat"]


def test_a_film_that_is_retried_twice_at_once_continues_once(
    manager: Manager, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = start(manager, [{"prompt": "a storm"}, {"prompt": "waves [fail]"}], "twice")
    film.wait(DEADLINE_S, check=False)
    both, follow = threading.Barrier(2), manager.follow

    def slow_follow(run: Any, *prepared: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)  # broken unless both presses come this far
        follow(run, *prepared)

    monkeypatch.setattr(manager, "follow", slow_follow)
    before, presses = runs_asked(sandbox), [threading.Thread(target=film.retry) for _ in range(2)]
    for press in presses:
        press.start()
    for press in presses:
        press.join()
    film.wait(DEADLINE_S, check=False)
    assert both.broken
    assert runs_asked(sandbox) - before == 1, "the failed shot alone, once"


def test_a_retry_of_a_fresh_film_asks_for_a_lost_answer_and_sends_nothing_twice(
    start_sandbox: Any, point_at: Any, make_manager: Any
) -> None:
    service = start_sandbox()
    point_at(service)
    service.set_faults("Run:reset-after@1; Task/List:code=0")
    film = start(make_manager(), [{"prompt": "a storm"}], fresh=True)
    with pytest.raises(RunFailed, match="1 of 1 shots gave no result"):
        film.wait(DEADLINE_S)
    service.set_faults("")
    assert [run.state for run in film.retry().wait(DEADLINE_S).runs] == [RunState.SUCCEEDED]
    assert len(service.audit()["tasks"]) == 1


def test_a_budget_that_ends_in_the_middle_keeps_what_is_made(manager: Manager, sandbox: Any) -> None:
    origin = Origin(notebook=str(Path.cwd() / "here.ipynb"))
    given = changed(STORM, "opening", prompt="a storm that waits [hold]")
    manager.ledger.set_budget(origin.notebook, Decimal("0.0001"))
    with pytest.raises(BudgetExceeded, match=r"This film would go over the budget of \$0\.0001 by") as refused:
        confirmed(manager, plan(manager, given, "poor"))
    assert "this film: 4 runs, " in refused.value.details[0]
    title, *_, waves, _, _ = plan_output(plan(manager, given, "poor")).text.splitlines()
    assert title == "wiro: film poor, 4 shots. Nothing was sent."
    assert waves.startswith("  2  waves    from opening  pruna/vace ")
    manager.ledger.set_budget(origin.notebook, None)
    before, film = runs_asked(sandbox), start(manager, given, "poor")
    manager.ledger.set_budget(origin.notebook, Decimal("0.0001"))
    sandbox.release(sandbox.task_of("a storm that waits [hold]"))
    with pytest.raises(RunFailed, match="2 are done and kept") as caught:
        film.wait(DEADLINE_S)
    assert "%wiro budget" in caught.value.hint
    assert runs_asked(sandbox) - before == 2
    manager.ledger.set_budget(origin.notebook, None)
    start(manager, given, "poor").wait(DEADLINE_S)
    assert runs_asked(sandbox) - before == 4


def test_outside_notebooks_a_film_is_refused_for_what_was_spent_outside_notebooks_alone(manager: Manager) -> None:
    done(manager.ledger, "5.00", notebook="other.ipynb")
    shots, target = read_shots(STORM, model=VACE), FilmTarget(Path.cwd() / "outside.mp4", Path.cwd())
    film = plan_film(manager, shots, target, fresh=True)
    assert film.total.cost.most_usd is not None
    manager.settings = replace(manager.settings, budget_usd=manager.budget().spent_usd + film.total.cost.most_usd)
    confirmed(manager, film)
    manager.settings = replace(manager.settings, budget_usd=Decimal("0.0001"))
    with pytest.raises(BudgetExceeded) as refused:
        confirmed(manager, film)
    assert refused.value.hint.startswith("%config WiroMagics.budget_usd"), "another %wiro budget would not help"


def test_a_film_under_way_is_waited_for_asked_and_cancelled(manager: Manager, sandbox: Any) -> None:
    """A callback that raises, a shot that does not exist and a second retry change nothing."""
    film = start(manager, [{"prompt": "a storm to be cancelled [hold]"}, {"prompt": "waves", "from": "previous"}])
    calls: list[None] = []

    def change() -> None:
        calls.append(None)
        raise RuntimeError("a defect of the caller")

    stop = film.on_change(change)
    with pytest.raises(TimedOut, match=r"not done after 0\.3 s; it continues"):
        film.wait(0.3)
    drivers = [thread.name for thread in threading.enumerate()].count("wiro-film")
    film.retry()
    assert [thread.name for thread in threading.enumerate()].count("wiro-film") == drivers
    with pytest.raises(UnknownRun, match="no shot is called none; there are shot-1, shot-2"):
        film.run("none")
    film.cancel()
    assert film.runs[0].wait(DEADLINE_S, check=False).state is RunState.CANCELLED
    assert calls
    stop()
    other = start(manager, [{"prompt": "a storm"}])
    with pytest.raises(RunCancelled, match="the film was stopped"):
        film.retry().wait(DEADLINE_S)
    assert other.wait(DEADLINE_S).cost_usd == other.runs[0].cost_usd
    assert other.run("shot-1") is other.runs[0]


def test_clips_that_are_gone_are_downloaded_and_a_file_that_came_meanwhile_stays(
    manager: Manager, sandbox: Any
) -> None:
    film = start(manager, STORM, "gone").wait(DEADLINE_S)
    assert film.path is not None
    for path in (film.path, *(run.path for run in film.runs)):
        assert path is not None
        path.unlink()
    before = runs_asked(sandbox)
    again = start(manager, changed(STORM, "waves", prompt="other waves [hold]"), "gone")
    assert again.runs[0].path is not None, "its last frame is needed"
    film.path.write_bytes(b"precious")
    sandbox.release(sandbox.task_of("other waves [hold]"))
    with pytest.raises(InputError, match=r"gone\.mp4 exists and is no film"):
        again.wait(DEADLINE_S)
    assert film.path.read_bytes() == b"precious"
    film.path.unlink()
    assert len(read_embedded(again.retry().wait(DEADLINE_S).path or Path())["film"]["parts"]) == 4
    assert runs_asked(sandbox) - before == 1


def test_an_edited_film_takes_the_place_of_the_one_under_way(manager: Manager, sandbox: Any) -> None:
    given = changed(STORM, "opening", prompt="a storm to be replaced [hold]")
    before, former = runs_asked(sandbox), start(manager, given, "edited")
    film = start(manager, changed(given, "opening", prompt="another storm"), "edited").wait(DEADLINE_S)
    sandbox.release(sandbox.task_of("a storm to be replaced [hold]"))
    former.runs[0].wait(DEADLINE_S)
    assert former.wait(DEADLINE_S, check=False).path is None
    assert film.path is not None
    assert runs_asked(sandbox) - before == 5, "the shots behind the replaced one are not sent"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (FilmTarget(Path("film.avi"), Path()), "should end in .mp4"),
        (FilmTarget(Path("film.mp4"), Path(), crossfade_s=99), "0 to 10 seconds"),
        (FilmTarget(Path("film.mp4"), Path(), audio=Path("none.mp3")), r"none\.mp3 cannot be read"),
    ],
)
def test_what_cannot_be_joined_is_refused_before_anything_is_paid(
    manager: Manager, sandbox: Any, target: FilmTarget, reason: str
) -> None:
    before = runs_asked(sandbox)
    with pytest.raises(InputError, match=reason):
        Film.start(manager, plan(manager, STORM, target=target), Limits())
    assert runs_asked(sandbox) == before


def test_many_shots_are_confirmed_first(manager: Manager) -> None:
    many = [{"prompt": f"shot {number}"} for number in range(13)]
    with pytest.raises(ConfirmationNeeded, match=r"13 runs, .* more than 12 runs"):
        confirmed(manager, plan(manager, many, "many"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "at least one shot"),
        ([{"prompt": "x"}] * 201, "at most 200 shots"),
        (["a storm"], "shot 1 is no mapping"),
        ([{"prompt": "x", "model": "storm"}], "shot shot-1 has no model"),
        ([{"name": "a"}, {"name": "a"}], "two shots are called a"),
        ([{"name": "a b"}], "cannot name a shot"),
        ([{"name": "previous"}], "cannot name a shot"),
        ([{"from": "previous"}], "is the first"),
        ([{"from": "nowhere"}], "no shot is called nowhere; there are shot-1"),
        ([{"from": "a b"}], "names no shot"),
        ([{"inputs": "x"}], "inputs are a mapping"),
        (
            [{"name": "a", "from": "b"}, {"name": "b", "from": "a"}],
            "in a circle: a > b > a|in a circle: b > a > b",
        ),
        ([{"name": "a", "from": "a"}], "in a circle: a > a"),
    ],
)
def test_shots_that_make_no_film_are_a_sentence(given: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_shots(given, model=None if "no model" in reason else VACE)
    assert caught.value.billed == "Nothing was sent and nothing was billed."


@pytest.mark.parametrize(
    ("given", "kind", "reason"),
    [
        (
            [{"prompt": "x"}, {"prompt": "y", "model": WAN, "from": "previous"}],
            InputError,
            "shot shot-2: .* takes no",
        ),
        ([{"prompt": "x", "seeed": 3}], InvalidParameter, "shot shot-1: .*seeed"),
        ([{"prompt": "x", "inputImage": "none.png"}], InvalidParameter, "shot shot-1: .*none.png"),
    ],
)
def test_a_shot_that_does_not_fit_its_model_is_named(
    manager: Manager, given: Given, kind: type[WiroError], reason: str
) -> None:
    with pytest.raises(kind, match=reason):
        plan(manager, given)


def test_a_shot_may_go_on_from_a_later_one_and_from_any_frame() -> None:
    shots = read_shots(
        [{"name": "end", "from": "start#3", "seed": 1}, {"name": "start"}],
        model=VACE,
        shared={"seed": 5, "prompt": "x"},
    )
    assert [shot.name for shot in ordered(shots)] == ["start", "end"]
    assert (shots[0].source, shots[0].frame) == ("start", 3)
    assert [shot.values for shot in shots] == [{"seed": 1, "prompt": "x"}, {"seed": 5, "prompt": "x"}]
