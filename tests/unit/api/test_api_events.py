"""The event client against a real WebSocket server: one socket a task, lost, refused, bounded, binary, garbage."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from tests.unit.api.servers import TOKEN, response, service_at, tcp_server
from wiro_nb.api import events as events_module
from wiro_nb.api.answers import Event
from wiro_nb.api.events import EventClient, SocketState
from wiro_nb.api.transport import jittered_delays

DEADLINE_S = 30.0
A, B, C = TOKEN, "tokenB-23456789012345678", "tokenC-23456789012345678"
OPENED, LOST = SocketState.OPENED, SocketState.LOST


class Server:
    """Keeps the socket of each registered task, and sends what a test says."""

    def __init__(self) -> None:
        self.sockets: dict[str, ServerConnection] = {}
        self.connections = 0
        self.socket_url = ""
        self._changed = asyncio.Condition()

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        token = ""
        try:
            async for text in connection:
                token = json.loads(text)["tasktoken"]
                self.sockets[token] = connection
                await self._notify()
        except ConnectionClosed:
            pass
        finally:
            self.sockets.pop(token, None)
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(holds)

    async def send(self, token: str, status: str = "task_output", message: Any = "line", **more: Any) -> None:
        frame = {"type": status, "id": f"id-{token}", "message": message, "result": True, **more}
        await self.sockets[token].send(json.dumps(frame))


class Reader:
    """Reads a task's stream in a task of its own, and waits for what it yields."""

    def __init__(self, client: EventClient, token: str) -> None:
        self.items: list[Event | SocketState] = []
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._read(client, token), name="wiro-events")

    async def _read(self, client: EventClient, token: str) -> None:
        async with contextlib.aclosing(client.stream(token, f"id-{token}")) as stream:
            async for item in stream:
                self.items.append(item)
                self._changed.set()

    @property
    def texts(self) -> list[str | None]:
        return [item.text for item in self.items if isinstance(item, Event)]

    @property
    def states(self) -> list[SocketState]:
        return [item for item in self.items if isinstance(item, SocketState)]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@asynccontextmanager
async def server_and_client(**options: Any) -> AsyncIterator[tuple[Server, EventClient]]:
    server = Server()
    async with serve(server, "127.0.0.1", 0) as listening:
        service = service_at(next(iter(listening.sockets)).getsockname()[1])
        server.socket_url = service.socket_url
        yield server, EventClient(service, **options)


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    """Runs a scenario and proves that it leaves no task behind."""

    async def guarded() -> None:
        async with asyncio.timeout(DEADLINE_S * 2):
            await scenario()
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("wiro-")]
        assert not left

    asyncio.run(guarded())


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds > 15:  # between the library's pings
            await sleep(seconds)
        slept.append(seconds)
        await sleep(0.001)

    monkeypatch.setattr(events_module.asyncio, "sleep", note)
    return slept


def test_each_task_has_a_socket_that_closes_with_the_event_that_ends_it() -> None:
    async def scenario() -> None:
        async with server_and_client() as (server, client):
            readers = {token: Reader(client, token) for token in (A, B)}
            await server.until(lambda: len(server.sockets) == 2)
            await server.send(B, message="for b")
            await server.send(A, message="for a")
            await server.send(B, "task_postprocess_end", [{"name": "0.mp4", "url": "https://x/0.mp4"}])
            await readers[B].task
            await server.until(lambda: set(server.sockets) == {A})
            await readers[A].until(lambda: bool(readers[A].texts))
            assert (readers[A].texts, readers[B].texts) == (["for a"], ["for b", None])
            last = readers[B].items[-1]
            assert isinstance(last, Event)
            assert last.outputs
            assert server.connections == 2
            await readers[A].stop()

    play(scenario)


def test_a_lost_socket_comes_back_registers_again_and_says_so(pauses: list[float]) -> None:
    async def scenario() -> None:
        async with server_and_client() as (server, client):
            reader = Reader(client, A)
            await server.until(lambda: A in server.sockets)
            server.sockets[A].transport.abort()
            await server.until(lambda: server.connections == 2 and A in server.sockets)
            await server.send(A, message="again")
            await reader.until(lambda: reader.texts == ["again"])
            assert reader.states == [OPENED, LOST, OPENED]
            await reader.stop()

    play(scenario)


def test_a_service_that_is_not_there_yet_is_tried_until_it_is(pauses: list[float]) -> None:
    async def scenario() -> None:
        attempts = 0

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal attempts
            attempts += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(b"", "403 Forbidden" if attempts % 2 else "503 Service Unavailable"))
            await writer.drain()

        async with tcp_server(refuse) as service:
            reader = Reader(EventClient(service), A)
            async with asyncio.timeout(DEADLINE_S):
                while attempts < 4:
                    await asyncio.wait({reader.task}, timeout=0.01)
            assert not reader.task.done()
            assert reader.items == []
            await reader.stop()

    play(scenario)
    assert len(pauses) >= 3


def test_pauses_grow_are_jittered_and_bounded() -> None:
    assert list(islice(jittered_delays(lambda: 0.0, first_s=1, longest_s=5), 5)) == [0.5, 1.0, 2.0, 2.5, 2.5]
    assert list(islice(jittered_delays(lambda: 1.0, first_s=1, longest_s=5), 4)) == [1.0, 2.0, 4.0, 5.0]


def test_a_server_that_accepts_and_hangs_up_at_once_is_not_hammered(pauses: list[float]) -> None:
    async def scenario() -> None:
        async def hang_up(connection: ServerConnection) -> None:
            await connection.close()

        async with serve(hang_up, "127.0.0.1", 0) as listening:
            client = EventClient(service_at(next(iter(listening.sockets)).getsockname()[1]))
            reader = Reader(client, A)
            await reader.until(lambda: reader.states.count(LOST) > 4)
            await reader.stop()

    play(scenario)
    assert all(whole / 2 <= pause <= whole for pause, whole in zip(pauses[:4], (0.5, 1, 2, 4), strict=True))


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x01binary",
        "",
        "not json",
        "[]",
        '{"type": 7}',
        "null",
        '{"type"',
        '{"type": "task_output", "id": "9", "message": "of another task"}',
        '{"type": "task_output", "tasktoken": "of-another-task", "message": "no"}',
        '{"type": "task_info", "result": false, "message": "refused"}',
    ],
)
def test_frames_that_are_no_events_of_the_task_are_dropped(frame: str | bytes) -> None:
    async def scenario() -> None:
        async with server_and_client() as (server, client):
            reader = Reader(client, A)
            await server.until(lambda: A in server.sockets)
            await server.sockets[A].send(frame)
            await server.send(A, message="after")
            await reader.until(lambda: "after" in reader.texts)
            assert [text for text in reader.texts if text] == ["after"]
            assert server.connections == 1
            await reader.stop()

    play(scenario)


def test_an_event_is_matched_by_id_by_the_older_token_or_by_its_socket() -> None:
    async def scenario() -> None:
        async with server_and_client() as (server, client):
            reader = Reader(client, A)
            await server.until(lambda: A in server.sockets)
            for naming in ({"id": f"id-{A}"}, {"tasktoken": A}, {}):
                frame = {"type": "task_output", "message": "own", **naming}
                await server.sockets[A].send(json.dumps(frame))
            await reader.until(lambda: reader.texts == ["own", "own", "own"])
            await reader.stop()

    play(scenario)


def test_sockets_are_bounded_and_a_freed_one_serves_the_next_task() -> None:
    async def scenario() -> None:
        async with server_and_client(max_sockets=2, max_opening=1) as (server, client):
            readers = {token: Reader(client, token) for token in (A, B, C)}
            await server.until(lambda: len(server.sockets) == 2)
            assert C not in server.sockets
            await readers[A].stop()
            await server.until(lambda: set(server.sockets) == {B, C})
            assert server.connections == 3
            for token in (B, C):
                await readers[token].stop()

    play(scenario)


def test_stopping_closes_the_socket_with_a_close_frame() -> None:
    async def scenario() -> None:
        async with server_and_client() as (server, client):
            reader = Reader(client, A)
            await server.until(lambda: A in server.sockets)
            connection = server.sockets[A]
            await reader.stop()
            await connection.wait_closed()
            assert connection.close_code != CloseCode.ABNORMAL_CLOSURE

    play(scenario)


def test_a_server_that_never_finishes_its_handshake_does_not_hold_up_stopping() -> None:
    async def scenario() -> None:
        begun = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            begun.set()
            await reader.read()

        async with tcp_server(silent) as service:
            reader = Reader(EventClient(service), A)
            await begun.wait()
            async with asyncio.timeout(events_module.OPEN_TIMEOUT_S - 1):
                await reader.stop()

    play(scenario)


def test_a_redirect_is_not_followed_so_tokens_go_nowhere_else(pauses: list[float]) -> None:
    async def scenario() -> None:
        asked = asyncio.Event()
        async with server_and_client() as (server, _):
            target = server.socket_url

            async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(response(b"", "302 Found", f"Location: {target}\r\n"))
                await writer.drain()
                if pauses:
                    asked.set()

            async with tcp_server(moved) as service:
                reader = Reader(EventClient(service), A)
                await asked.wait()
                await reader.stop()
            assert reader.items == []
            assert server.connections == 0

    play(scenario)


def test_the_socket_is_uncompressed_and_tokens_stay_out_of_every_log(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="websockets")

    async def scenario() -> None:
        async with server_and_client() as (server, client):
            reader = Reader(client, A)
            await server.until(lambda: A in server.sockets)
            request = server.sockets[A].request
            assert request is not None
            assert "Sec-WebSocket-Extensions" not in request.headers
            await server.send(A, "task_postprocess_end", [])
            await reader.task

    play(scenario)
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    assert not any(A in record.getMessage() for record in ours)
