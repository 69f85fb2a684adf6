"""Tab completion of `%wiro` and `%%wiro`: commands, models, settings, choices, runs, files, options.

Never asks the service: it knows the bundled models, the ones seen in this kernel, and the ledger's runs.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.error import UsageError

from wiro_nb.files import complete_path
from wiro_nb.formatting import shorten
from wiro_nb.notebook.magic.cells import (
    LIST_FLAGS,
    SEPARATOR,
    Word,
    quote_name,
    quote_word,
    read_settings,
    split_words,
)
from wiro_nb.notebook.session import session
from wiro_nb.presentation.command_table import CELL, COMMANDS, FILM, MAGIC, SHOT, Argument, Command, find_command
from wiro_nb.schema.types import ModelSchema, Parameter

_LINE = re.compile(rf"^\s*(?:[A-Za-z_]\w*\s*=\s*)?%{MAGIC}(?P<gap>\s+)(?P<rest>.*)\Z", re.DOTALL)
_CELL = re.compile(rf"^%%{MAGIC}(?P<film>_film)?(?P<gap>\s+)(?P<rest>.*)\Z", re.DOTALL)
_CELL_MODEL = re.compile(rf"^%%{MAGIC}(?P<film>_film)?(?P<rest>[^\S\n][^\n]*|)$", re.MULTILINE)
_LONGEST_PROMPT = 40


class Offer(NamedTuple):
    """Completions that replace `fragment`, the text before the cursor, each with its kind or description."""

    fragment: str
    texts: Mapping[str, str]


@context_matcher(identifier="wiro_nb", priority=200)  # type: ignore[untyped-decorator]
def match_wiro(context: CompletionContext) -> SimpleMatcherResult:
    """The matcher that IPython calls."""
    offer = complete(context.full_text, context.text_until_cursor, context.cursor_line)
    if offer is None:
        return SimpleMatcherResult(completions=[], suppress=False)
    found = [SimpleCompletion(text, type=about) for text, about in offer.texts.items()]
    return SimpleMatcherResult(completions=found, matched_fragment=offer.fragment, suppress=True, ordered=True)


def complete(full_text: str, before: str, line_number: int) -> Offer | None:
    """Returns the completions, or None when the line is not a wiro_nb magic.

    Args:
        full_text: The cell.
        before: The cursor's line up to the cursor.
        line_number: Of the cursor's line, from 0.
    """
    if line_number == 0 and (match := _CELL.match(before)):
        return _after_command(FILM if match["film"] else CELL, _words(match["rest"]), match["rest"])
    if (match := _LINE.match(before)) and not before.lstrip().startswith("%%"):
        return _after_magic(match["rest"])
    if line_number > 0 and (match := _CELL_MODEL.match(full_text)):
        inside = _in_film if match["film"] else _in_body
        return inside(full_text.split("\n"), line_number, before, match["rest"])
    return None


def _after_magic(rest: str) -> Offer | None:
    words = _words(rest)
    if len(words) == 1:
        return _offer(words[0].text, "magic", (command.name for command in COMMANDS))
    command = find_command(words[0].text) if words else None
    return None if command is None else _after_command(command, words[1:], rest)


def _after_command(command: Command, words: list[Word], rest: str) -> Offer | None:
    """Offers what fits the last word, which is empty after a space."""
    if not words:
        return None
    *earlier, typed = words
    before, fragment = earlier[-1].text if earlier else "", rest[typed.start :]
    schema = _model_in(command, earlier)
    if typed.name is not None and command.takes_values:
        return _choices(schema, typed.name, fragment.rpartition(",")[2] if before in LIST_FLAGS else fragment)
    if typed.text.startswith("--"):
        return _offer(fragment, "keyword", (flag.name for flag in command.flags))
    if before in LIST_FLAGS and schema is not None:
        return _inputs(fragment, (item.id for item in schema.parameters))
    if (flag := command.flag(before)) is not None and flag.value:
        return _values_of(flag, fragment)
    position, arguments = len(_positional(command, earlier)), command.arguments
    if arguments and (position < len(arguments) or arguments[-1].repeats):
        return _values_of(arguments[min(position, len(arguments) - 1)], fragment)
    if schema is None or not command.takes_values:
        return None
    taken = {word.name for word in earlier}
    return _inputs(fragment, (item.id for item in schema.parameters if item.multiple or item.id not in taken))


def _inputs(fragment: str, names: Iterable[str]) -> Offer | None:
    return _offer(fragment, "param", (f"{quote_name(name)}=" for name in names))


def _positional(command: Command, words: list[Word]) -> list[str]:
    given: list[str] = []
    rest = iter(words)
    for word in rest:
        flag = command.flag(word.text) if word.name is None else None
        if flag is not None and flag.value:
            next(rest, None)
        elif flag is None and (word.name is None or not command.takes_values):
            given.append(word.text)
    return given


def _model_in(command: Command, words: list[Word]) -> ModelSchema | None:
    given = [text for text in _positional(command, words) if "/" in text]
    return session.known_schema(given[0]) if given else None


def _values_of(argument: Argument, typed: str) -> Offer | None:
    """Offers values of an argument or option."""
    if argument.kind == "model":
        return _models(typed)
    if argument.kind == "file":
        return _offer(typed, "file", _paths(typed))
    if argument.kind == "command":
        return _offer(typed, "magic", (command.name for command in COMMANDS))
    if argument.kind not in ("run", "source"):
        return _offer(typed, "keyword", argument.choices)
    texts = {}
    for run in session.known_runs():
        # JupyterLab wraps the description of a completion at spaces, over the rows below.
        about = shorten(" ".join(run.snapshot.prompt.split()) or run.model, _LONGEST_PROMPT)
        texts[run.short_id] = about.replace(" ", "\N{NO-BREAK SPACE}")
    if argument.kind == "source":
        texts |= dict.fromkeys(_paths(typed), "file")
    return _offer(typed, "run", texts)


def _models(typed: str) -> Offer | None:
    return _offer(typed, "model", (schema.slug for schema in session.known_schemas()), anywhere=True)


def _choices(schema: ModelSchema | None, name: str, fragment: str) -> Offer | None:
    """Offers the values of a setting."""
    parameter = schema.get(name) if schema else None
    if parameter is None:
        return None
    if parameter.is_file:
        return Offer(fragment, dict.fromkeys(_paths(fragment), "file"))
    wanted = fragment.strip("\"'").lower()
    found = [quote_word(text) for text in _labels(parameter) if text.lower().startswith(wanted)]
    return Offer(fragment, dict.fromkeys(found, "value"))


def _paths(typed: str) -> list[str]:
    """Returns the files and folders a begun path may become, in quotes where the line needs them.

    A folder ends with a slash and its quotes stay open, so that Tab continues in it.
    """
    quote = typed[:1] if typed[:1] in ("'", '"') else ""
    found = []
    for path in complete_path(typed[len(quote) :]):
        quoted = quote_word(path)
        opening = quote or ("" if quoted == path else quoted[0])
        found.append(opening + path + ("" if path.endswith("/") else opening))
    return found


def _labels(parameter: Parameter) -> list[str]:
    return [option.label or option.value for option in parameter.options] or (
        [parameter.default] if isinstance(parameter.default, str) and parameter.default else []
    )


def _in_body(lines: list[str], line_number: int, before: str, first_line: str) -> Offer | None:
    """Offers settings in the block of `name: value` lines; a prompt gets nothing."""
    if any(line == SEPARATOR for line in lines[1:line_number]) or SEPARATOR not in lines[line_number + 1 :]:
        return None
    schema = _model_in(CELL, _words(first_line))
    if schema is None:
        return None
    names = [item.id for item in schema.parameters]
    if not before or read_settings(lines[1:line_number], names) is None:
        return None
    name, colon, value = before.partition(":")
    if not colon:
        return _offer(name, "param", (f"{item}: " for item in names))
    parameter, typed = schema.get(name), value.lstrip()
    if parameter is not None and parameter.is_file:
        return Offer(typed, {path.strip('"'): "file" for path in _paths(typed)})
    return _offer(typed, "value", _labels(parameter)) if parameter else None


def _in_film(lines: list[str], line_number: int, before: str, first_line: str) -> Offer | None:
    """Offers what fits a line that begins a shot: `from=`, its model's settings, models; a prompt gets nothing."""
    start = f"{SEPARATOR} "
    if not before.startswith(start):
        return None
    rest = before.removeprefix(SEPARATOR)
    words = _words(rest)
    if not words:
        return None
    typed, schema = words[-1], _model_in(SHOT, words[:-1]) or _model_in(FILM, _words(first_line))
    fragment = rest[typed.start :]
    if typed.name == "from":
        heads = (line.split()[1:2] for line in lines[1:line_number] if line.startswith(start))
        names = (word for head in heads for word in head if "=" not in word and "/" not in word)
        return _offer(fragment, "value", ["previous", *names])
    if typed.name is not None:
        return _choices(schema, typed.name, fragment)
    taken = {word.name for word in words}
    settings = [item.id for item in schema.parameters if item.id not in taken] if schema else []
    return _inputs(fragment, ("from", *settings)) or _models(fragment)


def _offer(typed: str, kind: str, texts: Iterable[str], *, anywhere: bool = False) -> Offer | None:
    """Offers the texts that begin with what is typed; a mapping of texts gives their descriptions."""
    wanted = typed.lower().lstrip("\"'")
    about = texts if isinstance(texts, Mapping) else dict.fromkeys(texts, kind)
    found = [text for text in about if text.lower().lstrip("\"'").startswith(wanted)]
    if anywhere:
        found += [text for text in about if wanted in text.lower() and text not in found]
    return Offer(typed, {text: about[text] for text in found}) if found else None


def _words(rest: str) -> list[Word]:
    """Splits what stands before the cursor; an open quote is no mistake yet. Ends with the word being typed."""
    for closing in ("", '"', "'"):
        with contextlib.suppress(UsageError):
            words = split_words(rest + closing)
            is_begun = bool(words) and (closing or not rest[-1].isspace())
            is_open_list = bool(words) and words[-1].text in LIST_FLAGS and rest.endswith("=")
            return words if is_begun and not is_open_list else [*words, Word("", start=len(rest))]
    return []
