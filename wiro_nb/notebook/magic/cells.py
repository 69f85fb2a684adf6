"""Reads and writes the text of cells: the words of a line, the settings and prompt of a body.

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
import json
import keyword
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from IPython.core.error import UsageError

from wiro_nb.presentation.command_table import CELL, COMMANDS
from wiro_nb.schema.files import FileInput
from wiro_nb.schema.types import ModelSchema

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

NAME = re.compile(r"[A-Za-z_][\w.\-]*\Z")
SPACED_NAME = re.compile(r"[^\W\d][\w.\-]*(?: +[\w.\-]+)+\Z")
SEPARATOR = "---"
LIST_FLAGS = frozenset(flag.name for command in (CELL, *COMMANDS) for flag in command.flags if flag.repeats)

_HEADER_LINE = re.compile(r"[A-Za-z_][\w.\-]*:(?:[ \t]+.*)?\Z")
_WORD_NAME = re.compile(r"""([A-Za-z_][\w.\-]*)=|(["'])([^\W\d][\w.\-]*(?: +[\w.\-]+)*)\2=""")
_QUOTED = re.compile(r'"((?:\\["\\]|[^"])*+)"' + r"|'([^']*)'")
_BARE, _BLANK = re.compile(r"\S*"), re.compile(r"\s*")
_LIST = re.compile(r"(?:\"[^\"]*\"|'[^']*'|[^\s\"']|[\"'])+")
PROMPT = "prompt"
_OPTIONS = {"wait", "fresh", "max_cost_usd", "out_dir"}
"""Keywords of `wiro_nb.run` that are not inputs; an input of such a name is passed in the mapping."""
Plain = str | int | float | list[str] | dict[str, Any]


def fail(message: str) -> NoReturn:
    """Raises exactly `UsageError`: IPython prints one line for it and a traceback for its subclasses."""
    raise UsageError(message)


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line: `text` without quotes or braces.

    Attributes:
        name: When the word is `name=value`.
        quoted: True when the value is in quotes.
        is_expression: True when the value is a Python expression in braces.
        start: Where the word, of `name=value` the value, begins in the line.
    """

    text: str
    name: str | None = None
    quoted: bool = False
    is_expression: bool = False
    start: int = field(default=0, compare=False)

    @property
    def typed(self) -> str:
        """The word where `name=` has no meaning of its own."""
        return self.text if self.name is None else f"{self.name}={self.text}"


def split_words(line: str) -> list[Word]:
    """Splits a line into words.

    Raises:
        UsageError: A quote is not closed, or text follows a closing quote.
    """
    words: list[Word] = []
    position = _skip(_BLANK, line, 0)
    while position < len(line):
        is_list = bool(words) and words[-1].text in LIST_FLAGS and not words[-1].quoted
        flag = next((name for name in LIST_FLAGS if line.startswith(f"{name}=", position)), None)
        if is_list and line[position] not in "\"'":
            word, position = _read_list(line, position)
        elif flag is not None:
            word, position = Word(flag), position + len(flag) + 1
        else:
            word, position = _read_word(line, position)
        words.append(word)
        position = _skip(_BLANK, line, position)
    return words


def _skip(pattern: re.Pattern[str], line: str, start: int) -> int:
    match = pattern.match(line, start)
    return match.end() if match is not None else start


def _read_list(line: str, start: int) -> tuple[Word, int]:
    """Reads to the next space outside quotes, and keeps the quotes."""
    end = _skip(_LIST, line, start)
    text = line[start:end]
    if re.sub(r"'[^']*'", "", text).count('"') % 2:
        fail(f"a quote is not closed: {line[start:]}")
    name, equals, values = text.partition("=")
    if equals and NAME.match(name):
        return Word(values, name, start=end - len(values)), end
    return Word(text, start=start), end


def _read_word(line: str, start: int) -> tuple[Word, int]:
    match = _WORD_NAME.match(line, start)
    name, start = (match[1] or match[3], match.end()) if match is not None else (None, start)
    if line.startswith(('"', "'"), start):
        text, end = _read_quoted(line, start)
        return Word(text, name, quoted=True, start=start), end
    if name is not None and line.startswith("{", start):
        text, end = _read_expression(line, start)
        return Word(text, name, is_expression=True, start=start), end
    end = _skip(_BARE, line, start)
    return Word(line[start:end], name, start=start), end


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
    fail(f"not a Python expression in braces: {line[start:]} (put quotes around text that begins with a brace)")


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


# Bodies --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Body:
    """A cell's body: settings of its header block (may be empty) and the prompt."""

    values: dict[str, str]
    prompt: str


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


# Cells that are written ----------------------------------------------------------------------


def cell_of_run(run: Run, schema: ModelSchema | None) -> str:
    """Returns the cell that makes a run again, seed included; files stand by URL or name.

    Args:
        run: The run.
        schema: Its model, where that is known: it says where the empty text is a choice.
    """
    parameters = schema.parameters if schema is not None else ()
    kept = {parameter.id for parameter in parameters if parameter.takes_empty}
    as_json = {parameter.id for parameter in parameters if parameter.kind == "json"}
    values: dict[str, Any] = {
        name: json.dumps(value, ensure_ascii=False) if name in as_json else value
        for name, value in run.parameters.items()
        if value != "" or name in kept
    }
    for name, files in run.files.items():
        given = [str(item.get("url") or item.get("name") or "") for item in files]
        values[name] = given[0] if len(given) == 1 else given
    prompt = str(values.pop(PROMPT, ""))
    return cell_text(run.model, values, prompt=prompt, names=[parameter.id for parameter in parameters])


def cell_text(slug: str, values: Mapping[str, Plain], *, prompt: str = "", names: Collection[str] = ()) -> str:
    """Returns a `%%wiro` cell that sends these values.

    Args:
        slug: The model.
        values: Settings to write, without the prompt.
        prompt: The prompt, verbatim, or "".
        names: The model's inputs: what a body may hold as settings.

    Returns:
        The cell. Where a cell cannot express a value (a setting with a line break, a prompt that would be read
        back as something else), the Python call.
    """
    words = typed_values(values)
    odd = any("\n" in word or "\r" in word for word in words) or not all(map(_is_typed, values))
    read_back = parse_body(prompt, names)
    if odd or read_back.values or read_back.prompt != prompt:
        return python_text(slug, {**({"prompt": prompt} if prompt else {}), **values})
    line = " ".join([slug, *words])
    # IPython refuses a cell magic without a body; the line magic does the same.
    return f"%%wiro {line}\n{prompt}" if prompt else f"%wiro run {line}"


def python_text(slug: str, values: Mapping[str, Plain]) -> str:
    """Returns `wiro_nb.run(...)` with these values."""
    usable = (name for name in values if name.isidentifier() and not keyword.iskeyword(name))
    plain = {name: values[name] for name in usable if name not in _OPTIONS}
    odd = {name: value for name, value in values.items() if name not in plain}
    arguments = [f"    {odd!r},"] if odd else []
    arguments += [f"    {name}={value!r}," for name, value in plain.items()]
    return "\n".join(["import wiro_nb", "", "run = wiro_nb.run(", f"    {slug!r},", *arguments, ")"]) + "\n"


def _is_typed(name: str) -> bool:
    return bool(NAME.match(name) or SPACED_NAME.match(name))


def typed_values(values: Mapping[str, object]) -> list[str]:
    """Returns values as words of a line: texts and files one by one, true, false and JSON values as JSON."""
    return [f"{quote_name(name)}={quote_word(text)}" for name, value in values.items() for text in _texts(value)]


def _texts(value: object) -> list[str]:
    given = value if isinstance(value, list) else [value]
    if given and all(isinstance(item, (str, FileInput)) for item in given):
        return [str(item.path or item.url) if isinstance(item, FileInput) else str(item) for item in given]
    is_json = isinstance(value, (bool, list, dict))
    return [json.dumps(value, ensure_ascii=False, default=str) if is_json else str(value)]
