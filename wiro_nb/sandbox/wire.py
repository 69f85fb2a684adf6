"""The shape of answers: the envelope, its failures, and how numbers are written."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import Response

__all__ = ["Failure", "answer", "text_number"]


class Failure(Exception):
    """A request that ends in `result: false`.

    Args:
        code: The service's code: 0 general, 1 not found, 96 slots, 97 balance, 98 sign-in, 99 bearer.
        message: The service's words.
        http_status: Most failures travel with HTTP 200.
    """

    def __init__(self, code: int, message: str, http_status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status

    def response(self) -> Response:
        """Returns the answer for this failure."""
        errors = [{"code": self.code, "message": self.message}]
        return _json({"result": False, "errors": errors}, self.http_status)


def answer(**payload: Any) -> Response:
    """Returns a good answer; the payload stands beside `result`, not under a key of its own."""
    return _json({**payload, "errors": [], "result": True}, 200)


def _json(body: dict[str, Any], http_status: int) -> Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode(), http_status, media_type="application/json")


def text_number(seconds: float) -> str:
    """Returns a Unix time as the service writes it: whole seconds as text, "0" for never."""
    return str(int(seconds))
