"""What a shared file should not hold: keys and tokens, addresses with a login, paths of this machine."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord
from wiro_nb.provenance.find import find_records
from wiro_nb.provenance.reading import parse_json
from wiro_nb.redaction import MASK, redact

_SECRET_FIELDS = re.compile(r"(?i)socketaccesstoken|tasktoken|x-api-key|x-signature|api[_-]?secret")
_ROOTS = r"home|Users|root|var|tmp|private|mnt|media|srv|data|opt|work|workspace|content|kaggle"
_ABSOLUTE = re.compile(rf"(?:^|[\s\"'=(,\[:])((?:file://)?(?:/(?:{_ROOTS})/|[A-Za-z]:[\\/])[^\s\"')\]]+)")
_LOGIN_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_\-]{6,}")


@dataclass(frozen=True, slots=True)
class Leak:
    """Something a shared file should not hold.

    Attributes:
        label: What it is.
        seen: An excerpt that is safe to show.
        is_secret: False for what a person may have meant to write: a path or a field's name in their own cells.
    """

    label: str
    seen: str
    is_secret: bool = True


def leaks_in_file(path: Path, secrets: Collection[str] = ()) -> list[Leak]:
    """Returns what a notebook, a sidecar or the record inside a clip should not hold, each once.

    Args:
        path: The file; what cannot be read has no leaks.
        secrets: Keys, secrets and task tokens to look for, beside those this process has registered.
    """
    content = _content_of(path)
    own = (
        {key: value for key, value in content.items() if key != "cells"} if isinstance(content, dict) else content
    )
    theirs = content.get("cells") if isinstance(content, dict) else None
    found = [leak for text in _texts(own) for leak in find_leaks(text, secrets)]
    for text in _texts(theirs):
        found += find_leaks(text, secrets, is_own=False)
    for record in _records_in(theirs):
        found += [leak for text in _texts(record) for leak in find_leaks(text, secrets)]
    # A path in a record is a problem, the same path in somebody's code only worth a note: say it once.
    worst = {leak.seen for leak in found if leak.is_secret}
    return [leak for leak in dict.fromkeys(found) if leak.is_secret or leak.seen not in worst]


def find_leaks(text: str, secrets: Collection[str] = (), *, is_own: bool = True) -> list[Leak]:
    """Returns what one text should not hold.

    Args:
        text: Any text.
        secrets: As in `leaks_in_file`.
        is_own: True for text this package wrote; a path in it is then a leak and not somebody's own word.
    """
    leaks = []
    known = frozenset(secrets)
    if redact(text) != text or any(word in known for word in _WORD.findall(text)):
        leaks.append(Leak("a key, secret or task token", MASK))
    leaks += [Leak("the name of a secret field", item.group(), is_own) for item in _SECRET_FIELDS.finditer(text)]
    leaks += [Leak("an address with a login", MASK) for _ in _LOGIN_URL.finditer(text)]
    home = str(Path.home())
    if len(home) > 1 and home in text:
        leaks.append(Leak("the home folder", "~", is_own))
    leaks += [Leak("a path of this machine", match.group(1), is_own) for match in _ABSOLUTE.finditer(text)]
    return leaks


def _content_of(path: Path) -> Any:
    try:
        if path.suffix.lower() in {".ipynb", ".json"}:
            text = path.read_text("utf-8", errors="replace")
            try:
                return parse_json(text)
            except ValueError:
                return text
        return [item.record for item in find_records(path, ignore_hash=True)]
    except (OSError, BadRecord):
        return None


def _texts(value: Any) -> Iterator[str]:
    """Gives every text and every key of nested JSON, unescaped; the lines of a cell are joined."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield "".join(value)
        else:
            for item in value:
                yield from _texts(item)


def _records_in(cells: Any) -> Iterator[Any]:
    for cell in cells if isinstance(cells, list) else ():
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for output in outputs if isinstance(outputs, list) else ():
            metadata = output.get("metadata") if isinstance(output, dict) else None
            if isinstance(metadata, dict) and "wiro" in metadata:
                yield metadata["wiro"]
