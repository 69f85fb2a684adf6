"""Writes a record into the file it describes, and reads it back.

MP4 and QuickTime files carry it as the comment; where another program's comment stands, as the album, the
synopsis or a tag called "wiro_nb"; or in a box at the end of the file (see `media.mp4`). PNG files carry it as
a text chunk, other types have the sidecar only. The text is the record's canonical JSON under one key, so that a
comment of another program is never mistaken for a record. Beside it stand XMP with the digital source type and
the settings as A1111 writes them (`made_by`), in MP4 as the metadata key `parameters`.

Copying the streams into another file (`ffmpeg -c copy`) keeps comment and album in MP4, MOV and Matroska, the
synopsis in MP4 and Matroska, every tag in Matroska and with `-movflags use_metadata_tags`. It loses the box at the
end. A clip with Content Credentials has nothing but that box, because a change of `moov` would make them invalid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from wiro_nb.errors import BadRecord
from wiro_nb.files import hash_file, reason_of, replace_file
from wiro_nb.json_values import dump_json
from wiro_nb.media import KEYWORD, MediaError, is_own, is_record, mp4, png, sniffing
from wiro_nb.media.decode import sniff_file
from wiro_nb.provenance.made_by import parameters_text, read_settings, xmp_packet
from wiro_nb.provenance.record import check_record, parse_object

FORMATS = {"image/png": png, **dict.fromkeys(("video/mp4", "video/quicktime", "audio/mp4"), mp4)}
"""By media type, the module with `copy_with_texts`, `read_tags`, `read_media` and `has_credentials`."""


class Embedded(NamedTuple):
    """The result of writing a record into a file.

    Attributes:
        problem: "" when the file now holds the record, else the reason why it does not.
        sha256: Hash (hex) of the file that holds it; None when it does not.
        unsigned: Why the file was not signed; "" where it was, or where no certificate is set.
    """

    problem: str
    sha256: str | None
    unsigned: str = ""


def embed_record(path: Path, record: Mapping[str, Any]) -> Embedded:
    """Writes the record into a clip or picture without touching its content.

    Args:
        path: The file; replaced in one step, or left as it was.
        record: A hashed record.
    """
    text = dump_json({KEYWORD: record})
    try:
        if (kind := format_of(path)) is not None:
            # Galleries would read these in place of settings that another program wrote elsewhere.
            others = read_settings(tag for tag in kind.read_tags(path) if not is_own(*tag))
            parameters = "" if others else parameters_text(record)
            write_texts(path, kind, text, xmp_packet(record), parameters)
            return Embedded("", hash_file(path))
    except (MediaError, OSError) as error:
        return Embedded(f"the file was left as it came: {reason_of(error)}", None)
    return Embedded("files of this type carry no record", None)


def write_texts(path: Path, kind: ModuleType, text: str, xmp: str = "", parameters: str = "") -> None:
    """Writes texts into a copy, which takes the file's place once it reads back; arguments as `copy_with_texts`.

    Raises:
        MediaError: The file is cut, of another type, or the text did not read back; the file is then untouched.
        OSError: The folder cannot be written; the file is then untouched.
    """

    def check(copy: Path) -> None:
        if all(found != text for _, found in kind.read_tags(copy)):
            raise MediaError("the text did not read back")

    with path.open("rb") as source:
        replace_file(path, lambda target: kind.copy_with_texts(source, target, text, xmp, parameters), check=check)


def read_embedded(path: Path, *, ignore_hash: bool = False) -> dict[str, Any]:
    """Returns the record a file carries.

    Raises:
        BadRecord: It carries none, is cut, or its record is refused.
    """
    try:
        kind = format_of(path)
        text = next((text for _, text in _read_tags(path) if is_record(text)), None)
        if text is None and kind is not None:
            _hash_media(path, kind)  # raises where the file is cut, perhaps before its record
    except (MediaError, OSError) as error:
        raise BadRecord(f"{path.name} cannot be read: {reason_of(error)}", reason="cut") from None
    content = parse_object(text).get(KEYWORD)
    if content is None:
        raise BadRecord(
            f"{path.name} carries no run record",
            details=["it was not made by wiro_nb, or its metadata was removed"],
            hint="wiro-nb runs, or give its run.json or notebook",
            reason="none",
        )
    return check_record(content, source=path.name, ignore_hash=ignore_hash)


def read_texts(path: Path) -> list[tuple[str, str]]:
    """Returns the texts beside a file's media with their names; [] for other types and damaged files.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        return _read_tags(path)
    except MediaError:
        return []


def hash_media(path: Path) -> str | None:
    """Returns the SHA-256 (hex) of what a tag leaves unchanged, or None for types without tags.

    For MP4 and QuickTime that is the content of the `mdat` boxes, for PNG that of the `IDAT` chunks,
    in file order. With it a clip that carries its own record can still be distinguished from an altered one.
    It is None too for a file that is cut or cannot be read.
    """
    try:
        kind = format_of(path)
        return None if kind is None else _hash_media(path, kind)
    except (MediaError, OSError):
        return None


def _hash_media(path: Path, kind: ModuleType) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for part in kind.read_media(file):
            digest.update(part)
    return digest.hexdigest()


def content_hashes(path: Path) -> frozenset[str]:
    """Returns the SHA-256 (hex) of a file's bytes, and of its media data where it has some.

    Raises:
        OSError: The file cannot be read.
    """
    return frozenset(filter(None, (hash_file(path), hash_media(path))))


def recorded_hashes(output: Mapping[str, Any]) -> frozenset[str]:
    """Returns the hashes by which a recorded output is known, without and with a record in it."""
    return frozenset(filter(None, (output.get("sha256"), output.get("media_sha256"))))


def _read_tags(path: Path) -> list[tuple[str, str]]:
    tags: list[tuple[str, str]] = (format_of(path) or sniffing).read_tags(path)
    return tags


def format_of(path: Path) -> ModuleType | None:
    """Returns the module that reads and writes the texts of files of this type; None for other types."""
    return FORMATS.get(sniff_file(path))
