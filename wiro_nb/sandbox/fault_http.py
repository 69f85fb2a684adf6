"""Carries out the faults of requests and files, and counts what was asked.

A layer around the application: it sees every request, so no endpoint has to know of faults. Resetting a
connection needs its transport, which `watched_protocol` hands down in the scope.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections import Counter
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from wiro_nb.sandbox.faults import ENDPOINTS, Faults, Hit
from wiro_nb.sandbox.task import TERMINAL
from wiro_nb.sandbox.wire import Failure

__all__ = ["FaultLayer", "reset_connection", "watched_protocol"]

_PAGE = b"<!DOCTYPE html><html><head><title>Sandbox</title></head><body><h1>Something else</h1></body></html>"
_LINGER = "hh" if sys.platform == "win32" else "ii"
_CHUNK = 16_384
_BODY_FAULTS = frozenset({"cut", "cut-body", "wrong-types", "unknown-status", "late-outputs"})
UNKNOWN_STATUS = "task_sandbox_unheard_of"


def watched_protocol(faults: Faults) -> type[asyncio.Protocol]:
    """Returns uvicorn's HTTP protocol with `accept` faults, and its transport in every scope's state."""

    class WatchedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "transport": transport}
            if faults.hits("accept"):
                reset_connection(transport)

    return WatchedProtocol


def reset_connection(transport: asyncio.Transport) -> None:
    """Ends a TCP connection the hard way: the peer sees a reset, not an end."""
    raw = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the peer may have gone first
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(_LINGER, 1, 0))
    transport.abort()


class FaultLayer:
    """Wraps the application.

    Args:
        app: What is wrapped.
        faults: What goes wrong.
        requests: Counts how often each endpoint, `file` and `socket` was asked.
    """

    def __init__(self, app: ASGIApp, faults: Faults, requests: Counter[str]) -> None:
        self._app, self._faults, self._requests = app, faults, requests
        self._ended_details: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request, or does what its fault says."""
        try:
            await self._serve(scope, receive, send)
        except ClientDisconnect:
            return  # whoever asked went away half-way; there is nobody to tell

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = _place(scope)
        if place is None:
            await self._app(scope, receive, send)
            return
        self._requests[place] += 1
        hits = self._faults.hits(place) if scope["type"] == "http" else []
        for hit in hits:
            if hit.kind == "delay":
                await asyncio.sleep(hit.number(1.0))
        rest = [hit for hit in hits if hit.kind != "delay"]
        if not rest:
            await self._app(scope, receive, send)
        elif place == "file":
            await self._spoil_file(rest[0], scope, receive, send)
        else:
            await self._spoil_answer(rest[0], scope, receive, send)

    async def _spoil_answer(self, hit: Hit, scope: Scope, receive: Receive, send: Send) -> None:
        if hit.kind == "reset":
            await _reset(scope)
        elif hit.kind == "hang":
            await _until_gone(receive)
        elif hit.kind == "reset-after":
            await _collect(self._app, scope, receive)
            await _reset(scope)
        elif hit.kind in _BODY_FAULTS:
            start, body = await _collect(self._app, scope, receive)
            await self._send_spoiled(hit, start, body, scope, send)
        else:
            await _plain_fault(hit)(scope, receive, send)

    async def _send_spoiled(self, hit: Hit, start: Message, body: bytes, scope: Scope, send: Send) -> None:
        length = len(body)
        if hit.kind == "cut":
            body = body[: length // 2]
            length = len(body)
        elif hit.kind == "cut-body":
            body = body[: length // 2]
        else:
            body = self._changed(hit, body)
            length = len(body)
        headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(length).encode())]})
        await send({"type": "http.response.body", "body": body, "more_body": hit.kind == "cut-body"})
        if hit.kind == "cut-body":
            await _end(scope)

    def _changed(self, hit: Hit, body: bytes) -> bytes:
        try:
            content = json.loads(body)
        except ValueError:
            return body
        if hit.kind == "wrong-types":
            content = {name: value if name == "result" else mistyped(value) for name, value in content.items()}
        for task in content.get("tasklist", []) if isinstance(content.get("tasklist"), list) else []:
            if hit.kind == "unknown-status" and task["status"] not in TERMINAL:
                task["status"] = UNKNOWN_STATUS
            if hit.kind == "late-outputs" and task["status"] == "task_postprocess_end":
                self._ended_details[task["id"]] += 1
                if self._ended_details[task["id"]] <= hit.number(1):
                    task["outputs"] = []
        return json.dumps(content).encode()

    async def _spoil_file(self, hit: Hit, scope: Scope, receive: Receive, send: Send) -> None:
        if hit.kind == "no-range":
            headers = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
            await self._app({**scope, "headers": headers}, receive, send)
        elif hit.kind == "reset":
            await _reset(scope)
        elif hit.kind == "endless":
            await _endless(receive, send)
        elif hit.kind in ("cut", "short", "slow"):
            start, body = await _collect(self._app, scope, receive)
            await _send_file(hit, start, body, scope, send)
        else:
            await _plain_fault(hit)(scope, receive, send)


def _place(scope: Scope) -> str | None:
    if scope["type"] == "websocket":
        return "socket"
    if scope["type"] != "http":
        return None
    path: str = scope["path"]
    if path.startswith("/files/"):
        return "file"
    name = path.removeprefix("/v1/").strip("/")
    name = "Run" if name.startswith("Run/") else name
    return name if name in ENDPOINTS else None


def mistyped(value: Any) -> Any:
    """Returns the value with texts of digits as numbers, other texts in lists, and lists as maps."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() else [value]
    if isinstance(value, list):
        return {str(index): mistyped(item) for index, item in enumerate(value)}
    if isinstance(value, dict):
        return {name: mistyped(item) for name, item in value.items()}
    return str(value)


def _plain_fault(hit: Hit) -> Response:
    """Returns the answer of a fault that is nothing but an answer."""
    match hit.kind:
        case "html" | "wrong-type":
            return Response(_PAGE, media_type="text/html")
        case "empty":
            return Response(b"", media_type="application/json")
        case "code":
            return Failure(int(hit.number(0)), f"Sandbox fault with code {hit.value or 0}.").response()
        case "redirect":
            return RedirectResponse(hit.value or "http://127.0.0.1:9/", 302)
        case "429":
            headers = {"Retry-After": hit.value or "1"}
            return Response(b"Too many requests", 429, headers, "text/plain")
        case _:
            return Response(b"Sandbox fault", int(hit.kind), media_type="text/plain")


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """Runs the application and keeps its answer."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    # Without these the server would send the file itself, past this layer.
    extensions = {name: value for name, value in scope.get("extensions", {}).items() if "send" not in name}
    await app({**scope, "extensions": extensions}, receive, keep)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


async def _send_file(hit: Hit, start: Message, body: bytes, scope: Scope, send: Send) -> None:
    half = body[: len(body) // 2]
    if hit.kind == "short":
        kept = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await send({**start, "headers": [*kept, (b"content-length", str(len(half)).encode())]})
        await send({"type": "http.response.body", "body": half})
        return
    await send(start)
    if hit.kind == "cut":
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _end(scope)
        return
    pace = max(1, int(hit.number(2000) / 10))
    for at in range(0, len(body), pace):
        await send({"type": "http.response.body", "body": body[at : at + pace], "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b""})


async def _endless(receive: Receive, send: Send) -> None:
    gone = asyncio.ensure_future(_until_gone(receive))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"video/mp4")]})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"\0" * _CHUNK, "more_body": True})
        await asyncio.sleep(0.005)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reset(scope: Scope) -> None:
    reset_connection(scope["state"]["transport"])
    await asyncio.sleep(0.01)  # the server notices the loss before it misses an answer


async def _end(scope: Scope) -> None:
    """Ends the connection after what was sent has gone out."""
    scope["state"]["transport"].close()
    await asyncio.sleep(0.01)
