"""Encodes multipart uploads and streams output files.

The multipart body that httpx2 encodes is read piece by piece, never whole. Of a download the host is checked on
every redirect, ranges are supported, and no credentials are sent.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urljoin

from wiro_nb.errors import DownloadFailed, InvalidFile, StreamLost
from wiro_nb.json_values import as_whole

if TYPE_CHECKING:
    import httpx2

    from wiro_nb.api.transport import HttpTransport
    from wiro_nb.schema.files import FileInput

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
        """Yields the file's bytes as they arrive; nothing unless the status is 200 or 206.

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


class MultipartBody:
    """The body of one request. Entering it opens the files, leaving it closes them.

    Args:
        fields: Name and value of each text field, in order; names may repeat.
        parts: Name and file of each upload, in order; names may repeat. URLs are not parts.
        on_progress: Called with the bytes sent and the bytes in total after each piece. Its exceptions are
            ignored: a failing display must not break the upload.

    Attributes:
        fields: Values by name, as httpx2 takes them.
        files: Name, and file name, open file and content type of each part, as httpx2 takes them.

    Raises:
        InvalidFile: On entering, when a file cannot be opened or changed since it was checked. Nothing has been
            sent then.
    """

    def __init__(
        self,
        fields: Sequence[tuple[str, str]],
        parts: Sequence[tuple[str, FileInput]],
        *,
        on_progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self.fields: dict[str, list[str]] = {}
        for name, value in fields:
            self.fields.setdefault(name, []).append(value)
        self.files: list[tuple[str, tuple[str, BinaryIO, str]]] = []
        self._parts = tuple(parts)
        self._on_progress = on_progress
        self._stack = ExitStack()

    async def __aenter__(self) -> MultipartBody:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        try:
            for name, file in self._parts:
                content_type = file.content_type or "application/octet-stream"
                self.files.append((name, (file.name, self._open_part(name, file), content_type)))
        except BaseException:
            self._stack.close()
            raise

    def _open_part(self, name: str, file: FileInput) -> BinaryIO:
        problem = "it is no longer there or cannot be read"
        handle: BinaryIO | None = None
        if file.path is not None:
            try:
                handle = self._stack.enter_context(file.path.open("rb"))
            except OSError:
                handle = None
        if handle is not None:
            size_bytes = os.fstat(handle.fileno()).st_size
            if file.size_bytes in (None, size_bytes):
                return handle
            problem = f"it had {file.size_bytes} bytes when it was checked and has {size_bytes} now"
        raise InvalidFile.of_input(name, file.name, f"cannot be sent: {problem}", hint="give the file again")

    async def read_pieces(self, encoded: object, total_bytes: int) -> AsyncIterator[bytes]:
        """Yields the encoded body and reports the progress. Files are read in a thread.

        Args:
            encoded: httpx2's stream of the multipart body.
            total_bytes: Its length, as announced to the service.

        Raises:
            StreamLost: A file became unreadable or shorter meanwhile; the request is then incomplete.
        """
        pieces, sent = iter(cast("Iterable[bytes]", encoded)), 0
        while (piece := await asyncio.to_thread(_next_piece, pieces)) is not None:
            yield piece
            sent += len(piece)
            if self._on_progress is not None:
                try:
                    self._on_progress(sent, total_bytes)
                except Exception:
                    self._on_progress = None
        if sent < total_bytes:
            raise StreamLost(
                "A file became shorter or unreadable while it was sent.", hint="run it again", ambiguous=True
            )


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    try:
        return next(pieces, None)
    except OSError:  # the caller notices the missing rest by its length
        return None
