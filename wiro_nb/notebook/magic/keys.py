"""Refuses keys and tokens typed into a cell, which the notebook and the history would keep."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from wiro_nb.redaction import holds_secret, register_secret

if TYPE_CHECKING:
    from wiro_nb.notebook.magic.parser import Word

_KEY_NAME = re.compile(r"(?i)(\A|[_\-])(api[_\- ]?key|api[_\- ]?secret|secret|tasktoken|socketaccesstoken)\Z")
_KEY_SHAPE = re.compile(r"(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[A-Za-z0-9_\-]{24,}\Z")
_OWN_FOLDER = re.compile(r"\d{4}-\d\d-\d\d-[a-z0-9\-]+\Z")
"""The name of a run's folder, typed for `verify` and similar commands."""
_NAMED_KEY = re.compile(
    r"(?i)\b(?:WIRO_)?API[_\- ]?(?:KEY|SECRET)\b[\"']?\s*[:=]\s*[\"']?(?=[^\s\"']*\d)([^\s\"']{8,})"
)
_KEY_WORD = re.compile(r"(?<![A-Za-z0-9/_.#=\-])[A-Za-z0-9]{24,64}(?![A-Za-z0-9/_.=\-])")
_ULID = re.compile(r"(?i)[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
KEY_REFUSED = (
    "a key or token typed in a cell stays in the notebook and its history. It was not used. "
    "Remove it from the cell and type %wiro login, which asks for the key without keeping it here"
)


def refuse_keys(words: Iterable[Word]) -> None:
    """Refuses words that look like a key, a secret or a task token.

    Raises:
        UsageError: One does. The text is masked in every later message.
    """
    for word in words:
        named = word.name is not None and _KEY_NAME.search(word.name) is not None
        shaped = word.name is None and _is_key(word.text)
        if word.text and (named or shaped):
            if not word.is_expression:
                register_secret(word.text)
            raise UsageError(KEY_REFUSED)


def _is_key(text: str) -> bool:
    is_own = _ULID.match(text) or _OWN_FOLDER.match(text)
    return not is_own and _KEY_SHAPE.match(text) is not None


def refuse_keys_in_body(body: str) -> None:
    """Refuses a prompt that holds a known secret, a named key, or a long word of letters and many digits.

    Raises:
        UsageError: It does. The text is masked in every later message.
    """
    named = [match[1] for match in _NAMED_KEY.finditer(body)]
    words = [word for word in _KEY_WORD.findall(body) if sum(map(str.isdigit, word)) >= 4 and _is_key(word)]
    for word in (*named, *words):
        register_secret(word)
    if named or words or holds_secret(body):
        raise UsageError(KEY_REFUSED)
