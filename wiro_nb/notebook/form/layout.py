"""Plans the form of a model: the control, group and label of each input.

Pure: a schema goes in, plain data comes out. The prompt comes first and large; then what the model
groups itself, else essentials, size and length, sampling, seed, files; what few people change is
folded under "More".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wiro_nb.schema.files import MAX_FILE_BYTES, accepted_types, expected_media
from wiro_nb.schema.types import ModelSchema, Option, Parameter

SEARCH_FROM = 26
"""Lists of this many options or more get a search field."""
OPEN_FIELD = "parameters"
"""Name of the field that takes free pairs when a model publishes no inputs."""
VISIBLE_FIELDS = 16
"""Optional fields beyond this many are folded, so that a form of sixty stays readable."""

ESSENTIALS, SIZE, SAMPLING, SEED, FILES = "Essentials", "Size and length", "Sampling", "Seed", "Files"
_ORDER = (ESSENTIALS, SIZE, SAMPLING, SEED, FILES)
_SIZE = re.compile(r"width|height|size|ratio|resolution|frame|fps|duration|length|seconds|aspect", re.IGNORECASE)
_SAMPLING = re.compile(r"step|scale|guidance|cfg|shift|solver|sampler|scheduler|strength|denois", re.IGNORECASE)
_ADVANCED = re.compile(
    r"negative|private|solver|sampler|scheduler|shift|callback|webhook|safety|speed.?mode|quality|format|debug|eta$|token",
    re.IGNORECASE,
)
_PIXELS = re.compile(r"(\d{2,5})\s?[*x×]\s?(\d{2,5})")
_UNITS = {"width": "px", "height": "px", "duration": "s", "seconds": "s"}


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """The control, group and label of one input.

    Attributes:
        id: Name on the wire. label: for people. kind: prompt, textarea, text, number, range, select, search,
            seed, checkbox, colour, choices, files, pairs.
        group: Heading it stands under. more: True when folded.
        hint: Help and rules in one line. note: Said of inputs that need a word ("type slider is not known").
        default: Text (or list of texts) that is sent when nothing is changed.
        required, multiple: As in the schema.
        sample: The model's own sample of a required text. It is offered, never sent unasked.
        empty: What an empty choice is called ("none", "choose one").
        options: [value, label, description, [trigger words]] of each choice.
        unit: "px", "s" or "". min, max, step: decimal text or None. max_length: characters or None.
        rule_step: distance of the numbers that fit the rule (4 for 4n+1), or None.
        media: "image", "video" or "audio" where a file input takes only these. most: largest number of files.
    """

    id: str
    label: str
    kind: str
    group: str
    more: bool = False
    hint: str = ""
    note: str = ""
    default: str | tuple[str, ...] = ""
    sample: str = ""
    empty: str = ""
    required: bool = False
    multiple: bool = False
    options: tuple[tuple[str, str, str, tuple[str, ...]], ...] = ()
    unit: str = ""
    min: str | None = None
    max: str | None = None
    step: str | None = None
    max_length: int | None = None
    rule_step: int | None = None
    media: str = ""
    most: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON data for the browser, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, (), False)}


@dataclass(frozen=True, slots=True)
class FormPlan:
    """A whole form: fields in their order, and remarks about the schema itself."""

    fields: tuple[FieldPlan, ...]
    notes: tuple[str, ...] = ()

    def get(self, name: str) -> FieldPlan | None:
        """Returns the plan of a field, or None."""
        return next((plan for plan in self.fields if plan.id == name), None)

    def changed_values(self, given: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
        """Returns what differs from the defaults, and the seed, which a repeat needs.

        Args:
            given: From `given_values`.
            folder: Files in it are written as relative paths: the text goes into a notebook that may be moved.
        """
        changed = {}
        for name, value in given.items():
            field = self.get(name)
            kind, default = (field.kind, field.default) if field is not None else ("", "")
            if kind == "seed" or _is_changed(value, default):
                changed[name] = _relative(value, folder) if kind == "files" and folder is not None else value
        return changed


def _is_changed(value: Any, default: str | tuple[str, ...]) -> bool:
    return tuple(value) != tuple(default) if isinstance(value, list) else str(value) != str(default)


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_relative(item, folder) for item in value]
    path = Path(value)
    return path.relative_to(folder).as_posix() if path.is_absolute() and path.is_relative_to(folder) else value


def given_values(schema: ModelSchema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values without those that mean "not given": empty ones, unless empty is one of the choices."""
    choosing = {parameter.id for parameter in schema.parameters if parameter.takes_empty}
    return {
        name: value
        for name, value in values.items()
        if value not in ("", [], None) or (value == "" and name in choosing)
    }


def plan_form(schema: ModelSchema) -> FormPlan:
    """Returns the form of a model. Never fails: odd inputs become text fields with a note."""
    parameters, notes = _unique(schema.parameters)
    own_groups = len({parameter.group for parameter in parameters if parameter.group}) > 1
    plans = [_plan(item, is_prompt=item.id == schema.prompt_input, own_groups=own_groups) for item in parameters]
    if schema.free_form:
        plans.append(_open_plan(plans))
        notes = (*notes, "This model publishes no inputs. Names and values go to the service as typed.")
    return FormPlan(tuple(_arrange(plans, own_groups)), notes)


def label_text(parameter: Parameter) -> str:
    """Returns the label with a capital first letter; the name where there is none."""
    label = parameter.label.strip() or parameter.id
    return label if label == parameter.id else label[:1].upper() + label[1:]


def _unique(parameters: Iterable[Parameter]) -> tuple[list[Parameter], tuple[str, ...]]:
    seen: dict[str, Parameter] = {}
    twice = [item.id for item in parameters if seen.setdefault(item.id, item) is not item]
    return list(seen.values()), tuple(f"The model lists {name} twice; the first is used." for name in twice)


def _plan(parameter: Parameter, *, is_prompt: bool, own_groups: bool) -> FieldPlan:
    kind = "prompt" if is_prompt else _kind(parameter)
    return FieldPlan(
        id=parameter.id,
        label=label_text(parameter),
        kind=kind,
        group="" if is_prompt else _group(parameter, kind, own_groups),
        more=not is_prompt and not parameter.required and _is_advanced(parameter, kind, own_groups),
        hint=_hint(parameter, kind),
        note=_note(parameter),
        **_first_value(parameter),
        required=parameter.required,
        multiple=parameter.multiple,
        options=tuple(_option(option) for option in parameter.options),
        unit=_UNITS.get(parameter.id.lower(), ""),
        min=parameter.min,
        max=parameter.max,
        step=parameter.step,
        max_length=_whole(parameter.max) if kind in ("prompt", "textarea", "text") else None,
        rule_step=parameter.number_rule.factor if parameter.number_rule else None,
        media=expected_media(parameter) if kind == "files" else "",
        most=_whole(parameter.max) if kind == "files" and parameter.multiple else None,
    )


def _first_value(parameter: Parameter) -> dict[str, Any]:
    """Returns what a field starts with, the sample it offers, and what its empty choice is called.

    The form starts with what `prepare` would send for a value that is not given, so that neither a forgotten
    prompt pays for the model's sample nor a default outside the choices is sent by looking at it.
    """
    default = parameter.default if parameter.default is not None else ""
    if parameter.is_file:
        return {}
    if parameter.required and parameter.is_free_text:
        return {"sample": default if isinstance(default, str) else ""}
    if parameter.type == "multiselect":
        return {"default": default}
    if parameter.options and default not in {option.value for option in parameter.options}:
        if parameter.takes_empty:
            return {}
        return {"empty": "choose one" if parameter.required else "none"}
    return {"default": default}


def _open_plan(plans: list[FieldPlan]) -> FieldPlan:
    name = f"{OPEN_FIELD}_" if OPEN_FIELD in {plan.id for plan in plans} else OPEN_FIELD
    return FieldPlan(name, "Parameters", "pairs", ESSENTIALS, hint="name and value, as the service spells them")


def _kind(parameter: Parameter) -> str:
    options, of_type = parameter.options, parameter.type
    has_bounds = parameter.min is not None and parameter.max is not None
    kinds = (
        ("files", parameter.is_file),
        ("seed", parameter.is_seed),
        ("checkbox", parameter.kind == "flag"),
        ("colour", parameter.kind == "colour"),
        ("textarea", parameter.kind == "json"),
        ("choices", of_type == "multiselect" and options),
        ("search", len(options) >= SEARCH_FROM),
        ("select", options),
        ("range", of_type == "range" and has_bounds),
        ("number", parameter.takes_number),
        ("textarea", of_type == "textarea"),
    )
    return next((kind for kind, fits in kinds if fits), "text")


def _group(parameter: Parameter, kind: str, own_groups: bool) -> str:
    if own_groups:
        return parameter.group or ESSENTIALS
    if kind == "seed":
        return SEED
    if kind == "files":
        return FILES
    if _SIZE.search(parameter.id):
        return SIZE
    return SAMPLING if _SAMPLING.search(parameter.id) else ESSENTIALS


def _is_advanced(parameter: Parameter, kind: str, own_groups: bool) -> bool:
    if own_groups and re.search(r"advanced|expert|other|optional", parameter.group, re.IGNORECASE):
        return True
    if parameter.kind == "choice" and not parameter.options:
        return True
    return kind not in ("files", "seed") and bool(_ADVANCED.search(parameter.id))


def _hint(parameter: Parameter, kind: str) -> str:
    parts = [parameter.help.strip().rstrip(".")] if parameter.help.strip() else []
    if kind == "files":
        parts.append(_file_limits(parameter))
    rule = parameter.number_rule
    if rule is not None:
        around = _whole(parameter.default)
        examples = rule.examples(around if around is not None else rule.offset + rule.factor)
        parts = [f"{rule.text}, for example {' or '.join(map(str, examples[-2:]))}"]
    if kind in ("number", "range", "seed"):
        least, most = parameter.min, parameter.max
        if least is not None:
            parts.append(f"{least} or more" if most is None else f"{least} to {most}")
        elif most is not None:
            parts.append(f"up to {most}")
        if parameter.step not in (None, "", "1"):
            parts.append(f"in steps of {parameter.step}")
    hint = "; ".join(parts)
    return f"{hint[:1].upper()}{hint[1:]}"


def _file_limits(parameter: Parameter) -> str:
    """Returns "1 to 3 images (jpg, png, gif, webp, heic), up to 100 MB each"."""
    media = expected_media(parameter)
    what = media or "file"
    types = f" ({accepted_types(media)})" if media else ""
    least, most = _whole(parameter.min), _whole(parameter.max)
    size = f"up to {MAX_FILE_BYTES // (1024 * 1024)} MB"
    if not parameter.multiple:
        return f"one {what}{types}, {size}"
    many = f"{least or 1} to {most} {what}s" if most else f"several {what}s"
    return f"{many}{types}, {size} each"


def _note(parameter: Parameter) -> str:
    if not parameter.kind:
        return f"Inputs of type {parameter.type[:40]} are not known here; the text is sent as typed."
    if parameter.kind == "json":
        return "JSON, as in [1, 2]" if parameter.type == "json-array" else 'JSON, as in {"a": 1}'
    if parameter.kind == "choice" and not parameter.options:
        return "The model lists no choices; the text is sent as typed."
    return ""


def _whole(text: object) -> int | None:
    return int(text) if isinstance(text, str) and re.fullmatch(r"-?\d{1,12}", text.strip()) else None


def _option(option: Option) -> tuple[str, str, str, tuple[str, ...]]:
    same = option.description.strip().lower() in (
        option.label.strip().lower(),
        option.label.rpartition("/")[2].lower(),
    )
    label = option.label or option.value or "none"
    if found := _PIXELS.fullmatch(label):
        width, height = int(found[1]), int(found[2])
        shape = "landscape" if width > height else "portrait" if width < height else "square"
        label = f"{width} × {height}, {shape}"
    return option.value, label, "" if same else option.description, option.trigger_words


def _arrange(plans: list[FieldPlan], own_groups: bool) -> list[FieldPlan]:
    """Puts the fields in their order; which are folded is decided in the order of the model's page."""
    left = VISIBLE_FIELDS
    placed: list[FieldPlan] = []
    for plan in plans:
        is_kept = plan.required or plan.kind in ("prompt", "seed", "files")
        if not is_kept and not plan.more:
            left -= 1
            plan = plan if left >= 0 else replace(plan, more=True)
        placed.append(plan)
    groups = list(dict.fromkeys(plan.group for plan in placed)) if own_groups else list(_ORDER)
    rank = {group: index for index, group in enumerate(["", *(group for group in groups if group)])}
    return sorted(placed, key=lambda plan: (plan.kind != "prompt", plan.more, rank[plan.group]))
