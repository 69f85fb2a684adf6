"""Task events over WebSocket: the broker, and the endpoint where clients register for a task's events.

Each socket has a queue of its own, so that a slow reader does not delay others. Events from before a registration
are not replayed, as on the service.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.faults.injection import FrameFaults, reset_connection
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.tasks import Task

Frames = asyncio.Queue[str]


class EventBroker:
    """Delivers each event to every socket that is registered for its task."""

    def __init__(self) -> None:
        self._queues: dict[str, set[Frames]] = {}

    def subscribe(self, token: str, frames: Frames) -> None:
        """Queues the task's future events."""
        self._queues.setdefault(token, set()).add(frames)

    def unsubscribe(self, tokens: set[str], frames: Frames) -> None:
        """Ends the delivery of these tasks' events."""
        for token in tokens:
            self._queues[token].discard(frames)
            if not self._queues[token]:
                del self._queues[token]

    def publish(self, task: Task, status: str, message: Any = "") -> None:
        """Sends one event to every socket that is registered for the task."""
        if queues := self._queues.get(task.token):
            code = int(task.exit_code) if status == "task_postprocess_end" and task.exit_code.isdecimal() else None
            is_end = status in ("task_postprocess_end", "task_cancel")
            event = {"type": status, "id": str(task.id), "message": message, "result": True}
            event |= {"success": code == 0 if is_end else None, "terminal": is_end, "exitCode": code}
            frame = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            for queue in queues:
                queue.put_nowait(frame)


class SocketEndpoint:
    """Serves all WebSockets; `faults` decides what goes wrong with each."""

    def __init__(self, broker: EventBroker, store: Store, faults: Faults) -> None:
        self._broker, self._store, self._faults = broker, store, faults

    async def serve(self, socket: WebSocket) -> None:
        """Serves one socket until either side closes it."""
        faults = FrameFaults(self._faults.match("socket"), self._faults.seed)
        if faults.refuses:
            await socket.send_denial_response(Response("Sandbox fault", 503))
            return
        await socket.accept()
        frames, tokens = Frames(), set[str]()
        sides = [
            asyncio.ensure_future(self._read(socket, frames, tokens)),
            asyncio.ensure_future(_write(socket, frames, faults)),
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._broker.unsubscribe(tokens, frames)
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)

    async def _read(self, socket: WebSocket, frames: Frames, tokens: set[str]) -> None:
        try:
            while True:
                token = _read_token(await socket.receive_text())
                if token and self._store.find_task(token=token):
                    tokens.add(token)
                    self._broker.subscribe(token, frames)
                else:
                    refusal = {"type": "task_info", "tasktoken": token, "message": "There is no task yet."}
                    frames.put_nowait(json.dumps({**refusal, "result": False}))
        except (WebSocketDisconnect, KeyError, RuntimeError):
            return  # closed, or a binary frame, which clients do not send


def _read_token(text: str) -> str:
    try:
        message = json.loads(text)
        return str(message["tasktoken"]) if message["type"] == "task_info" else ""
    except (ValueError, TypeError, KeyError):
        return ""


async def _write(socket: WebSocket, frames: Frames, faults: FrameFaults) -> None:
    try:
        while True:
            for frame in faults.apply(await frames.get()):
                await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_text(frame))
            if faults.drops_now:
                reset_connection(socket.scope["state"]["transport"])
                return
    except (WebSocketDisconnect, RuntimeError):
        return
