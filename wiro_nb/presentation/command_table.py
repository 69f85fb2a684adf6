"""The tables of `%wiro` and `wiro-nb` commands, from which parsers, help and completion are made."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = "wiro"
STATUS = "status"


@dataclass(frozen=True, slots=True)
class Argument:
    """A positional argument of a command.

    Attributes:
        name: As shown in the usage line, upper case.
        kind: What completion offers: "model", "run", "service", "command", "text", "usd", "task", "file".
        help: One line.
        required: False for optional ones, which come last.
        rest: True when the argument takes all remaining words as one text.
        repeats: True when it takes all remaining words one by one; it is read like a repeated option.
    """

    name: str
    kind: str
    help: str
    required: bool = True
    rest: bool = False
    repeats: bool = False

    @property
    def usage(self) -> str:
        """The argument as shown in a usage line."""
        more = " ..." if self.repeats else ""
        return self.name + more if self.required else f"[{self.name}{more}]"


@dataclass(frozen=True, slots=True)
class Flag:
    """An option such as `--max-cost USD`.

    Attributes:
        name: With its dashes.
        help: One line.
        value: Name of its value, upper case, or "" for a switch.
        kind: What completion offers for the value, as in `Argument.kind`; "source" is a run or a file.
        repeats: True when it may be given several times; its value is a list of values and keeps its quotes.
    """

    name: str
    help: str
    value: str = ""
    kind: str = "text"
    repeats: bool = False

    @property
    def key(self) -> str:
        """The name a handler reads the option by: "max_cost" for `--max-cost`."""
        return self.name.lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        """The option as shown in a usage line."""
        more = " ..." if self.repeats else ""
        return f"[{self.name} {self.value}{more}]" if self.value else f"[{self.name}]"


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
    flags: tuple[Flag, ...] = ()
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
        parts = [self.title]
        parts += [item.usage for item in self.arguments]
        if self.takes_values:
            parts.append("[name=value ...]")
        parts += [flag.usage for flag in self.flags]
        return " ".join(parts)

    def flag(self, name: str) -> Flag | None:
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
        arguments = tuple(Argument(**item) for item in facts.get("arguments", ()))
        flags = tuple(Flag(**item) for item in facts.get("flags", ()))
        found[name] = Command(name, **{**facts, "arguments": arguments, "flags": flags})
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
