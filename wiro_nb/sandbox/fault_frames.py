"""Carries out the faults of a socket: what becomes of each event on its way out."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

from wiro_nb.sandbox.fault_http import UNKNOWN_STATUS, mistyped
from wiro_nb.sandbox.faults import Hit

__all__ = ["Mangler"]

Frame = str | bytes


class Mangler:
    """The faults of one socket.

    Args:
        hits: What goes wrong with this socket.
        seed: Decides the shuffling.
    """

    def __init__(self, hits: Sequence[Hit], seed: int) -> None:
        self._hits = {hit.kind: hit for hit in hits}
        self._chance = random.Random(seed)
        self._held: list[str] = []
        self._sent = 0

    @property
    def refuses(self) -> bool:
        """True when the handshake is to be refused."""
        return "refuse" in self._hits

    @property
    def drops_now(self) -> bool:
        """True when the connection is to be cut off: after so many events."""
        return "drop" in self._hits and self._sent >= self._hits["drop"].number(1)

    def frames(self, text: str) -> list[Frame]:
        """Returns what is sent in place of an event, in order; nothing when it is held back."""
        self._sent += 1
        if not self._hits:
            return [text]
        if "silent" in self._hits:
            return []
        out: list[Frame] = []
        for event in self._shuffled(text):
            out += self._between(event)
            out += [self._changed(event)] * (2 if "double" in self._hits else 1)
        return out

    def _shuffled(self, text: str) -> list[str]:
        if "shuffle" not in self._hits:
            return [text]
        self._held.append(text)
        if len(self._held) < self._hits["shuffle"].number(4) and '"type":"task_postprocess_end"' not in text:
            return []
        group, self._held = self._held, []
        self._chance.shuffle(group)
        return group

    def _between(self, text: str) -> list[Frame]:
        out: list[Frame] = []
        if "binary" in self._hits:
            out.append(b"\x00\x01\x02sandbox")
        if "garbage" in self._hits:
            out.append("{not json")
        if "unknown" in self._hits:
            out.append(json.dumps({**json.loads(text), "type": UNKNOWN_STATUS, "message": {"new": ["shape"]}}))
        return out

    def _changed(self, text: str) -> str:
        if not self._hits.keys() & {"wrong-types", "late-outputs"}:
            return text
        event = json.loads(text)
        if "wrong-types" in self._hits:
            event["message"], event["id"] = mistyped(event["message"]), mistyped(event.get("id"))
        if "late-outputs" in self._hits and event["type"] == "task_postprocess_end":
            event["message"] = []
        return json.dumps(event)
