"""Reads a request: who asks (both kinds of project) and what stands in its body (JSON or multipart)."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.requests import Request

from wiro_nb.sandbox.wire import Failure

__all__ = ["Body", "Keys", "read_body"]


@dataclass(frozen=True)
class Keys:
    """The sandbox's two projects. Both spend from one account.

    Attributes:
        api_key, api_secret: The project that signs its requests.
        key_only_api_key: The project whose key alone is enough.
    """

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)
    key_only_api_key: str = field(repr=False)

    def project_of(self, headers: Headers) -> str:
        """Returns the id of the project that sends these headers.

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

    def knows(self, headers: Headers) -> bool:
        """True when either project's key is there; enough for the sandbox's own endpoints."""
        key = headers.get("x-api-key", "")
        return _same(key, self.api_key) or _same(key, self.key_only_api_key)


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


@dataclass(frozen=True)
class Body:
    """A request's content.

    Attributes:
        fields: JSON values as they came, or form texts; a repeated form field is a list of texts.
        parts: Uploaded files by parameter, in order. Open until the request ends.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
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
        from starlette.exceptions import HTTPException

        try:
            form = await request.form(max_files=50, max_fields=500)
        except (HTTPException, KeyError) as error:
            raise Failure(0, "Request parameters are invalid.") from error
        try:
            yield _from_form(form.multi_items())
        finally:
            await form.close()
        return
    raw = await request.body()
    try:
        fields = json.loads(raw) if raw.strip() else {}
    except ValueError as error:
        raise Failure(0, "Request parameters are invalid.") from error
    if not isinstance(fields, dict):
        raise Failure(0, "Request parameters are invalid.")
    yield Body(fields)


def _from_form(items: list[tuple[str, UploadFile | str]]) -> Body:
    fields: dict[str, Any] = {}
    parts: dict[str, list[UploadFile]] = {}
    for name, value in items:
        if isinstance(value, UploadFile):
            parts.setdefault(name, []).append(value)
        elif name in fields:
            known = fields[name]
            fields[name] = [*known, value] if isinstance(known, list) else [known, value]
        else:
            fields[name] = value
    return Body(fields, parts)
