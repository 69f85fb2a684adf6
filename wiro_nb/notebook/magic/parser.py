"""Parses the lines of the magics: command, arguments, options, settings. `UsageError` for mistakes, in one line.

Keys and tokens typed into a cell are refused, since the notebook and the history would keep them.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from wiro_nb.formatting import read_usd
from wiro_nb.notebook.magic.cells import Word, fail, parse_body, read_settings, split_words
from wiro_nb.notebook.session import current_shell
from wiro_nb.presentation.command_table import CELL, COMMANDS, MAGIC, STATUS, Argument, Command, find_command
from wiro_nb.redaction import holds_secret, register_secret
from wiro_nb.schema.types import ModelSchema
from wiro_nb.sweeps.axes import read_axis

_KEY_NAME = re.compile(r"(?i)(\A|[_\-])(api[_\- ]?key|api[_\- ]?secret|secret|tasktoken|socketaccesstoken)\Z")
_KEY_SHAPE = re.compile(r"(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[A-Za-z0-9_\-]{24,}\Z")
_OWN_FOLDER = re.compile(r"\d{4}-\d\d-\d\d-[a-z0-9\-]+\Z")
"""The name of a run's folder, typed for `verify` and similar commands."""
_NAMED_KEY = re.compile(
    r"(?i)\b(?:WIRO_)?API[_\- ]?(?:KEY|SECRET)\b[\"']?\s*[:=]\s*[\"']?(?=[^\s\"']*\d)([^\s\"']{8,})"
)
_KEY_WORD = re.compile(r"(?<![A-Za-z0-9/_.#=\-])[A-Za-z0-9]{24,64}(?![A-Za-z0-9/_.=\-])")
_ULID = re.compile(r"(?i)[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
KEY_REFUSED = (
    "a key or token typed in a cell stays in the notebook and its history. It was not used. "
    "Remove it from the cell and type %wiro login, which asks for the key without keeping it here"
)


_NUMBERS: dict[str, tuple[str, Callable[[str], float], str]] = {
    "count": (r"0*[1-9]\d{0,8}", int, "a whole number above 0"),
    "integer": (r"-?\d{1,6}", int, "a whole number"),
    "seconds": (r"\d{1,6}(\.\d{1,6})?s?", lambda text: float(text.rstrip("s")), "a time in seconds such as 3.2s"),
}
"""Options that are numbers, by `Argument.kind`: how they are written, how they are read, and what they are."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What was typed.

    Attributes:
        command: The command called.
        arguments: By the argument's name, a list where it repeats; absent ones are absent.
        options: By `Argument.key`: True for a switch, else the value by its kind, and a list of the texts as typed
            for what may be given several times; absent ones are absent.
        values: `name=value` pairs, expressions evaluated; a name given several times has a list.
        repeated: How often such a name is given.
    """

    command: Command
    arguments: dict[str, Any]
    options: dict[str, Any]
    values: dict[str, Any]
    repeated: dict[str, int]


def parse_line(line: str) -> Parsed:
    """Reads what follows `%wiro`.

    Raises:
        UsageError: No such command, a wrong option or argument, an expression that raises, or a key.
        InputError: An amount of money is none.
    """
    words = split_words(line)
    refuse_keys(words)
    first = words.pop(0) if words else Word(STATUS)
    command = None if first.name or first.quoted else find_command(first.text)
    if command is None:
        fail(_unknown_command(first.typed))
    if command.name == "login" and words:
        for word in words:
            register_secret(word.text)
        fail(KEY_REFUSED)
    return _parse_words(command, words)


def parse_cell_line(line: str, command: Command = CELL) -> Parsed:
    """Reads what follows `%%wiro`, or the words of another command that are no line of `%wiro`.

    Raises:
        UsageError: The model is missing, an option is wrong, an expression raises, or a key was typed.
        InputError: An amount of money is none.
    """
    words = split_words(line)
    refuse_keys(words)
    return _parse_words(command, words)


def _parse_words(command: Command, words: list[Word]) -> Parsed:
    positional: list[str] = []
    options: dict[str, Any] = {}
    given: dict[str, list[Word]] = {}
    while words:
        word = words.pop(0)
        if word.name is None and not word.quoted and word.text.startswith("--"):
            _take_flag(command, word.text, words, options)
        elif word.name is not None and command.takes_values:
            given.setdefault(word.name, []).append(word)
        else:
            positional.append(word.typed)
    arguments = _bind(command, positional)
    repeated = {name: len(items) for name, items in given.items() if len(items) > 1}
    found = {name: [_value_of(word) for word in items] for name, items in given.items()}
    values = {name: items if name in repeated else items[0] for name, items in found.items()}
    return Parsed(command, arguments, options, values, repeated)


def _take_flag(command: Command, text: str, queue: list[Word], options: dict[str, Any]) -> None:
    name, equals, inline = text.partition("=")
    flag = command.flag(name)
    if flag is None:
        known = [item.name for item in command.flags]
        near = get_close_matches(name, known, 1)
        tail = f" Did you mean {near[0]}?" if near else f" It takes: {', '.join(known) or 'no options'}"
        fail(f"{command.title} has no option {name}.{tail}")
    if flag.key in options and not flag.repeats:
        fail(f"{name} is given twice")
    if not flag.value and equals:
        fail(f"{name} takes no value")
    if flag.value and not equals:
        if not queue or (queue[0].text.startswith("--") and not queue[0].quoted):
            fail(f"{name} needs a value: {name} {flag.value}")
        inline = queue.pop(0).typed
    value = _read_option(flag, inline) if flag.value else True
    options[flag.key] = [*options.get(flag.key, ()), value] if flag.repeats else value


def _read_option(flag: Argument, text: str) -> Any:
    """Returns the value of an option by its kind."""
    if flag.kind == "usd":
        return read_usd(text, flag.name, f"{flag.name} 0.50")
    if flag.kind == "variable":
        hidden = getattr(current_shell(), "user_ns_hidden", ())
        if not text.isidentifier() or keyword.iskeyword(text):
            fail(f"{flag.name} needs a variable name, not {text!r}")
        if hasattr(builtins, text):
            fail(f"{flag.name} {text} would hide Python's own {text}: choose another name")
        if text.startswith("_") or text in hidden:
            fail(f"{flag.name} {text} would hide a name that IPython uses: choose another name")
    if (number := _NUMBERS.get(flag.kind)) is None:
        return text
    pattern, read, what = number
    if re.fullmatch(pattern, text) is None:
        fail(f"{flag.name} needs {what}, not {text[:20]!r}")
    return read(text)


def _bind(command: Command, rest: list[str]) -> dict[str, Any]:
    bound: dict[str, Any] = {}
    for argument in command.arguments:
        if argument.repeats:
            bound[argument.name], rest = rest, []
        elif rest:
            bound[argument.name] = rest.pop(0)
        elif argument.required:
            fail(f"{command.title} needs {argument.name}: {argument.help}. For example: {command.example}")
    if rest:
        hint = " A setting is written name=value" if command.takes_values else ""
        fail(f"{command.title} does not understand {rest[0]!r}.{hint} Usage: {command.usage}")
    return bound


def _unknown_command(typed: str) -> str:
    if "/" in typed:
        return f"{typed!r} is not a command. To run a model: %%{MAGIC} {typed}; its inputs: %wiro info {typed}"
    near = get_close_matches(typed, [command.name for command in COMMANDS], 1)
    tail = f"Did you mean %wiro {near[0]}?" if near else "All commands: %wiro help"
    return f"no command {typed!r}. {tail}"


# Values --------------------------------------------------------------------------------------


def _value_of(word: Word) -> Any:
    """Returns the value of `name=value`: what its expression gives in this kernel, else the text."""
    shell = current_shell() if word.is_expression else None
    try:
        return word.text if shell is None else shell.ev(word.text)
    except Exception as error:
        fail(f"{{{word.text}}} raises {type(error).__name__}: {error}")


def cell_values(schema: ModelSchema, parsed: Parsed, body: str, *, may_be_bare: bool = False) -> dict[str, Any]:
    """Joins the settings of line and header block with the prompt; `may_be_bare` True allows for no prompt.

    Raises:
        UsageError: Something stands twice, or the body is empty or not wanted.
    """
    refuse_keys_in_body(body)
    names = [parameter.id for parameter in schema.parameters]
    read, values = parse_body(body, names), parsed.values
    head, prompt = dict(read.values), read.prompt
    target = schema.prompt_input
    if target is None and prompt:
        more = read_settings((line for line in prompt.split("\n") if line.strip()), names)
        if more is None:
            fail(f"{schema.slug} takes no prompt: write lines such as seed: 7, or type %wiro run {schema.slug}")
        head, prompt = {**head, **more}, ""
    twice = next((name for name in head if name in values), None)
    if twice is not None:
        fail(f"{twice} is given on the first line and again in the body")
    joined: dict[str, Any] = {**values, **head}
    varied = [read_axis(text).name for text in parsed.options.get("sweep", ())]
    if prompt and target is not None:
        if target in joined:
            fail(f"{target} is given as a setting and again as the body of the cell")
        joined[target] = prompt
    elif target is not None and target not in (*joined, *varied) and not head and not may_be_bare:
        fail(f"the cell has no prompt: write it below the first line, or use %wiro run {schema.slug} for none")
    return joined


# Keys ----------------------------------------------------------------------------------------


def refuse_keys(words: Iterable[Word]) -> None:
    """Refuses words that look like a key, a secret or a task token.

    Raises:
        UsageError: One does. The text is masked in every later message.
    """
    for word in words:
        named = word.name is not None and _KEY_NAME.search(word.name) is not None
        shaped = word.name is None and _is_key(word.text)
        if word.text and (named or shaped):
            if not word.is_expression:
                register_secret(word.text)
            fail(KEY_REFUSED)


def _is_key(text: str) -> bool:
    is_own = _ULID.match(text) or _OWN_FOLDER.match(text)
    return not is_own and _KEY_SHAPE.match(text) is not None


def refuse_keys_in_body(body: str) -> None:
    """Refuses a prompt that holds a known secret, a named key, or a long word of letters and many digits.

    Raises:
        UsageError: It does. The text is masked in every later message.
    """
    named = [match[1] for match in _NAMED_KEY.finditer(body)]
    words = [word for word in _KEY_WORD.findall(body) if sum(map(str.isdigit, word)) >= 4 and _is_key(word)]
    for word in (*named, *words):
        register_secret(word)
    if named or words or holds_secret(body):
        fail(KEY_REFUSED)
