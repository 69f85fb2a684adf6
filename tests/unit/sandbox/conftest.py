"""A plain client of the sandbox for its own tests: signed requests, and a socket that reads events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from websockets.sync.client import ClientConnection, connect

PROMPT = {"prompt": "a paper boat"}
PATIENCE_S = 60.0


class Caller:
    """Speaks to one sandbox without any of the package's own client."""

    def __init__(self, sandbox: Any) -> None:
        self.sandbox = sandbox
        self.http = httpx2.Client(timeout=PATIENCE_S, trust_env=False)

    def post(self, path: str, body: Any = None, **extra: Any) -> httpx2.Response:
        """A signed POST below `/v1`."""
        headers = {**self.sandbox.headers(), **extra.pop("headers", {})}
        if body is not None:
            extra["json"] = body
        return self.http.post(self.sandbox.base_url + path, headers=headers, **extra)

    def ok(self, path: str, body: Any = None, **extra: Any) -> dict[str, Any]:
        """The answer to a request that must succeed."""
        answer: dict[str, Any] = self.post(path, body, **extra).json()
        assert answer["result"] is True, answer
        assert answer["errors"] == []
        return answer

    def error(self, path: str, body: Any = None, **extra: Any) -> tuple[int, int, str]:
        """HTTP status, code and message of a request that must fail."""
        response = self.post(path, body, **extra)
        answer = response.json()
        assert answer["result"] is False
        (error,) = answer["errors"]
        return response.status_code, error["code"], error["message"]

    def run(
        self, prompt: str = "a paper boat", model: str = "sandbox/plain-clip", **values: Any
    ) -> dict[str, Any]:
        """Makes a task."""
        return self.ok(f"/Run/{model}", {"prompt": prompt, **values})

    def task(self, made: dict[str, Any]) -> dict[str, Any]:
        """The task as Detail shows it now."""
        (task,) = self.ok("/Task/Detail", {"taskid": made["taskid"]})["tasklist"]
        return dict(task)

    def until(self, made: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """Waits until the task has one of these statuses."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            task = self.task(made)
            if task["status"] in statuses:
                return task
            assert task["status"] != "task_postprocess_end", f"ended without {statuses}"
            time.sleep(0.01)
        raise AssertionError(f"still {task['status']}")

    def done(self, made: dict[str, Any]) -> dict[str, Any]:
        """Waits for the task's end."""
        return self.until(made, "task_postprocess_end")

    @contextmanager
    def watch(self, made: dict[str, Any]) -> Iterator[ClientConnection]:
        """A socket that is registered for the task: a registration nobody knows is answered after it."""
        with connect(self.sandbox.socket_url, compression=None, proxy=None) as socket:
            for token in (made["socketaccesstoken"], "nobody"):
                socket.send(json.dumps({"type": "task_info", "tasktoken": token}))
            assert json.loads(socket.recv(timeout=PATIENCE_S))["result"] is False
            yield socket

    def events(self, socket: ClientConnection, last: str = "task_postprocess_end") -> list[dict[str, Any]]:
        """Reads events up to the first of a type."""
        events: list[dict[str, Any]] = []
        while not events or events[-1]["type"] != last:
            frame = socket.recv(timeout=PATIENCE_S)
            if isinstance(frame, str):
                events.append(json.loads(frame))
        return events


@pytest.fixture
def caller(sandbox: Any) -> Iterator[Caller]:
    """A caller of the session's sandbox, which is in order before and after."""
    client = Caller(sandbox)
    yield client
    sandbox.set_faults("")
    client.http.close()


@pytest.fixture
def new_caller(start_sandbox: Callable[..., Any]) -> Iterator[Callable[..., Caller]]:
    """Makes callers of sandboxes of their own."""
    made: list[Caller] = []

    def make(*args: str, **more: Any) -> Caller:
        made.append(Caller(start_sandbox("--engine", "instant", *args, **more)))
        return made[-1]

    yield make
    for client in made:
        client.http.close()
        client.sandbox.stop()
