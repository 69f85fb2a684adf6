"""Reads the envelope of an answer: returns the payload on success, else raises the matching error.

Most failures arrive with HTTP 200 and `result: false`; others with 401, 404, 429 or 5xx, and a proxy in between
may answer with HTML or cut an answer short. Only the documented words and codes of the service are a refusal.
Every other error made here is `ambiguous`: the service may have acted although no usable answer came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from wiro_nb.errors import (
    ApiError,
    AuthRejected,
    BadAnswer,
    InsufficientFunds,
    NotAccessible,
    RateLimited,
    SlotsFull,
)
from wiro_nb.json_values import as_flag, as_float, as_list, as_mapping, as_text, as_whole, load_json

# Codes of refusals. Code 0 stands for refusals and for faults of the service alike: there the words decide.
_BY_CODE: dict[int, type[ApiError]] = {
    1: NotAccessible,
    96: SlotsFull,
    97: InsufficientFunds,
    98: NotAccessible,
    99: AuthRejected,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthRejected,
    403: AuthRejected,
    404: NotAccessible,
    429: RateLimited,
}
_HINTS = {98: "%wiro login (this model needs a signed-in account)"}
CALLBACK_WORDS = re.compile(r"callback[ _]?url|Request parameters are invalid", re.I)
"""A refusal that names the callback, or of no parameter in particular says that it is invalid."""
_BY_WORDS = (
    (
        re.compile(r"project authorization|signature authentication|requested ip .* is not allowed", re.I),
        AuthRejected,
    ),
    (re.compile(r"error parsing url", re.I), NotAccessible),
    (re.compile(r"Request (?:parameter|files) \[[^\]]*\] (?:required|must be)", re.I), ApiError),
    (CALLBACK_WORDS, ApiError),
)
_TASK_WORDS = re.compile(r"\btask\b", re.I)
_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.I | re.S)
# Seen in the service's own samples: a JSON list inside a string whose quotes are not escaped, which
# makes the whole answer unreadable. The list is put in the string's place.
_UNESCAPED_LIST = re.compile(r'("\w+"\s*:\s*)"(\[(?:\s*"[^"\\\[\]]*"\s*(?:,|(?=\])))*\])"')
_LONGEST_EXCERPT = 200
_LONGEST_MESSAGE = 1000
_MOST_PROBLEMS = 10


def read_envelope(
    status_code: int, headers: Mapping[str, str], body: bytes, *, now: datetime | None = None
) -> dict[str, Any]:
    """Returns the payload of a successful answer.

    Args:
        status_code: HTTP status.
        headers: Of the answer, names in lower case.
        body: Whole body.
        now: For a `Retry-After` given as a date; the present by default.

    Raises:
        ApiError: The answer is an error, of the subclass of its code or HTTP status. Fields `code`, `status`,
            `ambiguous` (False for a documented refusal) and `retry_after_s`.
        BadAnswer: The body is not the promised JSON. Field `reason`: "html", "cut", "empty", "shape"
            or "redirect".
    """
    data = _load(body)
    problems = _read_problems(data)
    is_success = data is not None and as_flag(data.get("result"), default=not problems and bool(data))
    if data is not None and is_success and 200 <= status_code < 300:
        return data
    if status_code < 400 and not problems and "result" not in (data or {}):
        raise _bad_answer(status_code, headers, body, data)
    excerpt = _excerpt(body.decode("utf-8", errors="replace")) if data is None else ""
    code = problems[0][0] if problems else None
    messages = [message for _, message in problems if message]
    refusal = _find_refusal(status_code, code, messages) if "result" in (data or {}) else None
    kind = AuthRejected if status_code == 401 else refusal or _BY_STATUS.get(status_code, ApiError)
    details = [*messages[1:], *([f"it said: {excerpt}"] if excerpt else [])]
    verb = "answered" if refusal is None else "refused"
    raise kind(
        f"The service {verb}: {messages[0]}" if messages else _describe_status(status_code, kind),
        hint=_hint(refusal, code, messages),
        details=details,
        code=code,
        status=status_code,
        ambiguous=refusal is None,
        retry_after_s=read_retry_after(headers, now or datetime.now(UTC)),
    )


def _load(body: bytes) -> dict[str, Any] | None:
    text = body.decode("utf-8", errors="replace").removeprefix("\ufeff")
    for candidate in (text, _UNESCAPED_LIST.sub(r"\1\2", text)):
        data = load_json(candidate)
        if data is not None:
            return data if isinstance(data, dict) else None
    return None


def _read_problems(data: Mapping[str, Any] | None) -> list[tuple[int | None, str]]:
    """Returns code and message of each error of an answer."""
    errors = (data or {}).get("errors")
    entries = as_list(errors) or ([errors] if errors else [])
    problems = []
    for entry in entries[:_MOST_PROBLEMS]:
        fields = as_mapping(entry)
        message = as_text(fields.get("message") if fields else entry, _LONGEST_MESSAGE)
        problems.append((as_whole(fields.get("code")), message.strip()))
    # A code that says what to do outranks the general one beside it.
    return sorted(problems, key=lambda problem: problem[0] not in _BY_CODE)


def _bad_answer(
    status_code: int, headers: Mapping[str, str], body: bytes, data: Mapping[str, Any] | None
) -> BadAnswer:
    text, hint, excerpt = body.decode("utf-8", errors="replace").strip(), None, ""
    if data is not None:
        reason, message = "shape", "The service answered with JSON that has no result in it."
    elif 300 <= status_code < 400:
        reason, message = "redirect", f"The service answered with a redirect (HTTP {status_code})."
    elif not text:
        reason, message = "empty", "The service answered with nothing."
    elif text.startswith("<") or "html" in headers.get("content-type", ""):
        reason, message = "html", "A web page came instead of an answer of the service."
        excerpt = _excerpt(text)
    else:
        reason = "cut" if text.startswith("{") else "shape"
        message, excerpt = "The answer of the service is cut short or not JSON.", _excerpt(text[:80])
    if reason in ("html", "redirect"):
        hint = "%wiro (check the address of the service)"
    details = [f"it begins: {excerpt}"] if excerpt else []
    return BadAnswer(
        message, hint=hint, details=details, code=None, status=status_code, reason=reason, ambiguous=True
    )


def _find_refusal(status_code: int, code: int | None, messages: Sequence[str]) -> type[ApiError] | None:
    """Returns the error of a documented refusal, by its code or else its words; None for anything else."""
    if code in _BY_CODE or status_code >= 500:
        return _BY_CODE.get(code or 0)
    return next((kind for words, kind in _BY_WORDS if any(map(words.search, messages))), None)


def _describe_status(status_code: int, kind: type[ApiError]) -> str:
    if kind is RateLimited:
        return "The service asks for fewer requests (HTTP 429)."
    if status_code >= 500:
        return f"The service has a fault of its own (HTTP {status_code})."
    if status_code >= 400:
        return f"HTTP {status_code} came instead of an answer of the service."
    return "The service answered with no result and no reason."


def _hint(refusal: type[ApiError] | None, code: int | None, messages: Sequence[str]) -> str | None:
    if code in _HINTS:
        return _HINTS[code]
    if refusal is NotAccessible and any(map(_TASK_WORDS.search, messages)):
        return "%wiro runs"
    return "%wiro info MODEL" if refusal is ApiError else None


def read_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Parses a `Retry-After` header (number or date) to seconds, or None."""
    value = headers.get("retry-after", "")
    seconds = as_float(value)
    if seconds is None:
        moment = read_date(value)
        if moment is None:
            return None
        seconds = (moment - now).total_seconds()
    return max(0.0, seconds)


def read_date(value: str) -> datetime | None:
    """Returns the moment that a `Date` or `Retry-After` header names, or None."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _excerpt(text: str) -> str:
    return " ".join(_TAGS.sub(" ", text[:4000]).split())[:_LONGEST_EXCERPT]
