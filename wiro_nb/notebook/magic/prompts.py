"""The cell that makes a run again. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wiro_nb.notebook.form.text import cell_text
from wiro_nb.schema.types import JSON_TYPES, ModelSchema

if TYPE_CHECKING:
    from wiro_nb.execution.run import Run

PROMPT = "prompt"


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
