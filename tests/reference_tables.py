"""The tables of commands and options in notebooks/REFERENCE.md, generated from the parsers.

`python -m tests.reference_tables` writes them between their marks; `tests/unit/test_readme.py` fails when they
are behind.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from wiro_nb.cli import build_parser
from wiro_nb.presentation.command_table import CELL, COMMANDS, FILM, Command
from wiro_nb.sandbox.serve import build_parser as build_sandbox_parser

README = Path(__file__).parents[1] / "README.md"
REFERENCE = README.parent / "notebooks" / "REFERENCE.md"
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewrite(text: str) -> str:
    """Returns the page with fresh tables between the marks.

    Raises:
        KeyError: A mark names a table there is none of.
    """
    return _MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def magic_table() -> str:
    """Returns the table of magic commands, and that of their options."""
    every = [CELL, FILM, *COMMANDS]
    options = [(flag.typed, command.title, flag.help) for command in every for flag in command.flags]
    commands = _table(("magic", "what it does"), [(_code(_call(item)), item.summary) for item in every])
    return f"{commands}\n\n{_options_table(options)}"


def cli_table() -> str:
    """Returns the table of shell commands, that of their options, and that of the sandbox's options."""
    rows: list[tuple[str, str]] = []
    options: list[tuple[str, str, str]] = []
    for name, summary, parser in _subcommands(build_parser()):
        words = ["wiro-nb", name, *(_words(action) for action in _positionals(parser))]
        rows.append((_code(" ".join(words)), _sentence(summary)))
        options += [(_words(action), name, action.help or "") for action in _options(parser)]
    elsewhere = ("see below", "see `wiro-nb sandbox --help`")
    sandbox = [
        (_code(_words(action)), _sentence((action.help or "").replace(*elsewhere)))
        for action in _options(build_sandbox_parser())
    ]
    return "\n\n".join(
        (
            _table(("command", "what it does"), rows),
            _options_table(options),
            _table(("option of `wiro-nb sandbox`", "what it does"), sandbox),
        )
    )


TABLES = {"magic": magic_table, "cli": cli_table}


def _call(command: Command) -> str:
    """Returns the usage line without options, which have a table of their own."""
    return command.usage.partition(" [--")[0]


def _subcommands(parser: argparse.ArgumentParser) -> Iterable[tuple[str, str, argparse.ArgumentParser]]:
    action = next(item for item in parser._actions if isinstance(item, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
    return [(name, helps[name], sub) for name, sub in action.choices.items()]


def _positionals(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if not action.option_strings]


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.option_strings and action.dest != "help"]


def _words(action: argparse.Action) -> str:
    """Returns an argument as it is typed: "[DIR]", "[QUERY ...]", "--limit N", "--json"."""
    value = "|".join(action.choices or ()) or str(action.metavar or action.dest.upper())
    if action.option_strings:
        return action.option_strings[-1] if action.nargs == 0 else f"{action.option_strings[-1]} {value}"
    return {"?": f"[{value}]", "*": f"[{value} ...]"}.get(str(action.nargs), value)


def _options_table(options: Sequence[tuple[str, str, str]]) -> str:
    """Returns one row per option and meaning, with every command that has it."""
    owners: dict[tuple[str, str], list[str]] = {}
    for option, command, help_text in options:
        owners.setdefault((option, help_text), []).append(_code(command))
    rows = [(_code(option), ", ".join(names), _sentence(text)) for (option, text), names in owners.items()]
    return _table(("option", "of", "what it does"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: str) -> str:
    # A bar ends a cell even between backticks.
    return f"`{text.replace('|', chr(92) + '|')}`"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    REFERENCE.write_text(rewrite(REFERENCE.read_text("utf-8")), "utf-8")
