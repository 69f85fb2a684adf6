"""Builds the argument parser from the table of commands in `commands.toml`."""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from wiro_nb.errors import InputError
from wiro_nb.presentation.command_table import find_command

_EXITS = "Exit codes: 0 done, 1 run failed or cancelled, 2 bad input, 3 service, network or ledger"


def read_count(text: str) -> int:
    """Reads a count as the type of an option."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError("a whole number of up to nine digits")
    return int(text)


_TYPES = {"count": read_count, "int": int, "float": float, "lower": str.lower}


@dataclass(frozen=True, slots=True)
class Command:
    """One command of `wiro-nb`.

    Attributes:
        summary: One line for the help.
        arguments: Name and options of `ArgumentParser.add_argument`, in order.
        handler: "module:function" in `wiro_nb.cli`; "" where the command has a parser of its own.
    """

    summary: str
    arguments: tuple[tuple[str, dict[str, Any]], ...]
    handler: str = ""


def _read_commands() -> dict[str, Command]:
    table = tomllib.loads(Path(__file__).with_name("commands.toml").read_text("utf-8"))

    def read(given: str | dict[str, Any]) -> tuple[str, dict[str, Any]]:
        options = {"name": given, **table["shared"][given]} if isinstance(given, str) else dict(given)
        if "metavar" not in options:
            options["action"] = "store_true"
        if "type" in options:
            options["type"] = _TYPES[options["type"]]
        return options.pop("name"), options

    return {
        name: Command(**{**facts, "arguments": tuple(map(read, facts.get("arguments", ())))})
        for name, facts in table["commands"].items()
    }


COMMANDS = _read_commands()


def completion(arguments: argparse.Namespace) -> None:
    """Prints a completion script: `eval "$(wiro-nb completion bash)"`."""
    cases = []
    for name, command in COMMANDS.items():
        options = [option for option, _ in command.arguments if option.startswith("--")]
        choices = [str(choice) for _, given in command.arguments for choice in given.get("choices", ())]
        cases.append(f'    {name}) words="{" ".join([*choices, *options, "--help"])}";;')
    script = [
        *(["autoload -U +X bashcompinit && bashcompinit"] if arguments.shell == "zsh" else []),
        "_wiro_nb() {",
        '  local words=""',
        '  case "${COMP_WORDS[1]}" in',
        *cases,
        "  esac",
        f'  [ "$COMP_CWORD" -eq 1 ] && words="{" ".join(COMMANDS)}"',
        '  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
        "}",
        "complete -o default -F _wiro_nb wiro-nb",
    ]
    print("\n".join(script))


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
    for name, command in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=command.summary,
            description=f"{command.summary[:1].upper()}{command.summary[1:]}.",
            epilog=_EXITS,
            allow_abbrev=False,
            add_help=bool(command.handler),
        )
        sub.set_defaults(handler=command.handler, service=None)
        for argument, options in command.arguments:
            sub.add_argument(argument, **options)
    return parser


def parse_words(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Parses a command line whose `name=value` settings may stand before, between and behind options.

    Raises:
        InputError: The command is one of the notebook's.
        SystemExit: The line is wrong (2), or help was asked for (0); the message is printed.
    """
    if not words:
        parser.print_help(sys.stderr)
        parser.exit(2, "\na command is missing; the first one to try: wiro-nb demo\n")
    magic = find_command(words[0])
    if magic is not None and words[0] not in COMMANDS:
        raise InputError(f"{words[0]} is a command of notebooks; wiro-nb has none of that name", hint=magic.title)
    arguments, rest = parser.parse_known_args(words)
    is_setting = [not word.startswith("-") and "=" in word for word in rest]
    if rest and not (hasattr(arguments, "values") and all(is_setting)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.values = [*arguments.values, *rest]
    return arguments
