"""Tasks: the order of their statuses, cancel and kill, slots, money, callback URLs."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

ORDER = [
    "task_queue",
    "task_accept",
    "task_preprocess_start",
    "task_preprocess_end",
    "task_assign",
    "task_start",
    "task_output",
    "task_output_full",
    "task_end",
    "task_postprocess_start",
    "task_postprocess_end",
]


def squeezed(events: list[dict[str, Any]]) -> list[str]:
    """The types of the events, repetitions taken together."""
    types = [event["type"] for event in events]
    return [kind for at, kind in enumerate(types) if at == 0 or kind != types[at - 1]]


def test_the_socket_tells_every_status_in_order_and_every_step(caller: Any) -> None:
    made = caller.run("[queue] boat")
    with caller.watch(made) as socket:
        caller.sandbox.release(made["taskid"])
        events = caller.events(socket)
    assert squeezed(events) == ORDER
    assert {frozenset(event) for event in events} == {
        frozenset({"type", "id", "message", "result", "success", "terminal", "exitCode"})
    }
    assert [(event["success"], event["exitCode"]) for event in events if event["terminal"]] == [(True, 0)]
    assert {event["message"] for event in events if event["type"].endswith("_full")} == {""}
    assert {event["id"] for event in events} == {made["taskid"]}
    steps = [event["message"] for event in events if isinstance(event["message"], dict)]
    assert [step["stepCurrent"] for step in steps] == [str(number) for number in range(1, 11)]
    assert set(steps[0]) == {
        *("type", "task", "percentage", "stepCurrent", "stepTotal"),
        *("speed", "speedType", "elapsedTime", "remainingTime"),
    }
    assert all(isinstance(value, str) for step in steps for value in step.values())
    assert events[-1]["message"] == caller.task(made)["outputs"]


def test_events_from_before_the_registration_are_not_replayed(caller: Any) -> None:
    made = caller.run("[hold] boat")
    caller.until(made, "task_start")
    with caller.watch(made) as socket:
        caller.sandbox.release(made["taskid"])
        assert squeezed(caller.events(socket))[0] == "task_output"


def test_one_socket_serves_several_tasks_and_several_sockets_one_task(caller: Any) -> None:
    first, second = caller.run("[queue] 1"), caller.run("[queue] 2")
    with caller.watch(first) as one, caller.watch(first) as two:
        one.send(json.dumps({"type": "task_info", "tasktoken": second["socketaccesstoken"]}))
        for socket in (one, two):
            socket.send("not json")
            socket.recv(timeout=60)
        caller.sandbox.release(first["taskid"])
        assert {event["id"] for event in caller.events(two)} == {first["taskid"]}
        caller.sandbox.release(second["taskid"])
        events = caller.events(one) + caller.events(one)
    assert {event["id"] for event in events} == {first["taskid"], second["taskid"]}


def test_a_queued_task_can_be_cancelled_and_not_killed(caller: Any) -> None:
    made = caller.run("[queue] boat")
    killed = caller.error("/Task/Kill", {"taskid": made["taskid"]})
    assert killed == (200, 1, "Task could not be killed: it is still in the queue")
    (task,) = caller.ok("/Task/Cancel", {"taskid": made["taskid"]})["tasklist"]
    assert task["status"] == caller.task(made)["status"] == "task_cancel"
    assert task["canceltime"] != "0"
    again = caller.error("/Task/Cancel", {"taskid": made["taskid"]})
    assert again == (200, 1, "Task is not in a cancellable state.")


@pytest.mark.parametrize("name", ["taskid", "socketaccesstoken"])
def test_a_running_task_can_be_killed_and_not_cancelled_and_costs_nothing(caller: Any, name: str) -> None:
    made = caller.run("[hold] boat")
    caller.until(made, "task_start", "task_output")
    assert caller.error("/Task/Cancel", {"taskid": made["taskid"]})[2] == "Task is not in a cancellable state."
    with caller.watch(made) as socket:
        (task,) = caller.ok("/Task/Kill", {name: made[name]})["tasklist"]
        assert caller.events(socket, "task_cancel")[-1]["type"] == "task_cancel"
    assert (task["status"], Decimal(task["totalcost"]), task["outputs"]) == ("task_cancel", 0, [])
    over = caller.error("/Task/Kill", {name: made[name]})
    assert over == (200, 1, "Task could not be killed: it has already ended")


def test_a_failed_run_says_why_and_costs_nothing(caller: Any) -> None:
    made = caller.run("[queue] [fail] boat")
    with caller.watch(made) as socket:
        caller.sandbox.release(made["taskid"])
        events = caller.events(socket)
    lines = [event["message"] for event in events if event["type"] == "task_error"]
    assert lines[-1] == "RuntimeError: the run was asked to fail."
    assert "task_error_full" in [event["type"] for event in events]
    task = caller.task(made)
    assert (task["pexit"], task["outputs"], Decimal(task["totalcost"])) == ("1", [], 0)
    assert lines[-1] in task["debugerror"]


def test_a_crash_before_the_run_is_a_failure_that_never_started(caller: Any) -> None:
    task = caller.done(caller.run("[crash] boat"))
    assert (task["starttime"], task["pexit"], Decimal(task["totalcost"])) == ("0", "1", 0)
    assert task["debugerror"] == "The worker could not start the model.\n"


def test_slow_is_slow_at_any_speed(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--speed", "instant")
    made = caller.run("[slow] boat")
    caller.until(made, "task_output")
    caller.ok("/Task/Kill", {"taskid": made["taskid"]})


def test_slots_follow_the_balance(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--speed", "instant", "--balance", "29.99")
    held = [caller.run("[hold] boat"), caller.run("[queue] boat")]
    refused = caller.error("/Run/sandbox/image", {"prompt": "x"})
    assert refused == (200, 96, "Concurrent task limit reached: 2 for a balance of 29.99 USD.")
    caller.ok("/Task/Cancel", {"taskid": held[1]["taskid"]})
    caller.done(caller.run())
    caller.sandbox.set_balance("0.60")
    assert caller.error("/Run/sandbox/image", {"prompt": "x"})[1] == 96
    caller.sandbox.set_balance("250.01")
    extra = [caller.run("[hold] boat") for _ in range(30)]
    assert caller.sandbox.audit()["busy"] == 31
    assert len(extra) == 30


def test_an_empty_account_cannot_start(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--balance", "0.49")
    assert caller.error("/Run/sandbox/image", {"prompt": "x"})[1] == 97
    assert caller.sandbox.audit()["tasks"] == []


def test_every_success_and_only_success_is_billed_once(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--speed", "instant", "--balance", "1000")
    good = caller.done(caller.run())
    caller.done(caller.run("[fail] x"))
    queued = caller.run("[queue] x")
    caller.ok("/Task/Cancel", {"taskid": queued["taskid"]})
    audit = caller.sandbox.audit()
    assert [task["billed_usd"] for task in audit["tasks"]] == ["0.010000000000", "0", "0"]
    assert Decimal(audit["balance_usd"]) == 1000 - Decimal(good["totalcost"])
    assert audit["requests"]["Run"] == 3


def test_each_way_of_pricing_bills_what_its_table_says(caller: Any) -> None:
    second, pixel_tier = Decimal("0.012"), Decimal("0.03")
    vace = {"prompt": "x", "resolution": "480p", "ratio": "auto"}
    assert Decimal(caller.done(caller.ok("/Run/pruna/vace", vace))["totalcost"]) == second  # the clip lasts 1 s
    wide = caller.ok("/Run/Wan-AI/Wan2.2-TI2V-5B-text-to-video", {"prompt": "x"})
    assert Decimal(caller.done(wide)["totalcost"]) == pixel_tier
    assert Decimal(caller.done(caller.run(model="sandbox/image"))["totalcost"]) == Decimal("0.002")
    assert Decimal(caller.done(caller.run("a b", model="sandbox/text"))["totalcost"]) == Decimal("0.00006")
    timed = caller.done(caller.run(model="sandbox/no-schema"))
    assert Decimal(timed["totalcost"]) == Decimal(timed["elapsedseconds"]) * Decimal("0.001")


@pytest.mark.parametrize("url", ["https://wiro-nb.invalid/runs/1", "http://127.0.0.1:9/x", "not a URL"])
def test_a_callback_url_comes_back_in_detail_and_list(caller: Any, url: str) -> None:
    made = caller.run(callbackUrl=url)
    task = caller.done(made)
    assert task["callbackurl"] == url
    assert "callbackUrl" not in task["parameters"]
    assert caller.ok("/Task/List", {"limit": "1"})["tasklist"][0]["callbackurl"] == url


def test_an_error_before_the_run_is_shown_until_the_task_recovers_and_can_be_killed(caller: Any) -> None:
    made, lost = caller.run("[stderr-then-recover] boat"), caller.run("[stderr-then-recover] boat")
    task = caller.until(made, "task_error")
    assert task["debugerror"] == "The worker was lost; waiting for another one.\n"
    caller.sandbox.release(made["taskid"])
    assert caller.done(made)["pexit"] == "0"
    caller.until(lost, "task_error")
    caller.ok("/Task/Kill", {"taskid": lost["taskid"]})
    assert caller.task(lost)["status"] == "task_cancel"


def test_a_training_model_needs_ten_dollars_and_97_means_a_right_too(new_caller: Callable[..., Any]) -> None:
    caller = new_caller("--balance", "9.99")
    assert caller.error("/Run/sandbox/trainer", {"prompt": "x"}) == (
        200, 97, "Insufficient balance. At least 10 USD is required to run a task.",
    )  # fmt: skip
    assert caller.error("/Run/sandbox/admins-only", {}) == (200, 97, "Only a team admin can run this model.")


def test_the_list_shows_tasks_of_the_team(caller: Any) -> None:
    other = caller.http.post(
        f"{caller.sandbox.origin}/sandbox/teammate",
        headers=caller.sandbox.headers(),
        json={"parameters": {"prompt": "theirs"}, "created": "1700000000"},
    ).json()
    mine = caller.run("mine")
    tasks = {task["id"]: task for task in caller.ok("/Task/List", {"type": "model", "limit": "2"})["tasklist"]}
    assert set(tasks) == {other["taskid"], mine["taskid"]}
    theirs, own = tasks[other["taskid"]], tasks[mine["taskid"]]
    assert (theirs["status"], theirs["createtime"], theirs["parameters"]) == (
        "task_start", "1700000000", {"prompt": "theirs"},
    )  # fmt: skip
    assert theirs["teamguid"] == own["teamguid"]
    assert theirs["projectid"] != own["projectid"]
