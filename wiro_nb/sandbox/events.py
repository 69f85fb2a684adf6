"""Task events over WebSocket: the broker, and the endpoint where clients register for a task's events.

Each socket has a queue of its own, so that a slow reader does not delay others; a socket whose queue grows
too long is closed. Events from before a registration are not replayed, as on the service.
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

_MAX_QUEUED = 5_000


class Subscription:
    """The queue of frames to send to one socket. None closes the socket."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[str | None] = asyncio.Queue()

    def put(self, frame: str) -> None:
        """Queues a frame, or closes the socket when its reader has fallen behind."""
        self.frames.put_nowait(None if self.frames.qsize() > _MAX_QUEUED else frame)


class EventBroker:
    """Delivers each event to every socket that is registered for its task."""

    def __init__(self) -> None:
        self._subscriptions: dict[str, set[Subscription]] = {}

    def subscribe(self, token: str, subscription: Subscription) -> None:
        """Sends the task's future events to the subscription."""
        self._subscriptions.setdefault(token, set()).add(subscription)

    def unsubscribe(self, tokens: set[str], subscription: Subscription) -> None:
        """Removes a subscription from these tasks."""
        for token in tokens:
            self._subscriptions[token].discard(subscription)
            if not self._subscriptions[token]:
                del self._subscriptions[token]

    def publish(self, task: Task, status: str, message: Any = "") -> None:
        """Sends one event to every subscription of the task."""
        if subscriptions := self._subscriptions.get(task.token):
            code = int(task.exit_code) if status == "task_postprocess_end" and task.exit_code.isdecimal() else None
            is_end = status in ("task_postprocess_end", "task_cancel")
            event = {"type": status, "id": str(task.id), "message": message, "result": True}
            event |= {"success": code == 0 if is_end else None, "terminal": is_end, "exitCode": code}
            frame = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            for subscription in subscriptions:
                subscription.put(frame)


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
        subscription, tokens = Subscription(), set[str]()
        sides = [
            asyncio.ensure_future(self._read(socket, subscription, tokens)),
            asyncio.ensure_future(_write(socket, subscription, faults)),
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._broker.unsubscribe(tokens, subscription)
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)

    async def _read(self, socket: WebSocket, subscription: Subscription, tokens: set[str]) -> None:
        try:
            while True:
                token = _read_token(await socket.receive_text())
                if token and self._store.find_task(token=token):
                    tokens.add(token)
                    self._broker.subscribe(token, subscription)
                else:
                    refusal = {"type": "task_info", "tasktoken": token, "message": "There is no task yet."}
                    subscription.put(json.dumps({**refusal, "result": False}))
        except (WebSocketDisconnect, KeyError, RuntimeError):
            return  # closed, or a binary frame, which clients do not send


def _read_token(text: str) -> str:
    try:
        message = json.loads(text)
        return str(message["tasktoken"]) if message["type"] == "task_info" else ""
    except (ValueError, TypeError, KeyError):
        return ""


async def _write(socket: WebSocket, subscription: Subscription, faults: FrameFaults) -> None:
    try:
        while (text := await subscription.frames.get()) is not None:
            for frame in faults.apply(text):
                await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_text(frame))
            if faults.drops_now:
                reset_connection(socket.scope["state"]["transport"])
                return
        await socket.close(1013)
    except (WebSocketDisconnect, RuntimeError):
        return
