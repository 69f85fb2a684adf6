"""Reads the line and the body of a magic. Pure: text in, values out, `UsageError` for mistakes.

Line: words separated by spaces. A value with spaces needs quotes, which count only at the start of a
word or right after its `=`; elsewhere an apostrophe is just an apostrophe. `name={expression}` is a Python value;
nothing else is expanded. A name with spaces needs quotes: `"my name"=value`.

A list such as `--sweep style=slow,"calm, warm"` keeps its quotes: they say which commas part values.

Body: the prompt, verbatim, without the blank lines around it. When a line is exactly `---` and every
line before it reads `name: value`, those lines are settings (values raw, without quotes) and the prompt
is what follows. A name with blanks counts only where the model has such an input.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NoReturn

from IPython.core.error import UsageError

from wiro_nb.notebook.magic.keys import KEY_REFUSED, refuse_keys
from wiro_nb.presentation.command_table import CELL, COMMANDS, MAGIC, STATUS, Command, find_command
from wiro_nb.redaction import register_secret

NAME = re.compile(r"[A-Za-z_][\w.\-]*\Z")
SPACED_NAME = re.compile(r"[^\W\d][\w.\-]*(?: +[\w.\-]+)+\Z")
SEPARATOR = "---"

_HEADER_LINE = re.compile(r"[A-Za-z_][\w.\-]*:(?:[ \t]+.*)?\Z")
_WORD_NAME = re.compile(r"""([A-Za-z_][\w.\-]*)=|(["'])([^\W\d][\w.\-]*(?: +[\w.\-]+)*)\2=""")
LIST_FLAGS = frozenset(flag.name for command in (CELL, *COMMANDS) for flag in command.flags if flag.repeats)
_QUOTED = re.compile(r'"((?:\\["\\]|[^"])*+)"' + r"|'([^']*)'")


@dataclass(frozen=True, slots=True)
class Expression:
    """A value given as `name={expression}`: a Python expression, not evaluated yet."""

    source: str


Value = str | Expression
Values = dict[str, Value | list[Value]]
Options = dict[str, str | bool | list[str]]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line: `text` without quotes or braces.

    Attributes:
        name: When the word is `name=value`.
        quoted: True when the value is in quotes.
        is_expression: True when it is in braces.
    """

    text: str
    name: str | None = None
    quoted: bool = False
    is_expression: bool = False

    @property
    def value(self) -> Value:
        """The value of `name=value`."""
        return Expression(self.text) if self.is_expression else self.text

    @property
    def typed(self) -> str:
        """The word where `name=` has no meaning of its own."""
        return self.text if self.name is None else f"{self.name}={self.text}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was typed.

    Attributes:
        command: The command called.
        arguments: By the argument's name; absent ones are absent.
        options: By `Flag.key`; switches are True. What may be given several times is a list of texts, as typed.
        values: `name=value` pairs; a name given several times has a list.
        repeated: How often such a name is given.
    """

    command: Command
    arguments: dict[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)

    def listed(self, key: str) -> list[str]:
        """Returns every value of an option or argument that may be given several times, with its quotes."""
        value = self.options.get(key)
        return value if isinstance(value, list) else []

    def has(self, key: str) -> bool:
        """Returns whether an option is given."""
        return bool(self.options.get(key))

    def option(self, key: str) -> str | None:
        """Returns the value of an option that takes one, or None."""
        value = self.options.get(key)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Body:
    """A cell's body: settings of its header block (may be empty) and the prompt."""

    values: dict[str, str]
    prompt: str


def split_words(line: str) -> list[Word]:
    """Splits a line into words.

    Raises:
        UsageError: A quote is not closed, or text follows a closing quote.
    """
    words: list[Word] = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        if words and words[-1].text in LIST_FLAGS and not words[-1].quoted and line[position] not in "\"'":
            word, position = _read_list(line, position)
        elif (
            flag := next((name for name in LIST_FLAGS if line.startswith(f"{name}=", position)), None)
        ) is not None:
            word, position = Word(flag), position + len(flag) + 1
        else:
            word, position = _read_word(line, position)
        words.append(word)
    return words


def _read_list(line: str, start: int) -> tuple[Word, int]:
    """Reads to the next space outside quotes, and keeps the quotes."""
    match = re.compile(r"(?:\"[^\"]*\"|'[^']*'|[^\s\"']|[\"'])+").match(line, start)
    assert match is not None
    text = match.group()
    if len(re.findall('"', re.sub(r"'[^']*'", "", text))) % 2:
        fail(f"a quote is not closed: {line[start:]}")
    name, equals, values = text.partition("=")
    return (Word(values, name) if equals and NAME.match(name) else Word(text)), match.end()


def _read_word(line: str, start: int) -> tuple[Word, int]:
    name: str | None = None
    position = start
    if (match := _WORD_NAME.match(line, start)) is not None:
        name, position = match[1] or match[3], match.end()
    if position < len(line) and line[position] in "\"'":
        text, end = _read_quoted(line, position)
        return Word(text, name, quoted=True), end
    if name is not None and line.startswith("{", position):
        text, end = _read_expression(line, position)
        return Word(text, name, is_expression=True), end
    end = next((at for at in range(position, len(line)) if line[at].isspace()), len(line))
    return Word(line[position:end], name), end


def _read_quoted(line: str, start: int) -> tuple[str, int]:
    match = _QUOTED.match(line, start)
    if match is None:
        fail(f"a quote is not closed: {line[start:]}")
    end = match.end()
    if end < len(line) and not line[end].isspace():
        fail(f"text follows the closing quote: {line[start : end + 1]}... Use the other quotes around it")
    return match[2] if match[1] is None else re.sub(r'\\(["\\])', r"\1", match[1]), end


def _read_expression(line: str, start: int) -> tuple[str, int]:
    """Reads to the first closing brace that makes a Python expression and ends the word."""
    for match in re.compile(r"\}(?=\s|\Z)").finditer(line, start):
        source = line[start + 1 : match.start()].strip()
        try:
            ast.parse(source, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return source, match.end()
    raise UsageError(
        f"not a Python expression in braces: {line[start:]} (put quotes around text that begins with a brace)"
    )


def quote_word(value: str) -> str:
    """Returns a value as it can be typed on the line: `split_words` reads the same value back."""
    if value and not any(letter.isspace() for letter in value) and value[0] not in "\"'{":
        return value
    if '"' in value and "'" not in value:
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def quote_name(name: str) -> str:
    """Returns an input's name as it is typed on the line."""
    return f'"{name}"' if SPACED_NAME.match(name) else name


def parse_line(line: str) -> Parsed:
    """Reads what follows `%wiro`.

    Raises:
        UsageError: No such command, a wrong option or argument, or a key typed on the line.
    """
    words = split_words(line)
    refuse_keys(words)
    if not words:
        command = find_command(STATUS)
        assert command is not None
        return Parsed(command)
    first = words.pop(0)
    command = None if first.name or first.quoted else find_command(first.text)
    if command is None:
        fail(_unknown_command(first))
    if command.name == "login" and words:
        for word in words:
            register_secret(word.text)
        fail(KEY_REFUSED)
    return _parse_words(command, words)


def parse_cell_line(line: str, command: Command = CELL) -> Parsed:
    """Reads what follows `%%wiro`, or the words of another command that are no line of `%wiro`.

    Raises:
        UsageError: The model is missing, an option is wrong, or a key was typed.
    """
    words = split_words(line)
    refuse_keys(words)
    return _parse_words(command, words)


def parse_body(body: str, names: Collection[str] = ()) -> Body:
    """Splits a cell's body into its settings and the prompt; see the module's text for the rule.

    Args:
        body: The body.
        names: The model's inputs; only those with blanks matter.
    """
    lines = body.split("\n")
    if SEPARATOR in (stripped := [line.rstrip("\r") for line in lines]):
        end = stripped.index(SEPARATOR)
        if head := read_settings(stripped[:end], names):
            return Body(head, _trim_blank_lines(lines[end + 1 :]))
    return Body({}, _trim_blank_lines(lines))


def split_shots(body: str) -> list[tuple[str, str]]:
    """Splits the body of a film into its shots: the words behind `---`, and the prompt below them.

    Raises:
        UsageError: Text stands before the first shot.
    """
    shots: list[tuple[str, list[str]]] = []
    for line in body.split("\n"):
        head = line.strip()
        if head == SEPARATOR or head.startswith(f"{SEPARATOR} "):
            shots.append((head.removeprefix(SEPARATOR), []))
        elif shots:
            shots[-1][1].append(line)
        elif head:
            fail(f"a shot begins with a line such as: {SEPARATOR} opening. The film begins with: {line}")
    return [(head, _trim_blank_lines(lines)) for head, lines in shots]


def read_settings(lines: Iterable[str], names: Collection[str] = ()) -> dict[str, str] | None:
    """Reads `name: value` lines; None when one of them is something else.

    Raises:
        UsageError: A name stands twice.
    """
    values: dict[str, str] = {}
    for line in lines:
        name, _, value = line.rstrip().partition(":")
        if _HEADER_LINE.match(line.rstrip()) is None and (name not in names or value[:1] not in ("", " ", "\t")):
            return None
        if name in values:
            fail(f"{name} is given twice above the {SEPARATOR} line")
        values[name] = value.strip()
    return values


def _trim_blank_lines(lines: list[str]) -> str:
    filled = [number for number, line in enumerate(lines) if line.strip()]
    return "\n".join(lines[filled[0] : filled[-1] + 1]) if filled else ""


def _parse_words(command: Command, words: list[Word]) -> Parsed:
    positional: list[str] = []
    options: Options = {}
    given: dict[str, list[Value]] = {}
    while words:
        word = words.pop(0)
        if word.name is None and not word.quoted and word.text.startswith("--"):
            _take_flag(command, word.text, words, options)
        elif word.name is not None and command.takes_values:
            given.setdefault(word.name, []).append(word.value)
        else:
            positional.append(word.typed)
    values: Values = {name: items if len(items) > 1 else items[0] for name, items in given.items()}
    repeated = {name: len(items) for name, items in given.items() if len(items) > 1}
    return Parsed(command, _bind(command, positional, options), options, values, repeated)


def _take_flag(command: Command, text: str, queue: list[Word], options: Options) -> None:
    name, equals, inline = text.partition("=")
    flag = command.flag(name)
    if flag is None:
        known = [item.name for item in command.flags]
        near = get_close_matches(name, known, 1)
        tail = f" Did you mean {near[0]}?" if near else f" It takes: {', '.join(known) or 'no options'}"
        fail(f"{command.title} has no option {name}.{tail}")
    if flag.key in options and not flag.repeats:
        fail(f"{name} is given twice")
    if not flag.value:
        if equals:
            fail(f"{name} takes no value")
        options[flag.key] = True
    elif equals:
        options[flag.key] = inline
    elif queue and (queue[0].quoted or not queue[0].text.startswith("--")):
        given, present = queue.pop(0).typed, options.get(flag.key)
        earlier = present if isinstance(present, list) else []
        options[flag.key] = [*earlier, given] if flag.repeats else given
    else:
        fail(f"{name} needs a value: {name} {flag.value}")


def _bind(command: Command, rest: list[str], options: Options) -> dict[str, str]:
    bound: dict[str, str] = {}
    for argument in command.arguments:
        if argument.rest:
            if rest:
                bound[argument.name] = " ".join(rest)
            rest = []
        elif argument.repeats:
            options[argument.name] = rest
            rest = []
        elif rest:
            bound[argument.name] = rest.pop(0)
        elif argument.required:
            fail(f"{command.title} needs {argument.name}: {argument.help}. For example: {command.example}")
    if rest:
        hint = " A setting is written name=value" if command.takes_values else ""
        fail(f"{command.title} does not understand {rest[0]!r}.{hint} Usage: {command.usage}")
    return bound


def _unknown_command(word: Word) -> str:
    typed = word.typed
    if "/" in typed:
        return f"{typed!r} is not a command. To run a model: %%{MAGIC} {typed}; its inputs: %wiro info {typed}"
    near = get_close_matches(typed, [command.name for command in COMMANDS], 1)
    tail = f"Did you mean %wiro {near[0]}?" if near else "All commands: %wiro help"
    return f"no command {typed!r}. {tail}"


def fail(message: str) -> NoReturn:
    """Raises exactly `UsageError`: IPython prints one line for it and a traceback for its subclasses."""
    raise UsageError(message)
