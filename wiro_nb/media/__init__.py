"""Reads and writes media files: MP4 and PNG structure, embedded text, type detection, posters, frames, joining."""

from __future__ import annotations

KEYWORD = "wiro_nb"
"""First key of a record's JSON, and name of the tag that holds it where no better one is free."""
PARAMETERS = "parameters"
"""Name of the settings as A1111 writes them; galleries read it in PNG and, as a metadata key, in MP4."""
XMP_MARK = 'x:xmptk="wiro_nb"'
PARAMETERS_MARK = "Version: wiro_nb"


def is_record(text: str) -> bool:
    """True for the text of a record."""
    return text.startswith(f'{{"{KEYWORD}"')


def is_own(name: str, text: str) -> bool:
    """True for a text that wiro_nb writes: a record, or settings under the name that galleries read."""
    return is_record(text) or (name == PARAMETERS and PARAMETERS_MARK in text)


class MediaError(ValueError):
    """A media file is cut, damaged, or too large to read."""
