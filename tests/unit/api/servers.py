"""Small real servers on 127.0.0.1 that behave as a test says."""

from __future__ import annotations

import asyncio
import json
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from wiro_nb.api import Credentials, Service

KEY, SECRET, TOKEN = "key-of-the-tests-0001", "secret-of-the-tests-0001", "tokenOfTheTests0123456789abcdef"
SECRETS = (KEY, SECRET, TOKEN)
SUBMITTED = {"result": True, "errors": [], "taskid": "7", "socketaccesstoken": TOKEN}

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def service_at(port: int) -> Service:
    return Service("local", f"http://127.0.0.1:{port}/v1", f"ws://127.0.0.1:{port}/v1", Credentials(KEY, SECRET))


def closed_port() -> int:
    """A port nobody listens on, nor can: it stays taken as long as this process lives."""
    port: int = _taken().getsockname()[1]
    return port


@cache
def _taken() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


@asynccontextmanager
async def tcp_server(handler: Handler) -> AsyncIterator[Service]:
    """Runs the handler for each connection, which is closed when it returns; its failed assertions are raised."""
    failures: list[AssertionError] = []
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            pass
        except AssertionError as error:
            failures.append(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield service_at(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if failures:
            raise failures[0]


async def read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Reads one request: headers (with ":path" and ":method") and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {":method": method, ":path": path}
    pairs = (line.partition(":") for line in head[1:] if line)
    headers |= {name.lower(): value.strip() for name, _, value in pairs}
    return headers, await reader.readexactly(int(headers.get("content-length", "0")))


def response(body: Any, status: str = "200 OK", headers: str = "") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes as a crashed process does: with RST."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


def assert_no_secret(error: BaseException) -> None:
    """An error shows no secret, however it is looked at, and chains nothing foreign."""
    import pickle

    assert error.__cause__ is None
    assert error.__context__ is None
    texts = [str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error)), *error.lines()]  # type: ignore[attr-defined]
    texts += traceback.format_exception(error)
    for secret in SECRETS:
        assert not any(secret in text for text in texts)
