"""A real terminal as a text stream."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def terminal_stream(columns: int) -> Iterator[TextIO]:
    """Gives a stream to a terminal of so many columns; nobody reads what is written there."""
    controller, terminal = pty.openpty()
    try:
        fcntl.ioctl(controller, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with os.fdopen(terminal, "w", encoding="utf-8") as stream:
            yield stream
    finally:
        os.close(controller)
