"""Plans the form of a model: the control, group and label of each input.

Pure: a schema goes in, plain data comes out. The prompt comes first and large; then what the model
groups itself, else essentials, size and length, sampling, seed, files; what few people change is
folded under "More".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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


FieldPlan = dict[str, Any]
"""The control, group and label of one input, as JSON data for the browser, without what is empty:

- `id`: name on the wire. `label`: for people. `kind`: prompt, textarea, text, number, range, select, search, seed,
  checkbox, colour, choices, files, pairs.
- `group`: heading it stands under. `more`: True when folded.
- `hint`: help and rules in one line. `note`: said of inputs that need a word ("type slider is not known").
- `default`: text (or texts) that is sent when nothing is changed. `sample`: the model's own sample of a required
  text; it is offered, never sent unasked. `empty`: what an empty choice is called ("none", "choose one").
- `required`, `multiple`: as in the schema. `options`: [value, label, description, [trigger words]] of each choice.
- `unit`: "px" or "s". `min`, `max`, `step`: decimal text. `max_length`: characters. `rule_step`: distance of the
  numbers that fit the rule (4 for 4n+1).
- `media`: "image", "video" or "audio" where a file input takes only these. `most`: largest number of files.
"""


def given_values(schema: ModelSchema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values without those that mean "not given": empty ones, unless empty is one of the choices."""
    choosing = {parameter.id for parameter in schema.parameters if parameter.takes_empty}
    return {
        name: value
        for name, value in values.items()
        if value not in ("", [], None) or (value == "" and name in choosing)
    }


def plan_form(schema: ModelSchema) -> dict[str, FieldPlan]:
    """Returns the fields of a model's form in order. Never fails: odd inputs become text fields with a note."""
    parameters: dict[str, Parameter] = {}
    for item in schema.parameters:
        parameters.setdefault(item.id, item)
    groups = list(dict.fromkeys(item.group for item in parameters.values() if item.group))
    own_groups = len(groups) > 1
    plans = [_plan(item, item.id == schema.prompt_input, own_groups) for item in parameters.values()]
    if schema.free_form:
        name = f"{OPEN_FIELD}_" if OPEN_FIELD in parameters else OPEN_FIELD
        hint = "name and value, as the service spells them"
        plans.append({"id": name, "label": "Parameters", "kind": "pairs", "group": ESSENTIALS, "hint": hint})
    left = VISIBLE_FIELDS  # which fields are folded is decided in the order of the model's page
    for plan in plans:
        if not (plan.get("required") or plan.get("more") or plan["kind"] in ("prompt", "seed", "files")):
            left -= 1
            plan["more"] = left < 0
    order = ["", *(dict.fromkeys(plan["group"] for plan in plans if plan["group"]) if own_groups else _ORDER)]
    plans.sort(key=lambda plan: (plan["kind"] != "prompt", plan["more"], order.index(plan["group"])))
    shown = ({name: value for name, value in plan.items() if value not in ("", None, (), False)} for plan in plans)
    return {plan["id"]: plan for plan in shown}


def form_notes(schema: ModelSchema) -> list[str]:
    """Returns remarks about the schema itself."""
    names, changed = [parameter.id for parameter in schema.parameters], schema.source.get("changed")
    twice = dict.fromkeys(name for name in names if names.count(name) > 1)
    notes = [f"The model lists {name} twice; the first is used." for name in twice]
    if schema.free_form:
        notes.append("This model publishes no inputs. Names and values go to the service as typed.")
    return [*notes, f"Its inputs changed {changed}."] if changed else notes


def _plan(parameter: Parameter, is_prompt: bool, own_groups: bool) -> FieldPlan:
    kind, label = "prompt" if is_prompt else _kind(parameter), parameter.label.strip() or parameter.id
    is_folded = not (is_prompt or parameter.required) and _is_advanced(parameter, kind, own_groups)
    return {
        "id": parameter.id,
        "label": label if label == parameter.id else f"{label[:1].upper()}{label[1:]}",
        "kind": kind,
        "group": "" if is_prompt else _group(parameter, kind, own_groups),
        "more": is_folded,
        "hint": _hint(parameter, kind),
        "note": _note(parameter),
        **_first_value(parameter),
        "required": parameter.required,
        "multiple": parameter.multiple,
        "options": tuple(_option(option) for option in parameter.options),
        "unit": _UNITS.get(parameter.id.lower(), ""),
        "min": parameter.min,
        "max": parameter.max,
        "step": parameter.step,
        "max_length": _whole(parameter.max) if kind in ("prompt", "textarea", "text") else None,
        "rule_step": parameter.number_rule.factor if parameter.number_rule else None,
        "media": expected_media(parameter) if kind == "files" else "",
        "most": _whole(parameter.max) if kind == "files" and parameter.multiple else None,
    }


def _first_value(parameter: Parameter) -> dict[str, Any]:
    """Returns what a field starts with, the sample it offers, and what its empty choice is called.

    The form starts with what `prepare` would send for a value that is not given, so that neither a forgotten
    prompt pays for the model's sample nor a default outside the choices is sent by looking at it.
    """
    default = parameter.default if parameter.default is not None else ""
    if parameter.is_file:
        return {}
    if isinstance(default, tuple) and not parameter.options:
        default = ", ".join(default)
    if parameter.required and parameter.is_free_text:
        return {"sample": default if isinstance(default, str) else ""}
    if parameter.type == "multiselect":
        return {"default": default}
    if parameter.options and default not in {option.value for option in parameter.options}:
        if parameter.takes_empty:
            return {}
        return {"empty": "choose one" if parameter.required else "none"}
    return {"default": default}


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
    by_name = (group for group, pattern in ((SIZE, _SIZE), (SAMPLING, _SAMPLING)) if pattern.search(parameter.id))
    return {"seed": SEED, "files": FILES}.get(kind) or next(by_name, ESSENTIALS)


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
