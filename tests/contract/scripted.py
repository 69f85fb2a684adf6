"""A scripted service: written after the documentation, it answers each request from a table of exchanges.

The answers keep the service's habits: numbers as text, times as epoch text with "0" for "not yet",
payload beside `result`, a `categories` list whose quotes are not escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

FILE = Path(__file__).with_name("exchanges.json")
CLIP = bytes(range(256)) * 8


class ScriptedService:
    """Answers by the first exchange that fits; an exchange of several answers gives the last one again."""

    def __init__(self) -> None:
        self._exchanges: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
        self._used = [0] * len(self._exchanges)
        self.requests: list[httpx2.Request] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        self.requests.append(request)
        if request.method == "GET":
            return _serve_clip(request)
        for index, exchange in enumerate(self._exchanges):
            if _fits(exchange, request, body):
                answers = exchange["answers"]
                answer = answers[min(self._used[index], len(answers) - 1)]
                self._used[index] += 1
                return httpx2.Response(exchange.get("status", 200), text=write_answer(answer))
        return httpx2.Response(
            404, text=write_answer({"result": False, "errors": [{"code": 0, "message": "Error parsing url."}]})
        )


def _fits(exchange: dict[str, Any], request: httpx2.Request, body: bytes) -> bool:
    if not request.url.path.endswith(exchange["path"]):
        return False
    if any(request.headers.get(name, "") != value for name, value in exchange.get("headers", {}).items()):
        return False
    if "words" in exchange:  # of a multipart body
        return all(word.encode() in body for word in exchange["words"])
    wanted = exchange.get("body", {})
    given = json.loads(body) if request.headers["content-type"] == "application/json" else {}
    return all(given.get(name) == value for name, value in wanted.items())


def write_answer(answer: dict[str, Any]) -> str:
    # As seen in the service's own samples: the quotes of this list are not escaped.
    return re.sub(r'(?<="categories": )"\[.*?\]"', lambda found: found[0].replace("\\", ""), json.dumps(answer))


def _serve_clip(request: httpx2.Request) -> httpx2.Response:
    assert "x-api-key" not in request.headers
    found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    start = int(found[1]) if found else 0
    if start >= len(CLIP):
        return httpx2.Response(416, headers={"content-range": f"bytes */{len(CLIP)}"})
    headers = {"content-type": "video/mp4", "content-length": str(len(CLIP) - start)}
    if found:
        headers["content-range"] = f"bytes {start}-{len(CLIP) - 1}/{len(CLIP)}"
    return httpx2.Response(206 if found else 200, headers=headers, content=_pieces(CLIP[start:]))


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 500):
        yield data[at : at + 500]
