"""HTTP requests and answers: authentication, bodies (JSON or multipart), input validation, the answer envelope."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wiro_nb.json_values import DEEPEST_LEVEL, is_deeper
from wiro_nb.schema.types import ModelSchema, Parameter

_INVALID = "Request parameters are invalid."


class Failure(HTTPException):
    """A request that ends in `result: false`.

    Args:
        code: The service's code: 0 general, 1 not found, 96 slots, 97 balance, 98 sign-in, 99 bearer.
        message: The service's words.
        http_status: Most failures travel with HTTP 200.
    """

    def __init__(self, code: int, message: str, http_status: int = 200) -> None:
        super().__init__(http_status, message)
        self.code = code

    def response(self) -> Response:
        """Returns the answer for this failure."""
        errors = [{"code": self.code, "message": self.detail}]
        return JSONResponse({"result": False, "errors": errors}, self.status_code)


def answer(payload: Mapping[str, Any]) -> Response:
    """Returns a successful answer; the payload fields are siblings of `result`, not under a key of their own."""
    return JSONResponse({**payload, "errors": [], "result": True})


@dataclass(frozen=True)
class Authenticator:
    """Checks the credentials of the sandbox's two projects, which share one account.

    Attributes:
        api_key, api_secret: The project that signs its requests.
        key_only_api_key: The project whose key alone is enough.
    """

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    key_only_api_key: str = field(repr=False)

    def project_of(self, headers: Headers) -> str:
        """Returns the id of the project that sent these headers.

        Raises:
            Failure: 401, the key is unknown, or the signature is missing or wrong.
        """
        key = headers.get("x-api-key", "")
        if _same(key, self.key_only_api_key):
            return "702"
        if not _same(key, self.api_key):
            raise Failure(0, "Project authorization is not founded.", 401)
        nonce, signature = headers.get("x-nonce"), headers.get("x-signature")
        if not nonce or not signature:
            message = "Project requires signature authentication. x-signature and x-nonce headers are required."
            raise Failure(0, message, 401)
        expected = hmac.new(self.api_key.encode(), (self.api_secret + nonce).encode(), hashlib.sha256).hexdigest()
        if not _same(signature, expected):
            raise Failure(0, "Project authorization is not valid.", 401)
        return "701"


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


@dataclass(frozen=True)
class Body:
    """A request's content.

    Attributes:
        request: What it came with.
        fields: JSON values as received, or form texts; a repeated form field is a list of texts.
        parts: Uploaded files by parameter, in order. Open until the request ends.
    """

    request: Request
    fields: Mapping[str, Any]
    parts: Mapping[str, list[UploadFile]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Returns a field as text, "" when it is missing."""
        value = self.fields.get(name)
        return "" if value is None or isinstance(value, (dict, list)) else str(value).strip()

    def number(self, name: str, default: int) -> int:
        """Returns a field as a whole number not below 0, or the default."""
        text = self.text(name)
        return int(text) if text.isdecimal() and len(text) < 10 else default

    def texts(self, name: str) -> list[str]:
        """Returns a list field as texts; one text is a list of one."""
        value = self.fields.get(name)
        if isinstance(value, list):
            return [str(item) for item in value]
        return [value] if isinstance(value, str) and value else []


@asynccontextmanager
async def read_body(request: Request) -> AsyncIterator[Body]:
    """Reads the body; the files in it are closed at the end.

    Raises:
        Failure: The body is not what its Content-Type says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            form = await request.form(max_files=50, max_fields=500)
        except (HTTPException, KeyError) as error:
            raise Failure(0, _INVALID) from error
        try:
            yield _from_form(request, form.multi_items())
        finally:
            await form.close()
        return
    raw = await request.body()
    fields = _read_json(raw) if raw.strip() else {}
    if not isinstance(fields, dict):
        raise Failure(0, _INVALID)
    yield Body(request, fields)


def _read_json(raw: bytes) -> Any:
    """Returns the JSON value; None for no JSON, and for what no answer can hold (too deep, NaN, surrogates)."""
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return None if is_deeper(value, DEEPEST_LEVEL) else value


def _from_form(request: Request, items: list[tuple[str, UploadFile | str]]) -> Body:
    fields: dict[str, list[str]] = {}
    parts: dict[str, list[UploadFile]] = {}
    for name, value in items:
        if isinstance(value, UploadFile):
            parts.setdefault(name, []).append(value)
        else:
            fields.setdefault(name, []).append(value)
    return Body(request, {name: texts if len(texts) > 1 else texts[0] for name, texts in fields.items()}, parts)


def check_inputs(schema: ModelSchema, body: Body) -> None:
    """Checks every input in the order of the model's page.

    Unknown inputs pass: the service does not refuse them.

    Raises:
        Failure: Code 0, for the first invalid input.
    """
    for parameter in () if schema.free_form else schema.parameters:
        is_valid = _are_files if parameter.is_file else _is_value
        if not is_valid(parameter, body):
            raise Failure(0, _INVALID)


def _are_files(parameter: Parameter, body: Body) -> bool:
    urls = body.texts(parameter.id) or body.texts(f"{parameter.id}Url")
    parts = body.parts.get(parameter.id, [])
    if parameter.required and not urls and not parts:
        raise Failure(0, f"Request files [{parameter.id}] required")
    return parameter.type != "fileinput" or len(urls) + len(parts) <= 1


def _is_value(parameter: Parameter, body: Body) -> bool:
    value = body.fields.get(parameter.id)
    if value is None or value == "":
        if parameter.required:
            raise Failure(0, f"Request parameter [{parameter.id}] required")
        return True
    if parameter.kind == "number":
        _check_number(parameter, value)
        return True
    if parameter.kind == "choice":
        # Some model pages have a default outside the options, or a select without options.
        values = {option.value for option in parameter.options}
        known = values | {parameter.default}
        chosen = _listed(value) if parameter.type == "multiselect" else [value]
        return chosen is not None and (not values or known.issuperset(map(str, chosen)))
    if parameter.kind == "flag":
        return value in (True, False, "true", "false")
    if parameter.kind == "json":
        return parameter.type != "json-array" or _listed(value) is not None
    return isinstance(value, (str, int, float))


def _listed(value: Any) -> list[Any] | None:
    """Returns the list that a value is, or that is written in it as JSON (multipart fields are texts), or None."""
    try:
        listed = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return listed if isinstance(listed, list) else None


def _check_number(parameter: Parameter, value: Any) -> None:
    try:
        number = math.nan if isinstance(value, (bool, list, dict)) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Failure(0, f"Request parameter [{parameter.id}] must be integer or float")
    lowest, highest = (Decimal(bound) if bound else None for bound in (parameter.min, parameter.max))
    if (lowest is not None and number < lowest) or (highest is not None and number > highest):
        bounds = f"{'-' if lowest is None else lowest} and {'-' if highest is None else highest}"
        raise Failure(0, f"Request parameter [{parameter.id}] must be between {bounds}")
