"""The sandbox misbehaves exactly as it is told, and only then."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from wiro_nb.sandbox.faults import Faults

BROKEN = (httpx2.TransportError,)


@pytest.mark.parametrize(
    "spec",
    ["Run", "Run:burn", "Nowhere:500", "socket:html", "file:silent", "Run:500@x", "Run:500@1-", "Run:500@2."],
)
def test_a_rule_that_cannot_be_read_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"is not PLACE|no place|knows"):
        Faults(spec)


@pytest.mark.parametrize(
    ("when", "matched"),
    [("", [1, 2, 3, 4]), ("@1", [1]), ("@2-3", [2, 3]), ("@3+", [3, 4]), ("@1.0", [1, 2, 3, 4]), ("@.0", [])],
)
def test_a_rule_matches_when_it_says(when: str, matched: list[int]) -> None:
    faults = Faults(f"Run:500{when}")
    assert [number for number in range(1, 5) if faults.match("Run")] == matched


def test_shares_repeat_by_seed_and_star_means_endpoints_only() -> None:
    def pattern(seed: int) -> list[bool]:
        faults = Faults("*:500@0.5", seed)
        return [bool(faults.match("Task/Detail")) for _ in range(64)]

    assert pattern(1) == pattern(1) != pattern(2)
    assert 10 < sum(pattern(1)) < 54
    assert not Faults("*:500").match("file")


def tasks_made(caller: Any) -> int:
    return len(caller.sandbox.audit()["tasks"])


@pytest.mark.parametrize(("kind", "made"), [("reset", 0), ("reset-after", 1), ("cut-body", 1)])
def test_a_connection_breaks_before_or_after_the_task_is_made(caller: Any, kind: str, made: int) -> None:
    before = tasks_made(caller)
    caller.sandbox.set_faults(f"Run:{kind}@1")
    with pytest.raises(BROKEN):
        caller.run()
    assert tasks_made(caller) == before + made
    caller.done(caller.run())


def read_one_byte(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        return raw.recv(1)


def test_connections_are_refused(caller: Any) -> None:
    caller.sandbox.set_faults("accept:refuse@1")
    with pytest.raises(ConnectionResetError):  # noticed while connecting or while reading
        read_one_byte(int(caller.sandbox.origin.rpartition(":")[2]))
    caller.http.close()
    caller.http = httpx2.Client(timeout=60, trust_env=False)
    caller.done(caller.run())


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_http_errors(caller: Any, status: int) -> None:
    caller.sandbox.set_faults(f"Task/List:{status}=7@1; Task/List:{status}@1")
    response = caller.post("/Task/List", {})
    assert response.status_code == status
    assert response.headers["retry-after"] == "7"
    assert caller.post("/Task/List", {}).status_code == 200


def test_answers_that_are_no_answers(caller: Any) -> None:
    caller.sandbox.set_faults("Task/List:html@1; Task/List:empty@2; Task/List:cut@3; Task/List:wrong-types@4")
    assert caller.post("/Task/List", {}).text.startswith("<!DOCTYPE html>")
    assert caller.post("/Task/List", {}).content == b""
    with pytest.raises(json.JSONDecodeError):
        caller.post("/Task/List", {}).json()
    twisted = caller.post("/Task/List", {"limit": "1"}).json()
    assert (twisted["result"], type(twisted["total"]), type(twisted["tasklist"])) == (True, int, dict)


@pytest.mark.parametrize("code", [0, 1, 96, 97, 98, 99])
def test_every_code_can_be_had(caller: Any, code: int) -> None:
    caller.sandbox.set_faults(f"Run:code={code}@1")
    assert caller.error("/Run/sandbox/image", {"prompt": "x"})[:2] == (200, code)


def test_delay_and_hang_keep_the_caller_waiting(caller: Any) -> None:
    caller.sandbox.set_faults("Task/List:delay=0.2@1; Task/List:hang@2")
    begun = time.monotonic()
    caller.ok("/Task/List", {})
    assert time.monotonic() - begun >= 0.2
    with pytest.raises(httpx2.ReadTimeout):
        caller.post("/Task/List", {}, timeout=0.2)


def test_detail_shows_unknown_statuses_and_late_outputs(caller: Any) -> None:
    caller.sandbox.set_faults("Task/Detail:unknown-status; Task/Detail:late-outputs=2")
    made = caller.run("[hold] x")
    assert caller.until(made, "task_sandbox_unknown")
    caller.sandbox.set_faults("Task/Detail:late-outputs=2")
    caller.sandbox.release(made["taskid"])
    assert [len(caller.done(made)["outputs"]) for _ in range(3)] == [0, 0, 1]


def socket_events(caller: Any, spec: str, *, ends: int = 1, least: int = 0) -> list[str | bytes]:
    """Everything a socket says about one task, until it is cut off, or nothing comes any more.

    It is waited for as long as it takes until the end was told `ends` times and `least` frames are there.
    """
    made = caller.run("[queue] x")
    caller.sandbox.set_faults(spec)
    frames: list[str | bytes] = []
    with connect(caller.sandbox.socket_url, compression=None, proxy=None) as stream:
        stream.send(json.dumps({"type": "task_info", "tasktoken": made["socketaccesstoken"]}))
        assert stream.ping().wait(60)
        caller.sandbox.release(made["taskid"])
        caller.done(made)
        while True:
            told = sum(isinstance(frame, str) and '"task_postprocess_end"' in frame for frame in frames)
            is_whole = told >= ends and len(frames) >= least
            try:
                frames.append(stream.recv(timeout=0.25 if is_whole else 60))
            except (TimeoutError, ConnectionClosed):
                return frames


def types(frames: list[str | bytes]) -> list[str]:
    return [json.loads(frame)["type"] for frame in frames if isinstance(frame, str)]


def test_a_socket_can_be_refused(caller: Any) -> None:
    caller.sandbox.set_faults("socket:refuse@1")
    with pytest.raises(InvalidStatus), connect(caller.sandbox.socket_url, proxy=None):
        pass
    with connect(caller.sandbox.socket_url, proxy=None) as stream:
        assert stream.ping().wait(60)


def test_a_socket_can_be_silent_cut_off_doubled_and_shuffled(caller: Any) -> None:
    plain = types(socket_events(caller, ""))
    assert plain[-1] == "task_postprocess_end"
    assert socket_events(caller, "socket:silent", ends=0) == []
    assert types(socket_events(caller, "socket:drop=3")) == plain[:3]
    assert types(socket_events(caller, "socket:double", ends=2)) == [kind for kind in plain for _ in range(2)]
    shuffled = types(socket_events(caller, "socket:shuffle=6", least=len(plain)))
    assert (sorted(shuffled), shuffled == plain) == (sorted(plain), False)


def test_a_shuffled_socket_says_that_a_task_was_cancelled(caller: Any) -> None:
    made = caller.run("[queue] x")
    caller.sandbox.set_faults("socket:shuffle=100")
    with connect(caller.sandbox.socket_url, compression=None, proxy=None) as stream:
        stream.send(json.dumps({"type": "task_info", "tasktoken": made["socketaccesstoken"]}))
        assert stream.ping().wait(60)
        caller.ok("/Task/Cancel", {"taskid": made["taskid"]})
        assert "task_cancel" in [event["type"] for event in caller.events(stream, "task_cancel")]


def test_a_socket_can_say_strange_things(caller: Any) -> None:
    assert any(isinstance(frame, bytes) for frame in socket_events(caller, "socket:binary"))
    assert "task_sandbox_unknown" in types(socket_events(caller, "socket:unknown"))
    assert "{not json" in socket_events(caller, "socket:garbage")
    assert json.loads(socket_events(caller, "socket:late-outputs")[-1])["message"] == []
    assert isinstance(json.loads(socket_events(caller, "socket:wrong-types")[-1])["message"], dict)


def test_tasks_go_wrong(caller: Any) -> None:
    caller.sandbox.set_faults("task:error@1; task:fail=137@2; task:stderr@3; task:stall@4")
    assert caller.done(caller.run())["starttime"] == "0"
    failed = caller.done(caller.run())
    assert (failed["pexit"], failed["outputs"]) == ("137", [])
    warned = caller.done(caller.run())
    assert warned["pexit"] == "0"
    assert warned["debugerror"]
    stalled = caller.run()
    caller.until(stalled, "task_start")
    caller.ok("/Task/Kill", {"taskid": stalled["taskid"]})


def test_files_go_wrong(caller: Any) -> None:
    url = caller.done(caller.run())["outputs"][0]["url"]
    good = caller.http.get(url).content

    def get(fault: str, **headers: str) -> httpx2.Response:
        caller.sandbox.set_faults(f"file:{fault}@1")
        response: httpx2.Response = caller.http.get(url, headers=headers)
        return response

    assert get("403").status_code == 403
    assert get("404").status_code == 404
    assert get("wrong-type").headers["content-type"].startswith("text/html")
    assert get("short").content == good[: len(good) // 2]
    assert get("no-range", Range="bytes=5-9").content == good
    assert get("redirect=http://127.0.0.1:9/x").headers["location"] == "http://127.0.0.1:9/x"
    assert get("slow=20000").content == good
    with pytest.raises(BROKEN):
        get("cut")
    caller.sandbox.set_faults("file:endless@1")
    with caller.http.stream("GET", url) as response:
        received = 0
        for chunk in response.iter_raw():
            received += len(chunk)
            if received > 1_000_000:
                break
    assert received > 1_000_000
    assert caller.http.get(url).content == good
