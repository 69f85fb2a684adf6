"""Output of the command: JSON or plain text on stdout, progress and errors on stderr."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb import errors
from wiro_nb.cli.parser import COMMANDS
from wiro_nb.ledger.state import RunState, Snapshot
from wiro_nb.presentation.formatting import fit_terminal, format_bar
from wiro_nb.presentation.output import text_table
from wiro_nb.terminal import clean, escape_controls, wrap_terminal

if TYPE_CHECKING:
    from wiro_nb.session.manager import Manager

_SHELL_COMMANDS = {
    "": "wiro-nb runs",
    "info": "wiro-nb schema",
    "use": "--service",
    "help": "wiro-nb --help",
    "download": "wiro-nb wait",
    **{name: f"wiro-nb {name}" for name in COMMANDS},
}
"""What a shell has in place of the magic commands; the others are for notebooks."""
_SHELL_PHRASES = {
    "%config WiroMagics.out_dir = 'FOLDER'": "--out DIR",
    "%wiro runs --all": "wiro-nb runs",
    ", or the text below the %%wiro line": "",
}
_MAGIC = re.compile(r"(?<!%)%wiro(?: ([a-z]\w*))?")

EXIT_DONE, EXIT_RUN, EXIT_INPUT, EXIT_SERVICE = 0, 1, 2, 3
"""What the function of a command returns; None is `EXIT_DONE`."""


def report_error(error: errors.WiroError) -> int:
    """Prints an error as text and returns its exit code."""
    if errors.WiroError.debug:
        raise error
    for line in error.lines():
        say(as_shell(line))
    return error_code(error)


def error_code(error: errors.WiroError) -> int:
    """Returns the exit code an error stands for."""
    if isinstance(error, (errors.InputError, errors.ConfigError)):
        return EXIT_INPUT
    return EXIT_RUN if isinstance(error, errors.RunError) else EXIT_SERVICE


def exit_code(state: RunState) -> int:
    """Returns the exit code a run's state stands for."""
    return EXIT_DONE if state in (RunState.SUCCEEDED, RunState.SUBMITTED, RunState.PLANNED) else EXIT_RUN


def as_shell(text: str) -> str:
    """Returns a text with the shell's commands in place of magics; other magics are marked as for a notebook."""
    for phrase, shell in _SHELL_PHRASES.items():
        text = text.replace(phrase, shell)
    return _MAGIC.sub(lambda found: _SHELL_COMMANDS.get(found[1] or "", f"in a notebook: {found[0]}"), text)


def open_manager(arguments: argparse.Namespace) -> Manager:
    """Returns the session, with the service that `--service` names."""
    from wiro_nb.session import get_manager

    manager = get_manager()
    if arguments.service:
        manager.services.use(arguments.service)
    return manager


def say(text: str) -> None:
    """Prints a line on stderr; stdout is for data."""
    print(wrap_terminal(text, sys.stderr), file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """Prints one JSON value on one line."""
    print(escape_controls(json.dumps(value, ensure_ascii=False, sort_keys=True, default=_to_json)))


def _to_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    return dict(value) if isinstance(value, Mapping) else str(value)


def print_text(text: str) -> None:
    """Prints a text of the notebook with the shell's commands, in the terminal's width."""
    text = re.sub(r"\A[a-z]+(?=[ ,:;])", lambda word: word[0].capitalize(), as_shell(text.removeprefix("wiro: ")))
    print(wrap_terminal(text, sys.stdout))


def print_answer(value: Any, text: str, *, as_json: bool) -> None:
    """Prints a value as JSON, or its text."""
    if as_json:
        print_json(value)
    else:
        print_text(text)


def print_table(rows: Sequence[Sequence[str]], *, heads: Sequence[str]) -> None:
    """Prints aligned columns; the last one may be long."""
    for row in text_table([heads, *rows]):
        print(wrap_terminal(row[2:], sys.stdout))


class StatusLine:
    """One line on stderr that is rewritten in place; nothing is written where stderr is no terminal."""

    def __init__(self) -> None:
        self._shown = ""
        self.is_terminal = sys.stderr.isatty()

    def rewrite(self, text: str) -> None:
        """Replaces the line (any thread)."""
        if self.is_terminal and text != self._shown:
            write = getattr(sys.stderr, "write_unfiltered", sys.stderr.write)
            write(f"\r\033[K{clean(fit_terminal(text, sys.stderr))}")
            sys.stderr.flush()
            self._shown = text

    def close(self) -> None:
        """Leaves the cursor on a line of its own."""
        if self._shown and self.is_terminal:
            say("")
            self._shown = ""


class ProgressLine(StatusLine):
    """A line that follows a run; where stderr is no terminal, only a loss of contact is reported."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Shows a snapshot (called on the I/O thread)."""
        if self.is_terminal:
            self.rewrite(format_bar(snapshot, sys.stderr))
        else:
            self._report_contact(snapshot)

    def _report_contact(self, snapshot: Snapshot) -> None:
        """Tells a log why nothing moves: a job may wait long for a service that is unreachable."""
        if snapshot.state.is_final:
            return
        text = "Connected again." if self._shown else ""
        if snapshot.state is RunState.UNCERTAIN:
            text = snapshot.message
        elif snapshot.lost_since is not None:
            text = f"Lost contact with {snapshot.service}. Trying again."
        if text != self._shown:
            say(f"Run {snapshot.short_id}: {text}")
            self._shown = text
