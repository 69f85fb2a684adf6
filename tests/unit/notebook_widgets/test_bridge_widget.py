"""The bridge's messages: what a handshake becomes, and which pages write first."""

from __future__ import annotations

from typing import Any

from wiro_nb.notebook.widgets.views import BridgeWidget

from .conftest import send


def test_a_handshake_is_passed_on_as_plain_data_and_its_page_writes_first(messages: list[Any]) -> None:
    taken: list[dict[str, Any]] = []
    bridge = BridgeWidget(taken.append)
    for page in ("first", "second"):
        send(bridge, {"type": "handshake", "page": page, "known": {"01A": 1}, "notebook_ok": True})
    send(bridge, {"type": "handshake", "page": "reader", "read_only": True})
    send(bridge, {"type": "other"})
    assert [item["known"] for item in taken] == [{"01A": "1"}, {"01A": "1"}, {}]
    bridge.send_budget("2.00")
    assert messages[-1][1]["content"] == {"type": "budget", "budget": "2.00", "pages": ["second", "first"]}
