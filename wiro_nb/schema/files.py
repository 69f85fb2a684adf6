"""Input files: found, typed by their first bytes, measured and hashed before anything is sent."""

from __future__ import annotations

import hashlib
import math
import mimetypes
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from wiro_nb.errors import InvalidFile

MAX_FILE_BYTES = 100 * 1024 * 1024
"""The service takes up to 100 MB a file."""

_TEXT_TYPES = {".csv": "text/csv", ".txt": "text/plain", ".md": "text/markdown"}
_ZIPPED = {
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".epub": "application/epub+zip",
}
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_ACCEPTED = {
    "image": "jpg, png, gif, webp, heic",
    "video": "mp4, webm, mov",
    "audio": "mp3, wav, m4a",
    "other": "pdf, csv, docx, xlsx, pptx, txt, md, epub, zip",
}
_HEAD_BYTES = 4096
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileInput:
    """One file or URL for one input.

    Attributes:
        parameter: The input's id.
        name: File name without folders, safe as a multipart filename.
        path: The local file, or None for a URL.
        url: The URL (or the bare name of one of the service's own sample files), or None for a local file.
        content_type: By content for local files, guessed from the name for URLs (may be empty).
        size_bytes: Length of a local file, None for a URL.
        sha256: Hash of a local file's content, None for a URL or when not asked for.
    """

    parameter: str
    name: str
    path: Path | None
    url: str | None
    content_type: str
    size_bytes: int | None
    sha256: str | None


def accepted_types(media: str = "") -> str:
    """Returns the suffixes that are taken: of "image", "video" or "audio" files, or all of them."""
    return _ACCEPTED.get(media) or ", ".join(_ACCEPTED.values())


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
        with_hash: False skips hashing, for checks while somebody types.
        media: "image", "video" or "audio" names only these types in an error; it refuses none of the others.

    Raises:
        InvalidFile: No such file, a folder, unreadable, empty, over 100 MB, or not a type the service takes.
    """
    text = str(value).strip()
    if isinstance(value, str) and is_url(text):
        return url_input(parameter, text)
    if isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://|data:", text):
        raise _invalid(parameter, text, "is neither a file nor an http(s) URL", "give a path or an https:// URL")
    try:
        path = Path(text if isinstance(value, str) else value).expanduser()
        return _read(parameter, path, with_hash, media)
    except InvalidFile:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else _reason(error)
    raise _invalid(parameter, text, reason, "check the path; it is read from the notebook's folder")


def url_input(parameter: str, url: str) -> FileInput:
    """Returns the input for a URL or for the bare name of a service sample; nothing is fetched."""
    name = PurePosixPath(unquote(urlsplit(url).path)).name if is_url(url) else url
    name = safe_name(name)
    return FileInput(parameter, name, None, url, mimetypes.guess_type(name)[0] or "", None, None)


def safe_name(name: str) -> str:
    """Returns a file name that cannot break a multipart header or name a folder."""
    last = re.split(r"[/\\]", name)[-1]
    cleaned = re.sub(r'[\x00-\x1f\x7f"<>:|?*\ud800-\udfff]', "_", last).strip(". ")
    return cleaned[-120:] or "file"


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "may not be read"
    return (error.strerror or "cannot be read") if isinstance(error, OSError) else "is not a usable path"


def _invalid(parameter: str, value: str, what: str, hint: str) -> InvalidFile:
    # A whole path is long, and of an uploaded file it is one nobody typed.
    shown = (Path(value).name if Path(value).is_absolute() else value)[:80]
    return InvalidFile.of_input(parameter, shown, what, hint=hint)


def _read(parameter: str, path: Path, with_hash: bool, media: str) -> FileInput:
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        raise _invalid(parameter, str(path), "is a folder", "give a file")
    if not stat.S_ISREG(kind):  # looked at before it is opened: a pipe would wait for somebody to write
        raise _invalid(parameter, str(path), "is not a regular file", "give a file")
    with path.open("rb") as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        if size_bytes == 0:
            raise _invalid(parameter, str(path), "is empty", "give a file with content")
        if size_bytes > MAX_FILE_BYTES:
            size_mb = math.ceil(size_bytes / 1024 / 1024 * 10) / 10
            raise _invalid(
                parameter, str(path), f"has {size_mb:.1f} MB; the service takes 100 MB", "give a smaller file"
            )
        head = stream.read(_HEAD_BYTES)
        content_type = sniff_type(head, path.name)
        if not content_type:
            wanted = f"this input takes {accepted_types(media)}" if media else f"it takes {accepted_types()}"
            raise _invalid(parameter, str(path), "is of a type the service does not take", wanted)
        digest = _hash(stream, head) if with_hash else None
    return FileInput(parameter, safe_name(path.name), path, None, content_type, size_bytes, digest)


def _hash(stream: BinaryIO, head: bytes) -> str:
    digest = hashlib.sha256(head)
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def sniff_type(head: bytes, name: str) -> str:
    """Returns the media type by the first bytes, or empty when the service takes no such file.

    The name only decides between types whose bytes look alike (text files, zipped documents).

    Args:
        head: The first bytes, 32 are enough for all but text.
        name: The file name.
    """
    suffix = PurePosixPath(name).suffix.lower()
    for magic, content_type in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"\x1aE\xdf\xa3", "video/webm"),
        (b"ID3", "audio/mpeg"),
    ):
        if head.startswith(magic):
            return content_type
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _boxed(head[8:12])
    if head[:4] == b"PK\x03\x04":
        return _ZIPPED.get(suffix, "application/zip")
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and suffix == ".mp3":
        return "audio/mpeg"
    if suffix in _TEXT_TYPES and b"\0" not in head:
        return _TEXT_TYPES[suffix]
    return ""


def _boxed(brand: bytes) -> str:
    if brand in _HEIC_BRANDS:
        return "image/heic"
    if brand == b"qt  ":
        return "video/quicktime"
    return "audio/mp4" if brand.startswith(b"M4A") else "video/mp4"
