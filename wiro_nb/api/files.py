"""Downloads output files: the host is checked on every redirect, ranges are supported, no credentials are sent."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from wiro_nb.errors import DownloadFailed
from wiro_nb.json_values import as_whole

if TYPE_CHECKING:
    import httpx2

    from wiro_nb.api.transport import HttpTransport

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class FileStream:
    """An open download.

    Attributes:
        status: 200 (whole file), 206 (from `start` on), 416 (`start` is past the end), or the 4xx or 5xx
            with which the host refused: then the body is not the file.
        start: Offset of the first byte of the body; 0 when the host ignored the range, -1 when it is unreadable.
        total_bytes: Size of the whole file, None when the host does not say.
    """

    def __init__(self, http: HttpTransport, response: httpx2.Response) -> None:
        self._http = http
        self._response = response
        self.status = response.status_code
        self.start, self.total_bytes = _read_extent(self.status, response.headers)

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """Yields the file's bytes as they come; nothing unless the status is 200 or 206.

        Raises:
            TimedOut, StreamLost: The body broke off; start again from the bytes that came.
        """
        if self.status in (200, 206):
            async for piece in self._http.read_file(self._response):
                yield piece


def _read_extent(status: int, headers: Mapping[str, str]) -> tuple[int, int | None]:
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if status in (206, 416):
        start = as_whole(found[1]) if found and found[1] else 0
        return (-1 if start is None else start), as_whole(found[3]) if found else None
    encoded = headers.get("content-encoding", "identity") != "identity"
    return 0, None if encoded else as_whole(headers.get("content-length"))


@asynccontextmanager
async def open_file(http: HttpTransport, url: str, start: int) -> AsyncIterator[FileStream]:
    """Opens a file of the service from byte `start` on, following at most five redirects.

    Raises:
        DownloadFailed: The address or a redirect is not one of the service's, or the host sent something
            else than what was asked for. Fields `url`, `reason` ("host", "redirects", "status", "range"),
            `status`. A host that refuses (4xx, 5xx) raises nothing: check the stream's `status`.
        ConnectFailed, TimedOut, StreamLost: No answer came.
    """
    headers = {"range": f"bytes={start}-"} if start else {}
    async with AsyncExitStack() as stack:
        for _ in range(MAX_REDIRECTS + 1):
            if not http.service.allows_file_url(url):
                raise _failed(url, "host", f"its address is not one of {http.service.host or 'the service'}")
            hop = await stack.enter_async_context(AsyncExitStack())
            response = await hop.enter_async_context(http.get_file(url, headers))
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                break
            try:
                url = urljoin(url, response.headers["location"])
            except ValueError:
                raise _failed(url, "host", "it was redirected to an address that cannot be read") from None
            await hop.aclose()
        else:
            raise _failed(url, "redirects", f"it was redirected more than {MAX_REDIRECTS} times")
        file = FileStream(http, response)
        if file.status < 400 and file.status not in (200, 206):
            raise _failed(url, "status", f"the host answered with HTTP {file.status}", file.status)
        if file.status == 206 and file.start != start:
            raise _failed(url, "range", "the host sent another part than the one asked for", file.status)
        yield file


def _failed(url: str, reason: str, problem: str, status: int | None = None) -> DownloadFailed:
    name = url.partition("?")[0].partition("#")[0].rpartition("/")[2][-100:] or "the file"
    return DownloadFailed(
        f"{name} was not fetched: {problem}.", url=url, reason=reason, run_id=None, status=status
    )
