"""What can be said of a form's values: what is wrong with them, and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from wiro_nb.errors import WiroError
from wiro_nb.notebook.form.fields import Values
from wiro_nb.notebook.form.layout import FieldPlan, FormPlan
from wiro_nb.notebook.widgets.field import Field, PairsField
from wiro_nb.notebook.widgets.file_field import FileField
from wiro_nb.schema.types import ModelSchema

if TYPE_CHECKING:
    from wiro_nb.schema.values import Problem

PRICE_UNKNOWN = "price not listed"
_NEAR_SHOWN = 4

PriceOf = Callable[[Values], str | tuple[str, str]]
"""Gives the price of values in words, or a pair: the price, and what stands under it."""


def find_problems(
    schema: ModelSchema,
    plan: FormPlan,
    fields: Mapping[str, Field],
    values: Mapping[str, Any],
    *,
    shown: Collection[str],
) -> dict[str, dict[str, Any]]:
    """Returns what is wrong, by field: `message`, and `near` values that fit.

    Args:
        schema: The model.
        plan: Its form.
        fields: The widgets by parameter.
        values: What they hold.
        shown: Fields whose problems are told: nobody is blamed for a field not yet reached.
    """
    from wiro_nb.schema.values import check

    given = {name: value for name, value in values.items() if value not in ("", [])}
    for name, field in fields.items():
        if isinstance(field, FileField) and name in given:
            given[name] = field.resolved()
    found = check(schema, given)
    problems = {
        name: _problem(plan.get(name), values[name], found[name])
        for name in fields
        if name in found and name in shown
    }
    for name, field in fields.items():
        if isinstance(field, FileField) and field.trouble:
            problems[name] = {"message": field.trouble, "near": []}
        # Free pairs have no field of their own: what is wrong with one stands at the field of pairs.
        strays = [problem for key, problem in found.items() if key not in fields]
        if isinstance(field, PairsField) and strays:
            problems[name] = {"message": strays[0].message, "near": []}
    return problems


def find_price(ask: PriceOf | None, values: Values) -> tuple[str, str]:
    """Returns the price of values in words, and what stands under it; values that cannot be sent have none."""
    try:
        found = ask(dict(values)) if ask is not None else ""
    except WiroError:
        found = ""
    words, note = found if isinstance(found, tuple) else (found, "")
    return words or PRICE_UNKNOWN, note


def _problem(plan: FieldPlan | None, value: object, problem: Problem) -> dict[str, Any]:
    """Returns a problem in the words of a field, where label and rule can be read next to it."""
    message = problem.message
    if plan is not None and message.startswith("is "):
        message = f"{plan.label} {message}"
    elif message.startswith(f"{value}: must be") and problem.near:
        message = f"{value} does not fit."
    return {"message": message, "near": list(problem.near)[:_NEAR_SHOWN]}
