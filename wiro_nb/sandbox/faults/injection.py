"""Carries out the faults of requests and files, and counts what was asked.

A layer around the application: it sees every request, so no endpoint has to know of faults. Resetting a
connection needs its transport, which `watched_protocol` hands down in the scope.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from wiro_nb.sandbox.faults import ENDPOINTS, Fault, Faults
from wiro_nb.sandbox.requests import Failure
from wiro_nb.sandbox.tasks import TERMINAL

__all__ = ["FaultMiddleware", "reset_connection", "watched_protocol"]

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
            if faults.match("accept"):
                reset_connection(transport)

    return WatchedProtocol


def reset_connection(transport: asyncio.Transport) -> None:
    """Ends a TCP connection the hard way: the peer sees a reset, not an end."""
    raw = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the peer may have gone first
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(_LINGER, 1, 0))
    transport.abort()


class FaultMiddleware:
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
        faults = self._faults.match(place) if scope["type"] == "http" else []
        for fault in faults:
            if fault.kind == "delay":
                await asyncio.sleep(fault.number(1.0))
        rest = [fault for fault in faults if fault.kind != "delay"]
        if not rest:
            await self._app(scope, receive, send)
        elif place == "file":
            await self._spoil_file(rest[0], scope, receive, send)
        else:
            await self._spoil_answer(rest[0], scope, receive, send)

    async def _spoil_answer(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "reset":
            await _reset(scope)
        elif fault.kind == "hang":
            await _until_gone(receive)
        elif fault.kind == "reset-after":
            await _collect(self._app, scope, receive)
            await _reset(scope)
        elif fault.kind in _BODY_FAULTS:
            start, body = await _collect(self._app, scope, receive)
            await self._send_spoiled(fault, start, body, scope, send)
        else:
            await _plain_fault(fault)(scope, receive, send)

    async def _send_spoiled(self, fault: Fault, start: Message, body: bytes, scope: Scope, send: Send) -> None:
        length = len(body)
        if fault.kind == "cut":
            body = body[: length // 2]
            length = len(body)
        elif fault.kind == "cut-body":
            body = body[: length // 2]
        else:
            body = self._changed(fault, body)
            length = len(body)
        headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await send({**start, "headers": [*headers, (b"content-length", str(length).encode())]})
        await send({"type": "http.response.body", "body": body, "more_body": fault.kind == "cut-body"})
        if fault.kind == "cut-body":
            await _end(scope)

    def _changed(self, fault: Fault, body: bytes) -> bytes:
        try:
            content = json.loads(body)
        except ValueError:
            return body
        if fault.kind == "wrong-types":
            content = {name: value if name == "result" else mistyped(value) for name, value in content.items()}
        for task in content.get("tasklist", []) if isinstance(content.get("tasklist"), list) else []:
            if fault.kind == "unknown-status" and task["status"] not in TERMINAL:
                task["status"] = UNKNOWN_STATUS
            if fault.kind == "late-outputs" and task["status"] == "task_postprocess_end":
                self._ended_details[task["id"]] += 1
                if self._ended_details[task["id"]] <= fault.number(1):
                    task["outputs"] = []
        return json.dumps(content).encode()

    async def _spoil_file(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind == "no-range":
            headers = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
            await self._app({**scope, "headers": headers}, receive, send)
        elif fault.kind == "reset":
            await _reset(scope)
        elif fault.kind == "endless":
            await _endless(receive, send)
        elif fault.kind in ("cut", "short", "slow"):
            start, body = await _collect(self._app, scope, receive)
            await _send_file(fault, start, body, scope, send)
        else:
            await _plain_fault(fault)(scope, receive, send)


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


def _plain_fault(fault: Fault) -> Response:
    """Returns the answer of a fault that is nothing but an answer."""
    match fault.kind:
        case "html" | "wrong-type":
            return Response(_PAGE, media_type="text/html")
        case "empty":
            return Response(b"", media_type="application/json")
        case "code":
            return Failure(int(fault.number(0)), f"Sandbox fault with code {fault.value or 0}.").response()
        case "redirect":
            return RedirectResponse(fault.value or "http://127.0.0.1:9/", 302)
        case "429":
            headers = {"Retry-After": fault.value or "1"}
            return Response(b"Too many requests", 429, headers, "text/plain")
        case _:
            return Response(b"Sandbox fault", int(fault.kind), media_type="text/plain")


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """Runs the application and keeps its answer."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    # Without these the server would send the file itself, past this layer.
    extensions = {name: value for name, value in scope.get("extensions", {}).items() if "send" not in name}
    await app({**scope, "extensions": extensions}, receive, keep)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


async def _send_file(fault: Fault, start: Message, body: bytes, scope: Scope, send: Send) -> None:
    half = body[: len(body) // 2]
    if fault.kind == "short":
        kept = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await send({**start, "headers": [*kept, (b"content-length", str(len(half)).encode())]})
        await send({"type": "http.response.body", "body": half})
        return
    await send(start)
    if fault.kind == "cut":
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _end(scope)
        return
    pace = max(1, int(fault.number(2000) / 10))
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


class FrameFaults:
    """The faults of one socket.

    Args:
        faults: What goes wrong with this socket.
        seed: Decides the shuffling.
    """

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = {fault.kind: fault for fault in faults}
        self._chance = random.Random(seed)
        self._held: list[str] = []
        self._sent = 0

    @property
    def refuses(self) -> bool:
        """True when the handshake is to be refused."""
        return "refuse" in self._faults

    @property
    def drops_now(self) -> bool:
        """True when the connection is to be cut off: after so many events."""
        return "drop" in self._faults and self._sent >= self._faults["drop"].number(1)

    def apply(self, text: str) -> list[str | bytes]:
        """Returns what is sent in place of an event, in order; nothing when it is held back."""
        self._sent += 1
        if not self._faults:
            return [text]
        if "silent" in self._faults:
            return []
        out: list[str | bytes] = []
        for event in self._shuffled(text):
            out += self._between(event)
            out += [self._changed(event)] * (2 if "double" in self._faults else 1)
        return out

    def _shuffled(self, text: str) -> list[str]:
        if "shuffle" not in self._faults:
            return [text]
        self._held.append(text)
        if len(self._held) < self._faults["shuffle"].number(4) and '"type":"task_postprocess_end"' not in text:
            return []
        group, self._held = self._held, []
        self._chance.shuffle(group)
        return group

    def _between(self, text: str) -> list[str | bytes]:
        out: list[str | bytes] = []
        if "binary" in self._faults:
            out.append(b"\x00\x01\x02sandbox")
        if "garbage" in self._faults:
            out.append("{not json")
        if "unknown" in self._faults:
            out.append(json.dumps({**json.loads(text), "type": UNKNOWN_STATUS, "message": {"new": ["shape"]}}))
        return out

    def _changed(self, text: str) -> str:
        if not self._faults.keys() & {"wrong-types", "late-outputs"}:
            return text
        event = json.loads(text)
        if "wrong-types" in self._faults:
            event["message"], event["id"] = mistyped(event["message"]), mistyped(event.get("id"))
        if "late-outputs" in self._faults and event["type"] == "task_postprocess_end":
            event["message"] = []
        return json.dumps(event)
