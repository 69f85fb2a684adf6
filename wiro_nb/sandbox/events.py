"""Task events over WebSocket: delivery to the sockets that clients register for a task, and the faults of sockets.

Each socket has a queue of its own, so that a slow reader does not delay others. Events from before a registration
are not replayed, as on the service.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from wiro_nb.sandbox.faults import UNKNOWN_STATUS, Faults, mistyped, reset_connection
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.tasks import TERMINAL, Task

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
        if task.token not in self._queues:
            return
        code = int(task.exit_code) if status == "task_postprocess_end" and task.exit_code.isdecimal() else None
        is_end = status in TERMINAL
        event = {"type": status, "id": str(task.id), "message": message, "result": True}
        event |= {"success": code == 0 if is_end else None, "terminal": is_end, "exitCode": code}
        for queue in self._queues[task.token]:
            queue.put_nowait(event)

    async def serve(self, socket: WebSocket) -> None:
        """Serves one socket until either side closes it."""
        faults = _SocketFaults(self._faults)
        if faults.refuses:
            await socket.send_denial_response(Response("Sandbox fault", 503))
            return
        await socket.accept()
        queue, tokens = asyncio.Queue[Event](), set[str]()
        writer = asyncio.ensure_future(_write(socket, queue, faults))
        try:
            while True:
                token = _read_token(await socket.receive_text())
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
                if not self._queues[token]:
                    del self._queues[token]
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)


def _read_token(text: str) -> str:
    try:
        message = json.loads(text)
        return str(message["tasktoken"]) if message["type"] == "task_info" else ""
    except (ValueError, TypeError, KeyError):
        return ""


async def _write(socket: WebSocket, queue: asyncio.Queue[Event], faults: _SocketFaults) -> None:
    while not faults.drops_now:
        for frame in faults.apply(await queue.get()):
            await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_text(frame))
    reset_connection(socket.scope["state"]["transport"])


class _SocketFaults:
    """The faults of one socket.

    Args:
        faults: The active rules; those for sockets are counted.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = {fault.kind: fault for fault in faults.match("socket")}
        self._chance = random.Random(faults.seed)
        self._held: list[Event] = []
        self._sent = 0

    @property
    def refuses(self) -> bool:
        """True to refuse the handshake."""
        return "refuse" in self._faults

    @property
    def drops_now(self) -> bool:
        """True to abort the connection: after the given number of events."""
        return "drop" in self._faults and self._sent >= self._faults["drop"].number(1)

    def apply(self, event: Event) -> list[str | bytes]:
        """Returns the frames to send for an event; none while it is held back."""
        self._sent += 1
        if "silent" in self._faults:
            return []
        self._held.append(event)
        if "shuffle" in self._faults:
            if len(self._held) < self._faults["shuffle"].number(4) and event["type"] not in TERMINAL:
                return []
            self._chance.shuffle(self._held)
        events, self._held = self._held, []
        return [frame for held in events for frame in self._frames(held)]

    def _frames(self, event: Event) -> Iterator[str | bytes]:
        if "binary" in self._faults:
            yield b"\x00\x01\x02sandbox"
        if "garbage" in self._faults:
            yield "{not json"
        if "unknown" in self._faults:
            yield json.dumps({**event, "type": UNKNOWN_STATUS, "message": {"new": ["shape"]}})
        if "wrong-types" in self._faults:
            event = {**event, "message": mistyped(event["message"]), "id": mistyped(event.get("id"))}
        if "late-outputs" in self._faults and event["type"] == "task_postprocess_end":
            event = {**event, "message": []}
        for _ in range(2 if "double" in self._faults else 1):
            yield json.dumps(event, ensure_ascii=False, separators=(",", ":"))
