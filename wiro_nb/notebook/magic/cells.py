"""Formats runs and form values as the equivalent cell or Python call. Pure functions."""

from __future__ import annotations

import json
import keyword
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.magic.parser import NAME, SPACED_NAME, parse_body, quote_name, quote_word
from wiro_nb.schema.types import JSON_TYPES, ModelSchema

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

PROMPT = "prompt"
_OPTIONS = {"wait", "fresh", "max_cost_usd", "out_dir"}
"""Keywords of `wiro_nb.run` that are not inputs; an input of such a name is passed in the mapping."""
Plain = str | int | float | list[str] | dict[str, Any]


def cell_of_run(run: Run, schema: ModelSchema | None) -> str:
    """Returns the cell that makes a run again, seed included; files stand by URL or name.

    Args:
        run: The run.
        schema: Its model, where that is known: it says where the empty text is a choice.
    """
    parameters = schema.parameters if schema is not None else ()
    kept = {parameter.id for parameter in parameters if parameter.takes_empty}
    as_json = {parameter.id for parameter in parameters if parameter.type in JSON_TYPES}
    values: dict[str, Any] = {
        name: json.dumps(value, ensure_ascii=False) if name in as_json else value
        for name, value in run.parameters.items()
        if value != "" or name in kept
    }
    for name, files in run.files.items():
        given = [str(item.get("url") or item.get("name") or "") for item in files]
        values[name] = given[0] if len(given) == 1 else given
    prompt = str(values.pop(PROMPT, ""))
    return cell_text(run.model, values, prompt=prompt, names=[parameter.id for parameter in parameters])


def cell_text(slug: str, values: Mapping[str, Plain], *, prompt: str = "", names: Collection[str] = ()) -> str:
    """Returns a `%%wiro` cell that sends these values.

    Args:
        slug: The model.
        values: Settings to write, without the prompt.
        prompt: The prompt, verbatim, or "".
        names: The model's inputs: what a body may hold as settings.

    Returns:
        The cell. Where a cell cannot express a value (a setting with a line break, a prompt that would be read
        back as something else), the Python call.
    """
    pairs = [(name, item) for name, value in values.items() for item in _items(value)]
    odd = any("\n" in value or "\r" in value or not _is_typed(name) for name, value in pairs)
    read_back = parse_body(prompt, names)
    if odd or read_back.values or read_back.prompt != prompt:
        return python_text(slug, {**({"prompt": prompt} if prompt else {}), **values})
    line = " ".join([slug, *(f"{quote_name(name)}={quote_word(value)}" for name, value in pairs)])
    # IPython refuses a cell magic without a body; the line magic does the same.
    return f"%%wiro {line}\n{prompt}" if prompt else f"%wiro run {line}"


def python_text(slug: str, values: Mapping[str, Plain]) -> str:
    """Returns `wiro_nb.run(...)` with these values."""
    usable = (name for name in values if name.isidentifier() and not keyword.iskeyword(name))
    plain = {name: values[name] for name in usable if name not in _OPTIONS}
    odd = {name: value for name, value in values.items() if name not in plain}
    arguments = [f"    {odd!r},"] if odd else []
    arguments += [f"    {name}={value!r}," for name, value in plain.items()]
    return "\n".join(["import wiro_nb", "", "run = wiro_nb.run(", f"    {slug!r},", *arguments, ")"]) + "\n"


def _is_typed(name: str) -> bool:
    return bool(NAME.match(name) or SPACED_NAME.match(name))


def _items(value: Plain) -> list[str]:
    """Returns a value as it is typed: several texts one by one, true, false and JSON values as JSON."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return list(value)
    return [json.dumps(value, ensure_ascii=False) if isinstance(value, (bool, list, dict)) else str(value)]
