"""Applies faults to requests, files and sockets, and counts requests.

A middleware sees every request, so that no endpoint knows about faults. Resetting a connection needs its
transport, which `watched_protocol` passes on in the scope.
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

_PAGE = b"<!DOCTYPE html><html><head><title>Sandbox</title></head><body><h1>Something else</h1></body></html>"
_LINGER = "hh" if sys.platform == "win32" else "ii"
_CHUNK = 16_384
_HALVES = ("cut", "cut-body", "short")
UNKNOWN_STATUS = "task_sandbox_unknown"


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
    """Aborts a TCP connection: the peer sees a reset, not an end of stream."""
    raw = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the peer may have closed first
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(_LINGER, 1, 0))
    transport.abort()


class FaultMiddleware:
    """Wraps the application.

    Args:
        app: The application.
        faults: The active rules.
        requests: Counts the calls of each endpoint, `file` and `socket`.
    """

    def __init__(self, app: ASGIApp, faults: Faults, requests: Counter[str]) -> None:
        self._app, self._faults, self._requests = app, faults, requests
        self._ended_details: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves a request, or applies its fault."""
        place = _place(scope)
        if place:
            self._requests[place] += 1
        faults = self._faults.match(place) if place and scope["type"] == "http" else []
        with contextlib.suppress(ClientDisconnect):
            for fault in faults:
                if fault.kind == "delay":
                    await asyncio.sleep(fault.number(1.0))
            rest = [fault for fault in faults if fault.kind != "delay"]
            if not rest:
                await self._app(scope, receive, send)
            else:
                await self._apply(rest[0], place == "file", scope, receive, send)

    async def _apply(self, fault: Fault, is_file: bool, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case "reset":
                await _reset(scope)
            case "reset-after":
                await _collect(self._app, scope, receive)
                await _reset(scope)
            case "hang":
                await _wait_until_gone(receive)
            case "endless":
                await _send_endlessly(receive, send)
            case "slow":
                start, body = await _collect(self._app, scope, receive)
                await _send_slowly(start, body, max(1, int(fault.number(2000) / 10)), send)
            case "no-range":
                kept = [(name, value) for name, value in scope["headers"] if name not in (b"range", b"if-range")]
                await self._app({**scope, "headers": kept}, receive, send)
            case "cut" | "cut-body" | "short" | "wrong-types" | "unknown-status" | "late-outputs":
                start, body = await _collect(self._app, scope, receive)
                sent = body[: len(body) // 2] if fault.kind in _HALVES else self._changed(fault, body)
                breaks = fault.kind == "cut-body" or (fault.kind == "cut" and is_file)
                length = len(body) if breaks else len(sent)
                headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
                await send({**start, "headers": [*headers, (b"content-length", str(length).encode())]})
                await send({"type": "http.response.body", "body": sent, "more_body": breaks})
                if breaks:  # after what was sent has gone out
                    scope["state"]["transport"].close()
                    await asyncio.sleep(0.01)
            case _:
                await _plain_fault(fault)(scope, receive, send)

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
    """Returns the answer of a fault that replaces the whole answer."""
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
            headers = {"Retry-After": fault.value} if fault.value else {}
            return Response(b"Sandbox fault", int(fault.kind), headers, "text/plain")


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """Runs the application and returns its answer."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    # With these the server would send the file itself, past this middleware.
    extensions = {name: value for name, value in scope.get("extensions", {}).items() if "send" not in name}
    await app({**scope, "extensions": extensions}, receive, keep)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


async def _send_slowly(start: Message, body: bytes, chunk_bytes: int, send: Send) -> None:
    """Sends ten chunks a second."""
    await send(start)
    for at in range(0, len(body), chunk_bytes):
        await send({"type": "http.response.body", "body": body[at : at + chunk_bytes], "more_body": True})
        await asyncio.sleep(0.1)
    await send({"type": "http.response.body", "body": b""})


async def _send_endlessly(receive: Receive, send: Send) -> None:
    gone = asyncio.ensure_future(_wait_until_gone(receive))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"video/mp4")]})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"\0" * _CHUNK, "more_body": True})
        await asyncio.sleep(0.005)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reset(scope: Scope) -> None:
    reset_connection(scope["state"]["transport"])
    await asyncio.sleep(0.01)  # the server notices the loss before it misses an answer


class FrameFaults:
    """The faults of one socket.

    Args:
        faults: The faults of this socket.
        seed: Seeds the shuffling.
    """

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = {fault.kind: fault for fault in faults}
        self._chance = random.Random(seed)
        self._held: list[str] = []
        self._sent = 0

    @property
    def refuses(self) -> bool:
        """True to refuse the handshake."""
        return "refuse" in self._faults

    @property
    def drops_now(self) -> bool:
        """True to abort the connection: after the given number of events."""
        return "drop" in self._faults and self._sent >= self._faults["drop"].number(1)

    def apply(self, text: str) -> list[str | bytes]:
        """Returns the frames to send in place of an event; none while it is held back."""
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
