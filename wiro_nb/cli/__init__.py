"""The `wiro-nb` command, for shells, scripts and scheduled jobs.

The top layer; it imports the others at first use, so that `wiro-nb --help` is quick.
With `--json` one JSON value goes to stdout and everything else to stderr.

Exit codes: 0 done, 1 a run failed or was cancelled, 2 bad input, 3 service, network or ledger,
130 interrupted.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Any

from wiro_nb.errors import InputError, WiroError
from wiro_nb.presentation.command_table import SHELL_COMMANDS, find_command
from wiro_nb.terminal import discard, safe_streams

__all__ = ["main"]

_EXITS = "Exit codes: 0 done, 1 run failed or cancelled, 2 bad input, 3 service, network or ledger"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line.

    Args:
        argv: The words after `wiro-nb`; those of the process when None.

    Returns:
        The exit code.
    """
    with safe_streams():
        try:
            code = _run_command(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()  # a reader that left early is no error here; at the interpreter's exit it is one
            return code
        except WiroError as error:
            from wiro_nb.cli.output import report_error

            return report_error(error)
        except KeyboardInterrupt as stop:
            if not stop.args:  # a command that waits for a run has printed which one continues
                print("stopped; a run that was sent continues: wiro-nb runs", file=sys.stderr)
            return 130
        except BrokenPipeError:
            discard(sys.stdout)
            return 141
        finally:
            _close_manager()


def _run_command(words: list[str]) -> int:
    if words[:1] == ["sandbox"]:
        from wiro_nb import sandbox

        return sandbox.main(words[1:])
    arguments = parse_words(words)
    module, _, function = arguments.handler.partition(":")
    return int(getattr(import_module(f"wiro_nb.cli.{module}"), function)(arguments) or 0)


def _close_manager() -> None:
    """Ends the I/O thread; runs in flight stay in the ledger."""
    session = sys.modules.get("wiro_nb.session")
    if session is not None and session.has_manager():
        from wiro_nb.cli.output import as_shell, say

        for notice in session.get_manager().take_notices():
            say(as_shell(notice))
        session.close_manager()


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """Parses a command line whose `name=value` settings may stand before, between and behind options.

    Raises:
        InputError: The command is one of the notebook's.
        SystemExit: The line is wrong (2), or help was asked for (0); the message is printed.
    """
    parser = build_parser()
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2, "\nA command is missing. The first one to try: wiro-nb demo\n")
    if words[0] not in SHELL_COMMANDS and not words[0].startswith("-"):
        if (magic := find_command(words[0])) is not None:
            raise InputError(f"there is no command {words[0]} in a shell", hint=magic.title)
        from difflib import get_close_matches

        near = get_close_matches(words[0], SHELL_COMMANDS, 1)
        hint = f"wiro-nb {near[0]}, or wiro-nb --help" if near else "wiro-nb --help"
        raise InputError(f"there is no command {words[0]}", hint=hint)
    arguments, rest = parser.parse_known_args(words)
    is_setting = [not word.startswith("-") and "=" in word for word in rest]
    if rest and not (hasattr(arguments, "values") and all(is_setting)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.values = [*arguments.values, *rest]
    return arguments


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of `wiro-nb` with every command."""
    parser = argparse.ArgumentParser(
        prog="wiro-nb",
        description="Run generative-video models of the Wiro service, or of the free local sandbox.",
        epilog=f"Without an account everything runs against the sandbox. {_EXITS}.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"wiro_nb {metadata.version('wiro_nb')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in SHELL_COMMANDS.items():
        summary, handler = command["summary"], command.get("handler")
        sub = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=_EXITS,
            allow_abbrev=False,
            add_help=handler is not None,  # without a handler the command has a parser of its own
        )
        sub.set_defaults(handler=handler, service=None)
        for argument in command.get("arguments", ()):
            _add_argument(sub, **argument)
    return parser


def _add_argument(parser: argparse.ArgumentParser, name: str, **options: Any) -> None:
    if "metavar" not in options:
        options["action"] = "store_true"
    if "type" in options:
        options["type"] = _TYPES[options["type"]]
    parser.add_argument(name, **options)


def _read_count(text: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError("a whole number above 0 of up to nine digits")
    return int(text)


_TYPES = {"count": _read_count, "int": int, "float": float, "lower": str.lower}
