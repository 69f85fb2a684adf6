"""Reads a model as Tool/Detail describes it; `page` describes the inputs of a model page in the same way.

Every field is optional and may be of another type than expected. The service says little in fields and much in
prose ("Optional. Use 1-3 images", "should be 4n+1"): number rules, file counts and required inputs are derived
from the texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import Any

from wiro_nb.errors import UnreadableSchema
from wiro_nb.json_values import as_decimal, as_flag, as_list, as_mapping, as_words
from wiro_nb.schema.types import KINDS, ModelSchema, Option, Parameter, Rule, is_slug

_PLACEHOLDER_HELP = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*-help")
"""A key such as "seed-help" that stands where a help text should be."""
_OPTIONAL = re.compile(r"\boptional(?:ly)?\b", re.IGNORECASE)
_KINDS = r"(?:images?|pictures?|photos?|videos?|clips?|files?|audios?|references?)"
_FILE_COUNT = re.compile(rf"\b(\d{{1,2}})\s*(?:-|–|to)\s*(\d{{1,2}})\b[^.]*?\b{_KINDS}\b", re.IGNORECASE)
_FILE_LIMIT = re.compile(rf"\b(?:up to|at most|max(?:imum)?)\s+(\d{{1,2}})\b[^.]*?\b{_KINDS}\b", re.IGNORECASE)
_RUN_TOGETHER = {
    "guidancescale": "Guidance scale",
    "inferencesteps": "Inference steps",
    "numberofoutputs": "Number of outputs",
}
_SPECIAL_WORDS = {"fps": "FPS", "lora": "LoRA", "cfg": "CFG", "url": "URL", "id": "ID"}
_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,39}")


def read_detail(answer: Mapping[str, Any], *, source_name: str = "Tool/Detail") -> ModelSchema:
    """Reads a model from the service's catalogue.

    Args:
        answer: The whole answer of Tool/Detail, or one entry of its `tool` list.
        source_name: Where it is from, for messages and `schema.source`.

    Returns:
        The schema; free-form when the answer gives no usable parameters (`null`, not a list, or empty).

    Raises:
        UnreadableSchema: The answer has no model, or the model has no usable name.
    """
    given = as_mapping(answer)
    found = given.get("tool", given)
    tool = as_mapping(found[0] if isinstance(found, list) and found else found)
    # The path is made of the "clean" forms where the service gives them.
    clean, shown = (
        "/".join(_text(tool.get(f"{form}slug{part}")) for part in ("owner", "project")) for form in ("clean", "")
    )
    named = [name for name in (shown, clean) if is_slug(name)]
    if not named:
        raise unreadable(source_name, "the answer has no model of the form owner/name in it", "%wiro models")
    return read_tool(tool, named[0], named[-1], {"kind": "detail", "name": source_name})


def read_tool(tool: Mapping[str, Any], slug: str, run_path: str, source: dict[str, str]) -> ModelSchema:
    """Returns the schema of a model that is described as in Tool/Detail.

    Of inputs with the same id the first counts; those without one are left out.

    Args:
        tool: One entry of an answer's `tool` list.
        slug: "owner/name" as shown to users.
        run_path: "owner/name" of the Run endpoint.
        source: As in `ModelSchema`.
    """
    parameters: dict[str, Parameter] = {}
    stated: set[str] = set()
    for group, item in _items(tool.get("parameters")):
        name = _text(item.get("id")).strip()
        if item.get("required") is not None:
            stated.add(name)
        if name and name.isprintable() and name not in parameters:
            parameters[name] = _read_parameter(name, item, group)
    schema = ModelSchema(
        slug=slug,
        run_path=run_path,
        title=_plain(tool.get("title") or tool.get("name")) or slug.partition("/")[2],
        description=_plain(tool.get("seodescription") or tool.get("description")),
        categories=_words(tool.get("categories")),
        tags=_words(tool.get("tags")),
        cover=_cover(tool.get("image") or tool.get("cover")),
        parameters=tuple(parameters.values()),
        source=source,
        free_form=not parameters,
    )
    return mark_required(schema, stated)


def _items(parameters: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields (group title, item); accepts groups with items, bare items, and either inside a JSON text."""
    for entry in as_list(parameters):
        if isinstance(entry, Mapping) and isinstance(entry.get("items"), list):
            title = _plain(entry.get("title"))
            yield from ((title, item) for item in entry["items"] if isinstance(item, Mapping))
        elif isinstance(entry, Mapping) and "id" in entry:
            yield "", entry


def _read_parameter(name: str, item: Mapping[str, Any], group: str) -> Parameter:
    kind = _text(item.get("type")).strip().lower()
    kind = kind if _TYPE.fullmatch(kind) else "text"
    notes = dict.fromkeys(_plain(item.get(key)) for key in ("description", "help", "note"))
    help_text = " ".join(note for note in notes if note and not _PLACEHOLDER_HELP.fullmatch(note))
    rule = Rule.parse(help_text)
    least, most = _file_counts(help_text) if KINDS.get(kind) == "file" else (None, None)
    options = [option for option in map(_read_option, as_list(item.get("options"))) if option is not None]
    return Parameter(
        id=name,
        type=kind,
        label=_label(_plain(item.get("label")), name),
        help=help_text,
        default=_default(kind, item.get("default", item.get("value"))),
        required=as_flag(item.get("required"), False),
        multiple=kind in {"multifileinput", "combinefileinput", "multiselect"}
        or as_flag(item.get("multiple"), False),
        options=tuple({option.value: option for option in reversed(options)}.values())[::-1],
        min=_bound(item.get("min")) or least,
        max=_bound(item.get("max")) or most,
        step=_bound(item.get("step")),
        rule=str(rule) if rule and (KINDS.get(kind) == "number" or kind == "text") else None,
        group=group,
    )


def _default(kind: str, value: Any) -> str | tuple[str, ...] | None:
    if value is None:
        return None
    if KINDS.get(kind) == "json":
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    is_list = isinstance(value, list)
    if KINDS.get(kind) != "file" and kind != "multiselect":
        return tuple(map(_text, value)) if is_list else _text(value)
    listed = as_list(value) or ([] if is_list else _text(value).split(","))
    names = (_text(name).strip() for name in listed)
    kept = tuple(name for name in names if name)
    return (kept[0] if kind == "fileinput" else kept) if kept else None


def _read_option(entry: Any) -> Option | None:
    fields = entry if isinstance(entry, Mapping) else {"value": entry, "label": entry}
    chosen = fields.get("id") if fields.get("value") is None else fields["value"]
    if not isinstance(chosen, str | int | float):
        return None
    value = _text(chosen)
    return Option(
        value=value,
        label=_plain(fields.get("label") or fields.get("text") or fields.get("name")) or value,
        description=_plain(fields.get("description")),
        trigger_words=_words(fields.get("triggerwords")),
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _plain(value: Any) -> str:
    """Returns the text in one line. Markup in it stays; the caller that displays it escapes it."""
    return " ".join(_text(value).split())


def _bound(value: Any) -> str | None:
    number = None if value is None or isinstance(value, bool) else as_decimal(_text(value))
    return None if number is None or abs(number.adjusted()) > 30 else format(number, "f")


def _words(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_plain, as_words(value))))


def _cover(value: Any) -> str:
    text = _text(value).strip()
    return text if text.startswith(("https://", "http://")) else ""


# What the texts say ---------------------------------------------------------------------------


def unreadable(source_name: str, what: str, hint: str) -> UnreadableSchema:
    """Returns the error about a page or an answer that has no usable model in it."""
    return UnreadableSchema(f"{source_name}: {what}.", hint=hint, source=source_name)


def _label(label: str, parameter_id: str) -> str:
    """Returns a short name for display.

    The service mixes finished labels ("Effect Type") with translation keys ("num-frames", "negativeprompt").
    A finished label is kept; a key is turned into words; an empty one is made from the id.

    Args:
        label: As the service gives it, in one line; may be empty.
        parameter_id: The wire name, used when the label is empty or is the id run together.
    """
    if label.lower() in _RUN_TOGETHER:
        return _RUN_TOGETHER[label.lower()]
    if not label or (label.islower() and label == parameter_id.lower()):
        label = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", parameter_id).lower()
    if label != label.lower():
        return label
    words = label.replace("-", " ").split() if " " not in label else label.split()
    text = " ".join(_SPECIAL_WORDS.get(word, word) for word in words)
    return text[:1].upper() + text[1:] or parameter_id


def _file_counts(help_text: str) -> tuple[str | None, str | None]:
    """Returns the least and most files a help text speaks of ("Use 1-3 images"), as decimal texts or None."""
    found = _FILE_COUNT.search(help_text)
    if found and int(found[1]) <= int(found[2]):
        return found[1], found[2]
    limit = _FILE_LIMIT.search(help_text)
    return (None, limit[1]) if limit else (None, None)


def mark_required(schema: ModelSchema, stated: Container[str] = ()) -> ModelSchema:
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
    prompts = [item for item in schema.parameters if item.id.lower() == "prompt" and item.kind == "text"]
    files = [item for item in schema.parameters if item.is_file]
    needed: set[str] = set()
    if files and not _OPTIONAL.search(files[0].help):
        from_file = any(name.startswith(("image-to-", "video-to-")) for name in schema.categories)
        from_text = any(name.startswith("text-to-") for name in schema.categories)
        if (from_file and not from_text) or not (prompts or schema.categories):
            needed.add(files[0].id)
    if not needed and not any(item.required and item.id in stated for item in files):
        needed.update(item.id for item in prompts if not _OPTIONAL.search(item.help))
    parameters = tuple(
        item if item.id in stated else replace(item, required=item.id in needed) for item in schema.parameters
    )
    return replace(schema, parameters=parameters)
