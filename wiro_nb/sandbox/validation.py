"""Checks a Run request against the model's inputs, with the service's own words for what is wrong."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from wiro_nb.sandbox.incoming import Body
from wiro_nb.sandbox.wire import Failure
from wiro_nb.schema.types import NUMBER_TYPES, ModelSchema, Parameter

__all__ = ["check_request"]

INVALID = "Request parameters are invalid."


def check_request(schema: ModelSchema, body: Body) -> None:
    """Checks every input in the order of the model's page.

    Values no input is known for are kept as they are: the service does not refuse them.

    Raises:
        Failure: Code 0, the first thing that is wrong.
    """
    if schema.free_form:
        return
    for parameter in schema.parameters:
        if parameter.is_file:
            _check_file(parameter, body)
        else:
            _check_value(parameter, body.fields.get(parameter.id))


def _check_file(parameter: Parameter, body: Body) -> None:
    urls = body.texts(parameter.id) or body.texts(f"{parameter.id}Url")
    parts = body.parts.get(parameter.id, [])
    if parameter.required and not urls and not parts:
        raise Failure(0, f"Request files [{parameter.id}] required")
    if parameter.type == "fileinput" and len(urls) + len(parts) > 1:
        raise Failure(0, INVALID)


def _check_value(parameter: Parameter, value: Any) -> None:
    if value is None or value == "":
        if parameter.required:
            raise Failure(0, f"Request parameter [{parameter.id}] required")
        return
    if parameter.type in NUMBER_TYPES:
        _check_number(parameter, value)
    elif parameter.type == "select":
        _check_choice(parameter, value)
    elif not isinstance(value, (str, int, float)):
        raise Failure(0, INVALID)


def _check_number(parameter: Parameter, value: Any) -> None:
    try:
        number = math.nan if isinstance(value, (bool, list, dict)) else float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Failure(0, f"Request parameter [{parameter.id}] must be integer or float")
    lowest = Decimal(parameter.min) if parameter.min else None
    highest = Decimal(parameter.max) if parameter.max else None
    too_low = lowest is not None and number < lowest
    too_high = highest is not None and number > highest
    if too_low or too_high:
        bounds = f"{'-' if lowest is None else lowest} and {'-' if highest is None else highest}"
        raise Failure(0, f"Request parameter [{parameter.id}] must be between {bounds}")


def _check_choice(parameter: Parameter, value: Any) -> None:
    # A default outside the options, and a select that has none, are facts of real model pages.
    values = {option.value for option in parameter.options}
    if values and str(value) not in values and str(value) != parameter.default:
        raise Failure(0, INVALID)
