"""Task events over WebSocket: delivery to the sockets that clients register for a task, and the faults of sockets.

Each socket has a queue of its own, so that a slow reader does not delay others. Events from before a registration
are not replayed, as on the service.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from wiro_nb.json_values import as_mapping
from wiro_nb.sandbox.faults import UNKNOWN_STATUS, Fault, Faults, mistyped, reset_connection
from wiro_nb.sandbox.store import TERMINAL, Store, Task

Event = dict[str, Any]


class EventBroker:
    """Delivers each event to every socket that is registered for its task.

    Args:
        store: Knows the tasks.
        faults: Decide what goes wrong with sockets.
    """

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults
        self._queues: defaultdict[str, set[asyncio.Queue[Event]]] = defaultdict(set)

    def publish(self, task: Task, status: str, message: Any = "") -> None:
        """Sends one event to every socket that is registered for the task."""
        code = int(task.exit_code) if status == "task_postprocess_end" and task.exit_code.isdecimal() else None
        is_end = status in TERMINAL
        event = {"type": status, "id": str(task.id), "message": message, "result": True}
        event |= {"success": code == 0 if is_end else None, "terminal": is_end, "exitCode": code}
        for queue in self._queues.get(task.token, ()):
            queue.put_nowait(event)

    async def serve(self, socket: WebSocket) -> None:
        """Serves one socket until either side closes it."""
        faults = {fault.kind: fault for fault in self._faults.match("socket")}
        if "refuse" in faults:
            await socket.send_denial_response(Response("Sandbox fault", 503))
            return
        await socket.accept()
        queue, tokens = asyncio.Queue[Event](), set[str]()
        writer = asyncio.ensure_future(_write(socket, queue, faults, random.Random(self._faults.seed)))
        try:
            while True:
                message = as_mapping(await socket.receive_text())
                token = str(message.get("tasktoken", "")) if message.get("type") == "task_info" else ""
                if token and self._store.find_task(token=token):
                    tokens.add(token)
                    self._queues[token].add(queue)
                else:
                    refusal = {"type": "task_info", "tasktoken": token, "message": "There is no task yet."}
                    queue.put_nowait({**refusal, "result": False})
        except (WebSocketDisconnect, KeyError, RuntimeError):
            return  # closed, or a binary frame, which clients do not send
        finally:
            for token in tokens:
                self._queues[token].discard(queue)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)


async def _write(
    socket: WebSocket, queue: asyncio.Queue[Event], faults: Mapping[str, Fault], chance: random.Random
) -> None:
    """Sends events, some of them late or in another order, and cuts the connection where a fault says so."""
    held: list[Event] = []
    group = faults["shuffle"].number(4) if "shuffle" in faults else 1
    remaining = faults["drop"].number(1) if "drop" in faults else math.inf
    while remaining > 0:
        held.append(await queue.get())
        remaining -= 1
        if len(held) < group and held[-1]["type"] not in TERMINAL:
            continue
        chance.shuffle(held)
        for frame in (frame for event in held for frame in _frames(event, faults)):
            await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_text(frame))
        held.clear()
    reset_connection(socket.scope["state"]["transport"])


def _frames(event: Event, faults: Mapping[str, Fault]) -> Iterator[str | bytes]:
    """Yields what a socket with these faults sends for an event."""
    if "silent" in faults:
        return
    if "binary" in faults:
        yield b"\x00\x01\x02sandbox"
    if "garbage" in faults:
        yield "{not json"
    if "unknown" in faults:
        yield json.dumps({**event, "type": UNKNOWN_STATUS, "message": {"new": ["shape"]}})
    if "wrong-types" in faults:
        event = {**event, "message": mistyped(event["message"]), "id": mistyped(event.get("id"))}
    if "late-outputs" in faults and event["type"] == "task_postprocess_end":
        event = {**event, "message": []}
    for _ in range(2 if "double" in faults else 1):
        yield json.dumps(event, ensure_ascii=False, separators=(",", ":"))
