"""Checks input files and URLs: finds them, types them by their first bytes, measures and hashes them."""

from __future__ import annotations

import hashlib
import math
import mimetypes
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from wiro_nb.errors import InvalidFile
from wiro_nb.files import expand_user, is_there, reason_of, safe_name
from wiro_nb.json_values import as_whole
from wiro_nb.media.sniffing import sniff
from wiro_nb.schema.coerce import Problem, is_empty
from wiro_nb.schema.types import Parameter

MAX_FILE_BYTES = 100 * 1024 * 1024
"""The service takes up to 100 MB a file."""

TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".pdf": "application/pdf",
    ".csv": "text/csv",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".epub": "application/epub+zip",
    ".zip": "application/zip",
}
"""The types that the service takes, by their suffix."""
SUFFIXES = {content_type: suffix for suffix, content_type in TYPES.items()}
_ZIPPED = frozenset({".docx", ".xlsx", ".pptx", ".epub"})
_HEAD_BYTES = 4096
_MEDIA_WORDS = {
    "image": ("image", "picture", "photo", "portrait", "selfie"),
    "video": ("video", "clip", "movie"),
    "audio": ("audio", "voice", "sound", "music", "speech"),
}


@dataclass(frozen=True, slots=True)
class FileInput:
    """One file or URL for one input.

    Attributes:
        name: File name without folders, safe as a multipart filename.
        path: The local file, or None for a URL.
        url: The URL (or the bare name of one of the service's own sample files), or None for a local file.
        content_type: By content for local files, guessed from the name for URLs (may be empty).
        size_bytes: Length of a local file, None for a URL.
        sha256: Hash of a local file's content, None for a URL or when not asked for.
    """

    name: str
    path: Path | None
    url: str | None
    content_type: str
    size_bytes: int | None
    sha256: str | None

    def open(self, parameter: str) -> BinaryIO:
        """Opens the local file, to be sent for an input.

        Raises:
            InvalidFile: It cannot be opened, or changed since it was checked.
        """
        problem = "it is no longer there or cannot be read"
        with suppress(OSError):
            if self.path is not None:
                file = self.path.open("rb")
                size_bytes = os.fstat(file.fileno()).st_size
                if self.size_bytes in (None, size_bytes):
                    return file
                file.close()
                problem = f"it had {self.size_bytes} bytes when it was checked and has {size_bytes} now"
        message = f"{parameter}={self.name}: cannot be sent: {problem}."
        raise InvalidFile(message, hint="give the file again", name=parameter, value=self.name)


def accepted_types(media: str = "") -> str:
    """Returns the suffixes that are taken: of "image", "video" or "audio" files, or all of them."""
    return ", ".join(suffix[1:] for suffix, content_type in TYPES.items() if content_type.startswith(media))


def is_url(text: str) -> bool:
    """True for http and https URLs with a host."""
    if not re.match(r"https?://", text, re.IGNORECASE) or re.search(r"[\s\x00-\x1f]", text):
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def open_file_input(parameter: str, value: str | Path, *, with_hash: bool = True, media: str = "") -> FileInput:
    """Checks one file or URL for an input.

    Args:
        parameter: The input's id.
        value: A path ("~" is expanded) or an http(s) URL. URLs are kept, not fetched.
        with_hash: False skips hashing, for checks while a value is typed.
        media: "image", "video" or "audio" names only these types in an error; it refuses none of the others.

    Raises:
        InvalidFile: No such file, a folder, unreadable, empty, over 100 MB, or not a type the service takes.
    """
    try:
        return _open(value, with_hash, media)
    except Problem as problem:
        raise InvalidFile(f"{parameter}={problem.message}.", hint=problem.hint, name=parameter) from None


def url_input(url: str) -> FileInput:
    """Returns the input for a URL or for the bare name of a service sample; nothing is fetched."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name if is_url(url) else url
    name = safe_name(name, "file")
    return FileInput(name, None, url, mimetypes.guess_type(name)[0] or "", None, None)


def _open(value: str | Path, with_hash: bool, media: str) -> FileInput:
    text = str(value).strip()
    if isinstance(value, str) and is_url(text):
        return url_input(text)
    if isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://|data:", text):
        raise _refusal(text, "is neither a file nor an http(s) URL", "give a path or an https:// URL")
    try:
        return _read(Path(text if isinstance(value, str) else value).expanduser(), with_hash, media)
    except (OSError, ValueError, RuntimeError) as error:  # also a NUL in it, or "~name" without such a user
        reason = reason_of(error) if isinstance(error, OSError) else "is not a usable path"
        raise _refusal(text, reason, "check the path; it is read from the notebook's folder") from None


def _read(path: Path, with_hash: bool, media: str) -> FileInput:
    kind = path.stat().st_mode
    if not stat.S_ISREG(kind):  # checked before opening: a pipe would block until another process writes
        raise _refusal(path, "is a folder" if stat.S_ISDIR(kind) else "is not a regular file", "give a file")
    with path.open("rb") as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes == 0:
            raise _refusal(path, "is empty", "give a file with content")
        if size_bytes > MAX_FILE_BYTES:
            size = math.ceil(size_bytes / 1024 / 1024 * 10) / 10
            raise _refusal(path, f"has {size:.1f} MB; the service takes 100 MB", "give a smaller file")
        content_type = sniff_type(stream.read(_HEAD_BYTES), path.name)
        if not content_type:
            what = f"is of a type the service does not take; this input takes {accepted_types(media)}"
            raise _refusal(path, what, "give a file of another type")
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest() if with_hash else None
    return FileInput(safe_name(path.name, "file"), path, None, content_type, size_bytes, digest)


def _refusal(value: str | Path, what: str, hint: str) -> Problem:
    # An absolute path is long, and for an uploaded file the user did not type it.
    shown = (Path(value).name if Path(value).is_absolute() else str(value))[:80]
    return Problem(f"{shown}: {what}", hint=hint)


def sniff_type(head: bytes, name: str) -> str:
    """Returns the media type by the first bytes, or empty when the service does not take the type.

    The suffix only decides between types whose bytes look alike (text files, zipped documents).

    Args:
        head: The first bytes, 32 are enough for all but text.
        name: The file name.
    """
    suffix, found = PurePosixPath(name).suffix.lower(), sniff(head)
    if found == "application/zip" and suffix in _ZIPPED:
        return TYPES[suffix]
    if found in SUFFIXES and found != "text/plain":
        return found
    named = TYPES.get(suffix, "")
    return named if named.startswith("text/") and b"\0" not in head else ""


def collect_files(parameter: Parameter, value: object, *, with_hash: bool = True) -> tuple[FileInput, ...]:
    """Returns the files given for an input, checked.

    Args:
        parameter: A file input.
        value: Path, URL, `FileInput`, a list of these, or texts separated by commas where several are taken.
        with_hash: False skips hashing.

    Returns:
        Files in the given order; empty when nothing is given.

    Raises:
        Problem: A file cannot be used, or there are too many or too few.
    """
    items = [] if is_empty(value) else _list_items(parameter, value)
    found = tuple(_open_item(parameter, item, with_hash) for item in items)
    if not found:
        if parameter.required:
            raise Problem("is required: choose a file, or enter an https:// URL")
        return ()
    least, most = as_whole(parameter.min), as_whole(parameter.max)
    if not parameter.multiple and len(found) > 1:
        raise Problem(f"takes one file, not {len(found)}")
    if most is not None and len(found) > most:
        raise Problem(f"takes at most {most} files, not {len(found)}")
    if least is not None and len(found) < least:
        raise Problem(f"takes at least {least} files, not {len(found)}")
    return found


def _list_items(parameter: Parameter, value: object) -> Sequence[object]:
    """Returns the items of a list or of a text, which is split at commas, but not at those inside a URL."""
    if isinstance(value, list | tuple):
        return [item for item in value if not is_empty(item)]
    if not isinstance(value, str) or not parameter.multiple or _exists(value):
        return [value]
    pieces: list[str] = []
    for piece in (part.strip() for part in value.split(",")):
        if not pieces or not is_url(pieces[-1]) or is_url(piece) or piece in parameter.samples or _exists(piece):
            pieces.append(piece)
        else:
            pieces[-1] += "," + piece
    return [piece for piece in pieces if piece]


def _exists(text: str) -> bool:
    return bool(text.strip()) and is_there(expand_user(Path(text.strip())))


def _open_item(parameter: Parameter, item: object, with_hash: bool) -> FileInput:
    if isinstance(item, FileInput):
        return item
    if not isinstance(item, str | Path):
        raise Problem(f"takes a file path or a URL, not {type(item).__name__}")
    if isinstance(item, str) and item.strip() in parameter.samples and not _exists(item):
        return url_input(item.strip())
    wanted = expected_media(parameter)
    opened = _open(item, with_hash, wanted)
    if opened.path is not None and wanted and not opened.content_type.startswith(wanted):
        raise Problem(f"{opened.name} is {opened.content_type}; this input takes {accepted_types(wanted)}")
    return opened


def expected_media(parameter: Parameter) -> str:
    """Returns "image", "video" or "audio" where the input's name says exactly one of them, else empty."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", f"{parameter.id} {parameter.label} {parameter.help}").lower()
    named = [
        kind for kind, names in _MEDIA_WORDS.items() if any(re.search(rf"\b{name}s?\b", words) for name in names)
    ]
    in_id = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", parameter.id).lower()
    return named[0] if len(named) == 1 and any(name in in_id for name in _MEDIA_WORDS[named[0]]) else ""
