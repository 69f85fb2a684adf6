"""Encodes multipart/form-data as a stream: files are read from disk piece by piece, never whole.

Source: RFC 7578, with names escaped as HTML says (quote, CR and LF in percent form).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from wiro_nb.errors import InvalidFile, StreamLost

if TYPE_CHECKING:
    from wiro_nb.schema.files import FileInput

PIECE_BYTES = 256 * 1024

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A", "\x00": "%00"})


class MultipartBody:
    """The body of one request. Enter it to open the files; leaving closes them.

    Args:
        fields: Name and value of each text field, in order; names may repeat.
        parts: Name and file of each upload, in order; names may repeat. URLs are not parts.
        on_progress: Called with bytes handed over and bytes in total, after each piece. What it
            raises is swallowed: a picture of the upload must not break the upload.

    Raises:
        InvalidFile: On entering, when a file cannot be opened or changed since it was checked.
            Nothing has been sent then.
    """

    def __init__(
        self,
        fields: Sequence[tuple[str, str]],
        parts: Sequence[tuple[str, FileInput]],
        *,
        on_progress: Callable[[int, int | None], None] | None = None,
        boundary: str | None = None,
    ) -> None:
        self._fields = tuple(fields)
        self._parts = tuple(parts)
        self._on_progress = on_progress
        self._boundary = boundary or secrets.token_hex(16)
        self._files: list[tuple[bytes, BinaryIO, int]] = []
        self._head = b""
        self._stack = ExitStack()
        self.size_bytes = 0

    @property
    def content_type(self) -> str:
        """Value of the request's Content-Type header."""
        return f"multipart/form-data; boundary={self._boundary}"

    async def __aenter__(self) -> MultipartBody:
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        self._head = b"".join(self._text_part(name, value) for name, value in self._fields)
        try:
            for name, file in self._parts:
                self._files.append(self._open_part(name, file))
        except BaseException:
            self._stack.close()
            raise
        ends = len(self._end())
        self.size_bytes = len(self._head) + ends + sum(len(head) + size + 2 for head, _, size in self._files)

    def _open_part(self, name: str, file: FileInput) -> tuple[bytes, BinaryIO, int]:
        problem = "it is no longer there or cannot be read"
        handle: BinaryIO | None = None
        if file.path is not None:
            try:
                handle = self._stack.enter_context(file.path.open("rb"))
            except OSError:
                handle = None
        if handle is not None:
            size = os.fstat(handle.fileno()).st_size
            if file.size_bytes in (None, size):
                return self._file_head(name, file), handle, size
            problem = f"it had {file.size_bytes} bytes when it was checked and has {size} now"
        raise InvalidFile(
            f"{file.name} for {name} cannot be sent: {problem}.",
            hint="give the file again",
            name=name,
            value=file.name,
            allowed=[],
            near=[],
            problems=[{"name": name, "message": problem, "near": []}],
        )

    def _text_part(self, name: str, value: str) -> bytes:
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name.translate(_ESCAPES)}"\r\n\r\n'
        return head.encode() + value.encode("utf-8", errors="replace") + b"\r\n"

    def _file_head(self, name: str, file: FileInput) -> bytes:
        content_type = (file.content_type or "application/octet-stream").translate(_ESCAPES)
        return (
            f'--{self._boundary}\r\nContent-Disposition: form-data; name="{name.translate(_ESCAPES)}"; '
            f'filename="{file.name.translate(_ESCAPES)}"\r\nContent-Type: {content_type}\r\n\r\n'
        ).encode("utf-8", errors="replace")

    def _end(self) -> bytes:
        return f"--{self._boundary}--\r\n".encode()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yields the body; exactly `size_bytes` in all.

        Raises:
            StreamLost: A file became unreadable or shorter on the way; the request is then incomplete.
        """
        sent = 0
        async for piece in self._pieces():
            yield piece
            sent += len(piece)
            if self._on_progress is not None:
                try:
                    self._on_progress(sent, self.size_bytes)
                except Exception:
                    self._on_progress = None

    async def _pieces(self) -> AsyncIterator[bytes]:
        if self._head:
            yield self._head
        for head, handle, size in self._files:
            yield head
            left = size
            while left:
                piece = await asyncio.to_thread(_read_piece, handle, min(PIECE_BYTES, left))
                if not piece:
                    raise StreamLost(
                        "A file became shorter or unreadable while it was sent.",
                        hint="run it again",
                        ambiguous=True,
                    )
                left -= len(piece)
                yield piece
            yield b"\r\n"
        yield self._end()


def _read_piece(handle: BinaryIO, size_bytes: int) -> bytes:
    try:
        return handle.read(size_bytes)
    except OSError:
        return b""
