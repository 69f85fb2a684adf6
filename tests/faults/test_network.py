"""The network goes away in every way a network does, and comes back."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.manager_tools import QUICK, submit, until, wait_for, wait_for_stage
from wiro_nb.api import client
from wiro_nb.execution.run import Run
from wiro_nb.ledger.state import RunState, Stage
from wiro_nb.notebook.widgets.card import card_view
from wiro_nb.session.manager import Manager


class Cable:
    """A TCP proxy in front of a service: it can be unplugged, or swallow everything in silence."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._theirs = b":%d/" % target_port  # addresses of files must lead through the cable as well
        self._writers: set[asyncio.StreamWriter] = set()
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="cable")
        self._thread.start()
        self.port = 0
        self._do(self._listen())

    def unplug(self) -> None:
        """Cuts every connection and refuses new ones."""
        self._do(self._cut())

    def plug_in(self) -> None:
        """Accepts connections again, at the same port."""
        self._do(self._listen())

    def go_silent(self, *, answers_only: bool = False) -> None:
        """Keeps connections open and passes nothing on: a dead Wi-Fi. Or only no answers."""
        self._do(self._hold(answers_only))

    def close(self) -> None:
        self._do(self._cut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _hold(self, answers_only: bool) -> None:
        self._down.clear()
        if not answers_only:
            self._up.clear()

    async def _listen(self) -> None:
        self._up.set()
        self._down.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server is not None:
            # Connections accepted in this very turn need the server once more: without it asyncio loses them.
            for listener in self._server.sockets:
                self._loop.remove_reader(listener.fileno())
            await asyncio.sleep(0)
            self._server.close()
            self._server = None
        self._up.set()
        self._down.set()
        # Again and again: a connection accepted a moment ago is served by a task that is only about to be made.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in list(self._writers):
                writer.transport.abort()
            done, _ = await asyncio.wait(others, timeout=5)
            if not done:
                break

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, to_there}
        try:
            await asyncio.gather(
                self._pass_on(reader, to_there, self._up), self._pass_on(there, writer, self._down)
            )
        finally:
            self._writers -= {writer, to_there}
            for end in (writer, to_there):
                end.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event
    ) -> None:
        try:
            while data := await reader.read(65_536):
                await way.wait()
                writer.write(data.replace(self._theirs, b":%d/" % self.port))
                await writer.drain()
            writer.close()
        except OSError:
            writer.transport.abort()


@pytest.fixture
def service(start_sandbox: Any) -> Any:
    return start_sandbox("--engine", "instant", "--speed", "50", "--balance", "1000", "--no-host-check")


@pytest.fixture
def cable(service: Any) -> Iterator[Cable]:
    made = Cable(int(urlsplit(service.base_url).port or 0))
    yield made
    made.close()


@pytest.fixture
def manager(
    service: Any, cable: Cable, point_at: Any, make_manager: Any, monkeypatch: pytest.MonkeyPatch
) -> Manager:
    point_at(service, base_url=f"http://127.0.0.1:{cable.port}/v1")
    monkeypatch.setenv("WIRO_SOCKET_URL", f"ws://127.0.0.1:{cable.port}/v1")
    made: Manager = make_manager()
    return made


def held(manager: Manager, prompt: str) -> Run:
    run = submit(manager, f"[hold] {prompt}")
    wait_for_stage(run, Stage.GENERATING)
    return run


def test_a_run_survives_an_unplugged_cable_and_says_so_meanwhile(
    manager: Manager, service: Any, cable: Cable
) -> None:
    run = held(manager, "unplugged")
    cable.unplug()
    wait_for(run, lambda run: run.snapshot.lost_since is not None)
    service.release(run.task_id)
    cable.plug_in()
    assert run.wait(30).state is RunState.SUCCEEDED
    assert run.snapshot.lost_since is None
    assert len(service.audit()["tasks"]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
def test_a_service_that_stands_still_is_missed_and_found_again(
    sandbox: Any, point_at: Any, make_manager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is stopped, so that its sockets stay open and nothing is refused: only silence tells."""
    point_at(sandbox)
    monkeypatch.setattr(client, "WiroClient", functools.partial(client.WiroClient, timeout_s=1.0))
    manager = make_manager(settings=replace(QUICK, safety_poll_s=0.5))
    run = held(manager, "a service that stands still")
    os.kill(sandbox.process.pid, signal.SIGSTOP)
    try:
        wait_for(run, lambda run: run.snapshot.lost_since is not None)
        card = card_view(run.snapshot)
    finally:
        os.kill(sandbox.process.pid, signal.SIGCONT)
    assert (run.state, card["label"]) == (RunState.SUBMITTED, "Lost contact")
    assert card["notes"][0]["strong"].startswith("Still running")
    wait_for(run, lambda run: run.snapshot.lost_since is None)
    sandbox.release(run.task_id)
    assert run.wait(30).state is RunState.SUCCEEDED
    assert count(sandbox, "[hold] a service that stands still") == 1


def test_a_run_asked_for_without_a_network_is_sent_once_when_it_is_back(
    manager: Manager, service: Any, cable: Cable
) -> None:
    held(manager, "the first one, so that the service was reached").cancel()
    cable.unplug()
    run = submit(manager, "asked for in a tunnel")
    wait_for(run, lambda run: "cannot be reached" in run.snapshot.message)
    assert run.state is RunState.PLANNED
    cable.plug_in()
    assert run.wait(30).state is RunState.SUCCEEDED
    assert count(service, "asked for in a tunnel") == 1


@pytest.mark.parametrize("when", ["before the request arrived", "before the answer came"])
def test_a_network_lost_while_sending_never_sends_twice(
    manager: Manager, service: Any, cable: Cable, when: str
) -> None:
    held(manager, "warms the connections").cancel()
    cable.go_silent(answers_only=when.endswith("came"))
    run = submit(manager, "lost on the way")
    wait_for(run, lambda run: run.state is RunState.SUBMITTING)
    if when.endswith("came"):
        until(lambda: count(service, "lost on the way") == 1)
    cable.unplug()
    cable.plug_in()
    run.wait(30, check=False)
    made = count(service, "lost on the way")
    if made and run.state is RunState.UNCERTAIN:  # the network was back only after the last look
        manager.follow(run)
        run.wait(30)
    arrived = (RunState.SUCCEEDED, 1)
    # Where no byte had left yet when the cable went, the run is simply sent later.
    assert (run.state, made) in ([arrived] if when.endswith("came") else [arrived, (RunState.UNCERTAIN, 0)])


def count(service: Any, prompt: str) -> int:
    return sum(task["parameters"].get("prompt") == prompt for task in service.audit()["tasks"])


def test_a_download_goes_on_where_the_network_broke(manager: Manager, service: Any, cable: Cable) -> None:
    run = held(manager, "downloaded twice over")
    service.set_faults("file:slow=1000@1")
    service.release(run.task_id)
    wait_for(run, lambda run: bool(run.folder and list(run.folder.glob("*.part"))))
    cable.unplug()
    cable.plug_in()
    assert run.wait(30).outputs[0].problem == ""
    assert manager.ledger.check_integrity() == "ok"
