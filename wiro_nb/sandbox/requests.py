"""HTTP requests: authentication, bodies (JSON or multipart), input validation, and the answer to a failure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wiro_nb.json_values import DEEPEST_LEVEL, as_decimal, is_deeper, load_json
from wiro_nb.schema.files import MAX_FILE_BYTES, accepted_types
from wiro_nb.schema.types import ModelSchema, Parameter

_INVALID = "Request parameters are invalid."
_EXTENSIONS = frozenset({"jpeg", *accepted_types().split(", ")})


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


def authenticate(headers: Headers, keys: Mapping[str, str]) -> str:
    """Returns the id of the project that sent these headers.

    Args:
        headers: Of the request.
        keys: `api_key` and `api_secret` of the project that signs its requests, and `key_only_api_key` of the one
            whose key alone is enough. Both share one account.

    Raises:
        Failure: 401, the key is unknown, or the signature is missing or wrong.
    """
    key = headers.get("x-api-key", "")
    if _same(key, keys["key_only_api_key"]):
        return "702"
    if not _same(key, keys["api_key"]):
        raise Failure(0, "Project authorization is not founded.", 401)
    nonce, signature = headers.get("x-nonce"), headers.get("x-signature")
    if not nonce or not signature:
        message = "Project requires signature authentication. x-signature and x-nonce headers are required."
        raise Failure(0, message, 401)
    expected = hmac.new(key.encode(), (keys["api_secret"] + nonce).encode(), hashlib.sha256).hexdigest()
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
        files: Uploaded files by parameter, in order. Open until the request is closed.
    """

    request: Request
    fields: Mapping[str, Any]
    files: Mapping[str, list[UploadFile]]

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


async def read_body(request: Request) -> Body:
    """Reads the body.

    Raises:
        Failure: The body is not what its Content-Type says.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            items = (await request.form()).multi_items()
        except (HTTPException, KeyError) as error:
            raise Failure(0, _INVALID) from error
        texts, files = defaultdict[str, list[str]](list), defaultdict[str, list[UploadFile]](list)
        for name, value in items:
            if isinstance(value, str):
                texts[name].append(value)
            elif value.filename:
                files[name].append(value)
        return Body(request, {name: one if len(one) > 1 else one[0] for name, one in texts.items()}, files)
    raw = await request.body()
    fields = _read_json(raw) if raw.strip() else {}
    if not isinstance(fields, dict):
        raise Failure(0, _INVALID)
    return Body(request, fields, {})


def _read_json(raw: bytes) -> Any:
    """Returns the JSON value; None for no JSON, and for what no answer can hold (too deep, NaN, surrogates)."""
    try:
        value = json.loads(raw)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return None if is_deeper(value, DEEPEST_LEVEL) else value


def check_inputs(schema: ModelSchema, body: Body) -> None:
    """Checks every input in the order of the model's page, then the uploaded files.

    Unknown inputs pass: the service does not refuse them.

    Raises:
        Failure: Code 0, for the first invalid input or file.
    """
    for parameter in () if schema.free_form else schema.parameters:
        is_valid = _are_files if parameter.is_file else _is_value
        if not is_valid(parameter, body):
            raise Failure(0, _INVALID)
    for upload in (upload for uploads in body.files.values() for upload in uploads):
        if (upload.filename or "").rpartition(".")[2].lower() not in _EXTENSIONS:
            raise Failure(0, "File type is not supported.")
        if (upload.size or 0) > MAX_FILE_BYTES:
            raise Failure(0, "File size must not be larger than 100 MB.")


def _are_files(parameter: Parameter, body: Body) -> bool:
    urls = body.texts(parameter.id) or body.texts(f"{parameter.id}Url")
    count = len(urls) + len(body.files.get(parameter.id, ()))
    if parameter.required and not count:
        raise Failure(0, f"Request files [{parameter.id}] required")
    return parameter.type != "fileinput" or count <= 1


def _is_value(parameter: Parameter, body: Body) -> bool:
    value = body.fields.get(parameter.id)
    if value is None or value == "":
        if parameter.required:
            raise Failure(0, f"Request parameter [{parameter.id}] required")
        return True
    match parameter.kind:
        case "number":
            _check_number(parameter, value)
            return True
        case "choice":
            # Some model pages have a default outside the options, or a select without options.
            values = {option.value for option in parameter.options}
            chosen = _listed(value) if parameter.type == "multiselect" else [value]
            known = {*values, parameter.default}
            return chosen is not None and (not values or known.issuperset(map(str, chosen)))
        case "flag":
            return value in (True, False, "true", "false")
        case "json":
            return parameter.type != "json-array" or _listed(value) is not None
    return isinstance(value, (str, int, float))


def _listed(value: Any) -> list[Any] | None:
    """Returns the list that a value is, or that is written in it as JSON (multipart fields are texts), or None."""
    listed = load_json(value) if isinstance(value, str) else value
    return listed if isinstance(listed, list) else None


def _check_number(parameter: Parameter, value: Any) -> None:
    number, lowest, highest = as_decimal(value), as_decimal(parameter.min), as_decimal(parameter.max)
    if number is None:
        raise Failure(0, f"Request parameter [{parameter.id}] must be integer or float")
    if (lowest is not None and number < lowest) or (highest is not None and number > highest):
        bounds = f"{parameter.min or '-'} and {parameter.max or '-'}"
        raise Failure(0, f"Request parameter [{parameter.id}] must be between {bounds}")
