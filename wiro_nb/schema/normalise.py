"""Derives labels, number rules, file counts and required inputs from the texts of a model.

The service says little in fields and much in prose ("Optional. Use 1-3 images", "should be 4n+1"). A page and
a Tool/Detail answer give the same schema because both readers use this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wiro_nb.errors import UnreadableSchema
from wiro_nb.schema.types import NUMBER_TYPES, ModelSchema, Parameter

_PLACEHOLDER_HELP = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-help")
_OPTIONAL = re.compile(r"\boptional(?:ly)?\b", re.IGNORECASE)
_KINDS = r"(?:images?|pictures?|photos?|videos?|clips?|files?|audios?|references?)"
_FILE_COUNT = re.compile(rf"\b(\d{{1,2}})\s*(?:-|–|to)\s*(\d{{1,2}})\b[^.]*?\b{_KINDS}\b", re.IGNORECASE)
_FILE_LIMIT = re.compile(rf"\b(?:up to|at most|max(?:imum)?)\s+(\d{{1,2}})\b[^.]*?\b{_KINDS}\b", re.IGNORECASE)
_SLUG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+\-]*/[A-Za-z0-9_][A-Za-z0-9_.+\-]*")

_FORMULA = re.compile(r"(?<![\w.])(\d{1,4})\s*[*x×]?\s*n(?:\s*\+\s*(\d{1,4}))?(?![\w(])", re.IGNORECASE)
_PLUS_IF_DIVISIBLE = re.compile(r"divisible by (\d{1,4})\b[^.]*?\bn\s*\+\s*(\d{1,4})\b", re.IGNORECASE)
_MULTIPLE = re.compile(
    r"\b(?:must|should|has to|needs? to) be (?:a )?(?:multiples? of|divisible by) (\d{1,4})\b", re.IGNORECASE
)

_RUN_TOGETHER = {
    "framenumber": "Frame number",
    "guidancescale": "Guidance scale",
    "inferencesteps": "Inference steps",
    "negativeprompt": "Negative prompt",
    "numberofoutputs": "Number of outputs",
}
_SPECIAL_WORDS = {"fps": "FPS", "lora": "LoRA", "cfg": "CFG", "url": "URL", "id": "ID"}


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
        if found := _PLUS_IF_DIVISIBLE.search(text):
            return cls._of(int(found[1]), int(found[2]))
        if (found := _FORMULA.search(text)) and (found[2] or text.strip() == found[0]):
            return cls._of(int(found[1]), int(found[2] or 0))
        if found := _MULTIPLE.search(text):
            return cls._of(int(found[1]), 0)
        return None

    @classmethod
    def _of(cls, factor: int, offset: int) -> Rule | None:
        return cls(factor, offset) if factor > 1 else None

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


def unreadable(source_name: str, what: str, hint: str) -> UnreadableSchema:
    """Returns the error about a page or an answer that has no usable model in it."""
    return UnreadableSchema(f"{source_name}: {what}.", hint=hint, source=source_name)


def is_slug(text: str) -> bool:
    """True for "owner/name" in the letters the service uses; false for template placeholders and paths."""
    return _SLUG.fullmatch(text) is not None


def human_label(label: str, parameter_id: str) -> str:
    """Returns a short name for display.

    The service mixes finished labels ("Effect Type") with translation keys ("num-frames", "negativeprompt").
    A finished label is kept; a key is turned into words; an empty one is made from the id.

    Args:
        label: As the service gives it, may be empty.
        parameter_id: The wire name, used when the label is empty or is the id run together.
    """
    label = " ".join(label.split())
    if label.lower() in _RUN_TOGETHER:
        return _RUN_TOGETHER[label.lower()]
    if not label or (label.islower() and label == parameter_id.lower()):
        label = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", parameter_id).lower()
    if label != label.lower():
        return label
    words = label.replace("-", " ").split() if " " not in label else label.split()
    spoken = [_SPECIAL_WORDS.get(word, word) for word in words]
    if spoken and spoken[0] == words[0]:
        spoken[0] = spoken[0][:1].upper() + spoken[0][1:]
    return " ".join(spoken) or parameter_id


def human_help(text: str) -> str:
    """Returns the help text in one line; placeholders such as "seed-help" become empty."""
    text = " ".join(text.split())
    return "" if _PLACEHOLDER_HELP.fullmatch(text) else text


def file_counts(help_text: str) -> tuple[str | None, str | None]:
    """Returns the least and most files a help text speaks of ("Use 1-3 images"), as decimal texts or None."""
    found = _FILE_COUNT.search(help_text)
    if found and int(found[1]) <= int(found[2]):
        return found[1], found[2]
    limit = _FILE_LIMIT.search(help_text)
    return (None, limit[1]) if limit else (None, None)


def is_seed(parameter: Parameter) -> bool:
    """True for the input that pins a result: named "seed" and taking a number."""
    name = parameter.id.replace("_", "").lower()
    return name in {"seed", "randomseed", "noiseseed"} and parameter.type in NUMBER_TYPES | {"text"}


def mark_required(schema: ModelSchema, stated: Sequence[str] = ()) -> ModelSchema:
    """Returns the schema with `required` derived where the source is silent.

    Pages never say what is required. Two inputs are, by what the model does: the first file of a model that
    starts from an image or video and from nothing else, unless its help says "optional"; and the prompt,
    unless a required file already says what to make or its help says "optional". Everything else has a
    default or may be left out. A wrong "not required" costs a free refusal by the service, a wrong "required"
    blocks the user, so doubt falls on the free side.

    Args:
        schema: As read.
        stated: Ids for which the source states whether they are required; those stay untouched.
    """
    first_file = next((parameter for parameter in schema.parameters if parameter.is_file), None)
    has_prompt = any(_is_prompt(parameter) for parameter in schema.parameters)
    needed: set[str] = set()
    if first_file is not None and not _OPTIONAL.search(first_file.help):
        from_file = any(name.startswith(("image-to-", "video-to-")) for name in schema.categories)
        from_text = any(name.startswith("text-to-") for name in schema.categories)
        if (from_file and not from_text) or not (has_prompt or schema.categories):
            needed.add(first_file.id)
    file_needed = bool(needed) or any(
        parameter.required for parameter in schema.parameters if parameter.is_file and parameter.id in stated
    )
    for parameter in schema.parameters:
        if _is_prompt(parameter) and not file_needed and not _OPTIONAL.search(parameter.help):
            needed.add(parameter.id)
    parameters = tuple(
        parameter if parameter.id in stated else replace(parameter, required=parameter.id in needed)
        for parameter in schema.parameters
    )
    return replace(schema, parameters=parameters)


def _is_prompt(parameter: Parameter) -> bool:
    return parameter.id.lower() == "prompt" and parameter.type in {"text", "textarea"}
