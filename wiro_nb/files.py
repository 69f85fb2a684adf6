"""File helpers: hashing, safe names, atomic replacement, and the folder layout of runs.

    wiro_outputs/<YYYY-MM-DD>-<model>-<short id>/   what a run made, with its poster and run.json
    wiro_outputs/.inputs/<sha256><ext>              what it was made from, each file once

Names from the service are never used as paths: `safe_name` comes first.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import BinaryIO

from wiro_nb.ids import short_id

LONGEST_NAME_BYTES = 120
_PATHS_OFFERED = 500
OUTPUTS_FOLDER = "wiro_outputs"
INPUTS_FOLDER = ".inputs"

_RESERVED = frozenset(["con", "prn", "aux", "nul", "conin$", "conout$"]) | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"
}
_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,10}")


def reason_of(error: Exception) -> str:
    """Returns why a file cannot be read or written, in the system's words where it has some."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def is_there(path: Path) -> bool:
    """True where a path exists; False for text that is no valid path and where access is denied."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


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
    """Returns a path relative to the notebook's folder, with POSIX separators; a bare name on another drive."""
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
    write: Callable[[BinaryIO], object],
    *,
    check: Callable[[Path], object] | None = None,
    mode: int | None = None,
) -> None:
    """Replaces a file atomically; the new content is durable when this returns.

    Args:
        path: The file. It may be missing.
        write: Writes the new content, to a file beside it.
        check: Looks at the file written, before it takes the place; raises to leave everything as it is.
        mode: Of the new file, which nobody else can read before; None keeps that of the old one.

    Raises:
        OSError: The folder cannot be written. The old file is then untouched, as when `write` or `check` raises.
    """
    present = _mode_of(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    copy = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file:
            write(file)
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


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        return None


def safe_name(name: str, fallback: str = "output") -> str:
    """Returns a name from outside as a plain file name that any system takes.

    Args:
        name: As given by the service or a user: may hold separators, dots, control characters.
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
        self._numbers: dict[str, Iterator[int]] = {}

    def add(self, name: str) -> str:
        """Returns the name as it is still free."""
        stem, suffix = _split(name)
        candidate, numbers = name, self._numbers.setdefault(name.casefold(), itertools.count(2))
        while candidate.casefold() in self._taken:
            ending = f"-{next(numbers)}{suffix}"
            candidate = _shorten(stem + ending, ending)
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
    longest = LONGEST_NAME_BYTES - len(end.encode())
    kept = stem.encode()[:longest].decode("utf-8", "ignore")
    return (kept.rstrip(". ") if kept != stem else kept) + end


def model_slug(model: str) -> str:
    """Returns a model's slug as part of a folder name: letters, digits and single dashes, at most 60."""
    name = model.rsplit("/", 1)[-1]
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode("ascii").lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or "model"


def run_folder_name(model: str, run_id: str, created: datetime) -> str:
    """Returns the name of a run's folder: date in local time, model, short id."""
    return f"{created.astimezone():%Y-%m-%d}-{model_slug(model)}-{short_id(run_id)}"


def resolve_inside(relative: str, base: Path) -> Path:
    """Returns the file that a relative path of a record means.

    Raises:
        ValueError: It is absolute or leads out of `base`.
    """
    parts = PurePosixPath(relative)
    if parts.is_absolute() or ".." in parts.parts or "\\" in relative or ":" in relative:
        raise ValueError(f"{relative!r} leads out of the folder")
    return base.joinpath(*parts.parts)


def input_path(base: Path, sha256: str, name: str) -> Path:
    """Returns where an input file of this content is kept under `base` (the notebook's folder)."""
    if re.fullmatch(r"[0-9a-f]{64}", sha256) is None:
        raise ValueError("sha256 is 64 hexadecimal digits")
    suffix = PurePosixPath(safe_name(name)).suffix.lower()
    return base / OUTPUTS_FOLDER / INPUTS_FOLDER / f"{sha256}{suffix if _SUFFIX.fullmatch(suffix) else ''}"


def keep_input(source: Path, base: Path, sha256: str | None = None) -> Path:
    """Copies an input file into the store of inputs; a file that is there already is kept.

    A link would not do: an editor that writes into the original would change what the run was made from.

    Args:
        source: The file.
        base: The notebook's folder.
        sha256: Of its content, when known.

    Returns:
        The kept file. It appears whole or not at all.

    Raises:
        OSError: It cannot be read or written.
        ValueError: The file has changed since `sha256` was taken.
    """
    wanted = sha256 or hash_file(source)
    target = input_path(base, wanted, source.name)
    if target.is_file() and hash_file(target) == wanted:
        return target

    def check(copy: Path) -> None:
        if hash_file(copy) != wanted:
            raise ValueError(f"{source.name} changed while it was read")

    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original:
        replace_file(target, lambda copy: copyfileobj(original, copy), check=check)
    return target
