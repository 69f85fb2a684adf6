"""Types the values of a request by the model's schema and reports every problem at once."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wiro_nb.errors import InvalidFile, InvalidParameter
from wiro_nb.json_values import as_decimal
from wiro_nb.schema.coerce import (
    Problem,
    WireValue,
    coerce,
    default_value,
    is_empty,
    near_values,
    shown,
)
from wiro_nb.schema.files import FileInput, collect_files
from wiro_nb.schema.types import ModelSchema, Parameter

LARGEST_DRAWN_SEED = 2**31 - 1
NO_SEED_NOTE = "This model has no seed input: its clips cannot be repeated exactly."

_RANDOM_IN_HELP = re.compile(
    r"(?<!\d)(-?\d{1,18})\s*(?:for|=|means|is|gives|:|to get)\s*(?:a\s+)?random", re.IGNORECASE
)
_FREE_NAME = re.compile(r"[^\s\"'\\=:;{}\[\]\x00-\x1f\x7f\ud800-\udfff]{1,80}")


@dataclass(frozen=True, slots=True)
class Seed:
    """The seed of a request.

    Attributes:
        parameter: The input's id.
        value: As sent, decimal text.
        pinned: True when the user or the model's default fixed it; False when it was drawn for this run.
    """

    parameter: str
    value: str
    pinned: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that fits its model.

    Attributes:
        schema: The model.
        parameters: What is sent, by id: numbers as numbers, the rest as text. Files are not among them.
        files: Files and URLs by the id of their input.
        seed: The seed that is sent, or None where the model has none.
        notes: Notices for the user.
    """

    schema: ModelSchema
    parameters: dict[str, WireValue]
    files: dict[str, tuple[FileInput, ...]]
    seed: Seed | None
    notes: tuple[str, ...] = ()


def prepare(schema: ModelSchema, raw: Mapping[str, object]) -> Prepared:
    """Types values by the schema and fills in the defaults.

    None, blank text and empty lists mean "the default", which a required text (the prompt) does not have: its
    default is only a sample. Blank text is a value of its own where it is one of the choices. Names are taken in
    any case where that is unambiguous. An option may be given by its value or its label. A seed that is blank or
    means "random" to the model is drawn here, so that the run can be repeated.

    Args:
        schema: The model.
        raw: Values by input id: text as typed, or Python values; paths and URLs (or lists) for file inputs.

    Raises:
        InvalidParameter: Values do not fit; about the first, with all of them in `problems`.
        InvalidFile: The same, where the first is about a file.
    """
    prepared, problems = _type_values(schema, raw, with_hash=True)
    if problems:
        raise _refusal(schema, raw, problems)
    return prepared


def check(schema: ModelSchema, raw: Mapping[str, object]) -> dict[str, Problem]:
    """Returns the problems by input id (or unknown name), for showing at a form's fields. Never raises.

    Files are checked but not hashed, so this is cheap enough for every change of a field.
    """
    _, problems = _type_values(schema, raw, with_hash=False)
    return {problem.name: problem for problem in reversed(problems)}


def _type_values(
    schema: ModelSchema, raw: Mapping[str, object], *, with_hash: bool
) -> tuple[Prepared, list[Problem]]:
    """Returns the values typed by a schema, as far as they fit, and what is wrong with the others."""
    parameters: dict[str, WireValue | None] = {}
    files: dict[str, tuple[FileInput, ...]] = {}
    seed: Seed | None = None
    notes: list[str] = []
    problems: list[Problem] = []
    if schema.free_form:
        given = {str(name): value for name, value in raw.items() if value is not None}
        known: Iterable[Parameter] = [_free_parameter(name, value) for name, value in given.items()]
    else:
        given, known = _match_names(schema, raw, notes, problems), schema.parameters
    for parameter in known:
        name, value = parameter.id, given.get(parameter.id)
        try:
            if schema.free_form and not _FREE_NAME.fullmatch(name):
                raise Problem("is not a valid name: use letters, digits, - and _")
            if parameter.is_file:
                files[name] = collect_files(parameter, value, with_hash=with_hash)
            elif parameter.is_seed and seed is None:
                # Left out it takes the default; given but blank, or as a number that means "random", it is drawn.
                wanted = parameter.default if value is None else value
                pinned = not _means_random(parameter, wanted)
                parameters[name] = coerce(parameter, wanted if pinned else draw_seed(parameter))
                seed = Seed(name, str(parameters[name]), pinned)
            elif schema.free_form:
                parameters[name] = coerce(parameter, value)
            else:
                parameters[name] = _type_value(parameter, value, notes)
        except Problem as problem:
            problem.name = name
            problems.append(problem)
    if seed is None and not any(parameter.is_seed for parameter in schema.parameters):
        notes.append(NO_SEED_NOTE)
    sent = {name: typed for name, typed in parameters.items() if typed is not None}
    given_files = {name: found for name, found in files.items() if found}
    return Prepared(schema, sent, given_files, seed, tuple(notes)), problems


def _match_names(
    schema: ModelSchema, raw: Mapping[str, object], notes: list[str], problems: list[Problem]
) -> dict[str, object]:
    """Returns the values by exact id, leaving out names that mean nothing here (as problems)."""
    ids = {parameter.id.lower(): parameter for parameter in schema.parameters}
    given: dict[str, object] = {}
    for name, value in raw.items():
        name = str(name)
        parameter = schema.get(name) or ids.get(name.strip().lower())
        if parameter is None and name.lower().endswith("url"):
            # The wire's own name for a URL of a file input ("inputImageUrl"), as in records and samples.
            owner = ids.get(name[:-3].lower())
            parameter = owner if owner is not None and owner.is_file else None
        if parameter is None:
            problems.append(_unknown(schema, name))
        elif parameter.id in given:
            problems.append(Problem(f"is given twice (also as {shown(name)})", name=parameter.id))
        else:
            given[parameter.id] = value
            if name.lower() == parameter.id.lower() and name != parameter.id:
                notes.append(f"{name} is read as {parameter.id}.")
    return given


def _type_value(parameter: Parameter, value: object, notes: list[str]) -> WireValue | None:
    if not is_empty(value) or (isinstance(value, str) and parameter.takes_empty):
        sent: WireValue | None = coerce(parameter, value)
        if not parameter.kind:
            notes.append(f"{parameter.id} is of a type unknown here ({shown(parameter.type)}): sent as text.")
        return sent
    sent = default_value(parameter)
    if (sent is None or sent == "") and parameter.required:
        # The model's sample text is not among `near`: it is long, and one key press would pay for it.
        end = ": choose one" if parameter.options else "" if parameter.is_free_text else ": enter a value"
        raise Problem(f"is required{end}", allowed=[option.value for option in parameter.options])
    if isinstance(value, str) and sent not in (None, ""):
        notes.append(f"{parameter.id} is empty: the model's default is sent ({shown(sent)}).")
    return sent


def _free_parameter(name: str, value: object) -> Parameter:
    """Returns the input of a model without published ones: paths become files, all else is sent as text."""
    items = value if isinstance(value, list | tuple) else [value]
    if items and all(isinstance(item, Path | FileInput) for item in items):
        return Parameter(id=name, type="combinefileinput", label=name, multiple=True)
    return Parameter(id=name, type="text" if name.lower() == "seed" else "free", label=name)


def unknown_input(schema: ModelSchema, name: str) -> InvalidParameter:
    """Returns the error about a name that is no input of the model, with up to three near ones."""
    return _refusal(schema, {}, [_unknown(schema, name)])


def _unknown(schema: ModelSchema, name: str) -> Problem:
    """Names are compared with ids and labels."""

    def plain(text: str) -> str:
        return re.sub(r"[\W_]", "", text).lower()

    pairs = [
        pair for item in schema.parameters for pair in ((item.id.lower(), item.id), (plain(item.label), item.id))
    ]
    near = near_values(plain(name)[:80], dict(reversed(pairs)))
    return Problem(f"is no input of {schema.slug}", name=name, near=near)


def _means_random(parameter: Parameter, value: object) -> bool:
    text = shown(value).lower()
    if is_empty(value) or text in {"random", "none", "null"}:
        return True
    number, named = as_decimal(text), _RANDOM_IN_HELP.search(parameter.help)
    return number is not None and (number == -1 or (named is not None and number == int(named[1])))


def draw_seed(parameter: Parameter) -> int:
    """Returns a new seed within the input's bounds, from the system's randomness."""
    low = max(1, int(as_decimal(parameter.min) or 1))
    high = min(LARGEST_DRAWN_SEED, int(as_decimal(parameter.max) or LARGEST_DRAWN_SEED))
    return low + secrets.randbelow(high - low + 1) if high >= low else low


def _refusal(schema: ModelSchema, raw: Mapping[str, object], problems: list[Problem]) -> InvalidParameter:
    first = problems[0]
    parameter = schema.get(first.name)
    kind = InvalidFile if parameter is not None and parameter.is_file else InvalidParameter
    return kind(
        _sentence(schema, first),
        hint=_hint(schema, first),
        details=[*_choices(schema, first), *(_sentence(schema, problem) for problem in problems[1:])],
        name=first.name,
        value=shown(raw.get(first.name, "")),
        allowed=list(first.allowed),
        near=list(first.near),
        problems=[{"name": item.name, "message": item.message, "near": list(item.near)} for item in problems],
    )


def _sentence(schema: ModelSchema, problem: Problem) -> str:
    near = [name for name in _display_values(schema, problem.name, problem.near) if name not in problem.message]
    question = f" Did you mean {' or '.join(near)}?" if near else ""
    joined = " " if problem.message.startswith(("is ", "takes ", "holds ")) else "="
    return f"{shown(problem.name)}{joined}{problem.message}.{question}"


def _choices(schema: ModelSchema, problem: Problem) -> list[str]:
    shown_choices = ", ".join(_display_values(schema, problem.name, problem.allowed[:12]))
    more = f" and {len(problem.allowed) - 12} more" if len(problem.allowed) > 12 else ""
    return [f"{problem.name} takes: {shown_choices}{more}"] if problem.allowed else []


def _display_values(schema: ModelSchema, name: str, values: Iterable[str]) -> list[str]:
    """Returns values as they are typed: the label in place of a value that shares no word with it.

    A label that several choices share cannot be typed; their values stand.
    """
    parameter = schema.get(name)
    labels = {option.value: option.label for option in parameter.options} if parameter is not None else {}
    times = Counter(labels.values())
    opaque = {
        value
        for value, label in labels.items()
        if times[label] == 1 and label and not _words(value) & _words(label)
    }
    return [labels[value] if value in opaque else value for value in values]


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _hint(schema: ModelSchema, problem: Problem) -> str:
    name = f'"{problem.name}"' if " " in problem.name else problem.name
    if problem.near and (problem.allowed or schema.get(problem.name)):
        (value,) = _display_values(schema, problem.name, problem.near[:1])
        return f'{name}="{value}"' if re.search(r"[\s\"'#]", value) else f"{name}={value}"
    if problem.message == "is required":
        below = ", or the text below the %%wiro line" if problem.name == "prompt" else ""
        return f'{name}="..."{below}'
    return problem.hint or f"%wiro info {schema.slug}"
