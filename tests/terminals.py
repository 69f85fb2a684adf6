"""Real terminals: for programs that write to one, and for a person who reads and types there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

PATIENCE_S = 120.0


class Terminal:
    """A terminal of so many columns. `descriptor` is what programs write to; `give_away` it once they have it."""

    def __init__(self, columns: int) -> None:
        self._controller, self.descriptor = pty.openpty()
        fcntl.ioctl(self._controller, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def give_away(self) -> None:
        """Closes this process's copy of `descriptor`, so that the terminal ends with the last program."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def close(self) -> None:
        self.give_away()
        os.close(self._controller)

    def type(self, line: str) -> None:
        os.write(self._controller, f"{line}\n".encode())

    def read_until(self, wanted: bytes) -> bytes:
        """Reads until it has shown something; fails when it ends or stays silent before."""
        told = b""
        while wanted not in told:
            piece = self._read()
            assert piece, told.decode(errors="replace")
            told += piece
        return told

    def read_to_end(self) -> bytes:
        """Reads until the last program has closed its end."""
        return b"".join(iter(self._read, b""))

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._controller], [], [], PATIENCE_S)
        try:
            return os.read(self._controller, 4096) if ready else b""
        except OSError:  # Linux says so when the last program has closed its end
            return b""


@contextmanager
def open_terminal(columns: int = 80) -> Iterator[Terminal]:
    """Opens a terminal and closes it at the end."""
    terminal = Terminal(columns)
    try:
        yield terminal
    finally:
        terminal.close()


@contextmanager
def terminal_stream(columns: int) -> Iterator[TextIO]:
    """Gives a stream to a terminal of so many columns; nobody reads what is written there."""
    with (
        open_terminal(columns) as terminal,
        open(terminal.descriptor, "w", encoding="utf-8", closefd=False) as stream,
    ):
        yield stream
