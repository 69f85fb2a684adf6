"""The sandbox as a fixture: a real process on 127.0.0.1, its data in a temporary folder."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import hmac
import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.forked import CommandProcess

PATIENCE_S = 60.0
QUICK_IMPORTS = str(Path(__file__).with_name("quick_imports"))
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SandboxProcess:
    """A running sandbox. `args` are its command line; `audit()` returns its requests and bills."""

    def __init__(self, data: Path, *args: str) -> None:
        self.data = data
        self.args = args
        self.start()

    def start(self) -> None:
        """Starts the process and reads its first line."""
        words = ["sandbox", "--data", str(self.data), *self.args]
        stdin, self._input = os.pipe()
        self._output, stdout = os.pipe()
        self.process = CommandProcess(words, stdin=stdin, stdout=stdout, stderr=2)
        os.close(stdin)
        os.close(stdout)
        with open(self._output, encoding="utf-8", closefd=False) as output:
            line = output.readline()
        assert line, "the sandbox did not start"
        self.info: dict[str, Any] = json.loads(line)
        self.base_url: str = self.info["base_url"]
        self.socket_url: str = self.info["socket_url"]
        self.api_key: str = self.info["api_key"]
        self.api_secret: str = self.info["api_secret"]
        self.key_only_api_key: str = self.info["key_only_api_key"]
        self.origin = self.base_url.removesuffix("/v1")

    def task_of(self, prompt: str) -> str:
        """Returns the id of the task with this prompt as soon as the audit log has it: no event tells of it."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for task in self.audit()["tasks"]:
                if task["parameters"].get("prompt") == prompt:
                    return str(task["task_id"])
            time.sleep(0.02)
        raise AssertionError(f"no task came for {prompt!r}")

    def end_input(self) -> None:
        """Tells the process to end."""
        if self._input >= 0:
            os.close(self._input)
        self._input = -1

    def stop(self, *, kill: bool = False) -> int:
        """Ends the process: by closing its stdin, or as kill -9 does."""
        if kill:
            self.process.kill()
        self.end_input()
        if self._output >= 0:
            os.close(self._output)
        self._output = -1
        return self.process.wait(PATIENCE_S)

    def restart(self, *, kill: bool = True) -> None:
        """Ends the process, by default as kill -9 does, and starts it again on the same data."""
        self.stop(kill=kill)
        self.start()

    def headers(self) -> dict[str, str]:
        """Headers of a signed request."""
        nonce = str(time.time_ns())
        signature = hmac.new(self.api_key.encode(), (self.api_secret + nonce).encode(), hashlib.sha256).hexdigest()
        return {"x-api-key": self.api_key, "x-nonce": nonce, "x-signature": signature}

    def call(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One signed request with urllib: POST of JSON, or GET when there is no body. Paths as `/Task/Detail`."""
        url = (self.origin if path.startswith("/sandbox/") else self.base_url) + path
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {**self.headers(), "Content-Type": "application/json"})
        with _DIRECT.open(request, timeout=PATIENCE_S) as response:
            answer: dict[str, Any] = json.loads(response.read())
        return answer

    def audit(self) -> dict[str, Any]:
        """Returns the audit log: balance_usd, busy, requests (by endpoint), tasks (task_id, billed_usd, ...)."""
        return self.call("/sandbox/audit")

    def set_balance(self, usd: str) -> None:
        """Sets the account's balance; above 250 there is no limit of slots."""
        self.call("/sandbox/balance", {"usd": usd})

    def set_faults(self, spec: str, seed: int = 0) -> None:
        """Makes it misbehave from now on (`wiro-nb sandbox --help` names the rules); "" ends that."""
        answer = self.call("/sandbox/faults", {"spec": spec, "seed": seed})
        assert answer["result"], answer["errors"]

    def release(self, task_id: str) -> None:
        """Lets a task go on that `[queue]` or `[hold]` in its prompt holds."""
        self.call("/sandbox/release", {"taskid": task_id})


@pytest.fixture(scope="session")
def start_shared_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., SandboxProcess]]:
    """Starts sandboxes that end with the session: `start_shared_sandbox("--speed", "1", data=folder)`."""
    started: list[SandboxProcess] = []

    def start(*args: str, data: Path | None = None) -> SandboxProcess:
        chosen = args or ("--engine", "instant", "--speed", "50", "--balance", "1000")
        started.append(SandboxProcess(data or tmp_path_factory.mktemp("sandbox"), *chosen))
        return started[-1]

    yield start
    for process in started:  # all together: each takes a moment
        process.end_input()
    for process in started:
        process.stop()


@pytest.fixture
def start_sandbox(start_shared_sandbox: Callable[..., SandboxProcess]) -> Iterator[Callable[..., SandboxProcess]]:
    """Starts sandboxes that end with the test: fifty that stay idle take a tenth of a core."""
    started: list[SandboxProcess] = []

    def start(*args: str, data: Path | None = None) -> SandboxProcess:
        started.append(start_shared_sandbox(*args, data=data))
        return started[-1]

    yield start
    for process in started:
        process.end_input()


@pytest.fixture(scope="session")
def sandbox(start_shared_sandbox: Callable[..., SandboxProcess]) -> SandboxProcess:
    """One sandbox for all tests that change nothing for others: instant engine, 60 ms a task, no slot limit."""
    return start_shared_sandbox()


_run = asyncio.run


def pytest_runtest_setup() -> None:
    """Has `asyncio.run` close its loops, which on 3.11 it does not once a wait has applied nest_asyncio2."""
    asyncio.run = _run


def pytest_configure() -> None:
    """Has properties tried on the same 50 examples each time, however slow the machine is just now.

    `--hypothesis-profile=thorough` tries 300 and `default` draws others. Interrupts arrive in what the tests
    start, also where the shell runs the suite in the background. Processes start quickly: compiled modules are
    kept, and see `quick_imports`.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    sys.path.insert(0, QUICK_IMPORTS)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [QUICK_IMPORTS, os.environ.get("PYTHONPATH")]))
    steady = settings(
        max_examples=50,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.register_profile("steady", steady)
    settings.register_profile("thorough", steady, max_examples=300)
    settings.load_profile("steady")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Keeps what collecting made out of later garbage collections: `make_manager` ends each test with one."""
    gc.collect()
    gc.freeze()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Spreads the whole suite over the cores, at most four; a part that somebody names runs in one process."""
    return min(os.cpu_count() or 1, 4) if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long tests out unless a mark expression (`-m slow`) says what to run.

    The browser comes last, after what tells more quickly that something is broken. Among several processes one
    begins with it: a second Chromium with a second JupyterLab would cost as much as three stories.
    """
    several = hasattr(config, "workerinput")
    items.sort(key=lambda item: (item.get_closest_marker("browser") is not None) != several)
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.xdist_group("browser"))
    if not config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="long; run with -m slow"))
