"""Masks secrets in every text the package produces. Standard library only.

API keys, secrets and task tokens are registered here as soon as they are known; errors, logs and
representations pass their text through `redact`. Patterns catch secrets that were not registered.
"""

from __future__ import annotations

import re
import threading
from typing import Any

MASK = "[redacted]"

_SHORTEST_SECRET = 6
_PATTERNS = (
    re.compile(r"(?i)((?:socketaccesstoken|tasktoken)[\"'\s:=]+)([A-Za-z0-9_\-]{8,})"),
    re.compile(r"(?i)((?:x-api-key|WIRO_API_KEY|WIRO_API_SECRET)[\"'\s:=]+)([^\s\"',;]{6,})"),
    re.compile(r"(?i)(x-signature[\"'\s:=]+)([0-9a-f]{16,})"),
    re.compile(r"(://)([^/\s:@]+:[^/\s@]+)(?=@)"),
)
_QUERY = re.compile(r"(?i)(https?://[^\s\"'<>?#]{1,1000})\?([^\s\"'<>]{1,8000})")
_SIGNED = re.compile(r"(?i)(?:^|&)(?:x-amz-|x-goog-)?(?:signature|credential|security-token|sig|token|policy)=")
"""The parameters by which the query of a presigned address gives access to its file."""
# One search that finds nothing spares most texts all of the above.
_SUSPICIOUS = re.compile(r"(?i)socketaccesstoken|tasktoken|x-api-key|x-signature|WIRO_API_|://")
# Task tokens come by the thousand and are single words: they are looked up by their length in the words of a
# text. The few secrets of another make are searched for one after the other.
_WORD = re.compile(r"[A-Za-z0-9_\-]{%d,}" % _SHORTEST_SECRET)  # noqa: UP031
_word = _WORD
"""Words long enough to hold the shortest secret known."""
_words: dict[int, set[str]] = {}
_lengths: tuple[int, ...] = ()
_others: tuple[str, ...] = ()
_lock = threading.Lock()


class SecretText(str):
    """A secret in use: an ordinary string whose representation is a mask, which is also what is pickled.

    Tracebacks that list local variables (`%xmode Verbose`, debuggers, test reports) show values by `repr`, and
    so do containers; a pickle of a run's snapshot is a file of the user's. Those are the ways in which a key or
    token leaves the process unintentionally.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (MASK,)


def register_secret(value: str | None) -> None:
    """Remembers a secret so that `redact` masks it from now on.

    Args:
        value: The secret. Texts shorter than 6 characters are ignored: masking them would
            mangle ordinary words.
    """
    global _lengths, _others, _word
    if not value or len(value) < _SHORTEST_SECRET or value in _words.get(len(value), ()):
        return
    with _lock:
        if not _WORD.fullmatch(value):
            _others = tuple(sorted({*_others, value}, key=len, reverse=True))
        elif len(value) in _words:
            _words[len(value)].add(value)
        else:
            _words[len(value)] = {value}
            _lengths = tuple(sorted(_words, reverse=True))
            _word = re.compile(r"[A-Za-z0-9_\-]{%d,}" % _lengths[-1])  # noqa: UP031


def redact(text: str) -> str:
    """Returns the text with registered secrets and secret-looking fields masked."""
    if len(text) < _SHORTEST_SECRET:
        return text  # no secret is so short, and none of the patterns
    text = _mask_registered(text)
    if _SUSPICIOUS.search(text):
        for pattern in _PATTERNS:
            text = pattern.sub(lambda match: match.group(1) + MASK, text)
        text = _QUERY.sub(_mask_signed_query, text)
    return text


def _mask_signed_query(match: re.Match[str]) -> str:
    return f"{match.group(1)}?{MASK}" if _SIGNED.search(match.group(2)) else match.group()


def strip_query(url: str | None) -> str | None:
    """Returns an address without its query, which may give its readers access to the file."""
    return None if url is None else url.partition("#")[0].partition("?")[0]


def holds_secret(text: str) -> bool:
    """Returns whether the text contains a registered secret."""
    return _mask_registered(text) != text


def _mask_registered(text: str) -> str:
    for secret in _others:
        text = text.replace(secret, MASK)
    return _word.sub(_mask_word, text) if _lengths else text


def _mask_word(match: re.Match[str]) -> str:
    """Masks the secrets in one word, the longest first; also those with letters before or behind."""
    word = match.group()
    for length in _lengths:
        known, start = _words[length], 0
        while start + length <= len(word):
            if word[start : start + length] in known:
                word = word[:start] + MASK + word[start + length :]
                start += len(MASK)
            else:
                start += 1
    return word


def redact_value(value: Any) -> Any:
    """Returns a copy of nested lists and dicts with every text redacted."""
    if isinstance(value, str):
        return redact(value) if len(value) >= _SHORTEST_SECRET else value
    if isinstance(value, dict):
        return {redact_value(key): redact_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(redact_value(item) for item in value)
    return value
