"""Finds what a shared file must not contain: keys and tokens, URLs with credentials, paths of this machine.

Every pattern takes time in proportion to the text, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord
from wiro_nb.provenance.find import find_records, output_marks
from wiro_nb.provenance.record import parse_json, read_bytes
from wiro_nb.redaction import MASK, redact

_SECRET_FIELDS = re.compile(r"(?i)socketaccesstoken|tasktoken|x-api-key|x-signature|api[_-]?secret")
_ROOTS = r"home|Users|root|var|tmp|private|mnt|media|srv|data|opt|work|workspace|content|kaggle"
_ABSOLUTE = re.compile(rf"(?:^|[\s\"'=(,\[:])((?:file://)?(?:/(?:{_ROOTS})/|[A-Za-z]:[\\/])[^\s\"')\]]+)")
_LOGIN_URL = re.compile(r"[A-Za-z0-9+.-]://[^/\s:@]+:[^/\s@]+@")
_WORD = re.compile(r"[A-Za-z0-9_\-]{6,}")


@dataclass(frozen=True, slots=True)
class SecretFinding:
    """A finding in a file: a secret, a URL with credentials, or a local path.

    Attributes:
        label: What it is.
        excerpt: A part of the text that is safe to show.
        is_secret: False for a path or a field's name in a user's own cells and settings: it may be meant.
    """

    label: str
    excerpt: str
    is_secret: bool = True


def scan_file(path: Path, secrets: Collection[str] = ()) -> list[SecretFinding]:
    """Returns the findings in a notebook, a sidecar or the record inside a clip, without duplicates.

    Args:
        path: The file; one that cannot be read has no findings.
        secrets: Keys, secrets and task tokens to search for, beside those this process has registered.
    """
    content = _read(path)
    marks = list(output_marks(content))
    cells = content.pop("cells", None) if isinstance(content, dict) else None
    found: list[SecretFinding] = []
    for value, is_own in ((content, True), (cells, False), (marks, True)):
        for text, is_ours in _texts(value, is_own):
            found += scan_text(text, secrets, is_own=is_ours)
    # A path in a record is a problem, the same path in a user's code only a note: report it once.
    worst = {finding.excerpt for finding in found if finding.is_secret}
    return [item for item in dict.fromkeys(found) if item.is_secret or item.excerpt not in worst]


def scan_text(text: str, secrets: Collection[str] = (), *, is_own: bool = True) -> list[SecretFinding]:
    """Returns the findings in one text.

    Args:
        text: Any text.
        secrets: As in `scan_file`; a set.
        is_own: True for text this package wrote, where a path is always a problem.
    """
    found = []
    if redact(text) != text or any(word in secrets for word in _WORD.findall(text)):
        found.append(SecretFinding("a key, secret or task token", MASK))
    for match in _SECRET_FIELDS.finditer(text):
        found.append(SecretFinding("the name of a secret field", match.group(), is_own))
    if _LOGIN_URL.search(text):
        found.append(SecretFinding("an address with a login", MASK))
    home = str(Path.home())
    if len(home) > 1 and home in text:
        found.append(SecretFinding("the home folder", "~", is_own))
    for match in _ABSOLUTE.finditer(text):
        found.append(SecretFinding("a path of this machine", match.group(1), is_own))
    return found


def _read(path: Path) -> Any:
    try:
        if path.suffix.lower() not in {".ipynb", ".json"}:
            return [item.record for item in find_records(path, ignore_hash=True)]
        raw = read_bytes(path)
        return parse_json(raw)
    except (OSError, BadRecord):
        return None
    except ValueError:
        return raw.decode("utf-8", "replace")


def _texts(value: Any, is_own: bool, *, is_setting: bool = False) -> Iterator[tuple[str, bool]]:
    """Yields every text and every key of nested JSON, unescaped; the lines of a cell are joined.

    With each text comes whether this package wrote it. A setting such as the prompt is a user's words, unless it
    is nothing but a path.
    """
    if isinstance(value, str):
        yield value, is_own and not (is_setting and _ABSOLUTE.fullmatch(value) is None)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key), is_own
            yield from _texts(item, is_own, is_setting=is_setting or key == "parameters")
    elif isinstance(value, list):
        is_text = value and all(isinstance(item, str) for item in value)
        for item in ["".join(value)] if is_text else value:
            yield from _texts(item, is_own, is_setting=is_setting)
