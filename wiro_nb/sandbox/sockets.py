"""The WebSocket: a client names a task, the task's events come until the socket closes."""

from __future__ import annotations

import asyncio
import json

from starlette.websockets import WebSocket, WebSocketDisconnect

from wiro_nb.sandbox.hub import Hub, Listener
from wiro_nb.sandbox.store import Store

__all__ = ["SocketEndpoint"]


class SocketEndpoint:
    """Serves all sockets.

    Args:
        hub: Where registrations go.
        store: Knows which tokens exist.
        one_task_per_socket: True to be silent for every registration after a socket's first.
    """

    def __init__(self, hub: Hub, store: Store, *, one_task_per_socket: bool) -> None:
        self._hub, self._store = hub, store
        self._one_task = one_task_per_socket

    async def __call__(self, socket: WebSocket) -> None:
        """Serves one socket until either side closes it."""
        await socket.accept()
        listener = Listener()
        reader = asyncio.ensure_future(self._read(socket, listener))
        writer = asyncio.ensure_future(self._write(socket, listener))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.drop(listener)
            for side in (reader, writer):
                side.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _read(self, socket: WebSocket, listener: Listener) -> None:
        try:
            while True:
                self._register(await socket.receive_text(), listener)
        except (WebSocketDisconnect, KeyError, RuntimeError):
            return  # closed, or a binary frame, which no client has to send

    def _register(self, text: str, listener: Listener) -> None:
        try:
            message = json.loads(text)
            token = str(message["tasktoken"]) if message["type"] == "task_info" else ""
        except (ValueError, TypeError, KeyError):
            token = ""
        if not token or self._store.find_task(token=token) is None:
            refusal = {
                "type": "task_info",
                "tasktoken": token,
                "message": "There is no task yet.",
                "result": False,
            }
            listener.put(json.dumps(refusal))
        elif not (self._one_task and listener.tokens):
            self._hub.register(token, listener)

    async def _write(self, socket: WebSocket, listener: Listener) -> None:
        try:
            while (frame := await listener.frames.get()) is not None:
                if isinstance(frame, bytes):
                    await socket.send_bytes(frame)
                else:
                    await socket.send_text(frame)
            await socket.close(1013)
        except (WebSocketDisconnect, RuntimeError):
            return
