"""Files as wholes: their hash, and putting a new one in the place of another in one step."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Writer(Protocol):
    """What a file's content is written to."""

    def write(self, data: bytes) -> int:
        """Adds bytes at the end."""


def hash_file(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file's bytes.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def relative_path(path: Path, notebook_dir: Path) -> str:
    """Returns a path as seen from the notebook's folder, with POSIX separators; a bare name on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), notebook_dir.resolve())).as_posix()
    except ValueError:
        return path.name


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file's content in one step, durable before it returns.

    Raises:
        OSError: The folder cannot be written; the old file is then untouched.
    """
    replace_file(path, lambda target: target.write(data))


def replace_file(
    path: Path, write: Callable[[Writer], object], *, check: Callable[[Path], object] | None = None
) -> str:
    """Puts a new file in the place of a file, in one step and durable before it returns.

    Args:
        path: The file; its mode is kept. It may be missing.
        write: Writes the new content, to a file beside it.
        check: Looks at the file written, before it takes the place; raises to leave everything as it is.

    Returns:
        The SHA-256 (hex) of what was written.

    Raises:
        OSError: The folder cannot be written. The old file is then untouched, as when `write` or `check` raises.
    """
    mode = _mode_of(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    copy = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            hashing = _HashingWriter(file)
            write(hashing)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(copy)
        if mode is not None:
            path.stat()  # raises when it was deleted meanwhile: it is not to come back
        copy.chmod(0o644 if mode is None else mode)
        copy.replace(path)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    return hashing.digest.hexdigest()


class _HashingWriter:
    def __init__(self, file: Writer) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return None
