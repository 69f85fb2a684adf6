"""Reads a Tool/Detail answer into a schema. Every field is optional and may be of another type than expected."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from wiro_nb.json_values import as_decimal, as_list, as_words
from wiro_nb.schema.normalise import (
    Rule,
    file_counts,
    human_help,
    human_label,
    is_slug,
    mark_required,
    unreadable,
)
from wiro_nb.schema.types import FILE_TYPES, JSON_TYPES, NUMBER_TYPES, ModelSchema, Option, Parameter

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
    tool = _find_tool(answer, source_name)
    slug, run_path = _slugs(tool)
    if not slug:
        raise unreadable(source_name, "the answer has no model of the form owner/name in it", "%wiro models")
    items = list(_items(tool.get("parameters")))
    parameters = read_parameters(items)
    schema = ModelSchema(
        slug=slug,
        run_path=run_path,
        title=_plain(tool.get("title") or tool.get("name")) or slug.partition("/")[2],
        description=_plain(tool.get("seodescription") or tool.get("description")),
        categories=_words(tool.get("categories")),
        tags=_words(tool.get("tags")),
        cover=_cover(tool.get("image") or tool.get("cover")),
        parameters=parameters,
        source={"kind": "detail", "name": source_name},
        free_form=not parameters,
    )
    stated = [str(item.get("id")).strip() for _, item in items if item.get("required") is not None]
    return mark_required(schema, stated=stated)


def _find_tool(answer: Mapping[str, Any], source_name: str) -> Mapping[str, Any]:
    tool: Any = answer.get("tool", answer) if isinstance(answer, Mapping) else answer
    if isinstance(tool, list):
        tool = tool[0] if tool else None
    if not isinstance(tool, Mapping):
        raise unreadable(source_name, "the answer has no model in it", "%wiro models")
    return tool


def _slugs(tool: Mapping[str, Any]) -> tuple[str, str]:
    """Returns slug and run path; the path is made of the "clean" forms where the service gives them."""

    def joined(owner: str, project: str) -> str:
        text = f"{_text(tool.get(owner))}/{_text(tool.get(project))}"
        return text if is_slug(text) else ""

    run_path = joined("cleanslugowner", "cleanslugproject")
    slug = joined("slugowner", "slugproject") or run_path
    return slug, run_path or slug


def _items(parameters: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields (group title, item); accepts groups with items, bare items, and either inside a JSON text."""
    for entry in as_list(parameters):
        if isinstance(entry, Mapping) and isinstance(entry.get("items"), list):
            title = _plain(entry.get("title"))
            yield from ((title, item) for item in entry["items"] if isinstance(item, Mapping))
        elif isinstance(entry, Mapping) and "id" in entry:
            yield "", entry


def read_parameters(items: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Parameter, ...]:
    """Reads the inputs of a model. Of inputs with the same id the first counts; those without one are left out.

    Args:
        items: Group title, and the input as the service describes it.
    """
    parameters: dict[str, Parameter] = {}
    for group, item in items:
        name = _text(item.get("id")).strip()
        if name and name.isprintable() and name not in parameters:
            parameters[name] = _read_parameter(name, item, group)
    return tuple(parameters.values())


def _read_parameter(name: str, item: Mapping[str, Any], group: str) -> Parameter:
    kind = _text(item.get("type")).strip().lower()
    kind = kind if _TYPE.fullmatch(kind) else "text"
    notes = [human_help(_plain(item.get(key))) for key in ("description", "help", "note")]
    help_text = " ".join(dict.fromkeys(note for note in notes if note))
    rule = Rule.parse(help_text)
    least, most = file_counts(help_text) if kind in FILE_TYPES else (None, None)
    options = [option for option in map(_read_option, as_list(item.get("options"))) if option is not None]
    return Parameter(
        id=name,
        type=kind,
        label=human_label(_plain(item.get("label")), name),
        help=help_text,
        default=_default(kind, item.get("default", item.get("value"))),
        required=_is_true(item.get("required")),
        multiple=kind in {"multifileinput", "combinefileinput", "multiselect"} or _is_true(item.get("multiple")),
        options=tuple({option.value: option for option in reversed(options)}.values())[::-1],
        min=_bound(item.get("min")) or least,
        max=_bound(item.get("max")) or most,
        step=_bound(item.get("step")),
        rule=str(rule) if rule and kind in NUMBER_TYPES | {"text"} else None,
        group=group,
    )


def _default(kind: str, value: Any) -> str | tuple[str, ...] | None:
    if value is None:
        return None
    if kind in JSON_TYPES:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    is_list = isinstance(value, list)
    if kind not in FILE_TYPES and kind != "multiselect":
        return tuple(map(_text, value)) if is_list else _text(value)
    listed = as_list(value) if kind == "multiselect" or is_list else []
    names = (_text(name).strip() for name in listed or ([] if is_list else _text(value).split(",")))
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


def _is_true(value: Any) -> bool:
    return _text(value).strip().lower() in {"1", "1.0", "true", "yes"}


def _bound(value: Any) -> str | None:
    number = None if value is None or isinstance(value, bool) else as_decimal(_text(value))
    return None if number is None or abs(number.adjusted()) > 30 else format(number, "f")


def _words(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(_plain, as_words(value))))


def _cover(value: Any) -> str:
    text = _text(value).strip()
    return text if text.startswith(("https://", "http://")) else ""
