"""The table of `%wiro` commands in `magic_commands.toml`, from which parser, help and completion are made."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
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


def _read_table() -> tuple[dict[str, Command], dict[str, Command]]:
    """Reads what cells and the lines of a film are called by, and the commands behind `%wiro`, by name."""
    table = tomllib.loads(Path(__file__).with_name("magic_commands.toml").read_text("utf-8"))
    shared: Mapping[str, Mapping[str, Any]] = table["shared"]

    def complete(items: Iterable[str | Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
        return ({"name": item, **shared[item]} if isinstance(item, str) else dict(item) for item in items)

    def read(name: str, facts: dict[str, Any]) -> Command:
        arguments = tuple(Argument(**item) for item in complete(facts.pop("arguments", ())))
        flags = tuple(Flag(**item) for item in complete(facts.pop("flags", ())))
        return Command(name, arguments=arguments, flags=flags, **facts)

    cells, commands = (
        {name: read(name, facts) for name, facts in table[key].items()} for key in ("cells", "commands")
    )
    return cells, commands


_CELLS, _COMMANDS = _read_table()
CELL, FILM, SHOT = (_CELLS[name] for name in ("cell", "film", "shot"))
COMMANDS = tuple(_COMMANDS.values())


def find_command(name: str) -> Command | None:
    """Returns the command of this name, or None."""
    return _COMMANDS.get(name)
