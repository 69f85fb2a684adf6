"""Who listens to which task: hands each event to every socket that registered for it.

A slow reader does not hold up the others: every socket has its own queue, and one that lets too much pile
up is closed. Events from before a registration are not replayed, as on the service.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from wiro_nb.sandbox.task import Task

__all__ = ["Hub", "Listener"]

_MOST_WAITING = 5_000


class Listener:
    """One socket's side: a queue of frames to send. None closes the socket."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[str | None] = asyncio.Queue()
        self.tokens: set[str] = set()

    def put(self, frame: str) -> None:
        """Queues a frame, or closes the socket of a reader who has stopped reading."""
        if self.frames.qsize() > _MOST_WAITING:
            self.frames.put_nowait(None)
        else:
            self.frames.put_nowait(frame)


class Hub:
    """The registrations of all sockets."""

    def __init__(self) -> None:
        self._listeners: dict[str, set[Listener]] = {}

    def register(self, token: str, listener: Listener) -> None:
        """Sends the task's coming events to the listener."""
        listener.tokens.add(token)
        self._listeners.setdefault(token, set()).add(listener)

    def drop(self, listener: Listener) -> None:
        """Forgets a socket that is gone."""
        for token in listener.tokens:
            listeners = self._listeners.get(token, set())
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(token, None)

    def publish(self, task: Task, status: str, message: Any = "") -> None:
        """Sends one event to everybody who registered for the task."""
        listeners = self._listeners.get(task.token)
        if listeners:
            frame = event_text(task, status, message)
            for listener in tuple(listeners):
                listener.put(frame)


def event_text(task: Task, status: str, message: Any) -> str:
    """Returns an event as it stands on the wire."""
    event = {"type": status, "id": str(task.id), "tasktoken": task.token, "message": message, "result": True}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))
