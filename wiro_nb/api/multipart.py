"""Opens the files of an upload and reads the multipart body that httpx2 encodes, piece by piece, never whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, cast

from wiro_nb.errors import InvalidFile, StreamLost

if TYPE_CHECKING:
    from wiro_nb.schema.files import FileInput


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
