"""Terminal output: word wrapping, removal of control characters, and streams that never raise after a paid run."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
"""C0 but newline and tab, C1, and what changes the direction of text: with these a text can rewrite the screen."""


def clean(text: str) -> str:
    """Returns text that cannot control a terminal."""
    return CONTROLS.sub("", text)


def escape_controls(json_text: str) -> str:
    """Returns the same JSON value as text that cannot control a terminal."""
    return CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


def wrap_terminal(text: str, stream: TextIO) -> str:
    """Returns text whose lines break between words, indented, where a stream's terminal would break them."""
    columns = terminal_columns(stream)
    return "\n".join(_wrap(line, columns) for line in text.split("\n")) if columns else text


def _wrap(line: str, columns: int) -> str:
    """Breaks a line; the last column of a table wraps within itself."""
    start = re.match(r"\s*", line)
    column = re.match(r".*\S {2,}(?=\S)", line[: columns // 2])
    indent = " " * (column.end() if column else start.end() + 2 if start else 0)
    wrapper = textwrap.TextWrapper(columns, subsequent_indent=indent, break_long_words=False)
    wrapper.break_on_hyphens = False
    return "\n".join(wrapper.wrap(line)) or line


def terminal_columns(stream: TextIO) -> int:
    """Returns the width of the terminal a stream writes to; 0 where it is none."""
    try:
        # In a kernel the number is of the terminal that Jupyter was started in, and the stream is none.
        return os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError, AttributeError):
        return 0


def fit_terminal(text: str, stream: TextIO) -> str:
    """Returns text cut to one line of the terminal that a stream writes to; 80 columns where that is unknown."""
    longest = (terminal_columns(stream) or 80) - 1
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


class StatusLine:
    """One line on stderr that is rewritten in place; nothing is written where stderr is no terminal."""

    def __init__(self) -> None:
        self.shown = ""
        self.is_terminal = sys.stderr.isatty()

    def rewrite(self, text: str) -> None:
        """Replaces the line (any thread)."""
        if self.is_terminal and text != self.shown:
            write = getattr(sys.stderr, "write_unfiltered", sys.stderr.write)
            write(f"\r\033[K{clean(fit_terminal(text, sys.stderr))}")
            sys.stderr.flush()
            self.shown = text

    def close(self) -> None:
        """Leaves the cursor on a line of its own."""
        if self.shown and self.is_terminal:
            print(file=sys.stderr, flush=True)
            self.shown = ""


class SafeStream:
    """A stream that removes control characters from what is printed.

    Args:
        stream: The stream itself.
        is_optional: True drops what cannot be written, as for progress and notes.
    """

    def __init__(self, stream: TextIO, *, is_optional: bool) -> None:
        self._stream = stream
        self._is_optional = is_optional

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes text without control characters."""
        return self.write_unfiltered(clean(text))

    def write_unfiltered(self, text: str) -> int:
        """Writes text of this package's own making."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes what is buffered."""
        self._try(self._stream.flush)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError):
            if not self._is_optional:
                raise
            discard(self._stream)


def discard(stream: Any) -> None:
    """Discards the buffer of a broken stream; otherwise Python exits with code 120 when it cannot flush."""
    with contextlib.suppress(OSError, ValueError):
        _redirect_to_nothing(stream.fileno())


def _redirect_to_nothing(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """Makes stdout and stderr safe to print anything on, in any encoding, and stderr free to be closed."""
    before = sys.stdout, sys.stderr
    if sys.stderr is None:  # closed by the caller; its number must not become that of the next file, the ledger
        with contextlib.suppress(OSError):
            _redirect_to_nothing(2)
    for stream in before:
        if hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="replace")
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        sys.stdout = SafeStream(before[0] or nothing, is_optional=before[0] is None)
        sys.stderr = SafeStream(before[1] or nothing, is_optional=True)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
