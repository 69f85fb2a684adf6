"""Turns what was given for a file input (path, URL, list, commas) into checked files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from wiro_nb.errors import InvalidFile
from wiro_nb.schema.coerce import ValueRefused, is_empty
from wiro_nb.schema.files import FileInput, accepted_types, is_url, open_file_input, url_input
from wiro_nb.schema.types import Parameter

_MEDIA_WORDS = {
    "image": ("image", "picture", "photo", "portrait", "selfie"),
    "video": ("video", "clip", "movie"),
    "audio": ("audio", "voice", "sound", "music", "speech"),
}


def collect_files(
    parameter: Parameter, value: object, *, sample_files: bool = False, with_hash: bool = True
) -> tuple[FileInput, ...]:
    """Returns the files given for an input, checked.

    Args:
        parameter: A file input.
        value: Path, URL, `FileInput`, a list of these, or texts separated by commas where several are taken.
        sample_files: True takes the service's own samples when nothing is given.
        with_hash: False skips hashing.

    Returns:
        Files in the given order; empty when nothing is given.

    Raises:
        ValueRefused: A file cannot be used, or there are too many or too few.
    """
    samples = _sample_names(parameter)
    if is_empty(value):
        return tuple(url_input(parameter.id, name) for name in samples) if sample_files else ()
    found = tuple(_open(parameter, item, samples, with_hash) for item in _items(parameter, value, samples))
    most = int(parameter.max) if parameter.max and parameter.max.isdigit() else None
    least = int(parameter.min) if parameter.min and parameter.min.isdigit() else None
    if not parameter.multiple and len(found) > 1:
        raise ValueRefused(f"takes one file, not {len(found)}")
    if most is not None and len(found) > most:
        raise ValueRefused(f"takes at most {most} files, not {len(found)}")
    if least is not None and found and len(found) < least:
        raise ValueRefused(f"takes at least {least} files, not {len(found)}")
    return found


def _sample_names(parameter: Parameter) -> tuple[str, ...]:
    if isinstance(parameter.default, tuple):
        return parameter.default
    return (parameter.default,) if parameter.default else ()


def _items(parameter: Parameter, value: object, samples: tuple[str, ...]) -> Iterator[object]:
    if isinstance(value, list | tuple):
        for item in value:
            if not is_empty(item):
                yield from _items(parameter, item, samples) if isinstance(item, list | tuple) else (item,)
    elif isinstance(value, str) and parameter.multiple and "," in value and not _exists(value):
        yield from _split(value, samples)
    else:
        yield value


def _split(text: str, samples: tuple[str, ...]) -> list[str]:
    """Splits at commas, but keeps the commas inside a URL."""
    pieces: list[str] = []
    for piece in (part.strip() for part in text.split(",")):
        starts_new = not pieces or not is_url(pieces[-1]) or is_url(piece) or piece in samples or _exists(piece)
        if starts_new:
            pieces.append(piece)
        else:
            pieces[-1] += "," + piece
    return [piece for piece in pieces if piece]


def _exists(text: str) -> bool:
    try:
        return bool(text.strip()) and Path(text.strip()).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _open(parameter: Parameter, item: object, samples: tuple[str, ...], with_hash: bool) -> FileInput:
    if isinstance(item, FileInput):
        return replace(item, parameter=parameter.id)
    if not isinstance(item, str | Path):
        raise ValueRefused(f"takes a file path or a URL, not {type(item).__name__}")
    if isinstance(item, str) and item.strip() in samples and not _exists(item):
        return url_input(parameter.id, item.strip())
    wanted = expected_media(parameter)
    try:
        opened = open_file_input(parameter.id, item, with_hash=with_hash, media=wanted)
    except InvalidFile as error:
        types = f"; {error.hint}" if "takes" in error.hint else ""
        raise ValueRefused(str(error.problems[0]["message"]).rstrip(".") + types) from None
    if opened.path is not None and wanted and not opened.content_type.startswith(wanted):
        raise ValueRefused(f"{opened.name} is {opened.content_type}; this input takes {accepted_types(wanted)}")
    return opened


def expected_media(parameter: Parameter) -> str:
    """Returns "image", "video" or "audio" where the input's name says exactly one of them, else empty."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", f"{parameter.id} {parameter.label} {parameter.help}").lower()
    named = [
        kind for kind, names in _MEDIA_WORDS.items() if any(re.search(rf"\b{name}s?\b", words) for name in names)
    ]
    in_id = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", parameter.id).lower()
    return named[0] if len(named) == 1 and any(name in in_id for name in _MEDIA_WORDS[named[0]]) else ""
