"""The tables of `%wiro` and `wiro-nb` commands, from which parsers, help and completion are made."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

MAGIC = "wiro"
STATUS = "status"


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument of a command, or an option such as `--max-cost USD`.

    Attributes:
        name: As shown in the usage line: upper case, or with dashes.
        help: One line.
        value: Name of an option's value, upper case, or "" for a switch.
        kind: What it is: "model", "run", "source" (run or file), "command", "file", "variable", "usd", "seconds",
            "count", "integer", "text". Completion offers what there is of a kind, and else `choices`.
        choices: Values that completion offers; others may be allowed too.
        required: False for optional arguments, which come last.
        repeats: True for an argument that takes all remaining words, and for an option that may be given several
            times: its value is a list. An option's values keep their quotes.
    """

    name: str
    help: str
    value: str = ""
    kind: str = "text"
    choices: tuple[str, ...] = ()
    required: bool = True
    repeats: bool = False

    @property
    def key(self) -> str:
        """The name a handler reads an option by: "max_cost" for `--max-cost`."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def typed(self) -> str:
        """The name and, of an option, its value: "RUN", "--max-cost USD"."""
        return f"{self.name} {self.value}".rstrip()

    @property
    def usage(self) -> str:
        """The argument as shown in a usage line."""
        shown = f"{self.typed} ..." if self.repeats else self.typed
        return f"[{shown}]" if self.name.startswith("-") or not self.required else shown


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: The word after `%wiro`; "status" also answers to no word at all.
        summary: One line for `%wiro help`.
        arguments: In order.
        flags: Options, anywhere on the line.
        takes_values: True when `name=value` pairs are the model's settings.
        takes_body: True when the command is also a cell, `%%wiro NAME`, whose body is the prompt.
        words: What calls it, where that is not `%wiro` and its name.
        example: A complete line that works.
    """

    name: str
    summary: str
    arguments: tuple[Argument, ...] = ()
    flags: tuple[Argument, ...] = ()
    takes_values: bool = False
    takes_body: bool = False
    words: str = ""
    example: str = ""

    @property
    def title(self) -> str:
        """The words that call the command, e.g. "%wiro show"."""
        if self.words:
            return self.words
        return f"%{MAGIC}" if self.name == STATUS else f"%{MAGIC} {self.name}"

    @property
    def usage(self) -> str:
        """One usage line with every argument and option."""
        values = ["[name=value ...]"] if self.takes_values else []
        items = (item.usage for item in self.arguments), values, (item.usage for item in self.flags)
        return " ".join([self.title, *chain(*items)])

    def flag(self, name: str) -> Argument | None:
        """Returns the option of this name (with dashes), or None."""
        return next((flag for flag in self.flags if flag.name == name), None)


def _read_table(name: str) -> dict[str, Any]:
    """Reads a table; a name in a list of arguments or options stands for the one that several commands share."""
    table = tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))
    shared = table.pop("shared")
    for commands in table.values():
        for facts in commands.values():
            for key in facts.keys() & {"arguments", "flags"}:
                facts[key] = [{"name": it, **shared[it]} if isinstance(it, str) else it for it in facts[key]]
    return table


def _read_commands(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Command]:
    found = {}
    for name, facts in table.items():
        lists = {key: tuple(Argument(**item) for item in facts.get(key, ())) for key in ("arguments", "flags")}
        found[name] = Command(name, **{**facts, **lists})
    return found


SHELL_COMMANDS: dict[str, dict[str, Any]] = _read_table("shell_commands.toml")["commands"]
"""The commands of `wiro-nb` by name; `cli` makes its parser from them."""
_MAGICS = _read_table("magic_commands.toml")
_CELLS, _COMMANDS = _read_commands(_MAGICS["cells"]), _read_commands(_MAGICS["commands"])
CELL, FILM, SHOT = (_CELLS[name] for name in ("cell", "film", "shot"))
COMMANDS = tuple(_COMMANDS.values())


def find_command(name: str) -> Command | None:
    """Returns the command of this name, or None."""
    return _COMMANDS.get(name)
