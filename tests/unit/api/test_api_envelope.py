"""Every way the service says no, and every way its answer can be damaged."""

from __future__ import annotations

import contextlib
import json
import pickle
import traceback
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.api.envelope import read_envelope
from wiro_nb.errors import (
    ApiError,
    AuthRejected,
    BadAnswer,
    InsufficientFunds,
    NotAccessible,
    RateLimited,
    SlotsFull,
    WiroError,
)
from wiro_nb.redaction import register_secret

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


def refuse(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> ApiError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        read_envelope(status, headers or {}, data, now=NOW)
    assert caught.value.__context__ is None
    assert caught.value.hint
    return caught.value


def no(code: Any, message: str = "because") -> dict[str, Any]:
    return {"result": False, "errors": [{"code": code, "message": message}]}


def test_the_payload_stands_beside_the_result() -> None:
    body = b'{"errors": [], "taskid": "2221", "socketaccesstoken": "t", "result": true}'
    assert read_envelope(200, {}, body)["taskid"] == "2221"
    for result in ("true", 1, "1"):
        assert read_envelope(200, {}, json.dumps({"result": result, "a": 1}).encode())["a"] == 1
    assert read_envelope(200, {}, b'\xef\xbb\xbf{"errors": [], "taskid": "1"}')["taskid"] == "1"


def test_an_answer_with_unescaped_quotes_in_a_list_is_still_read() -> None:
    body = b'{"result": true, "tasklist": [{"id": "1", "categories": "["tool", "a-b"]", "pexit": "0", "x": "[]"}]}'
    task = read_envelope(200, {}, body)["tasklist"][0]
    assert (task["categories"], task["pexit"]) == (["tool", "a-b"], "0")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, NotAccessible),
        (96, SlotsFull),
        (97, InsufficientFunds),
        (98, NotAccessible),
        (99, AuthRejected),
        ("96", SlotsFull),
        ("1", NotAccessible),
    ],
)
def test_each_code_of_a_refusal_has_its_error(code: Any, kind: type[ApiError]) -> None:
    for status in (200, 400, 503):
        error = refuse(no(code), status)
        assert type(error) is kind
        assert (error.code, error.ambiguous) == (int(code), False)
        assert error.message == "The service refused: because"


@pytest.mark.parametrize(
    "words",
    [
        "Request parameter [prompt] required",
        "Request parameter [steps] must be integer or float",
        "Request parameter [steps] must be between 1 and 50",
        "Request files [inputImage] required",
        "Request parameters are invalid.",
        "callbackUrl is not a valid URL",
        "The callback url must be public.",
        "Project authorization is not founded.",
        "Project requires signature authentication. Send x-signature.",
        "Requested ip 10.0.0.1 is not allowed.",
        "Error parsing url.",
    ],
)
def test_code_0_is_a_refusal_in_the_words_of_the_documentation_only(words: str) -> None:
    for status in (200, 400, 401, 404):
        assert refuse(no(0, words), status).ambiguous is False
    assert refuse(no(0, words), 500).ambiguous is True


@pytest.mark.parametrize(
    "body",
    [
        no(0, "Internal server error"),
        no(0, "Request timed out"),
        no(0, ""),
        no(4711),
        no(None),
        {"result": False, "errors": []},
        {"result": False, "errors": ["busy"]},
        {"result": False, "errors": {"1": "no"}},
        {"success": False, "errors": [{"code": 1, "message": "a gateway's own words"}]},
    ],
)
def test_every_other_answer_may_hide_a_task_and_says_nothing_of_the_bill(body: Any) -> None:
    for status in (200, 400, 403, 404, 409, 413, 429, 499, 502):
        error = refuse(body, status)
        assert error.ambiguous is True
        assert not any("billed" in line or "refused" in line for line in error.lines())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ApiError),
        (401, AuthRejected),
        (403, AuthRejected),
        (404, NotAccessible),
        (408, ApiError),
        (413, ApiError),
        (429, RateLimited),
        (500, ApiError),
        (502, ApiError),
        (503, ApiError),
        (504, ApiError),
    ],
)
@pytest.mark.parametrize("body", [b"<html><script>var a</script><h1>Bad</h1></html>", b"", b'{"result": fal'])
def test_each_status_has_its_error_whatever_the_body(status: int, kind: type[ApiError], body: bytes) -> None:
    error = refuse(body, status)
    assert (type(error), error.status, error.ambiguous) == (kind, status, True)
    assert "<" not in "\n".join(error.lines())
    assert "var a" not in "\n".join(error.lines())


def test_words_about_the_key_or_the_path_have_their_error() -> None:
    assert type(refuse(no(0, "Project authorization is not valid."), 401)) is AuthRejected
    assert type(refuse(no(0, "Project authorization is not valid."), 200)) is AuthRejected
    assert type(refuse(no(0, "Error parsing url."), 404)) is NotAccessible


@pytest.mark.parametrize(
    "body",
    [
        {"result": False, "errors": []},
        {"result": "false"},
        {"result": False, "errors": None},
        {"result": 0, "errors": {}},
    ],
)
def test_an_answer_without_a_reason_says_so(body: Any) -> None:
    assert "no reason" in refuse(body).message


@pytest.mark.parametrize("errors", [["plain words"], "plain words", {"code": "1", "message": "plain words"}])
def test_reasons_in_odd_shapes_are_read(errors: Any) -> None:
    assert "plain words" in refuse({"result": False, "errors": errors}).message


def test_of_several_reasons_the_one_that_says_what_to_do_leads() -> None:
    errors = [{"code": 0, "message": "general"}, {"code": 97, "message": "too little"}]
    error = refuse({"result": False, "errors": errors})
    assert type(error) is InsufficientFunds
    assert "too little" in error.message
    assert "general" in error.details


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"<!doctype html><title>Sign in</title>", 200, "html"),
        (b'{"result": true, "taskid": "12', 200, "cut"),
        (b"", 200, "empty"),
        (b"[1]", 200, "shape"),
        (b"ok", 200, "shape"),
        (b'{"taskid2": 1}', 200, None),
        (b"{}", 200, "shape"),
        (b"", 302, "redirect"),
    ],
)
def test_an_answer_that_is_none_is_ambiguous(body: bytes, status: int, reason: str | None) -> None:
    if reason is None:
        assert read_envelope(status, {}, body)
        return
    error = refuse(body, status)
    assert isinstance(error, BadAnswer)
    assert (error.reason, error.ambiguous) == (reason, True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("1.5", 1.5),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-4", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_and_as_a_date(value: str, seconds: float | None) -> None:
    assert refuse(b"", 429, {"retry-after": value}).retry_after_s == seconds


def test_no_form_of_an_error_holds_a_secret() -> None:
    register_secret("hunter2-the-secret")
    message = 'bad key hunter2-the-secret and {"tasktoken":"ZpYote30on42O4jjHXNiKmrWAZqbRE"}'
    error = refuse(no(0, message))
    texts = [str(error), repr(error), *error.lines(), repr(vars(error)), repr(pickle.dumps(error))]
    texts += traceback.format_exception(error)[-1:]
    for text in texts:
        assert "hunter2" not in text
        assert "ZpYote30on42O4jjHXNiKmrWAZqbRE" not in text
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.code, again.hint) == (error.message, error.code, error.hint)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["result", "errors", "code", "message", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.integers(100, 599), st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_gives_a_payload_or_one_of_our_errors(status: int, body: bytes) -> None:
    with contextlib.suppress(WiroError):
        assert isinstance(read_envelope(status, {}, body, now=NOW), dict)
