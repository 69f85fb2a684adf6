"""Tab completion of `%wiro` and `%%wiro`: commands, models, settings, choices, runs, files, options.

Never asks the service: it knows the bundled models, the ones seen in this kernel, and the ledger's runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from wiro_nb.files import complete_path
from wiro_nb.notebook.magic.parser import (
    LIST_FLAGS,
    NAME,
    SEPARATOR,
    SPACED_NAME,
    Word,
    quote_name,
    quote_word,
    read_settings,
)
from wiro_nb.notebook.session import session
from wiro_nb.presentation.command_table import CELL, COMMANDS, FILM, MAGIC, SHOT, Command, find_command
from wiro_nb.presentation.formatting import shorten
from wiro_nb.schema.types import ModelSchema, Parameter

_LINE = re.compile(rf"^\s*(?:[A-Za-z_]\w*\s*=\s*)?%{MAGIC}(?P<gap>\s+)(?P<rest>.*)\Z", re.DOTALL)
_CELL = re.compile(rf"^%%{MAGIC}(?P<film>_film)?(?P<gap>\s+)(?P<rest>.*)\Z", re.DOTALL)
_CELL_MODEL = re.compile(rf"^%%{MAGIC}(?P<film>_film)?(?P<rest>[^\S\n][^\n]*|)$", re.MULTILINE)
_PIECE = re.compile(
    r"(?:(?:[A-Za-z_][\w.\-]*|\"[^\"]*\")=)?(?:\"[^\"]*\"?|'[^']*'?|\S+)|(?:(?:[A-Za-z_][\w.\-]*|\"[^\"]*\")=)\Z"
)
_LONGEST_PROMPT = 40
_FLAG_CHOICES = {
    "service": ("sandbox", "local", "cloud"),
    "spent_by": ("model", "day", "notebook"),
    "run_state": ("done", "failed", "cancelled", "running"),
    "since": ("today", "yesterday", "7d"),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """Completions that replace `fragment`, the text before the cursor; `about` describes some of them."""

    fragment: str
    texts: tuple[str, ...]
    kind: str
    about: Mapping[str, str] = field(default_factory=dict)


@context_matcher(identifier="wiro_nb", priority=200)  # type: ignore[untyped-decorator]
def match_wiro(context: CompletionContext) -> SimpleMatcherResult:
    """The matcher that IPython calls."""
    offer = complete(context.full_text, context.text_until_cursor, context.cursor_line)
    if offer is None:
        return SimpleMatcherResult(completions=[], suppress=False)
    return SimpleMatcherResult(
        completions=[SimpleCompletion(text, type=offer.about.get(text, offer.kind)) for text in offer.texts],
        matched_fragment=offer.fragment,
        suppress=True,
        ordered=True,
    )


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
    if len(words) <= 1:
        typed = words[0].text if words else ""
        return _offer(typed, (command.name for command in COMMANDS), "magic")
    command = find_command(words[0].text)
    if command is None:
        return None
    return _after_command(command, words[1:], rest)


def _after_command(command: Command, words: list[Word], rest: str) -> Offer | None:
    """Offers what fits the last word, which is empty after a space."""
    typed = words[-1] if words else Word("")
    earlier = words[:-1]
    is_axis = bool(earlier) and earlier[-1].text == "--sweep"
    if typed.name is not None and command.takes_values:
        return _choices(_model_in(command, earlier), typed, rest, is_list=is_axis)
    if typed.text.startswith("--"):
        return _offer(typed.text, (flag.name for flag in command.flags), "keyword")
    if is_axis and (varied := _model_in(command, earlier)) is not None:
        return _offer(typed.text, (f"{quote_name(item.id)}=" for item in varied.parameters), "param")
    if earlier and (flag := command.flag(earlier[-1].text)) is not None and flag.value:
        return _of_kind(flag.kind, typed.text)
    given = _positional(command, earlier)
    if command.arguments and command.arguments[-1].repeats:
        return _of_kind(command.arguments[-1].kind, typed.text)
    if len(given) < len(command.arguments):
        return _of_kind(command.arguments[len(given)].kind, typed.text)
    schema = _model_in(command, earlier)
    if schema is None or not command.takes_values:
        return None
    taken = {word.name for word in earlier}
    free = [item for item in schema.parameters if item.multiple or item.id not in taken]
    return _offer(typed.text, (f"{quote_name(item.id)}=" for item in free), "param")


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


def _of_kind(kind: str, typed: str) -> Offer | None:
    if kind == "model":
        return _offer(typed, (schema.slug for schema in session.known_schemas()), "model", anywhere=True)
    if kind in ("run", "source"):
        known = session.known_runs()
        # JupyterLab wraps the description of a completion at spaces, over the rows below.
        about = (" ".join(run.snapshot.prompt.split()) or run.model for run in known)
        runs = {
            run.short_id: shorten(text, _LONGEST_PROMPT).replace(" ", "\N{NO-BREAK SPACE}")
            for run, text in zip(known, about, strict=True)
        }
        offer = _offer(typed, [*runs, *(_paths(typed) if kind == "source" else ())], "run")
        return offer and replace(offer, about={text: runs.get(text, "file") for text in offer.texts})
    if kind == "file":
        return _offer(typed, _paths(typed), "file")
    if kind == "command":
        return _offer(typed, (command.name for command in COMMANDS), "magic")
    return _offer(typed, _FLAG_CHOICES.get(kind, ()), "keyword")


def _choices(schema: ModelSchema | None, typed: Word, rest: str, *, is_list: bool = False) -> Offer | None:
    """Offers the values of a setting; in a list those that stand after the last comma."""
    parameter = schema.get(typed.name or "") if schema else None
    if parameter is None:
        return None
    head = f"{quote_name(parameter.id)}="
    start = rest.rindex(head) + len(head)
    fragment = rest[start:].rpartition(",")[2] if is_list else rest[start:]
    if parameter.is_file:
        return Offer(fragment, tuple(_paths(fragment)), "file")
    values = (quote_word(text) for text in _labels(parameter))
    wanted = fragment.strip("\"'").lower()
    found = tuple(text for text in values if text.strip("\"'").lower().startswith(wanted))
    return Offer(fragment, found, "value")


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
    schema = _model_in(CELL, [*_words(first_line), Word("")][:-1])
    if schema is None:
        return None
    names = [item.id for item in schema.parameters]
    if not before or read_settings(lines[1:line_number], names) is None:
        return None
    name, colon, value = before.partition(":")
    if not colon:
        return _offer(name, (f"{item}: " for item in names), "param")
    parameter, typed = schema.get(name), value.lstrip()
    if parameter is not None and parameter.is_file:
        return Offer(typed, tuple(path.strip('"') for path in _paths(typed)), "file")
    return _offer(typed, _labels(parameter), "value") if parameter else None


def _in_film(lines: list[str], line_number: int, before: str, first_line: str) -> Offer | None:
    """Offers what fits a line that begins a shot: `from=`, its model's settings, models; a prompt gets nothing."""
    start = f"{SEPARATOR} "
    if not before.startswith(start):
        return None
    rest = before.removeprefix(SEPARATOR)
    words = _words(rest)
    typed, schema = words[-1], _model_in(SHOT, words[:-1]) or _model_in(FILM, _words(first_line))
    if typed.name == "from":
        heads = (line.split()[1:2] for line in lines[1:line_number] if line.startswith(start))
        names = (word for head in heads for word in head if "=" not in word and "/" not in word)
        return _offer(typed.text, ["previous", *names], "value")
    if typed.name is not None:
        return _choices(schema, typed, rest)
    taken = {word.name for word in words}
    settings = [quote_name(item.id) for item in schema.parameters if item.id not in taken] if schema else []
    offer = _offer(typed.text, (f"{name}=" for name in ("from", *settings)), "param")
    return offer or _of_kind("model", typed.text)


def _offer(typed: str, texts: Iterable[str], kind: str, *, anywhere: bool = False) -> Offer | None:
    wanted = typed.lower().lstrip("\"'")
    listed = list(dict.fromkeys(texts))
    found = [text for text in listed if text.lower().lstrip("\"'").startswith(wanted)]
    if anywhere:
        found += [text for text in listed if wanted in text.lower() and text not in found]
    return Offer(typed, tuple(found), kind) if found else None


def _words(rest: str) -> list[Word]:
    """Splits what stands before the cursor; an open quote is no mistake yet. Ends with the word being typed."""
    words: list[Word] = []
    for piece in _PIECE.findall(rest):
        name, equals, value = piece.partition("=")
        if equals and name in LIST_FLAGS:
            words.append(Word(name))
            piece, (name, equals, value) = value, value.partition("=")
        if equals and (NAME.match(name) or SPACED_NAME.match(name.strip('"'))):
            words.append(Word(value.strip("\"'"), name.strip('"')))
        else:
            words.append(Word(piece))
    if not rest or (rest[-1].isspace() and not _is_open(rest)):
        words.append(Word(""))
    return words


def _is_open(rest: str) -> bool:
    return re.search(r"(?:=|\s)(\"[^\"]*|'[^']*)\Z", rest) is not None
