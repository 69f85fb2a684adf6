"""Fault injection: test directives in prompts, and rules that make chosen requests, events and files fail.

test directives in a prompt:
  [fail]   the run fails: lines on stderr, pexit 1        [crash]  task_error before the run
  [slow]   ten times longer, 2 s or more                  [queue]  stays queued until cancelled or released
  [hold]   stays running until killed or released (POST /sandbox/release with the taskid)
  [charge-late]         costs nothing at its end and is billed a moment later, also when it was killed
  [stderr-then-recover]  task_error before the run until released; then it runs

for tests, behind the key: GET /sandbox/audit, POST /sandbox/balance {"usd": "5"}, POST /sandbox/release,
POST /sandbox/faults, POST /sandbox/teammate {"parameters": {...}} (a task of another member of the team).

faults: --faults "RULE; RULE ...", a RULE is PLACE:KIND[=VALUE][@WHEN]
  WHEN    3 the third time only, 2-4, 2+ from the second on, 0.25 that share of times (by --faults-seed);
          always when left out
  accept  (every TCP connection)  refuse: closed at once
  Run, Task/Detail, Task/List, Tool/List, ... or * for every endpoint:
          delay=SECONDS  hang (no answer)  reset (before anything is done)  reset-after (done, but never answered)
          429[=RETRY_AFTER_S]  408 500 502 503 504 (each may have =RETRY_AFTER_S too)
          code=N (result: false with that code)
          html (a web page)  empty  cut (half the JSON)  cut-body (the connection ends half-way)
          wrong-types (numbers for texts, maps for lists)
          unknown-status (running tasks show an unknown status)
          late-outputs[=N] (the first N Details of a finished task list no files; 1)
  socket  (every WebSocket)  refuse  silent  drop[=N] (cut off after N events; 1)  binary (binary frames between)
          shuffle[=N] (events in groups of N, mixed; 4)  double  unknown (events of unknown type between)
          garbage (text that is no JSON between)  wrong-types  late-outputs (the last event names no files)
  task    (every task)  error (task_error before the run)  stderr (error lines in a run that succeeds)
          fail[=CODE] (pexit CODE; 1)  stall (stops moving until killed)
  file    (every GET of a file)  403  404  429[=RETRY_AFTER_S]  500  503  delay=SECONDS  reset
          cut (the connection ends half-way)  short (half the file, declared complete)  wrong-type (a web page)
          slow[=BYTES_PER_S] (2000)  endless  no-range (Range is ignored)  redirect=URL
  at run time, behind the key: POST /sandbox/faults {"spec": "...", "seed": 1}
example: --faults "Run:reset-after@1; Task/Detail:503@0.2; socket:drop=3@1-2"
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from wiro_nb.sandbox.requests import Failure
from wiro_nb.sandbox.store import TERMINAL

# The docstring of this module is the end of `wiro-nb sandbox --help`; `runner` applies directives and task faults.
DIRECTIVES = ("fail", "crash", "slow", "queue", "hold", "stderr-then-recover", "charge-late")
_EVERYWHERE = "delay reset 429 500 503 "
KINDS = {
    place: frozenset(kinds.split())
    for place, kinds in {
        "accept": "refuse",
        "rest": _EVERYWHERE + "reset-after hang 408 502 504 html empty cut cut-body wrong-types code "
        "unknown-status late-outputs",
        "socket": "refuse drop silent binary shuffle double unknown garbage wrong-types late-outputs",
        "task": "error stderr fail stall",
        "file": _EVERYWHERE + "403 404 cut short wrong-type slow endless no-range redirect",
    }.items()
}
ENDPOINTS = ("Run", "Task/Detail", "Task/List", "Task/Cancel", "Task/Kill", "Tool/List", "Tool/Detail")
UNKNOWN_STATUS = "task_sandbox_unknown"
_WHEN = r"@((?P<share>[01]?\.\d+)|(?P<first>\d+)((?P<onward>\+)|-(?P<last>\d+))?)"
_RULE = re.compile(rf"(?P<place>[\w/*]+):(?P<kind>[\w-]+)(=(?P<value>[^@;]*))?({_WHEN})?")
_PAGE = b"<!DOCTYPE html><html><head><title>Sandbox</title></head><body><h1>Something else</h1></body></html>"
_LINGER = "hh" if sys.platform == "win32" else "ii"
_CHUNK = 16_384


@dataclass
class Fault:
    """One rule: what goes wrong, where, and at which calls.

    Attributes:
        kind, value: What it does.
        places: The names of calls that it applies to.
        first, last: Which calls it applies to.
        share: The share of calls it applies to, instead of counting, or None.
        count: How many calls it has seen.
    """

    kind: str
    value: str
    places: frozenset[str]
    first: int
    last: float
    share: float | None
    chance: random.Random
    count: int = 0

    def matches(self) -> bool:
        """Counts a call and returns whether the rule applies to it."""
        self.count += 1
        if self.share is not None:
            return self.chance.random() < self.share
        return self.first <= self.count <= self.last

    def number(self, default: float) -> float:
        """Returns the value as a number."""
        try:
            return float(self.value)
        except ValueError:
            return default


class Faults:
    """The active rules of a sandbox; see `replace`."""

    def __init__(self, spec: str = "", seed: int = 0) -> None:
        self.replace(spec, seed)

    def replace(self, spec: str, seed: int) -> None:
        """Replaces the rules; an empty spec removes all faults. The same spec and seed select the same calls.

        Raises:
            ValueError: Names the rule that cannot be read, and what is allowed there; the rules stay unchanged.
        """
        texts = [text.strip() for text in spec.split(";") if text.strip()]
        self._rules = [_read_rule(text, f"{seed}:{number}") for number, text in enumerate(texts)]
        self.seed = seed

    def match(self, place: str) -> list[Fault]:
        """Counts one call at a place and returns its faults, in the order of the rules."""
        return [rule for rule in self._rules if place in rule.places and rule.matches()]


def _read_rule(text: str, seed: str) -> Fault:
    match = _RULE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not PLACE:KIND[=VALUE][@WHEN], where WHEN is 3, 2-4, 2+ or 0.25")
    place, kind, share, first = match.group("place", "kind", "share", "first")
    places = (*ENDPOINTS, "*", *sorted(KINDS.keys() - {"rest"}))
    if place not in places:
        raise ValueError(f"{text!r}: no place {place!r}; there are {', '.join(places)}")
    kinds = KINDS.get(place, KINDS["rest"])
    if kind not in kinds:
        raise ValueError(f"{text!r}: {place} knows {', '.join(sorted(kinds))}")
    return Fault(
        kind=kind,
        value=match["value"] or "",
        places=frozenset(ENDPOINTS if place == "*" else [place]),
        first=int(first or 1),
        last=math.inf if match["onward"] or not first else int(match["last"] or first),
        share=float(share) if share else None,
        chance=random.Random(seed),
    )


# Connections and requests ----------------------------------------------------------------------


def watched_protocol(faults: Faults) -> type[asyncio.Protocol]:
    """Returns uvicorn's HTTP protocol with `accept` faults, and its transport in every scope's state."""

    class WatchedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "transport": transport}
            # asyncio does so for sockets that name their protocol; Nagle's algorithm costs 40 ms an answer.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if faults.match("accept"):
                reset_connection(transport)

    return WatchedProtocol


def reset_connection(transport: asyncio.Transport) -> None:
    """Aborts a TCP connection: the peer sees a reset, not an end of stream."""
    with contextlib.suppress(OSError):  # the peer may have closed first
        linger = struct.pack(_LINGER, 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class FaultMiddleware:
    """Wraps the application, so that no endpoint knows about faults.

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
        place, faults = _place(scope), []
        if place:
            self._requests[place] += 1
            faults = self._faults.match(place) if place != "socket" else []
        if faults:
            await asyncio.sleep(sum(fault.number(1.0) for fault in faults if fault.kind == "delay"))
        fault = next((fault for fault in faults if fault.kind != "delay"), None)
        with contextlib.suppress(ClientDisconnect):
            answer = await self._answer(fault, place == "file", scope, receive) if fault else self._app
            await answer(scope, receive, send)

    async def _answer(self, fault: Fault, is_file: bool, scope: Scope, receive: Receive) -> ASGIApp:
        """Returns what answers a request that has a fault; for most kinds after the application handled it."""
        kind = "cut-body" if is_file and fault.kind == "cut" else fault.kind
        match kind:
            case "html" | "wrong-type":
                return Response(_PAGE, media_type="text/html")
            case "empty":
                return Response(b"", media_type="application/json")
            case "code":
                return Failure(int(fault.number(0)), f"Sandbox fault with code {fault.value or 0}.").response()
            case "redirect":
                return RedirectResponse(fault.value or "http://127.0.0.1:9/", 302)
            case "endless":
                return StreamingResponse(_zeros(), media_type="video/mp4")
            case "hang":
                return _hang
            case "reset":
                return _reset
            case "no-range":
                scope["headers"] = [item for item in scope["headers"] if item[0] not in (b"range", b"if-range")]
                return self._app
            case status if status.isdecimal():
                pause_s = fault.value or ("1" if status == "429" else "")
                headers = {"Retry-After": pause_s} if pause_s else {}
                return Response(b"Sandbox fault", int(status), headers, "text/plain")
        status_code, headers, body = await _collect(self._app, scope, receive)
        match kind:
            case "reset-after":
                return _reset
            case "slow":
                chunks = _send_slowly(body, max(1, int(fault.number(2000) / 10)))
                return StreamingResponse(chunks, status_code, headers)
            case "cut-body":
                return StreamingResponse(_cut(body, scope), status_code, headers)
            case "cut" | "short":
                body = body[: len(body) // 2]
            case _:
                body = json.dumps(self._change(fault, json.loads(body))).encode()
        return Response(body, status_code, {**headers, "content-length": str(len(body))})

    def _change(self, fault: Fault, content: dict[str, Any]) -> dict[str, Any]:
        """Returns an answer with wrong types, unknown statuses, or without its outputs."""
        if fault.kind == "wrong-types":
            return {**mistyped(content), "result": content["result"]}
        for task in content.get("tasklist", ()):
            if fault.kind == "unknown-status" and task["status"] not in TERMINAL:
                task["status"] = UNKNOWN_STATUS
            if fault.kind == "late-outputs" and task["status"] == "task_postprocess_end":
                self._ended_details[task["id"]] += 1
                if self._ended_details[task["id"]] <= fault.number(1):
                    task["outputs"] = []
        return content


def _place(scope: Scope) -> str | None:
    if scope["type"] == "websocket":
        return "socket"
    path = str(scope.get("path", ""))
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


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[int, dict[str, str], bytes]:
    """Runs the application and returns the status, headers and body of its answer."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in messages[0]["headers"]}
    return messages[0]["status"], headers, b"".join(message.get("body", b"") for message in messages[1:])


async def _hang(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers nothing until the client gives up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reset(scope: Scope, receive: Receive, send: Send) -> None:
    """Resets the connection."""
    reset_connection(scope["state"]["transport"])
    await asyncio.sleep(0.01)  # the server notices the loss before it misses an answer


async def _send_slowly(body: bytes, chunk_bytes: int) -> AsyncIterator[bytes]:
    """Yields ten chunks a second."""
    for at in range(0, len(body), chunk_bytes):
        yield body[at : at + chunk_bytes]
        await asyncio.sleep(0.1)


async def _cut(body: bytes, scope: Scope) -> AsyncIterator[bytes]:
    """Yields half of a body, and closes the connection once it has gone out."""
    yield body[: len(body) // 2]
    scope["state"]["transport"].close()
    await asyncio.sleep(0.01)


async def _zeros() -> AsyncIterator[bytes]:
    while True:
        yield bytes(_CHUNK)
        await asyncio.sleep(0.005)
