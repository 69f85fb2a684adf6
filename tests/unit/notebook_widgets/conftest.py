"""A comm that records instead of sending, so that messages can be counted without a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import comm
import pytest
from comm.base_comm import BaseComm
from ipywidgets import Widget

from tests.unit.notebook.conftest import point_at, process_manager

__all__ = ["point_at", "process_manager"]


class RecordingComm(BaseComm):
    sent: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def publish_msg(self, msg_type: str, data: Any = None, **_rest: Any) -> None:
        RecordingComm.sent.append((msg_type, data or {}))


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """All comm messages since the start of the test, as (type, data)."""
    RecordingComm.sent = []
    monkeypatch.setattr(comm, "create_comm", lambda *args, **kwargs: RecordingComm(*args, **kwargs))
    yield RecordingComm.sent
    RecordingComm.sent = []


def send(widget: Widget, content: Any, *buffers: bytes) -> None:
    """Has a widget receive a message as its front end sends it."""
    data = {"method": "custom", "content": content}
    widget.comm.handle_msg({"content": {"data": data}, "buffers": [memoryview(buffer) for buffer in buffers]})


def custom(messages: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """The custom messages among them."""
    return [data["content"] for _, data in messages if data.get("method") == "custom"]
