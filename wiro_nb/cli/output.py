"""What the command prints: JSON or plain lines on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from wiro_nb import errors
from wiro_nb.cli.parser import command_names
from wiro_nb.ledger.state import RunState, Snapshot
from wiro_nb.presentation.formatting import format_progress
from wiro_nb.presentation.run import run_text

_SHELL_WORDS = {
    "%wiro info": "wiro-nb schema",
    "%wiro login": "set WIRO_API_KEY",
    "%wiro use ": "--service ",
    "%wiro help": "wiro-nb --help",
    "%wiro download ": "wiro-nb wait ",
    "%config WiroMagics.out_dir = 'FOLDER'": "--out DIR",
    ", or the text below the %%wiro line": "",
}

EXIT_DONE, EXIT_RUN, EXIT_INPUT, EXIT_SERVICE = 0, 1, 2, 3


def report_error(error: errors.WiroError) -> int:
    """Prints an error for people and returns its exit code."""
    if errors.WiroError.debug:
        raise error
    for line in error.lines():
        print(as_shell(line), file=sys.stderr)
    return error_code(error)


def error_code(error: errors.WiroError) -> int:
    """Returns the exit code an error stands for."""
    if isinstance(error, (errors.InputError, errors.ConfigError)):
        return EXIT_INPUT
    return EXIT_RUN if isinstance(error, errors.RunError) else EXIT_SERVICE


def as_shell(text: str) -> str:
    """Returns a text whose commands are those of the shell instead of the notebook's.

    A command the shell does not have is said to be for a notebook.
    """
    for magic, shell in _SHELL_WORDS.items():
        text = text.replace(magic, shell)
    known = "|".join(command_names())
    text = re.sub(rf"(?<!%)%wiro (?=(?:{known})\b)", "wiro-nb ", text)
    text = re.sub(r"(?<!%)%wiro(?! [a-z])", "wiro-nb runs", text)
    return re.sub(r"(?<!%)%wiro ", "in a notebook: %wiro ", text, count=1)


def print_json(value: Any) -> None:
    """Prints one JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False, sort_keys=True, default=_plain))


def print_table(rows: Sequence[Sequence[str]], *, heads: Sequence[str]) -> None:
    """Prints aligned columns; the last one may be long."""
    table = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads) - 1)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[-1]]).rstrip())


def exit_code(state: RunState) -> int:
    """Returns the exit code a run's state stands for."""
    return EXIT_DONE if state in (RunState.SUCCEEDED, RunState.SUBMITTED, RunState.PLANNED) else EXIT_RUN


class ProgressLine:
    """One line on stderr that follows a run; where stderr is no terminal, only when contact is lost."""

    def __init__(self) -> None:
        self._shown = ""
        self._live = sys.stderr.isatty()
        self._is_lost = False

    def __call__(self, snapshot: Snapshot) -> None:
        """Shows a snapshot (called on the I/O thread)."""
        if not self._live:
            self._tell_contact(snapshot)
            return
        text = f"{snapshot.model} {snapshot.short_id}: {format_progress(snapshot)}"
        if text != self._shown:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
            self._shown = text

    def _tell_contact(self, snapshot: Snapshot) -> None:
        """Says in a log why nothing moves: a job may wait for long for a service that is away."""
        is_lost = snapshot.lost_since is not None
        if is_lost == self._is_lost or snapshot.state.is_final:
            return
        self._is_lost = is_lost
        told = f"lost contact with {snapshot.service}; it is asked again and again" if is_lost else "contact again"
        print(f"run {snapshot.short_id}: {told}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leaves the cursor on a line of its own."""
        if self._shown:
            print(file=sys.stderr, flush=True)
            self._shown = ""


def describe_run(snapshot: Snapshot) -> str:
    """Returns a run in plain text with the shell's commands."""
    return as_shell(run_text(snapshot))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
