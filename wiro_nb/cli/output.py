"""Output of the command: JSON or plain text on stdout, progress and errors on stderr."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from wiro_nb import errors
from wiro_nb.formatting import format_bar
from wiro_nb.ledger.state import RunState, Snapshot
from wiro_nb.presentation.command_table import SHELL_COMMANDS
from wiro_nb.presentation.output import Displayable, text_table
from wiro_nb.terminal import StatusLine, escape_controls, wrap_terminal

if TYPE_CHECKING:
    from wiro_nb.session.manager import Manager

_IN_A_SHELL = {
    "": "wiro-nb runs",
    "info": "wiro-nb schema",
    "use": "--service",
    "help": "wiro-nb --help",
    "download": "wiro-nb wait",
    **{name: f"wiro-nb {name}" for name in SHELL_COMMANDS},
}
"""What a shell has in place of the magic commands; the others are for notebooks."""
_SHELL_PHRASES = {
    "%config WiroMagics.out_dir = 'FOLDER'": "--out DIR",
    "%wiro runs --all": "wiro-nb runs",
    ", or the text below the %%wiro line": "",
}
_MAGIC = re.compile(r"(?<!%)%wiro(?: ([a-z]\w*))?")


class Exit(IntEnum):
    """What the function of a command returns; None is `DONE`."""

    DONE = 0
    RUN = 1
    INPUT = 2
    SERVICE = 3


def report_error(error: errors.WiroError) -> int:
    """Prints an error as text and returns its exit code."""
    for line in error.lines():
        say(as_shell(line))
    return error_code(error)


def error_code(error: errors.WiroError) -> int:
    """Returns the exit code an error stands for."""
    if isinstance(error, (errors.InputError, errors.ConfigError)):
        return Exit.INPUT
    return Exit.RUN if isinstance(error, errors.RunError) else Exit.SERVICE


def exit_code(state: RunState) -> int:
    """Returns the exit code a run's state stands for."""
    return Exit.DONE if state in (RunState.SUCCEEDED, RunState.SUBMITTED, RunState.PLANNED) else Exit.RUN


def as_shell(text: str) -> str:
    """Returns a text with the shell's commands in place of magics; other magics are marked as for a notebook."""
    for phrase, shell in _SHELL_PHRASES.items():
        text = text.replace(phrase, shell)
    return _MAGIC.sub(lambda found: _IN_A_SHELL.get(found[1] or "", f"in a notebook: {found[0]}"), text)


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


def print_answer(value: Any, shown: Displayable, *, as_json: bool) -> None:
    """Prints a value as JSON, or the text of what a notebook displays."""
    if as_json:
        print_json(value)
    else:
        print_text(shown.output().text)


def print_table(rows: Sequence[Sequence[str]], *, heads: Sequence[str]) -> None:
    """Prints aligned columns; the last one may be long."""
    for row in text_table([heads, *rows]):
        print(wrap_terminal(row[2:], sys.stdout))


class ProgressLine(StatusLine):
    """A line that follows a run; where stderr is no terminal, only a loss of contact is reported."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Shows a snapshot (called on the I/O thread)."""
        if self.is_terminal:
            self.rewrite(format_bar(snapshot, sys.stderr))
        elif not snapshot.state.is_final:
            self._report_contact(snapshot)

    def _report_contact(self, snapshot: Snapshot) -> None:
        """Tells a log why nothing moves: a job may wait long for a service that is unreachable."""
        text = "Connected again." if self.shown else ""
        if snapshot.state is RunState.UNCERTAIN:
            text = snapshot.message
        elif snapshot.lost_since is not None:
            text = f"Lost contact with {snapshot.service}. Trying again."
        if text != self.shown:
            say(f"Run {snapshot.short_id}: {text}")
            self.shown = text


def completion(arguments: argparse.Namespace) -> None:
    """Prints a completion script: `eval "$(wiro-nb completion bash)"`."""
    cases = []
    for name, command in SHELL_COMMANDS.items():
        options = [item["name"] for item in command.get("arguments", ()) if item["name"].startswith("--")]
        choices = [choice for item in command.get("arguments", ()) for choice in item.get("choices", ())]
        cases.append(f'    {name}) words="{" ".join([*choices, *options, "--help"])}";;')
    script = [
        *(["autoload -U +X bashcompinit && bashcompinit"] if arguments.shell == "zsh" else []),
        "_wiro_nb() {",
        '  local words=""',
        '  case "${COMP_WORDS[1]}" in',
        *cases,
        "  esac",
        f'  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(SHELL_COMMANDS)}"',
        '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
        "}",
        "complete -o default -F _wiro_nb wiro-nb",
    ]
    print("\n".join(script))
