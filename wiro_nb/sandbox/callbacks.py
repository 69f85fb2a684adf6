"""Delivers `callbackUrl`: the finished task is posted to it, on this machine only.

The sandbox never talks to the network. Plain `http.client` follows no redirect and knows no proxy, so a
loopback address stays one.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
from typing import Any
from urllib.parse import urlsplit

__all__ = ["deliver", "refusal"]

_TRIES = 3
_TIMEOUT_S = 5


def refusal(url: str) -> str | None:
    """Returns why a callback URL is not called, a sentence for the task's log, or None when it is."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "callbackUrl is not a URL: not called."
    if parts.scheme not in ("http", "https") or not host:
        return "callbackUrl is not a URL: not called."
    if parts.scheme != "http" or not _is_loopback(host):
        return "callbackUrl refused: the sandbox calls http addresses of this machine only."
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def deliver(url: str, task: dict[str, Any]) -> str:
    """Posts the task, at most three times. Blocking.

    Returns:
        A sentence for the task's log: the answer's status, or why it could not be delivered.
    """
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    body = json.dumps(task, ensure_ascii=False).encode()
    trouble = ""
    for _ in range(_TRIES):
        connection = http.client.HTTPConnection(host or "", parts.port or 80, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", target, body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            trouble = type(error).__name__
            continue
        finally:
            connection.close()
        if status < 500:
            return f"callbackUrl answered {status}."
        trouble = f"status {status}"
    return f"callbackUrl could not be delivered: {trouble}."
