"""Files as wholes: their hash, safe names, and putting a new one in the place of another in one step."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Protocol

LONGEST_NAME_BYTES = 120
_PATHS_OFFERED = 500

_RESERVED = frozenset(
    {
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"),
    }
)
_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")


def reason_of(error: OSError | ValueError) -> str:
    """Returns why a file cannot be read or written, in the system's words where it has some."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


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


def complete_path(typed: str) -> list[str]:
    """Returns the files and folders a begun path may become, at most 500; folders end with a slash."""
    head, name = os.path.split(typed)
    head += "/" if head not in ("", "/") else ""
    try:
        with os.scandir(Path(head).expanduser()) as entries:
            found = [
                f"{head}{entry.name}{'/' if entry.is_dir() else ''}"
                for entry in entries
                if entry.name.lower().startswith(name.lower()) and (name or not entry.name.startswith("."))
            ]
    except (OSError, RuntimeError, ValueError):  # no such folder, no such user, a null character
        return []
    return sorted(found, key=str.lower)[:_PATHS_OFFERED]


def relative_path(path: Path, notebook_dir: Path) -> str:
    """Returns a path as seen from the notebook's folder, with POSIX separators; a bare name on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), notebook_dir.resolve())).as_posix()
    except ValueError:
        return path.name


def expand_user(path: Path) -> Path:
    """Returns the path with "~" as the home folder; unchanged where it names nobody on this machine."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replaces a file's content in one step, durable before it returns; `mode` as in `replace_file`.

    Raises:
        OSError: The folder cannot be written; the old file is then untouched.
    """
    replace_file(path, lambda target: target.write(data), mode=mode)


def replace_file(
    path: Path,
    write: Callable[[Writer], object],
    *,
    check: Callable[[Path], object] | None = None,
    mode: int | None = None,
) -> str:
    """Puts a new file in the place of a file, in one step and durable before it returns.

    Args:
        path: The file. It may be missing.
        write: Writes the new content, to a file beside it.
        check: Looks at the file written, before it takes the place; raises to leave everything as it is.
        mode: Of the new file, which nobody else can read before; None keeps that of the old one.

    Returns:
        The SHA-256 (hex) of what was written.

    Raises:
        OSError: The folder cannot be written. The old file is then untouched, as when `write` or `check` raises.
    """
    present = _mode_of(path)
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
        if present is not None:
            path.stat()  # raises when it was deleted meanwhile: it is not to come back
        copy.chmod(mode or present or 0o644)
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


def safe_name(name: str, fallback: str = "output") -> str:
    """Returns a name from outside as a plain file name that any system takes.

    Args:
        name: As given by the service or a person: may hold separators, dots, control characters.
        fallback: Used when nothing of it can be kept.

    Returns:
        One path part: no separator, not hidden, not reserved on Windows, at most 120 bytes of UTF-8 with its
        suffix kept. Letters of all scripts stay.
    """
    text = name.encode("utf-8", "replace").decode("utf-8")
    text = unicodedata.normalize("NFC", text).replace("\\", "/").rsplit("/", 1)[-1]
    # Control, format (bidirectional overrides), private-use and unassigned characters can disguise a name.
    text = "".join(char for char in text if unicodedata.category(char)[0] != "C")
    text = _UNSAFE.sub("_", text)
    text = re.sub(r"\s+", " ", text).strip(". ").lstrip("- ")  # a command would take "-rf" for an option
    if not text.strip("_"):
        return fallback
    if text.split(".", 1)[0].strip().lower() in _RESERVED:
        text = f"_{text}"
    return _shorten(text) or fallback


class UniqueNames:
    """Gives each name once: the name, or the name with "-2", "-3"...; case does not make a difference.

    Args:
        taken: Names that are not given at all.
    """

    def __init__(self, *taken: str) -> None:
        self._taken = {name.casefold() for name in taken}
        self._numbers: dict[str, int] = {}

    def add(self, name: str) -> str:
        """Returns the name as it is still free."""
        stem, suffix = _split(name)
        candidate, number = name, self._numbers.get(name.casefold(), 1)
        while candidate.casefold() in self._taken:
            number += 1
            candidate = _shorten(f"{stem}-{number}{suffix}", f"-{number}{suffix}")
        self._numbers[name.casefold()] = number
        self._taken.add(candidate.casefold())
        return candidate


def _split(name: str) -> tuple[str, str]:
    suffix = PurePosixPath(name).suffix
    if _SUFFIX.fullmatch(suffix) is None:
        return name, ""
    return name[: -len(suffix)], suffix


def _shorten(name: str, ending: str | None = None) -> str:
    end = _split(name)[1] if ending is None else ending
    stem = name[: len(name) - len(end)] if end else name
    room = LONGEST_NAME_BYTES - len(end.encode())
    kept = stem.encode()[:room].decode("utf-8", "ignore")
    return (kept.rstrip(". ") if kept != stem else kept) + end
