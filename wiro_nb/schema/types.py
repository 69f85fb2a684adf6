"""Data classes of a model's inputs, shared by parsers, forms, validation and encoding; and their differences."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any, TypeVar

from wiro_nb.json_values import as_decimal, hash_json

_TYPES = {
    "file": ("fileinput", "multifileinput", "combinefileinput"),
    "number": ("number", "range", "integer", "numeric", "float"),
    "text": ("text", "textarea"),
    "choice": ("select", "selectwithcover", "multiselect"),
    "json": ("json", "json-array"),
    "flag": ("checkbox", "boolean"),
    "colour": ("color", "colour", "colorpicker"),
}
KINDS = {name: kind for kind, names in _TYPES.items() for name in names}
"""What an input takes, by the service's type."""
_NAMES_SHOWN = 5
_Part = TypeVar("_Part")
_SLUG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+\-]*/[A-Za-z0-9_][A-Za-z0-9_.+\-]*")
_FORMULA = re.compile(r"(?<![\w.])(\d{1,4})\s*[*x×]?\s*n(?:\s*\+\s*(\d{1,4}))?(?![\w(])", re.IGNORECASE)
_PLUS_IF_DIVISIBLE = re.compile(r"divisible by (\d{1,4})\b[^.]*?\bn\s*\+\s*(\d{1,4})\b", re.IGNORECASE)
_MULTIPLE = re.compile(
    r"\b(?:must|should|has to|needs? to) be (?:a )?(?:multiples? of|divisible by) (\d{1,4})\b", re.IGNORECASE
)
_ASPECTS: dict[str, Callable[[Parameter], object]] = {
    "another type": lambda item: item.type,
    "another default": lambda item: item.default,
    "other choices": lambda item: frozenset(option.value for option in item.options),
    "other limits": lambda item: (item.required, item.multiple, item.min, item.max, item.step, item.rule),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Whole numbers of the form factor * n + offset, n = 0, 1, 2 ..."""

    factor: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Rule | None:
        """Reads a rule from its short form ("4n+1") or from a help text that states one.

        Args:
            text: "4n+1", "The number should be 4n+1", "If N is divisible by 4 the length should be N+1",
                "must be a multiple of 16".

        Returns:
            The rule, or None when the text states none.
        """
        formula = _FORMULA.search(text)
        if formula and not formula[2] and text.strip() != formula[0]:
            formula = None  # "2 n" in a sentence states nothing
        found = _PLUS_IF_DIVISIBLE.search(text) or formula or _MULTIPLE.search(text)
        if found is None:
            return None
        factor, *offset = map(int, found.groups("0"))
        return cls(factor, sum(offset)) if factor > 1 else None

    def __str__(self) -> str:
        return f"{self.factor}n+{self.offset}" if self.offset else f"{self.factor}n"

    @property
    def text(self) -> str:
        """The rule for display: "4n + 1", "a multiple of 16"."""
        return f"{self.factor}n + {self.offset}" if self.offset else f"a multiple of {self.factor}"

    def fits(self, number: int) -> bool:
        """True when the number is one of factor * n + offset with n >= 0."""
        return number >= self.offset and (number - self.offset) % self.factor == 0

    def nearest(self, number: int) -> tuple[int, int]:
        """Returns the fitting numbers just below and above; both the number itself where it fits.

        Below the smallest fitting number both are that smallest one.
        """
        if number <= self.offset:
            return self.offset, self.offset
        below = number - (number - self.offset) % self.factor
        return (below, below) if below == number else (below, below + self.factor)

    def examples(self, around: int) -> list[int]:
        """Returns up to five fitting numbers around one, rising."""
        below, _ = self.nearest(around)
        return [number for step in range(-2, 3) if self.fits(number := below + step * self.factor)]


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a select.

    Attributes:
        value: What is sent.
        label: Shown to users; may differ from the value.
        description: One line, or empty.
        trigger_words: Words that select the option's style when they are part of the prompt.
    """

    value: str
    label: str
    description: str = ""
    trigger_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input of a model.

    Attributes:
        id: Name on the wire, as the service spells it.
        type: The service's type, also when unknown to us.
        label: Short name for display.
        help: One line, or empty. Placeholders such as "seed-help" are read as empty.
        default: Text as the service gives it, a list of texts for several files or choices, or None.
        required: True when the service refuses a request without it.
        multiple: True when several values (files, choices) are taken.
        options: The choices of a select; empty for others, and for a select without choices.
        min, max, step: Bounds of a number as decimal text, or None.
        rule: "4n+1" and the like, or None.
        group: The model's own heading above the input, or empty.
    """

    id: str
    type: str
    label: str
    help: str = ""
    default: str | tuple[str, ...] | None = None
    required: bool = False
    multiple: bool = False
    options: tuple[Option, ...] = ()
    min: str | None = None
    max: str | None = None
    step: str | None = None
    rule: str | None = None
    group: str = ""

    @property
    def kind(self) -> str:
        """What it takes: "file", "number", "text", "choice", "json", "flag" or "colour".

        Empty for a type unknown here, which gets a text field and a note.
        """
        return KINDS.get(self.type, "")

    @property
    def is_file(self) -> bool:
        """True for inputs that take files or URLs."""
        return self.kind == "file"

    @property
    def samples(self) -> tuple[str, ...]:
        """The default as a list: of a file input, names of the service's own sample files."""
        default = self.default or ()
        return (default,) if isinstance(default, str) else default

    @property
    def is_seed(self) -> bool:
        """True for the input that pins a result: named "seed" and taking a number."""
        name = self.id.replace("_", "").lower()
        return name in {"seed", "randomseed", "noiseseed"} and (self.kind == "number" or self.type == "text")

    @property
    def takes_number(self) -> bool:
        """True for number inputs, and for text inputs that hold a number by their default, bounds or rule."""
        if self.type != "text":
            return self.kind == "number"
        numeric_default = isinstance(self.default, str) and as_decimal(self.default) is not None
        return numeric_default or self.is_seed or any((self.min, self.max, self.rule))

    @property
    def is_free_text(self) -> bool:
        """True for text inputs that take words, not numbers."""
        return self.kind == "text" and not self.takes_number

    @property
    def number_rule(self) -> Rule | None:
        """The rule that its numbers follow, or None."""
        return Rule.parse(self.rule) if self.rule else None

    @property
    def takes_empty(self) -> bool:
        """True when the empty text is one of the choices: giving it differs from giving nothing."""
        return any(option.value == "" for option in self.options)


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """A model and its inputs in normal form.

    Attributes:
        slug: "owner/name" as shown to users.
        run_path: "owner/name" of the Run endpoint; may differ from the slug.
        title: Name for display.
        description: One or two sentences.
        categories, tags: As the service lists them.
        cover: URL of a picture or clip, or empty.
        parameters: The inputs in the order of the page.
        source: Where this was read: {"kind": "page"|"detail"|"bundled"|"none", "name", "date"?, "sha256"?}.
        free_form: True when the model publishes no inputs: any name=value pair is accepted. "open" in stored data.
    """

    slug: str
    run_path: str
    title: str
    description: str = ""
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cover: str = ""
    parameters: tuple[Parameter, ...] = ()
    source: dict[str, str] = field(default_factory=dict)
    free_form: bool = False

    def get(self, name: str) -> Parameter | None:
        """Returns the input of this id, or None."""
        return next((parameter for parameter in self.parameters if parameter.id == name), None)

    @property
    def prompt_input(self) -> str | None:
        """The input that the body of a cell fills, or None for a model without a prompt."""
        if self.free_form or self.get("prompt") is not None:
            return "prompt"
        texts = [item.id for item in self.parameters if item.kind == "text"]
        prompts = [name for name in texts if "prompt" in name.lower() and "negative" not in name.lower()]
        return next(iter(prompts or [name for name in texts if name.lower() == "text"]), None)

    def to_dict(self) -> dict[str, Any]:
        """Returns the normal form as plain JSON data (tuples become lists)."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        data["open"] = data.pop("free_form")
        return data

    @property
    def sha256(self) -> str:
        """Hash of what decides a request (path and inputs), so that prose may change freely."""
        return _hash_inputs(self.run_path, self.parameters)


@lru_cache(maxsize=256)
def _hash_inputs(run_path: str, parameters: tuple[Parameter, ...]) -> str:
    # Kept: every run asks for it, and taking hundreds of fields apart costs a millisecond.
    return hash_json({"run_path": run_path, "parameters": [asdict(parameter) for parameter in parameters]})


def is_slug(text: str) -> bool:
    """True for "owner/name" in the letters the service uses; false for template placeholders and paths."""
    return _SLUG.fullmatch(text) is not None


def schema_from_dict(data: dict[str, Any]) -> ModelSchema:
    """Builds a schema from its normal form, ignoring keys it does not know.

    Args:
        data: As `ModelSchema.to_dict` returns it.

    Raises:
        KeyError: `slug` or `run_path` is missing.
    """
    inputs = [_parameter_from_dict(item) for item in data.get("parameters") or ()]
    known = {**data, "run_path": data["run_path"], "parameters": inputs, "free_form": bool(data.get("open"))}
    return _build(ModelSchema, known, title=data["slug"])


def _parameter_from_dict(data: dict[str, Any]) -> Parameter:
    options = [_build(Option, item, label=item["value"]) for item in data.get("options") or ()]
    return _build(Parameter, {**data, "options": options}, label=data["id"])


def _build(kind: type[_Part], data: dict[str, Any], **defaults: Any) -> _Part:
    """Returns the dataclass with those of its fields that the data has; lists become tuples."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    stored = {name: value for name, value in data.items() if name in names and value is not None}
    values = {**defaults, **stored}
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def changed_inputs(old: ModelSchema, new: ModelSchema) -> list[tuple[str, Parameter, Parameter]]:
    """Returns the changes of inputs that can affect a request; those of labels, help and order cannot.

    Args:
        old: The earlier reading.
        new: The later reading.

    Returns:
        By kind ("another type", "another default", "other choices", "other limits") the input before and after.
    """
    both = [(was, now) for now in new.parameters if (was := old.get(now.id)) is not None]
    return [
        (kind, was, now) for kind, aspect in _ASPECTS.items() for was, now in both if aspect(was) != aspect(now)
    ]


def describe_changes(old: ModelSchema, new: ModelSchema) -> tuple[str, ...]:
    """Returns the changes as text, one line for each kind of change; empty when there are none."""
    names = {
        "new": [item.id for item in new.parameters if old.get(item.id) is None],
        "gone": [item.id for item in old.parameters if new.get(item.id) is None],
    }
    for kind, was, _ in changed_inputs(old, new):
        names.setdefault(kind, []).append(was.id)
    return tuple(f"{kind}: {_list_names(found)}" for kind, found in names.items() if found)


def _list_names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{more}"
