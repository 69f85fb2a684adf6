"""What is sent again, what never is, and what each call asks for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest

from tests.unit.api.servers import SUBMITTED, TOKEN, assert_no_secret, service_at
from wiro_nb.api.answers import Task
from wiro_nb.api.client import MAX_TRIES, WiroClient
from wiro_nb.api.transport import LARGEST_ANSWER_BYTES
from wiro_nb.errors import (
    ApiError,
    AuthRejected,
    BadAnswer,
    ConnectFailed,
    NotAccessible,
    RateLimited,
    SlotsFull,
    StreamLost,
    TimedOut,
    UnknownModel,
    WiroError,
)
from wiro_nb.schema import WireBody

TASK = {"id": "7", "socketaccesstoken": TOKEN, "status": "task_cancel"}
FOUND = {"result": True, "errors": [], "total": "1", "tasklist": [TASK]}


def no(code: int, message: str = "because") -> dict[str, Any]:
    return {"result": False, "errors": [{"code": code, "message": message}]}


class Script:
    """A transport that plays steps: an exception is raised, (status, headers, body) or a body is answered."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.requests: list[httpx2.Request] = []
        self.pauses: list[float] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        status, headers, body = step if isinstance(step, tuple) else (200, {}, step)
        return httpx2.Response(
            status, headers=headers, content=body if isinstance(body, bytes) else json.dumps(body)
        )

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def play(self, call: Callable[[WiroClient], Awaitable[Any]]) -> Any:
        async def scenario() -> Any:
            transport = httpx2.MockTransport(self)
            service = service_at(9)
            async with WiroClient(service, transport=transport, sleep=self.pause, random=lambda: 1.0) as client:
                return await call(client)

        return asyncio.run(scenario())

    def body(self, index: int = -1) -> Any:
        return json.loads(self.requests[index].content)


def run(client: WiroClient) -> Awaitable[Any]:
    return client.run("wiro/animate-diff", WireBody(json={"prompt": "a"}))


def detail(client: WiroClient) -> Awaitable[Any]:
    return client.task_detail(token=TOKEN)


@pytest.mark.parametrize(
    ("step", "kind", "ambiguous"),
    [
        (httpx2.ConnectError("refused"), ConnectFailed, False),
        (httpx2.ConnectTimeout("late"), ConnectFailed, False),
        (httpx2.ProxyError("407"), ConnectFailed, False),
        (httpx2.ReadTimeout("late"), TimedOut, True),
        (httpx2.WriteTimeout("late"), TimedOut, True),
        (httpx2.ReadError("reset"), StreamLost, True),
        (httpx2.WriteError("reset"), StreamLost, True),
        (httpx2.CloseError("reset"), StreamLost, True),
        (httpx2.RemoteProtocolError("gone"), StreamLost, True),
        (httpx2.LocalProtocolError("odd"), StreamLost, True),
        (httpx2.DecodingError("gzip"), StreamLost, True),
        ((500, {}, b""), ApiError, True),
        ((502, {}, b"<html>"), ApiError, True),
        ((503, {"retry-after": "1"}, no(0)), ApiError, True),
        ((200, {}, b'{"result": tr'), BadAnswer, True),
        ((200, {}, b"<html>sign in</html>"), BadAnswer, True),
        ((302, {"location": "https://evil.example/"}, b""), BadAnswer, True),
        ({"result": True, "taskid": None}, BadAnswer, True),
        ((429, {"retry-after": "1"}, b""), RateLimited, True),
        ((404, {}, b"<html>"), NotAccessible, True),
        ((413, {}, b"<html>"), ApiError, True),
        (no(96), SlotsFull, False),
        (no(0), ApiError, True),
        (no(0, "Request parameter [prompt] required"), ApiError, False),
        (no(1), NotAccessible, False),
        ((401, {}, no(0)), AuthRejected, True),
        ((401, {}, no(0, "Project authorization is not valid.")), AuthRejected, False),
    ],
)
def test_a_run_is_sent_once_whatever_happens_and_says_whether_it_may_have_been_taken(
    step: Any, kind: type[WiroError], ambiguous: bool
) -> None:
    script = Script(step, SUBMITTED)
    with pytest.raises(kind) as caught:
        script.play(run)
    assert type(caught.value) in (kind, *kind.__subclasses__())
    assert caught.value.ambiguous is ambiguous
    assert (len(script.requests), script.pauses) == (1, [])
    assert_no_secret(caught.value)


@pytest.mark.parametrize(
    "step",
    [
        httpx2.ConnectError("refused"),
        httpx2.RemoteProtocolError("gone"),
        (500, {}, b""),
        (429, {}, b""),
        (200, {}, b'{"result": tr'),
        (200, {}, b""),
    ],
)
def test_reading_is_tried_again_with_growing_pauses(step: Any) -> None:
    script = Script(step, step, FOUND)
    assert script.play(detail).id == "7"
    assert script.pauses == [0.5, 1.0]
    script = Script(step)
    with pytest.raises(WiroError) as caught:
        script.play(detail)
    assert len(script.requests) == MAX_TRIES
    assert_no_secret(caught.value)


def test_a_service_that_was_silent_for_the_whole_timeout_is_not_asked_again() -> None:
    script = Script(httpx2.ReadTimeout("late"), FOUND)
    with pytest.raises(TimedOut):
        script.play(detail)
    assert len(script.requests) == 1


@pytest.mark.parametrize("step", [no(0), no(1), no(96), (401, {}, no(0)), (404, {}, b""), (200, {}, b"<html>")])
def test_a_plain_no_is_not_argued_with(step: Any) -> None:
    script = Script(step, FOUND)
    with pytest.raises(ApiError):
        script.play(detail)
    assert len(script.requests) == 1


def test_a_pause_the_service_asks_for_is_kept_unless_it_is_too_long() -> None:
    script = Script((429, {"retry-after": "7"}, b""), (503, {"retry-after": "20"}, b""), FOUND)
    script.play(detail)
    assert script.pauses == [7.0, 20.0]
    script = Script((429, {"retry-after": "3600"}, b""), FOUND)
    with pytest.raises(RateLimited) as caught:
        script.play(detail)
    assert (caught.value.retry_after_s, script.pauses) == (3600.0, [])


def test_each_try_has_a_nonce_of_its_own() -> None:
    script = Script(httpx2.ReadError("reset"), FOUND)
    script.play(detail)
    assert len({request.headers["x-nonce"] for request in script.requests}) == 2


@pytest.mark.parametrize("call", [lambda client: client.cancel("7"), lambda client: client.kill("7")])
def test_stopping_looks_at_the_task_when_an_earlier_try_was_lost_and_may_have_done_it(call: Any) -> None:
    script = Script(httpx2.ReadError("reset"), no(1, "Task is not in a cancellable state."), FOUND)
    task = script.play(call)
    assert isinstance(task, Task)
    assert task.status == "task_cancel"
    script = Script(no(1, "Task is not in a cancellable state."), FOUND)
    with pytest.raises(NotAccessible) as caught:
        script.play(call)
    assert len(script.requests) == 1
    assert_no_secret(caught.value)


@pytest.mark.parametrize(
    ("call", "path", "body"),
    [
        (lambda client: client.task_detail(token=TOKEN), "Task/Detail", {"tasktoken": TOKEN}),
        (lambda client: client.task_detail(task_id="7"), "Task/Detail", {"taskid": "7"}),
        (lambda client: client.cancel("7"), "Task/Cancel", {"taskid": "7"}),
        (lambda client: client.kill("7"), "Task/Kill", {"taskid": "7"}),
        (
            lambda client: client.task_list(5, 10),
            "Task/List",
            {"type": "model", "sort": "id", "order": "DESC", "start": "10", "limit": "5"},
        ),
    ],
)
def test_each_call_asks_as_the_service_wants_to_be_asked(call: Any, path: str, body: dict[str, str]) -> None:
    script = Script(FOUND)
    script.play(call)
    assert script.requests[0].url.path == f"/v1/{path}"
    assert script.body() == body


def test_a_path_cannot_lead_to_another_endpoint() -> None:
    for run_path in ("../Task/Kill", "wiro/./a", "", "//"):
        script = Script(SUBMITTED)
        with pytest.raises(UnknownModel):
            script.play(lambda client, run_path=run_path: client.run(run_path, WireBody(json={})))
        assert not script.requests
    script = Script(SUBMITTED)
    script.play(lambda client: client.run("wiro/a?x=1#y z", WireBody(json={})))
    assert script.requests[0].url.raw_path == b"/v1/Run/wiro/a%3Fx%3D1%23y%20z"


@pytest.mark.parametrize(
    "answer", [{"result": True}, {"result": True, "tasklist": []}, {"result": True, "tasklist": [{}]}]
)
def test_an_empty_answer_is_no_task(answer: Any) -> None:
    with pytest.raises(NotAccessible):
        Script(answer).play(detail)


def test_a_list_without_a_total_counts_what_it_shows() -> None:
    total, tasks = Script({"result": True, "tasklist": [TASK, None, "x"]}).play(
        lambda client: client.task_list(start=3)
    )
    assert (total, len(tasks)) == (4, 1)


def test_a_model_without_owner_is_refused_and_one_the_service_does_not_have_is_not_found() -> None:
    with pytest.raises(UnknownModel):
        Script(FOUND).play(lambda client: client.tool_detail("animate-diff"))
    with pytest.raises(NotAccessible):
        Script({"result": True, "tool": []}).play(lambda client: client.tool_detail("wiro/animate-diff"))


def test_an_answer_too_large_to_be_one_is_dropped() -> None:
    script = Script((200, {}, b"{" + b" " * LARGEST_ANSWER_BYTES + b"}"))
    with pytest.raises(BadAnswer) as caught:
        script.play(run)
    assert caught.value.ambiguous is True


def test_the_task_of_a_run_is_the_one_that_the_answer_calls_its_task() -> None:
    submitted = Script({**SUBMITTED, "id": "1"}).play(run)
    assert (submitted.task_id, submitted.token) == ("7", TOKEN)


def test_a_callback_travels_beside_the_body_and_never_replaces_the_users_own() -> None:
    url, own = "https://wiro-nb.invalid/runs/R", "https://example.org/hook"
    for given, sent in (({}, url), ({"callbackUrl": own}, own)):
        script = Script(SUBMITTED)
        body = WireBody(json={"prompt": "a", **given})
        script.play(lambda client, body=body: client.run("a/b", body, callback_url=url))
        assert script.body() == {"prompt": "a", "callbackUrl": sent}
        script = Script(SUBMITTED)
        form = WireBody(json=None, fields=(("prompt", "a"), *given.items()))
        script.play(lambda client, form=form: client.run("a/b", form, callback_url=url))
        assert parse_qs(script.requests[0].content.decode()) == {"prompt": ["a"], "callbackUrl": [sent]}
