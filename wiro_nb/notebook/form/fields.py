"""Makes the widgets of a form's fields, and turns them into values and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets

from wiro_nb.notebook.form.layout import FieldPlan, FormPlan
from wiro_nb.notebook.widgets.field import Field, PairsField, SeedField
from wiro_nb.notebook.widgets.file_field import FileField, FileSources
from wiro_nb.schema.types import ModelSchema

Values = dict[str, Any]


def make_fields(
    plan: FormPlan,
    layout: ipywidgets.Layout,
    form_key: str,
    upload_dir: Path | None,
    sources: FileSources | None = None,
) -> dict[str, Field]:
    """Returns a widget for each field of a plan, holding its default.

    Args:
        plan: The form.
        layout: Shared by all: a layout each would double the messages.
        form_key: What the fields find their form by in the browser.
        upload_dir: Where files from the browser are put, or None for the usual place.
        sources: Finds earlier runs for file inputs, or None.
    """
    fields: dict[str, Field] = {}
    for field in plan.fields:
        common: dict[str, Any] = {"name": field.id, "form_key": form_key, "layout": layout}
        if field.kind == "files":
            limits = {"multiple": field.multiple, "media": field.media}
            fields[field.id] = FileField(upload_dir=upload_dir, sources=sources, **limits, **common)
        else:
            fields[field.id] = _make_field(field, common)
    return fields


def _make_field(plan: FieldPlan, common: dict[str, Any]) -> Field:
    if plan.kind == "pairs":
        return PairsField(**common)
    default = plan.default if isinstance(plan.default, str) else ", ".join(plan.default)
    if plan.kind == "seed":
        return SeedField(value=default, pinned=default not in ("", "0", "-1"), **common)
    return Field(value=default, **common)


def collect_values(fields: Mapping[str, Field]) -> Values:
    """Returns the value of every field; free pairs stand beside the others, several files are a list."""
    values: Values = {}
    for name, field in fields.items():
        if isinstance(field, PairsField):
            values.update({key: item for key, item in field.value.items() if key not in fields})
        elif isinstance(field, FileField):
            files = list(field.value)
            values[name] = files if field.multiple else (files[0] if files else "")
        else:
            values[name] = field.value
    return values


def changed_values(plan: FormPlan, values: Mapping[str, Any], home: Path | None) -> Values:
    """Returns what differs from the defaults, and the seed, which a repeat needs.

    Args:
        plan: The form.
        values: By parameter.
        home: Files below it are told by their path from there: the text goes into a notebook that travels.
    """
    changed: Values = {}
    for name, value in values.items():
        field = plan.get(name)
        kind = field.kind if field is not None else ""
        default = "" if field is None else field.default
        if value not in ("", [], None) and (kind == "seed" or str(value) != str(default)):
            changed[name] = _near(value, home) if kind == "files" and home is not None else value
    return changed


def _near(value: Any, home: Path) -> Any:
    if isinstance(value, list):
        return [_near(item, home) for item in value]
    path = Path(value)
    return path.relative_to(home).as_posix() if path.is_absolute() and path.is_relative_to(home) else value


def plan_data(schema: ModelSchema, plan: FormPlan, service_badge: str, *, has_presets: bool) -> dict[str, Any]:
    """Returns what the browser needs to draw the form: JSON data that does not change."""
    changed = schema.source.get("changed")
    return {
        "slug": schema.slug,
        "title": schema.title,
        "owner": schema.owner,
        "description": schema.description[:400],
        "categories": list(schema.categories)[:8],
        "badge": service_badge,
        "fields": [field.to_dict() for field in plan.fields],
        "notes": [*plan.notes, *([f"Its inputs changed {changed}."] if changed else [])],
        "has_presets": has_presets,
    }
