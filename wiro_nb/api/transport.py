"""Sends signed requests and uploads with httpx2, streams output files, and translates its exceptions.

The exceptions tell whether a byte of the request may have left. A connection that was never made is
`ConnectFailed`; any later failure is ambiguous, a reset of a kept-alive connection included, because the service
may have read the request before it closed. httpx2's exceptions carry the request with its headers, so the
translated ones are raised outside the `except` block and chain nothing.
"""

from __future__ import annotations

import asyncio
import json as json_module
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urljoin

from wiro_nb.api import Service, auth_headers, nonces
from wiro_nb.api.envelope import read_date, read_envelope
from wiro_nb.errors import (
    BadAnswer,
    ConfigError,
    ConnectFailed,
    DownloadFailed,
    InputError,
    StreamLost,
    TimedOut,
    WiroError,
)
from wiro_nb.json_values import as_whole
from wiro_nb.media.sniffing import UNKNOWN

if TYPE_CHECKING:
    import httpx2

    from wiro_nb.schema import WireBody

LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
MAX_DOWNLOADS = 8
MAX_REDIRECTS = 5
_CONNECT_TIMEOUT_S = 10.0
_KEEPALIVE_S = 30.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_T = TypeVar("_T")
OnProgress = Callable[[int, int | None], None]


def jittered_delays(
    random: Callable[[], float], *, first_s: float = 0.5, longest_s: float = 30.0
) -> Iterator[float]:
    """Yields exponential backoff delays without end, each drawn from the upper half of a doubling interval.

    The jitter keeps many clients that lost the same service from coming back in step.

    Args:
        random: Gives numbers from 0 to 1, such as `random.random`.
        first_s: Upper end of the first span, in seconds.
        longest_s: No delay is longer.
    """
    span = first_s
    while True:
        yield span * (0.5 + 0.5 * random())
        span = min(span * 2, longest_s)


@dataclass(frozen=True, slots=True)
class FileStream:
    """An open download.

    Attributes:
        status: 200 (whole file), 206 (from `start` on), 416 (`start` is past the end), or the 4xx or 5xx
            with which the host refused.
        start: Offset of the first byte of the body; 0 when the host ignored the range, -1 when it is unreadable.
        total_bytes: Size of the whole file, None when the host does not say.
        pieces: The file's bytes as they arrive, none unless the status is 200 or 206. Raises `TimedOut` or
            `StreamLost` when the body broke off; start again from the bytes that came.
    """

    status: int
    start: int
    total_bytes: int | None
    pieces: AsyncIterator[bytes]


def _read_extent(status: int, headers: Mapping[str, str]) -> tuple[int, int | None]:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if status in (206, 416):
        start = as_whole(found[1]) if found and found[1] else 0
        return (-1 if start is None else start), as_whole(found[3]) if found else None
    encoded = headers.get("content-encoding", "identity") != "identity"
    return 0, None if encoded else as_whole(headers.get("content-length"))


class HttpTransport:
    """Two HTTP/1.1 pools with keep-alive: one for signed API requests, one for files, without credentials.

    Args:
        service: The service to send to.
        timeout_s: Limit of each step (write, read). A whole request gets twice as long, counted from its last
            upload progress, so that an answer sent byte by byte cannot block it forever.
        transport: Replaces the network in tests.
        max_in_flight: Limit of concurrent requests to the API; more wait their turn.

    Attributes:
        service: As given.
        clock_lead: How far the service's clock is ahead, by the `Date` of its latest answer. A date has whole
            seconds, so the true lead is up to a second more. None before the first answer with a date.
    """

    def __init__(
        self,
        service: Service,
        *,
        timeout_s: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        max_in_flight: int = 16,
    ) -> None:
        import httpx2

        self.service = service
        self.timeout_s = timeout_s
        self.clock_lead: timedelta | None = None
        self._httpx = httpx2
        self._slots = asyncio.Semaphore(max_in_flight)
        source, is_https = nonces(time.time), service.base_url.startswith("https:")

        def authorise(request: httpx2.Request) -> httpx2.Request:
            request.headers.update(auth_headers(service.credentials, next(source)))
            return request

        common: dict[str, Any] = {
            # One context for both pools: loading the certificates is slow. Plain http needs none.
            "verify": httpx2.create_ssl_context() if is_https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            "timeout": httpx2.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_TIMEOUT_S), pool=None),
            # A proxy from the environment must not intercept requests to a service on this machine.
            "trust_env": not service.is_local,
            "follow_redirects": False,
            "headers": {"user-agent": "wiro_nb", "accept": "*/*"},
            "transport": transport,
        }
        api_limits = httpx2.Limits(
            max_connections=max_in_flight,
            max_keepalive_connections=max_in_flight,
            keepalive_expiry=_KEEPALIVE_S,
        )
        file_limits = httpx2.Limits(max_connections=MAX_DOWNLOADS, keepalive_expiry=_KEEPALIVE_S)
        self._api = httpx2.AsyncClient(auth=authorise, limits=api_limits, **common)
        self._files = httpx2.AsyncClient(limits=file_limits, **common)

    async def close(self) -> None:
        """Closes all connections. The client cannot be used afterwards."""
        await self._api.aclose()
        await self._files.aclose()

    async def post(
        self,
        path: str,
        json: Mapping[str, Any] | None = None,
        *,
        form: WireBody | None = None,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Sends one POST, without retries, and returns the payload of its answer.

        Args:
            path: Of the endpoint.
            json: The body.
            form: Fields and files to send in place of JSON.
            on_progress: Called with the bytes sent and the bytes in total after each piece of a form. Its
                exceptions are ignored: a failing display must not break the upload.

        Raises:
            ConnectFailed, ConfigError, InputError: No byte of the request left.
            TimedOut, StreamLost: The service may have acted; field `ambiguous` is True.
            ApiError, BadAnswer: As `read_envelope`.
        """
        async with self._slots:
            response, body = await self._translating(self._post(path, json or {}, form, on_progress))
        return read_envelope(response.status_code, response.headers, body)

    async def _post(
        self, path: str, json: Mapping[str, Any], form: WireBody | None, on_progress: OnProgress | None
    ) -> tuple[httpx2.Response, bytes]:
        url = f"{self.service.base_url}/{path}"
        async with asyncio.timeout(self.timeout_s * 2) as deadline:
            with ExitStack() as files:
                if form is None:
                    headers = {"content-type": "application/json"}
                    request = self._api.build_request("POST", url, content=_write_json(json), headers=headers)
                else:
                    values: dict[str, list[str]] = {}
                    for name, value in form.fields:
                        values.setdefault(name, []).append(value)
                    parts = []
                    for name, file in form.parts:
                        opened = files.enter_context(await asyncio.to_thread(file.open, name))
                        parts.append((name, (file.name, opened, file.content_type or UNKNOWN)))
                    encoded = self._api.build_request("POST", url, data=values, files=parts)
                    headers = {name: encoded.headers[name] for name in ("content-type", "content-length")}
                    content = self._read_pieces(encoded, on_progress, deadline)
                    request = self._api.build_request("POST", url, content=content, headers=headers)
                response = await self._api.send(request, stream=True)
            try:
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > LARGEST_ANSWER_BYTES:
                        raise BadAnswer(
                            f"The answer of {self.service.host} is larger than any answer should be.",
                            code=None, status=None, reason="shape", ambiguous=True,
                        )  # fmt: skip
            finally:
                await response.aclose()
        now, date = datetime.now(UTC), read_date(response.headers.get("date", ""))
        if date is not None:
            self.clock_lead = date - now
        return response, bytes(body)

    async def _read_pieces(
        self, encoded: httpx2.Request, on_progress: OnProgress | None, deadline: asyncio.Timeout
    ) -> AsyncIterator[bytes]:
        """Yields an encoded body, read in a thread; each piece gives the request its whole time again.

        Raises:
            StreamLost: A file became unreadable or shorter meanwhile; the request is then incomplete.
        """
        pieces, sent = iter(cast("Iterable[bytes]", encoded.stream)), 0
        total_bytes = int(encoded.headers["content-length"])
        while (piece := await asyncio.to_thread(_next_piece, pieces)) is not None:
            deadline.reschedule(asyncio.get_running_loop().time() + self.timeout_s * 2)
            yield piece
            sent += len(piece)
            if on_progress is not None:
                try:
                    on_progress(sent, total_bytes)
                except Exception:
                    on_progress = None
        if sent < total_bytes:
            raise StreamLost(
                "A file became shorter or unreadable while it was sent.", hint="run it again", ambiguous=True
            )

    @asynccontextmanager
    async def stream_file(self, url: str, start: int = 0) -> AsyncIterator[FileStream]:
        """Opens a file of the service from byte `start` on, without credentials; follows at most five redirects.

        Raises:
            DownloadFailed: The address or a redirect is not one of the service's, or the host sent something
                else than what was asked for. Fields `url`, `reason` ("host", "redirects", "status", "range"),
                `status`. A host that refuses (4xx, 5xx) raises nothing: check the stream's `status`.
            ConnectFailed, TimedOut, StreamLost: No answer came.
        """
        response = await self._follow(url, {"range": f"bytes={start}-"} if start else {})
        try:
            status = response.status_code
            first, total_bytes = _read_extent(status, response.headers)
            if status < 400 and status not in (200, 206):
                raise _failed(url, "status", f"the host answered with HTTP {status}", status)
            if status == 206 and first != start:
                raise _failed(url, "range", "the host sent another part than the one asked for", status)
            yield FileStream(status, first, total_bytes, self._read_file(response))
        finally:
            await response.aclose()

    async def _follow(self, url: str, headers: Mapping[str, str]) -> httpx2.Response:
        """Returns the answer that the redirects lead to; each address is checked before it is asked."""
        for _ in range(MAX_REDIRECTS + 1):
            if not self.service.allows_file_url(url):
                raise _failed(url, "host", f"its address is not one of {self.service.host or 'the service'}")
            response = await self._translating(self._get(url, headers))
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return response
            await response.aclose()
            try:
                url = urljoin(url, response.headers["location"])
            except ValueError:
                raise _failed(url, "host", "it was redirected to an address that cannot be read") from None
        raise _failed(url, "redirects", f"it was redirected more than {MAX_REDIRECTS} times")

    async def _get(self, url: str, headers: Mapping[str, str]) -> httpx2.Response:
        request = self._files.build_request("GET", url, headers={**headers, "accept-encoding": "identity"})
        async with asyncio.timeout(self.timeout_s * 2):
            return await self._files.send(request, stream=True)

    async def _read_file(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        pieces = response.aiter_raw()
        while response.is_success and (piece := await self._translating(anext(pieces, None))) is not None:
            yield piece

    async def _translating(self, call: Awaitable[_T]) -> _T:
        """Awaits a call to httpx2 and raises its exceptions as errors of this package."""
        failure: WiroError
        try:
            return await call
        except WiroError as error:
            failure = error
        except (self._httpx.HTTPError, self._httpx.StreamError, self._httpx.InvalidURL, OSError) as error:
            failure = self._translate(error)
        raise failure.with_traceback(None)

    def _translate(self, error: Exception) -> WiroError:
        kinds, host = self._httpx, self.service.host
        if isinstance(error, kinds.InvalidURL):
            return ConfigError("The address of the request is not valid.", hint="%wiro models")
        if isinstance(error, (kinds.ConnectError, kinds.ConnectTimeout, kinds.ProxyError)):
            hint = None if self.service.is_local else "check the network, then %wiro; or %wiro use sandbox (free)"
            reason = str(error) or "no connection in time"
            return ConnectFailed(f"{host} could not be reached: {reason}", hint=hint, host=host, ambiguous=False)
        if isinstance(error, (TimeoutError, kinds.TimeoutException)):
            return TimedOut(f"{host} did not answer in time.", host=host, timeout_s=self.timeout_s, ambiguous=True)
        return StreamLost(
            f"The connection to {host} broke before the answer was complete.", host=host, ambiguous=True
        )


def _failed(url: str, reason: str, problem: str, status: int | None = None) -> DownloadFailed:
    name = url.partition("?")[0].partition("#")[0].rpartition("/")[2][-100:] or "the file"
    return DownloadFailed(
        f"{name} was not fetched: {problem}.", url=url, reason=reason, run_id=None, status=status
    )


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    with suppress(OSError):  # the caller notices the missing rest by its length
        return next(pieces, None)
    return None


def _write_json(body: Mapping[str, Any]) -> bytes:
    # In ASCII: a lone surrogate of a damaged emoji then travels as an escape instead of raising.
    with suppress(TypeError, ValueError):
        return json_module.dumps(body, allow_nan=False).encode()
    raise InputError("A value of the request cannot be written as JSON (NaN, infinity, or not plain data).")
