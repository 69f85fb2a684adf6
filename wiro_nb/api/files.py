"""Encodes multipart uploads and streams output files.

The multipart body that httpx2 encodes is read piece by piece, never whole. Of a download the host is checked on
every redirect, ranges are supported, and no credentials are sent.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
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
    response = await _follow(http, url, {"range": f"bytes={start}-"} if start else {})
    try:
        file = FileStream(http, response)
        if file.status < 400 and file.status not in (200, 206):
            raise _failed(url, "status", f"the host answered with HTTP {file.status}", file.status)
        if file.status == 206 and file.start != start:
            raise _failed(url, "range", "the host sent another part than the one asked for", file.status)
        yield file
    finally:
        await response.aclose()


async def _follow(http: HttpTransport, url: str, headers: Mapping[str, str]) -> httpx2.Response:
    """Returns the answer that the redirects lead to; each address is checked before it is asked."""
    for _ in range(MAX_REDIRECTS + 1):
        if not http.service.allows_file_url(url):
            raise _failed(url, "host", f"its address is not one of {http.service.host or 'the service'}")
        response = await http.get_file(url, headers)
        if response.status_code not in _REDIRECTS or "location" not in response.headers:
            return response
        await response.aclose()
        try:
            url = urljoin(url, response.headers["location"])
        except ValueError:
            raise _failed(url, "host", "it was redirected to an address that cannot be read") from None
    raise _failed(url, "redirects", f"it was redirected more than {MAX_REDIRECTS} times")


def _failed(url: str, reason: str, problem: str, status: int | None = None) -> DownloadFailed:
    name = url.partition("?")[0].partition("#")[0].rpartition("/")[2][-100:] or "the file"
    return DownloadFailed(
        f"{name} was not fetched: {problem}.", url=url, reason=reason, run_id=None, status=status
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """The fields and files of one request.

    Attributes:
        fields: Name and value of each text field, in order; names may repeat.
        parts: Name and file of each upload, in order; names may repeat. URLs are not parts.
        on_progress: Called with the bytes sent and the bytes in total after each piece. Its exceptions are
            ignored: a failing display must not break the upload.
    """

    fields: Sequence[tuple[str, str]]
    parts: Sequence[tuple[str, FileInput]]
    on_progress: Callable[[int, int | None], None] | None = None

    @contextmanager
    def open(self) -> Iterator[tuple[dict[str, list[str]], list[tuple[str, tuple[str, BinaryIO, str]]]]]:
        """Opens the files until the context ends.

        Yields:
            Values by name, and name with file name, open file and content type of each part, as httpx2 takes them.

        Raises:
            InvalidFile: A file cannot be opened or changed since it was checked. Nothing has been sent then.
        """
        values: dict[str, list[str]] = {}
        for name, value in self.fields:
            values.setdefault(name, []).append(value)
        with ExitStack() as stack:
            parts = []
            for name, file in self.parts:
                handle = stack.enter_context(_open_part(name, file))
                parts.append((name, (file.name, handle, file.content_type or "application/octet-stream")))
            yield values, parts


def _open_part(name: str, file: FileInput) -> BinaryIO:
    problem = "it is no longer there or cannot be read"
    with suppress(OSError):
        if file.path is not None:
            handle = file.path.open("rb")
            size_bytes = os.fstat(handle.fileno()).st_size
            if file.size_bytes in (None, size_bytes):
                return handle
            handle.close()
            problem = f"it had {file.size_bytes} bytes when it was checked and has {size_bytes} now"
    raise InvalidFile.of_input(name, file.name, f"cannot be sent: {problem}", hint="give the file again")


async def read_pieces(
    encoded: object, total_bytes: int, on_progress: Callable[[int, int | None], None] | None
) -> AsyncIterator[bytes]:
    """Yields an encoded body and reports the progress. Files are read in a thread.

    Args:
        encoded: httpx2's stream of the multipart body.
        total_bytes: Its length, as announced to the service.
        on_progress: As in `Upload`.

    Raises:
        StreamLost: A file became unreadable or shorter meanwhile; the request is then incomplete.
    """
    pieces, sent = iter(cast("Iterable[bytes]", encoded)), 0
    while (piece := await asyncio.to_thread(_next_piece, pieces)) is not None:
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


def _next_piece(pieces: Iterator[bytes]) -> bytes | None:
    try:
        return next(pieces, None)
    except OSError:  # the caller notices the missing rest by its length
        return None
