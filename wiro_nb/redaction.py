"""Keeps secrets out of every text the package makes. Standard library only.

API keys, secrets and task tokens are registered here as soon as they are known; errors, logs and
representations pass their text through `redact`. Patterns catch the ones nobody registered.
"""

from __future__ import annotations

import re
import threading
from typing import Any

MASK = "[redacted]"

_SHORTEST_SECRET = 6
_PATTERNS = (
    re.compile(r"(?i)(?<=socketaccesstoken)([\"'\s:=]+)([A-Za-z0-9_\-]{8,})"),
    re.compile(r"(?i)(?<=tasktoken)([\"'\s:=]+)([A-Za-z0-9_\-]{8,})"),
    re.compile(r"(?i)(?<=x-api-key)([\"'\s:=]+)([^\s\"',;]{6,})"),
    re.compile(r"(?i)(?<=x-signature)([\"'\s:=]+)([0-9a-f]{16,})"),
    re.compile(r"(?i)(?<=WIRO_API_KEY)([\"'\s:=]+)([^\s\"',;]{6,})"),
    re.compile(r"(?i)(?<=WIRO_API_SECRET)([\"'\s:=]+)([^\s\"',;]{6,})"),
    re.compile(r"(://)([^/\s:@]+:[^/\s@]+)(?=@)"),
)
_known: set[str] = set()
_lock = threading.Lock()


def register_secret(value: str | None) -> None:
    """Remembers a secret so that `redact` masks it from now on.

    Args:
        value: The secret. Texts shorter than 6 characters are ignored: masking them would
            mangle ordinary words.
    """
    if value and len(value) >= _SHORTEST_SECRET:
        with _lock:
            _known.add(value)


def redact(text: str) -> str:
    """Returns the text with registered secrets and secret-looking fields masked."""
    with _lock:
        known = sorted(_known, key=len, reverse=True)
    for secret in known:
        if secret in text:
            text = text.replace(secret, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: match.group(1) + MASK, text)
    return text


def redact_value(value: Any) -> Any:
    """Returns a copy of nested lists and dicts with every text redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact_value(key): redact_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(redact_value(item) for item in value)
    return value
