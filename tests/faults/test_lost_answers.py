"""Between client and service everything goes wrong that can; the books show one task a run, and it is its own.

A second client of the account runs the same model at the same moment in every case.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from tests.faults.fault_proxy import Fault, FaultProxy
from tests.faults.test_money import PNG
from tests.manager_tools import QUICK, VACE, WAN, submit_request
from wiro_nb.api import client
from wiro_nb.errors import NotAccessible, SubmitUncertain
from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import RunState
from wiro_nb.session.manager import Manager

JSON = {"content-type": "application/json"}
HTML = {"content-type": "text/html"}
STATUSES = (400, 401, 403, 404, 408, 409, 413, 429, 499, 500, 502, 503, 504)


def words(*errors: Any, status: int = 200) -> dict[str, Any]:
    body = json.dumps({"result": False, "errors": list(errors)}).encode()
    return {"status": status, "body": body, "headers": JSON}


def said(code: Any, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


ANSWERS: dict[str, dict[str, Any]] = {
    "no answer": {"cut": 0.0},
    "cut head": {"cut": 0.1},
    "cut body": {"cut": 0.95},
    "cut JSON": {"status": 200, "body": b'{"errors": [], "result": true, "taskid": "', "headers": JSON},
    "empty": {"status": 200, "body": b"", "headers": JSON},
    "no task": {"status": 200, "body": b'{"errors": [], "result": true}', "headers": JSON},
    "page": {"status": 200, "headers": HTML},
    "redirect 302": {"status": 302, "headers": {"location": "/v1/Task/List"}},
    "redirect 307": {"status": 307, "headers": {"location": "/v1/Run/wiro/animate-diff"}},
    **{f"page {status}": {"status": status, "headers": HTML} for status in STATUSES},
    "limit": {"status": 429, "headers": {"retry-after": "0"}},
    "no errors": words(),
    "fault": words(said(0, "Internal server error")),
    "fault 400": words(said(0, "Internal server error"), status=400),
    "timed out": words(said(0, "Request timed out, please try again.")),
    "no words": words(said(0, "")),
    "new code": words(said(4711, "Something new")),
    "no code": words("busy"),
    "null": words(None),
    "maintenance": words(said(0, "Request parameter service is down for maintenance"), status=503),
}
EVERYTHING = {
    **{f"{name}, arrived": Fault(1, **answer) for name, answer in ANSWERS.items()},
    **{f"{name}, swallowed": Fault(0, **answer) for name, answer in ANSWERS.items() if answer.get("cut", 0) == 0},
    "held, then arrived": Fault(is_held=True),
    "arrived twice, no answer": Fault(2, cut=0.0),
    "arrived twice": Fault(2),
    "nothing wrong": Fault(),
}
CLOCKS = {name: EVERYTHING[name] for name in ("no answer, arrived", "page 502, swallowed", "held, then arrived")}
TWINS = {"after a twin, arrived": Fault(1, status=502), "after a twin, swallowed": Fault(0, status=502)}
UNMARKED = {
    **CLOCKS,
    **TWINS,
    **{name: EVERYTHING[name] for name in ("page 429, arrived", "fault, arrived", "fault, swallowed")},
    "arrived twice, no answer": Fault(2, cut=0.0),
    "beside a twin": Fault(1, status=502, twin=True),
}
PARTS = 4
WORLDS = [
    # A part at a time: looking for a task costs as much as there are lost ones.
    *(({"hours": 0}, dict(itertools.islice(EVERYTHING.items(), n, None, PARTS))) for n in range(PARTS)),
    ({"hours": -1}, CLOCKS),
    ({"hours": 1}, CLOCKS),
    ({"hours": 0, "gives_markers": False}, UNMARKED),
    ({"hours": -1, "gives_markers": False}, CLOCKS | TWINS),
    ({"hours": 1, "gives_markers": False}, CLOCKS | TWINS),
]
ONCE = replace(QUICK, uncertain_checks_s=(0.1,))  # what was made is listed from then on
LISTED_ONLY = {"beside a twin", "arrived twice, no answer"}
"""Cases of a service without markers in which the tasks can be told apart by the user only."""


@pytest.fixture
def service(start_sandbox: Any) -> Any:
    return start_sandbox("--engine", "instant", "--speed", "instant", "--balance", "100000")


@pytest.fixture
def world(
    service: Any, point_at: Any, make_manager: Any, monkeypatch: pytest.MonkeyPatch, request: Any
) -> Iterator[tuple[Any, FaultProxy, Manager]]:
    options, faults = request.param
    monkeypatch.setattr(client, "WiroClient", partial(client.WiroClient, timeout_s=1.5))
    proxy = FaultProxy(service, faults, **options)
    point_at(service, base_url=proxy.base_url)
    yield service, proxy, make_manager(settings=ONCE)
    proxy.close()


def books(service: Any) -> dict[str, dict[str, Any]]:
    listed = service.call("/Task/List", {"start": "0", "limit": "1000"})["tasklist"]
    return {task["id"]: task for task in listed}


def made_by(run: Run, tasks: dict[str, dict[str, Any]]) -> set[str]:
    return {task_id for task_id, task in tasks.items() if task["callbackurl"].endswith(run.id)}


REFUSALS = {
    "required": said(0, "Request parameter [prompt] required"),
    "bounds": said(0, "Request parameter [steps] must be between 1 and 50"),
    "invalid": said(0, "Request parameters are invalid."),
    "no model": said(1, "tool-not-accessible"),
    "poor": said(97, "Insufficient balance."),
    "sign in": said(98, "Sign in."),
    "bearer": said(99, "Bearer token expired."),
}


@pytest.mark.parametrize("world", [({}, {n: Fault(0, **words(e)) for n, e in REFUSALS.items()})], indirect=True)
def test_a_documented_refusal_ends_the_run_and_says_that_nothing_was_billed(
    world: tuple[Any, FaultProxy, Manager],
) -> None:
    service, proxy, manager = world
    runs = {name: submit_request(manager, manager.prepare(WAN, {"prompt": name})) for name in proxy.faults}
    for name, run in runs.items():
        run.wait(60, check=False)
        if name == "invalid":  # it may have been the marker: asked once more without it
            assert (run.state, proxy.runs[name]) == (RunState.SUCCEEDED, 2)
            continue
        assert (run.state, proxy.runs[name]) == (RunState.FAILED, 1), name
        assert run.error is not None
        assert run.error.billed == "Nothing was billed."
        assert made_by(run, books(service)) == set()


@pytest.mark.parametrize(
    "world", [({"takes_markers": False, "gives_markers": False}, {"lost": Fault(1, status=502)})], indirect=True
)
def test_a_service_that_refuses_the_marker_is_asked_once_more_without_it_and_that_is_remembered(
    world: tuple[Any, FaultProxy, Manager],
) -> None:
    service, proxy, manager = world
    for name, requests in (("first", 2), ("second", 1), ("lost", 1)):
        run = submit_request(manager, manager.prepare(WAN, {"prompt": name})).wait(60)
        assert (run.state, proxy.runs[name]) == (RunState.SUCCEEDED, requests)
        assert books(service)[run.task_id]["callbackurl"] == ""
        assert "callback" not in json.dumps(run.record)


@pytest.mark.parametrize(
    "world", [({"gives_markers": False}, {"one of two": Fault(1, status=502, twin=True)})], indirect=True
)
def test_several_tasks_that_fit_are_left_to_the_user_and_attach_settles_it(
    world: tuple[Any, FaultProxy, Manager],
) -> None:
    service, proxy, manager = world
    run = submit_request(manager, manager.prepare(WAN, {"prompt": "one of two"}))
    with pytest.raises(SubmitUncertain) as caught:
        run.wait(60)
    (mine,) = made_by(run, books(service))
    assert set(caught.value.candidates) == {mine, *proxy.strangers["one of two"]}
    assert re.fullmatch(rf"%wiro attach \d+ if .*%wiro forget {run.short_id}.*", caught.value.hint)
    with pytest.raises(NotAccessible, match="cloud knows no task '99'"):
        manager.attach("99")
    assert manager.attach(mine) is run
    assert run.wait(60).task_id == mine


@pytest.mark.parametrize(
    "world", [({}, {"late": Fault(is_held=True), "another": Fault(1, status=502)})], indirect=True
)
def test_a_task_that_comes_after_its_run_was_forgotten_is_written_down(
    world: tuple[Any, FaultProxy, Manager],
) -> None:
    service, proxy, manager = world
    late = submit_request(manager, manager.prepare(WAN, {"prompt": "late"}))
    assert late.wait(60, check=False).state is RunState.UNCERTAIN
    manager.ledger.forget(late.id)
    proxy.release()
    submit_request(manager, manager.prepare(WAN, {"prompt": "another"})).wait(60)  # looks for its task
    (mine,) = made_by(late, books(service))
    (again,) = [run for run in manager.resume() if run.id != late.id]
    assert again.wait(60).state is RunState.SUCCEEDED
    assert (again.task_id, again.snapshot.parameters["prompt"]) == (mine, "late")


@pytest.mark.parametrize("gives_markers", [True, False])
@pytest.mark.parametrize(
    "world", [({}, {str(flag): Fault(1, status=502) for flag in (True, False)})], indirect=True
)
def test_a_task_with_an_input_file_is_adopted_by_its_marker_only(
    world: tuple[Any, FaultProxy, Manager], gives_markers: bool
) -> None:
    service, proxy, manager = world
    proxy.gives_markers = gives_markers
    run = submit_request(manager, manager.prepare(VACE, {"prompt": str(gives_markers), "inputImage": PNG}))
    run.wait(60, check=False)
    (mine,) = made_by(run, books(service))
    if gives_markers:
        assert (run.state, run.task_id) == (RunState.SUCCEEDED, mine)
        assert "callback" not in json.dumps([run.record, run.snapshot.request]).lower()
        return
    assert isinstance(run.error, SubmitUncertain)
    assert run.error.candidates == [mine]


def finds_itself(name: str, fault: Fault, *, marked: bool) -> bool:
    return fault.forwards > 0 and (marked or name not in LISTED_ONLY)


@pytest.mark.parametrize("world", WORLDS, indirect=True, ids=lambda world: str(world[0]))
def test_whatever_comes_in_place_of_an_answer_each_task_is_owned_or_named(
    world: tuple[Any, FaultProxy, Manager], make_manager: Any
) -> None:
    service, proxy, manager = world
    runs: dict[str, Run] = {}
    for name in proxy.faults:
        prepared = manager.prepare(WAN, {"prompt": name})
        if name.startswith("after a twin"):
            parameters = dict(prepared.parameters)
            service.call("/sandbox/teammate", {"model": WAN, "parameters": parameters, "created": time.time() - 5})
        runs[name] = submit_request(manager, prepared)
    for run in runs.values():
        run.wait(60, check=False)
    proxy.release()
    for name, run in runs.items():
        if proxy.faults[name].is_held:
            assert run.state is RunState.UNCERTAIN
            manager.follow(run)
            run.wait(60)
        run.cancel()  # one that has no task has nothing to stop

    tasks = books(service)
    for name, run in runs.items():
        fault, ours = proxy.faults[name], made_by(run, tasks)
        assert (len(ours), proxy.runs[name]) == (fault.forwards, 1), name
        if finds_itself(name, fault, marked=proxy.gives_markers):
            assert (run.state, run.task_id in ours) == (RunState.SUCCEEDED, True), name
        else:
            check_uncertain(name, run, ours)
    strangers = {task_id for made in proxy.strangers.values() for task_id in made}
    assert {tasks[task_id]["status"] for task_id in strangers} == {"task_postprocess_end"}
    assert proxy.stopped == []

    manager.close()
    later = make_manager(settings=ONCE)
    for run in later.resume():
        run.wait(60, check=False)
    known = {run.task_id for run in later.runs(limit=None) if run.state is RunState.SUCCEEDED}
    assert not known & strangers
    for name, run in runs.items():
        if finds_itself(name, proxy.faults[name], marked=proxy.gives_markers):
            assert made_by(run, tasks) <= known, f"{name}: the network made a task that nobody knows of"
    assert later.budget().spent_usd == sum(Decimal(tasks[task_id]["totalcost"]) for task_id in known if task_id)
    assert books(service).keys() == tasks.keys()


def check_uncertain(name: str, run: Run, ours: set[str]) -> None:
    assert run.state is RunState.UNCERTAIN, name
    error = run.error
    assert isinstance(error, SubmitUncertain)
    assert ours <= set(error.candidates), name
    assert bool(error.candidates) is (name in LISTED_ONLY or name.startswith("after a twin")), name
    assert "%wiro attach" in error.hint
    assert f"%wiro forget {run.short_id}" in error.hint
    assert not re.search("nothing was|free|refused|never got", "\n".join(error.lines()), re.I), error.lines()
