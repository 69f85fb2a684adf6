"""Reads the front-end files and joins a script with the helpers it imports.

A widget's script reaches the browser as one text, in which a relative `import` cannot resolve.
The files in `static/` are ordinary ES modules all the same: `bundle_script` puts the imported
helpers in front, each once, and takes the `import` lines and the helpers' `export` words away.
The helpers share one scope, so their top-level names differ.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./([a-z_]+\.js)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|let|class) )", re.MULTILINE)


@cache
def read_static(name: str) -> str:
    """Returns the text of one file in `notebook/static`."""
    return (files("wiro_nb") / "notebook" / "static" / name).read_text(encoding="utf-8")


@cache
def bundle_script(name: str) -> str:
    """Returns a script with every helper it imports in front of it.

    Args:
        name: File in `notebook/static`, for example "form.js".
    """
    parts: list[str] = []
    _collect(name, parts, seen=set(), is_entry=True)
    return "\n".join(parts)


def _collect(name: str, parts: list[str], *, seen: set[str], is_entry: bool) -> None:
    if name in seen:
        return
    seen.add(name)
    text = read_static(name)
    for helper in _IMPORT.findall(text):
        _collect(helper, parts, seen=seen, is_entry=False)
    text = _IMPORT.sub("", text)
    parts.append(text if is_entry else _EXPORT.sub("", text))
