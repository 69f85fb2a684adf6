"""The event stream against a real WebSocket server: shared, silent, refused, dropped, binary and garbage."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.unit.api.servers import TOKEN, response, service_at, tcp_server
from wiro_nb.api.answers import Event
from wiro_nb.api.backoff import jittered_delays
from wiro_nb.api.line import OPEN_TIMEOUT_S
from wiro_nb.api.service import Service
from wiro_nb.api.stream import StreamState, TaskStream

DEADLINE_S = 30.0
A, B, C = TOKEN, "tokenB-23456789012345678", "tokenC-23456789012345678"


class Server:
    """Knows who registered where, and sends what a test tells it to.

    `honours` decides for each registration (tokens of the socket so far, the new one) whether the socket
    gets the task's events: "yes", "no" (silence), "refuse" or "close".
    """

    def __init__(self, honours: Callable[[list[str], str], str] = lambda _before, _token: "yes") -> None:
        self.honours = honours
        self.sockets: list[ServerConnection] = []
        self.registered: list[tuple[ServerConnection, str]] = []
        self.listening: list[tuple[ServerConnection, str]] = []
        self.connections = 0
        self.news = asyncio.Condition()

    async def __call__(self, connection: ServerConnection) -> None:
        self.connections += 1
        self.sockets.append(connection)
        before: list[str] = []
        try:
            async for text in connection:
                token = json.loads(text)["tasktoken"]
                verdict = self.honours(list(before), token)
                before.append(token)
                self.registered.append((connection, token))
                if verdict == "yes":
                    self.listening.append((connection, token))
                elif verdict == "refuse":
                    refusal = {"type": "task_info", "tasktoken": token, "result": False, "message": "no"}
                    await connection.send(json.dumps(refusal))
                elif verdict == "close":
                    await connection.close()
                await self._tell()
        except ConnectionClosed:
            pass
        finally:
            self.sockets.remove(connection)
            self.listening = [pair for pair in self.listening if pair[0] is not connection]
            await self._tell()

    async def _tell(self) -> None:
        async with self.news:
            self.news.notify_all()

    async def until(self, fits: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self.news:
            await self.news.wait_for(fits)

    async def send(self, token: str, status: str = "task_output", message: Any = "line") -> None:
        """Sends an event to every socket that listens to the task."""
        frame = json.dumps({"type": status, "id": f"id-{token}", "tasktoken": token, "message": message})
        for connection, listened in list(self.listening):
            if listened == token:
                with contextlib.suppress(ConnectionClosed):
                    await connection.send(frame)


class Ear:
    """Collects what a stream says, and waits for it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Event]] = []
        self.states: list[StreamState] = []
        self._news = asyncio.Event()

    def listen(self, name: str) -> Callable[[Event], None]:
        def note(event: Event) -> None:
            self.events.append((name, event))
            self._news.set()

        return note

    def on_state(self, state: StreamState) -> None:
        self.states.append(state)
        self._news.set()

    def texts(self, name: str) -> list[str | None]:
        return [event.text for heard, event in self.events if heard == name]

    async def until(self, fits: Callable[[], bool], urge: Callable[[], Awaitable[None]] | None = None) -> None:
        """Waits; `urge` is done again and again meanwhile (a task that goes on sending events).

        What a stream is like (its sockets, whether it shares) changes without news, so it is looked at often.
        """
        async with asyncio.timeout(DEADLINE_S):
            while not fits():
                self._news.clear()
                if urge is not None:
                    await urge()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), 0.01)


@asynccontextmanager
async def stage(server: Server, **options: Any) -> AsyncIterator[tuple[TaskStream, Ear, Service]]:
    """A stream on this server. It doubts no silent task unless the test gives `silence_s`: a machine that stands
    still for a moment makes tasks silent, too.
    """
    ear = Ear()
    async with serve(server, "127.0.0.1", 0) as listening:
        service = service_at(next(iter(listening.sockets)).getsockname()[1])
        options = {"first_delay_s": 0.01, "longest_delay_s": 0.05, "silence_s": 600.0, **options}
        stream = TaskStream(service, on_state=ear.on_state, **options)
        try:
            yield stream, ear, service
        finally:
            await stream.close()


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    """Runs a scenario and proves that it leaves no task behind."""

    async def guarded() -> None:
        async with asyncio.timeout(DEADLINE_S * 2):
            await scenario()
        left = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("wiro-")]
        assert not left

    asyncio.run(guarded())


def test_several_tasks_share_a_socket_and_each_gets_its_own_events() -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server) as (stream, ear, _):
            for token, name in ((A, "a"), (B, "b"), (C, "c")):
                await stream.watch(token, f"id-{token}", ear.listen(name))
            await server.until(lambda: len(server.listening) == 3)
            await server.send(B, message="for b")
            await server.send(A, message="for a")
            await server.send(C, "task_postprocess_end", [{"name": "0.mp4", "url": "https://x/0.mp4"}])
            await ear.until(lambda: len(ear.events) == 3)
            assert (ear.texts("a"), ear.texts("b")) == (["for a"], ["for b"])
            assert ear.events[-1][1].outputs
            assert (stream.sharing, stream.socket_count, stream.connected) == (True, 1, True)
            assert server.connections == 1
            assert ear.states == [StreamState(connected=True)]

    play(scenario)


def test_a_socket_that_ignores_later_registrations_is_found_out_and_each_task_gets_its_own() -> None:
    async def scenario() -> None:
        server = Server(lambda before, _token: "no" if before else "yes")
        async with stage(server, silence_s=0.1) as (stream, ear, _):
            for token in (A, B, C):
                await stream.watch(token, f"id-{token}", ear.listen(token))

            async def all_move() -> None:
                for token in (A, B, C):
                    await server.send(token)

            await ear.until(lambda: {name for name, _ in ear.events} == {A, B, C}, urge=all_move)
            await ear.until(lambda: stream.sharing is False and stream.connected, urge=all_move)
            await ear.until(lambda: stream.socket_count == 3)  # by chores that run a moment after the decision
            await stream.watch(token := "tokenD-23456789012345678", "id-d", ear.listen(token))
            await ear.until(lambda: bool(ear.texts(token)), urge=lambda: server.send(token))
            assert stream.socket_count == 4

    play(scenario)


def test_a_socket_where_a_later_registration_replaces_the_earlier_is_found_out() -> None:
    async def scenario() -> None:
        server = Server()

        def replacing(before: list[str], _token: str) -> str:
            if before:  # the newest registration of a socket replaces what it had
                server.listening = [pair for pair in server.listening if pair[1] not in before]
            return "yes"

        server.honours = replacing
        async with stage(server, silence_s=0.1) as (stream, ear, _):
            for token in (A, B):
                await stream.watch(token, f"id-{token}", ear.listen(token))

            async def both_move() -> None:
                for token in (A, B):
                    await server.send(token)

            await ear.until(lambda: {name for name, _ in ear.events} == {A, B}, urge=both_move)
            await ear.until(lambda: stream.sharing is False, urge=both_move)

    play(scenario)


def test_a_refused_registration_gets_a_socket_of_its_own_at_once() -> None:
    async def scenario() -> None:
        server = Server(lambda before, _token: "refuse" if before else "yes")
        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen(A))
            await stream.watch(B, "id-b", ear.listen(B))
            await ear.until(lambda: bool(ear.texts(B)), urge=lambda: server.send(B))
            assert all(event.result for _, event in ear.events)

    play(scenario)


def test_a_server_that_hangs_up_at_the_second_registration_is_served_one_task_a_socket() -> None:
    async def scenario() -> None:
        server = Server(lambda before, _token: "close" if before else "yes")
        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen(A))
            await stream.watch(B, "id-b", ear.listen(B))

            async def both_move() -> None:
                for token in (A, B):
                    await server.send(token)

            await ear.until(lambda: stream.sharing is False)
            await ear.until(lambda: {name for name, _ in ear.events} == {A, B}, urge=both_move)
            assert stream.socket_count == 2

    play(scenario)


def test_a_task_that_only_waits_while_others_move_does_not_end_sharing() -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server, silence_s=0.05) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen(A))
            await stream.watch(B, "id-b", ear.listen(B))
            await server.until(lambda: len(server.listening) == 2)
            # B is queued: after a while it gets a socket of its own beside the shared one.
            await ear.until(lambda: stream.socket_count == 2, urge=lambda: server.send(A))
            await server.until(lambda: len(server.listening) == 3)
            await ear.until(lambda: stream.sharing is True, urge=lambda: server.send(B))
            await server.until(lambda: len(server.sockets) == 1)
            assert stream.socket_count == 1

    play(scenario)


def test_a_task_left_alone_on_the_shared_socket_gives_its_own_socket_back_when_it_moves() -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server, silence_s=0.05) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen("a"))
            await stream.watch(B, "id-b", ear.listen("b"))
            await server.until(lambda: len(server.listening) == 2)
            await ear.until(lambda: stream.socket_count == 2, urge=lambda: server.send(A))
            await server.until(lambda: len(server.listening) == 3)
            await stream.unwatch(A)
            await ear.until(lambda: stream.socket_count == 1, urge=lambda: server.send(B))
            await server.until(lambda: len(server.sockets) == 1)
            assert stream.sharing is None

    play(scenario)


def test_sockets_of_their_own_are_bounded_and_a_freed_one_is_used_again() -> None:
    async def scenario() -> None:
        server = Server(lambda before, _token: "no" if before else "yes")
        async with stage(server, max_own_sockets=2) as (stream, ear, _):
            stream.sharing = False
            for token in (A, B, C):
                await stream.watch(token, f"id-{token}", ear.listen(token))
            assert (stream.socket_count, server.connections) == (2, 2)
            await stream.unwatch(A)
            await ear.until(lambda: bool(ear.texts(C)), urge=lambda: server.send(C))
            assert stream.socket_count == 2

    play(scenario)


def test_a_dropped_socket_comes_back_and_registers_again_and_says_so() -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen("a"))
            await stream.watch(B, "id-b", ear.listen("b"))
            await server.until(lambda: len(server.listening) == 2)
            server.sockets[0].transport.abort()
            await server.until(lambda: server.connections == 2 and len(server.listening) == 2)
            await ear.until(lambda: len(ear.states) == 3)
            assert [state.connected for state in ear.states] == [True, False, True]
            assert ear.states[1].retry_in_s is not None
            await server.send(B, message="again")
            await ear.until(lambda: ear.texts("b") == ["again"])

    play(scenario)


def test_a_service_that_is_not_there_yet_is_tried_with_growing_pauses_and_found() -> None:
    async def scenario() -> None:
        taken, pauses, ear, server = socket.socket(), [], Ear(), Server()
        taken.bind(("127.0.0.1", 0))  # nobody else can have the port before the service is there
        enough = asyncio.Event()

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 5:
                enough.set()
            if len(pauses) >= 5:
                await asyncio.sleep(0.02)

        stream = TaskStream(
            service_at(taken.getsockname()[1]), on_state=ear.on_state, sleep=sleep, random=lambda: 1.0
        )
        await stream.watch(A, "id-a", ear.listen("a"))
        assert not stream.connected
        assert ear.states == [StreamState(connected=False, retry_in_s=0.5)]
        await enough.wait()
        assert pauses[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
        async with serve(server, sock=taken):
            await ear.until(lambda: ear.states[-1].connected)
            await server.send(A)
            await ear.until(lambda: bool(ear.events))
            await stream.close()

    play(scenario)


def test_pauses_grow_are_jittered_and_bounded() -> None:
    assert list(islice(jittered_delays(lambda: 0.0, first_s=1, longest_s=5), 5)) == [0.5, 1.0, 2.0, 2.5, 2.5]
    assert list(islice(jittered_delays(lambda: 1.0, first_s=1, longest_s=5), 4)) == [1.0, 2.0, 4.0, 5.0]


def test_a_server_that_accepts_and_hangs_up_at_once_is_not_hammered() -> None:
    async def scenario() -> None:
        pauses: list[float] = []
        enough = asyncio.Event()

        async def hang_up(connection: ServerConnection) -> None:
            await connection.close()

        async def sleep(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 4:
                enough.set()
                await asyncio.Event().wait()

        async with serve(hang_up, "127.0.0.1", 0) as listening:
            service = service_at(next(iter(listening.sockets)).getsockname()[1])
            stream = TaskStream(service, sleep=sleep, random=lambda: 1.0)
            await stream.watch(A, "id-a", lambda _event: None)
            await enough.wait()
            await stream.close()
        assert pauses == [0.5, 1.0, 2.0, 4.0]

    play(scenario)


@pytest.mark.parametrize(
    "frame", [b"\x00\x01binary", b'{"type": "task_start"}', "", "not json", "[]", '{"type": 7}', "null", '{"type"']
)
def test_frames_that_are_no_events_are_passed_over(frame: str | bytes) -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen("a"))
            await server.until(lambda: len(server.listening) == 1)
            await server.sockets[0].send(frame)
            await server.send(A, message="after")
            await ear.until(lambda: "after" in ear.texts("a"))
            assert [text for text in ear.texts("a") if text] == ["after"]
            assert server.connections == 1

    play(scenario)


def test_an_event_finds_its_task_by_token_by_id_or_because_there_is_only_one() -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "1", ear.listen("a"))
            await server.until(lambda: len(server.listening) == 1)
            (connection,) = server.sockets
            await connection.send('{"type": "task_output", "message": "nameless"}')
            await ear.until(lambda: ear.texts("a") == ["nameless"])
            await stream.watch(B, "2", ear.listen("b"))
            await connection.send('{"type": "task_output", "message": "nameless"}')
            await connection.send('{"type": "task_output", "id": "9", "message": "a stranger\'s"}')
            await connection.send('{"type": "task_output", "tasktoken": "unknown-token", "message": "no"}')
            await connection.send('{"type": "task_output", "id": 2, "message": "by id"}')
            await ear.until(lambda: ear.texts("b") == ["by id"])
            assert ear.texts("a") == ["nameless"]

    play(scenario)


def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        server = Server()

        def fail(_event: Event) -> None:
            raise RuntimeError("listener")

        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "id-a", fail)
            await stream.watch(B, "id-b", ear.listen("b"))
            await server.until(lambda: len(server.listening) == 2)
            await server.send(A)
            await server.send(B)
            await ear.until(lambda: bool(ear.events))
            assert stream.connected

    play(scenario)
    assert "listener" in caplog.text


def test_after_unwatching_nothing_comes_and_an_idle_socket_is_closed() -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server, idle_s=0.05) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen("a"))
            await stream.watch(B, "id-b", ear.listen("b"))
            await server.until(lambda: len(server.listening) == 2)
            await stream.unwatch(A)
            await server.send(A)
            await server.send(B)
            await ear.until(lambda: bool(ear.texts("b")))
            assert ear.texts("a") == []
            await stream.unwatch(B)
            await stream.unwatch("never-watched-token")
            await server.until(lambda: not server.sockets)
            assert [state.connected for state in ear.states] == [True]
            await stream.watch(C, "id-c", ear.listen("c"))
            await ear.until(lambda: bool(ear.texts("c")), urge=lambda: server.send(C))

    play(scenario)


def test_closing_says_goodbye_and_later_calls_do_nothing() -> None:
    async def scenario() -> None:
        server = Server()
        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen("a"))
            (connection,) = server.sockets
            await stream.close()
            await connection.wait_closed()
            assert connection.close_code == 1000
            await stream.watch(B, "id-b", ear.listen("b"))
            await stream.unwatch(A)
            await stream.close()
            assert server.connections == 1

    play(scenario)


def test_a_server_that_never_finishes_its_handshake_does_not_hold_up_closing() -> None:
    async def scenario() -> None:
        async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with tcp_server(silent) as service:
            stream = TaskStream(service)
            watching = asyncio.create_task(stream.watch(A, "id-a", lambda _event: None))
            await asyncio.sleep(0)
            async with asyncio.timeout(OPEN_TIMEOUT_S - 1):
                await stream.close()
                await watching

    play(scenario)


def test_a_redirect_is_not_followed_so_tokens_go_nowhere_else() -> None:
    async def scenario() -> None:
        server = Server()
        async with serve(server, "127.0.0.1", 0) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]

            async def moved(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(response(b"", "302 Found", f"Location: ws://127.0.0.1:{port}/\r\n"))
                await writer.drain()

            async with tcp_server(moved) as service:
                stream = TaskStream(service)
                await stream.watch(A, "id-a", lambda _event: None)
                assert not stream.connected
                await stream.close()
        assert server.connections == 0

    play(scenario)


def test_the_socket_is_uncompressed_undelayed_and_tokens_stay_out_of_every_log(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="websockets")

    async def scenario() -> None:
        server = Server()
        async with stage(server) as (stream, ear, _):
            await stream.watch(A, "id-a", ear.listen("a"))
            await server.until(lambda: len(server.listening) == 1)
            await server.send(A)
            await ear.until(lambda: bool(ear.events))
            request = server.sockets[0].request
            assert request is not None
            assert "Sec-WebSocket-Extensions" not in request.headers
            connection = stream._shared._socket
            assert connection is not None
            raw = connection.transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    play(scenario)
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    assert not any(A in record.getMessage() for record in ours)
