"""The one place that touches httpx2: sends signed requests and turns its errors into ours.

What matters is told precisely: whether a byte of the request may have left. A connection that was
never made is `ConnectFailed`; anything later is ambiguous, a reset on a kept-alive connection
included, because the service may have read the request before it closed. Foreign exceptions carry
the request with its headers, so ours are raised outside the `except` block and chain nothing.
"""

from __future__ import annotations

import asyncio
import json as json_module
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wiro_nb.api.service import Credentials, Service
from wiro_nb.api.signing import auth_headers, nonces
from wiro_nb.errors import (
    BadAnswer,
    ConfigError,
    ConnectFailed,
    InputError,
    StreamLost,
    TimedOut,
    TransportError,
    WiroError,
)

if TYPE_CHECKING:
    import httpx2

    from wiro_nb.api.multipart import MultipartBody

LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
MAX_DOWNLOADS = 8
_CONNECT_TIMEOUT_S = 10.0
_KEEPALIVE_S = 30.0
_ADDRESSES_KEPT = 64


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """Status, headers (names in lower case) and whole body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpTransport:
    """Two HTTP/1.1 pools with keep-alive: one signs and speaks to the API, one fetches files with no credentials.

    Args:
        service: Whom to speak to.
        timeout_s: Longest wait for each step (write, read); a whole request gets twice as long from
            its last upload progress on, so that an answer dripping in cannot hold it for ever.
        transport: In place of the network, for tests.
        nonce: Gives a nonce a request.
        max_in_flight: Connections to the API.
    """

    def __init__(
        self,
        service: Service,
        *,
        timeout_s: float,
        transport: httpx2.AsyncBaseTransport | None,
        nonce: Callable[[], str] | None,
        max_in_flight: int,
    ) -> None:
        import httpx2

        self.service = service
        self.timeout_s = timeout_s
        self._httpx = httpx2
        self._addresses: dict[str, httpx2.URL] = {}
        timeout = httpx2.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S), pool=None)
        # A proxy of the environment must not stand before a service on this machine.
        common: dict[str, Any] = {
            "verify": _make_ssl_context(service),
            "timeout": timeout,
            "trust_env": not service.is_local,
            "follow_redirects": False,
            "headers": {"user-agent": "wiro_nb", "accept": "*/*"},
            "transport": transport,
        }
        self._api = httpx2.AsyncClient(
            auth=_make_auth(service.credentials, nonce or _nonce_source()),
            limits=httpx2.Limits(
                max_connections=max_in_flight,
                max_keepalive_connections=max_in_flight,
                keepalive_expiry=_KEEPALIVE_S,
            ),
            **common,
        )
        self._files = httpx2.AsyncClient(
            limits=httpx2.Limits(max_connections=MAX_DOWNLOADS, keepalive_expiry=_KEEPALIVE_S), **common
        )

    def _address(self, path: str) -> httpx2.URL:
        """Returns where a path leads; reading an address costs a tenth of a request, so the latest are kept."""
        found = self._addresses.get(path)
        if found is None:
            if len(self._addresses) >= _ADDRESSES_KEPT:
                self._addresses.clear()
            found = self._addresses[path] = self._httpx.URL(f"{self.service.base_url}/{path}")
        return found

    async def close(self) -> None:
        """Closes both pools."""
        await self._api.aclose()
        await self._files.aclose()

    async def post(
        self, path: str, *, json: Mapping[str, Any] | None = None, multipart: MultipartBody | None = None
    ) -> RawAnswer:
        """Sends one POST, once, and returns the whole answer whatever its status.

        Raises:
            ConnectFailed: No byte of the request left.
            TimedOut, StreamLost, BadAnswer: The service may have acted; field `ambiguous` is True.
        """
        failure: WiroError
        try:
            return await self._post(path, json=json, multipart=multipart)
        except TimeoutError:
            failure = self._timed_out()
        except self._httpx.InvalidURL:
            failure = ConfigError(f"The path {path!r} cannot be part of an address.", hint="%wiro models")
        except (self._httpx.HTTPError, self._httpx.StreamError, OSError, _TooLarge) as error:
            failure = self._translate(error)
        except WiroError as error:
            failure = error
        raise failure.with_traceback(None)

    async def _post(
        self, path: str, *, json: Mapping[str, Any] | None, multipart: MultipartBody | None
    ) -> RawAnswer:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self.timeout_s * 2) as deadline:
            headers = {"content-type": "application/json"}
            content: bytes | AsyncIterator[bytes] = _write_json(json or {})
            if multipart is not None:

                async def pieces() -> AsyncIterator[bytes]:
                    async for piece in multipart.pieces():
                        deadline.reschedule(loop.time() + self.timeout_s * 2)
                        yield piece

                headers = {"content-type": multipart.content_type, "content-length": str(multipart.size_bytes)}
                content = pieces()
            request = self._api.build_request(
                "POST",
                self._address(path),
                content=content,
                headers=headers,
            )
            response = await self._api.send(request, stream=True)
            try:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LARGEST_ANSWER_BYTES:
                        raise _TooLarge
            finally:
                await response.aclose()
        return RawAnswer(response.status_code, _plain(response.headers), bytes(body))

    @asynccontextmanager
    async def get_file(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """Opens one GET without credentials, following nothing; the body is not read yet.

        Raises:
            ConnectFailed, TimedOut, StreamLost: No answer came.
        """
        response: httpx2.Response | None = None
        failure: TransportError | BadAnswer | None = None
        try:
            request = self._files.build_request("GET", url, headers={**headers, "accept-encoding": "identity"})
            async with asyncio.timeout(self.timeout_s * 2):
                response = await self._files.send(request, stream=True)
        except TimeoutError:
            failure = self._timed_out()
        except self._httpx.InvalidURL:
            failure = self._connect_failed("the address is not readable")
        except (self._httpx.HTTPError, OSError) as error:
            failure = self._translate(error)
        if response is None:
            raise failure or self._connect_failed("no answer")
        try:
            yield response
        finally:
            await response.aclose()

    async def read_file(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        """Yields the body as it comes, undecoded.

        Raises:
            TimedOut, StreamLost: The body broke off.
        """
        failure: TransportError | BadAnswer | None = None
        pieces = response.aiter_raw()
        while failure is None:
            try:
                piece = await anext(pieces, None)
            except (self._httpx.HTTPError, self._httpx.StreamError, OSError) as error:
                failure = self._translate(error)
                continue
            if piece is None:
                return
            yield piece
        raise failure

    def _translate(self, error: Exception) -> TransportError | BadAnswer:
        kinds = self._httpx
        unsent = (
            kinds.ConnectError,
            kinds.ConnectTimeout,
            kinds.PoolTimeout,
            kinds.ProxyError,
            kinds.UnsupportedProtocol,
        )
        if isinstance(error, unsent):
            return self._connect_failed(_reason(error))
        if isinstance(error, kinds.TimeoutException):
            return self._timed_out()
        if isinstance(error, _TooLarge):
            return BadAnswer(
                f"The answer of {self.service.host} is larger than any answer should be.",
                code=None, status=None, reason="shape", ambiguous=True,
            )  # fmt: skip
        return StreamLost(
            f"The connection to {self.service.host} broke before the answer was complete.",
            host=self.service.host, ambiguous=True,
        )  # fmt: skip

    def _connect_failed(self, reason: str) -> ConnectFailed:
        hint = None if self.service.is_local else "check the network, then %wiro; or %wiro use sandbox (free)"
        return ConnectFailed(
            f"{self.service.host} could not be reached: {reason}.",
            hint=hint,
            host=self.service.host,
            ambiguous=False,
        )

    def _timed_out(self) -> TimedOut:
        return TimedOut(
            f"{self.service.host} did not answer in time.",
            host=self.service.host, timeout_s=self.timeout_s, ambiguous=True,
        )  # fmt: skip


class _TooLarge(Exception):
    """The answer exceeds `LARGEST_ANSWER_BYTES`."""


def _make_auth(credentials: Credentials | None, nonce: Callable[[], str]) -> httpx2.Auth:
    import httpx2

    class ProjectAuth(httpx2.Auth):
        """Adds the project's headers to each request; holds them in no frame that can raise."""

        def auth_flow(self, request: httpx2.Request) -> Iterator[httpx2.Request]:  # type: ignore[override]
            request.headers.update(auth_headers(credentials, nonce()))
            yield request

    return ProjectAuth()


def _make_ssl_context(service: Service) -> ssl.SSLContext:
    """Returns one context for both pools; loading the certificates is the slow part of making a client."""
    import httpx2

    if service.base_url.startswith("https:"):
        return httpx2.create_ssl_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and nothing on http: asks it to


def _nonce_source() -> Callable[[], str]:
    source = nonces(time.time)
    return lambda: next(source)


def _write_json(body: Mapping[str, Any]) -> bytes:
    # In ASCII: a lone surrogate of a damaged emoji then travels as an escape instead of raising.
    try:
        return json_module.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError):
        pass
    raise InputError("A value of the request cannot be written as JSON (NaN, infinity, or not plain data).")


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _reason(error: Exception) -> str:
    text = str(error).lower()
    if "certificate" in text or "ssl" in text:
        return "its certificate was not accepted"
    if "name or service" in text or "getaddrinfo" in text or "nodename" in text or "name resolution" in text:
        return "its name could not be resolved"
    if "timeout" in type(error).__name__.lower():
        return "no connection in time"
    if "proxy" in type(error).__name__.lower():
        return "the proxy refused"
    return "no connection was accepted"
