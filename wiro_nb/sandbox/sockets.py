"""The WebSocket: a client names a task, the task's events come until the socket closes."""

from __future__ import annotations

import asyncio
import json

from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from wiro_nb.sandbox.fault_frames import Mangler
from wiro_nb.sandbox.fault_http import reset_connection
from wiro_nb.sandbox.faults import Faults
from wiro_nb.sandbox.hub import Hub, Listener
from wiro_nb.sandbox.store import Store

__all__ = ["SocketEndpoint"]


class SocketEndpoint:
    """Serves all sockets.

    Args:
        hub: Where registrations go.
        store: Knows which tokens exist.
        faults: What goes wrong with a socket.
        one_task_per_socket: True to be silent for every registration after a socket's first.
    """

    def __init__(self, hub: Hub, store: Store, faults: Faults, *, one_task_per_socket: bool) -> None:
        self._hub, self._store, self._faults = hub, store, faults
        self._one_task = one_task_per_socket

    async def __call__(self, socket: WebSocket) -> None:
        """Serves one socket until either side closes it."""
        mangler = Mangler(self._faults.hits("socket"), self._faults.seed)
        if mangler.refuses:
            await socket.send_denial_response(Response("Sandbox fault", 503))
            return
        await socket.accept()
        listener = Listener()
        reader = asyncio.ensure_future(self._read(socket, listener))
        writer = asyncio.ensure_future(self._write(socket, listener, mangler))
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

    async def _write(self, socket: WebSocket, listener: Listener, mangler: Mangler) -> None:
        try:
            while (frame := await listener.frames.get()) is not None:
                for out in mangler.frames(frame):
                    if isinstance(out, bytes):
                        await socket.send_bytes(out)
                    else:
                        await socket.send_text(out)
                if mangler.drops_now:
                    reset_connection(socket.scope["state"]["transport"])
                    return
            await socket.close(1013)
        except (WebSocketDisconnect, RuntimeError):
            return
