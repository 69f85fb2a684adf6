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


def _after_command(
    command: Command, words: list[Word], rest: str, schema: ModelSchema | None = None, more: tuple[str, ...] = ()
) -> Offer | None:
    """Offers what fits the last word, which is empty after a space.

    Args:
        command: The command.
        words: Those behind it.
        rest: The text they stand in.
        schema: The model where the words name none.
        more: Settings that are no inputs of the model.
    """
    if not words:
        return None
    *earlier, typed = words
    before, fragment = earlier[-1].text if earlier else "", rest[typed.start :]
    schema = _model_in(earlier) or schema
    inputs = schema.parameters if schema is not None else ()
    if typed.name is not None and command.takes_values:
        return _choices(schema, typed.name, fragment.rpartition(",")[2] if before in LIST_FLAGS else fragment)
    if typed.text.startswith("--"):
        return _offer(fragment, "keyword", (flag.name for flag in command.flags))
    if before in LIST_FLAGS and schema is not None:
        return _inputs(fragment, (item.id for item in inputs))
    if (flag := command.flag(before)) is not None and flag.value:
        return _values_of(flag, fragment)
    taken = {word.name for word in earlier}
    free = [*more, *(item.id for item in inputs if item.multiple or item.id not in taken)]
    if command.takes_values and (offer := _inputs(fragment, free)) is not None:
        return offer
    position, arguments = _count_arguments(command, earlier), command.arguments
    if arguments and (position < len(arguments) or arguments[-1].repeats):
        return _values_of(arguments[min(position, len(arguments) - 1)], fragment)
    return None


def _inputs(fragment: str, names: Iterable[str]) -> Offer | None:
    return _offer(fragment, "param", (f"{quote_name(name)}=" for name in names))


def _count_arguments(command: Command, words: list[Word]) -> int:
    """Returns how many of the words are arguments, and neither options nor settings."""
    count, rest = 0, iter(words)
    for word in rest:
        flag = command.flag(word.text) if word.name is None else None
        if flag is not None and flag.value:
            next(rest, None)
        count += flag is None and (word.name is None or not command.takes_values)
    return count


def _values_of(argument: Argument, typed: str) -> Offer | None:
    """Offers values of an argument or option."""
    kind, texts = argument.kind, dict.fromkeys(argument.choices, "keyword")
    if kind == "model":
        texts = {schema.slug: kind for schema in session.known_schemas()}
    elif kind == "command":
        texts = {command.name: "magic" for command in COMMANDS}
    elif kind in ("run", "source"):
        for run in session.known_runs():
            # JupyterLab wraps the description of a completion at spaces, over the rows below.
            about = shorten(" ".join(run.snapshot.prompt.split()) or run.model, _LONGEST_PROMPT)
            texts[run.short_id] = about.replace(" ", "\N{NO-BREAK SPACE}")
    if kind in ("file", "source"):
        texts |= dict.fromkeys(_paths(typed), "file")
    return _offer(typed, kind, texts)


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
    schema = _model_in(_words(first_line))
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
    if words and words[-1].name == "from":
        heads = (line.split()[1:2] for line in lines[1:line_number] if line.startswith(start))
        names = (word for head in heads for word in head if "=" not in word and "/" not in word)
        return _offer(rest[words[-1].start :], "value", ["previous", *names])
    return _after_command(SHOT, words, rest, _model_in(_words(first_line)), ("from",))


def _model_in(words: Iterable[Word]) -> ModelSchema | None:
    """Returns the first model that words name."""
    named = (word.text for word in words if word.name is None and "/" in word.text)
    return next(filter(None, map(session.known_schema, named)), None)


def _offer(typed: str, kind: str, texts: Iterable[str]) -> Offer | None:
    """Offers the texts that begin with what is typed, and models that hold it; a mapping describes its texts."""
    wanted = typed.lower().lstrip("\"'")
    about = texts if isinstance(texts, Mapping) else dict.fromkeys(texts, kind)
    found = [text for text in about if text.lower().lstrip("\"'").startswith(wanted)]
    if kind == "model":
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
