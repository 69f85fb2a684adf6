"""Converts one value to its wire form by the input's type, without guessing about text from a cell.

`number`, `range`, `integer` and `numeric` inputs become numbers, a checkbox true or false, a `multiselect` a list,
`json` the value itself, everything else text, as in the service's own sample bodies. A `text` input whose default
is a number ("frameNum" of pruna/vace) is checked as a number and sent as text.
"""

from __future__ import annotations

import difflib
import json
import numbers
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from wiro_nb.json_values import as_decimal
from wiro_nb.schema.normalise import Rule, is_seed
from wiro_nb.schema.types import (
    CHOICE_TYPES,
    COLOUR_TYPES,
    FLAG_TYPES,
    JSON_NUMBER_TYPES,
    JSON_TYPES,
    NUMBER_TYPES,
    TEXT_TYPES,
    Parameter,
)

WireValue = str | int | float | list[Any] | dict[str, Any]
"""True and false are integers here; dicts and lists of other things than text come from `json` inputs."""

LARGEST_WHOLE_NUMBER = 2**53
"""Beyond this a JSON number loses digits on the way."""
_MOST_DIGITS = 20
_MOST_DECIMALS = 20
_UNSENDABLE = re.compile(r"[\x00\ud800-\udfff]")
_SHOWN_CHARS = 60
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_COLOUR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


class ValueRefused(Exception):
    """A value does not fit its input; carries what a Problem needs. Never leaves this package."""

    def __init__(self, message: str, *, near: Sequence[str] = (), allowed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.near = tuple(near)
        self.allowed = tuple(allowed)


def is_empty(value: object) -> bool:
    """True for what means "not given": None, blank text, an empty list."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, list | tuple) and len(value) == 0


def shown(value: object) -> str:
    """Returns a value as short text for a message."""
    try:
        text = " ".join(str(value).split())
    except Exception:
        # Somebody else's __str__ (or an int of over 4300 digits) must not hide the real problem.
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def coerce(parameter: Parameter, value: object) -> WireValue:
    """Returns what is sent for a given, non-empty value.

    Args:
        parameter: An input that is not a file.
        value: Text as typed, or a Python value.

    Raises:
        ValueRefused: The value does not fit.
    """
    if parameter.type in JSON_TYPES:
        return _coerce_json(parameter, value)
    if isinstance(value, list | tuple | set | frozenset):
        return _coerce_list(parameter, list(value))
    if parameter.type == "multiselect" and isinstance(value, str):
        return _coerce_list(parameter, _split_choices(parameter, value))
    if parameter.multiple:
        return _coerce_list(parameter, [value])
    return _coerce_one(parameter, value)


def default_value(parameter: Parameter) -> WireValue | None:
    """Returns what is sent when nothing is given, or None to leave the input out.

    The service's own default is sent as it is, even when it breaks a rule. Two defaults are not: a select's
    that is not among its options (the service's own sample body sends an empty text then), and that of a
    required text such as the prompt, which is only a sample.
    """
    if parameter.default is None or (parameter.required and is_free_text(parameter)):
        return None
    if isinstance(parameter.default, tuple):
        return list(parameter.default)
    if parameter.type in FLAG_TYPES:
        return _FLAGS.get(parameter.default.strip().lower())
    if parameter.type in JSON_TYPES:
        value: WireValue | None = _load_json(parameter.default)
        return value
    if parameter.type in CHOICE_TYPES and parameter.options:
        return parameter.default if parameter.default in {option.value for option in parameter.options} else ""
    if parameter.type not in JSON_NUMBER_TYPES:
        return parameter.default
    number = as_decimal(parameter.default)
    if number is None:
        return parameter.default.strip() or None
    return _as_number(number) if abs(number.adjusted()) < _MOST_DIGITS else parameter.default


def takes_number(parameter: Parameter) -> bool:
    """True for number inputs, and for text inputs that hold a number by their default, bounds or rule."""
    if parameter.type in NUMBER_TYPES:
        return True
    if parameter.type != "text":
        return False
    numeric_default = isinstance(parameter.default, str) and as_decimal(parameter.default) is not None
    return numeric_default or is_seed(parameter) or any((parameter.min, parameter.max, parameter.rule))


def is_free_text(parameter: Parameter) -> bool:
    """True for text inputs that take words, not numbers."""
    return parameter.type in TEXT_TYPES and not takes_number(parameter)


def _coerce_list(parameter: Parameter, values: list[object]) -> WireValue:
    if not parameter.multiple and parameter.is_known:
        raise ValueRefused(f"takes one value, not a list of {len(values)}")
    return [str(_coerce_one(parameter, value)) for value in values]


def _coerce_one(parameter: Parameter, value: object) -> str | int | float:
    text = _plain_text(value)
    if isinstance(parameter.default, str) and text.strip() == parameter.default and parameter.type != "textarea":
        # Given as the default reads: the service accepts its own default, whatever the options or rule say.
        sent = parameter.default if parameter.type in CHOICE_TYPES else default_value(parameter)
        return sent if isinstance(sent, str | int | float) else text
    if parameter.type in CHOICE_TYPES:
        return _choose(parameter, text)
    if parameter.type in FLAG_TYPES:
        return _coerce_flag(text)
    if parameter.type in COLOUR_TYPES:
        return _coerce_colour(text)
    if takes_number(parameter):
        if isinstance(value, bool):
            raise ValueRefused(f"takes a number, not {text}")
        return _coerce_number(parameter, text)
    if parameter.type in TEXT_TYPES:
        return text
    return next((option.value for option in parameter.options if _fold(option.label) == _fold(text)), text)


def _coerce_json(parameter: Parameter, value: object) -> WireValue:
    """Returns the JSON value of a text, or a Python value as JSON has it."""
    if isinstance(value, str):
        loaded = _load_json(value)
    else:
        try:
            loaded = _load_json(json.dumps(value))
        except (TypeError, ValueError, RecursionError):
            raise ValueRefused(f"takes a JSON value, not {type(value).__name__}") from None
    if loaded is None:
        raise ValueRefused(f"{shown(value)}: not JSON (text needs double quotes)")
    if parameter.type == "json-array" and not isinstance(loaded, list):
        raise ValueRefused(f"{shown(value)}: must be a JSON list, as in [1, 2]")
    sent: WireValue = loaded
    return sent


def _load_json(text: str) -> Any:
    """Returns the value of a JSON text; None when it is not JSON, or cannot be sent."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse) if not _UNSENDABLE.search(text) else None
    except (ValueError, RecursionError):
        return None


def _split_choices(parameter: Parameter, text: str) -> list[object]:
    """Returns the choices in a text: one choice, a JSON list, or names between commas."""
    names = {_fold(name) for option in parameter.options for name in (option.value, option.label)}
    loaded = _load_json(text)
    if isinstance(loaded, list):
        return loaded
    return [text] if _fold(text) in names else [part.strip() for part in text.split(",") if part.strip()]


def _coerce_flag(text: str) -> bool:
    flag = _FLAGS.get(text.strip().lower())
    if flag is None:
        raise ValueRefused(f"{shown(text)}: must be true or false", near=["true", "false"])
    return flag


def _coerce_colour(text: str) -> str:
    found = _COLOUR.fullmatch(text.strip())
    if found is None:
        raise ValueRefused(f"{shown(text)}: must be a colour such as #ff8800")
    digits = found[1] if len(found[1]) == 6 else "".join(digit * 2 for digit in found[1])
    return f"#{digits}"


def _plain_text(value: object) -> str:
    if isinstance(value, str):
        text = str(value)
    elif isinstance(value, bool) or type(value).__name__ in {"bool_", "bool"}:
        text = "true" if value else "false"
    elif isinstance(value, numbers.Number | Decimal | os.PathLike):
        try:
            text = str(value)
        except ValueError as error:
            raise ValueRefused("is too large a number") from error
    else:
        raise ValueRefused(f"takes text or a number, not {type(value).__name__}")
    if _UNSENDABLE.search(text):
        raise ValueRefused("holds characters that cannot be sent (a NUL or half of a surrogate pair)")
    return text


def _fold(text: str) -> str:
    """Returns the text for comparison: case, blanks, full-width forms and emoji variation do not count."""
    plain = unicodedata.normalize("NFKC", text).replace("\ufe0f", "")
    return " ".join(plain.casefold().split())


def _choose(parameter: Parameter, text: str) -> str:
    """Returns the matching option: by exact value, then by value or label in any case."""
    if not parameter.options:
        default = f"only its default ({parameter.default})" if parameter.default else "nothing"
        raise ValueRefused(f"{shown(text)}: this input publishes no choices and takes {default}; leave it out")
    values = [option.value for option in parameter.options]
    for candidate in (text, text.strip()):
        if candidate in values:
            return candidate
    wanted = _fold(text)
    for attribute in ("value", "label"):
        found = [option.value for option in parameter.options if _fold(getattr(option, attribute)) == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueRefused(f"{shown(text)}: {len(found)} choices are called that", near=found, allowed=values)
    raise ValueRefused(
        f"{shown(text)}: not one of the {len(values)} choices",
        near=_near_options(parameter, wanted),
        allowed=values,
    )


def _near_options(parameter: Parameter, wanted: str) -> tuple[str, ...]:
    names: dict[str, str] = {}
    for name, value in ((name, item.value) for item in parameter.options for name in (item.value, item.label)):
        names.setdefault(_fold(name), value)
    return near_values(wanted[:200], names, cutoff=0.5, shortest=2)


def near_values(wanted: str, names: Mapping[str, str], *, cutoff: float, shortest: int) -> tuple[str, ...]:
    """Returns up to three values whose names are similar to, contain, or are part of what was typed.

    Args:
        wanted: What was typed.
        names: Value by name.
        cutoff: Least similarity, 0 to 1.
        shortest: Length from which `wanted` is looked for inside names.
    """
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=cutoff)
    holding = [name for name in names if wanted in name or (len(name) > 2 and name in wanted)]
    found = [*close, *(holding if len(wanted) >= shortest else ())]
    return tuple(dict.fromkeys(names[name] for name in found))[:3]


def _coerce_number(parameter: Parameter, text: str) -> str | int | float:
    try:
        number = _parse_number(text)
    except ValueRefused as error:
        raise ValueRefused(error.message, near=[near for near in error.near if _fits(parameter, near)]) from None
    if (is_seed(parameter) or parameter.type == "integer") and number != number.to_integral_value():
        what = "a seed is a whole number" if is_seed(parameter) else "must be a whole number"
        raise ValueRefused(f"{shown(text)}: {what}", near=[str(int(number))])
    _check_range(parameter, number)
    if parameter.rule and (rule := Rule.parse(parameter.rule)):
        _check_rule(rule, number)
    if parameter.type in JSON_NUMBER_TYPES:
        return _as_number(number)
    return _as_text(parameter, number)


def _fits(parameter: Parameter, text: str) -> bool:
    try:
        _coerce_number(parameter, text)
    except ValueRefused:
        return False
    return True


def _parse_number(text: str) -> Decimal:
    """Reads a number in any script's digits; refuses what only looks like one, with what was probably meant."""
    typed = unicodedata.normalize("NFKC", text).strip().replace("\u2212", "-")
    try:
        # Decimal would read 1_000; the service would not.
        number = Decimal(typed if "_" not in typed else "")
    except InvalidOperation:
        raise ValueRefused(f"{shown(text)}: not a number", near=_meant_number(typed)) from None
    if not number.is_finite():
        raise ValueRefused(f"{shown(text)}: not a finite number")
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _MOST_DIGITS or not isinstance(exponent, int) or exponent < -_MOST_DECIMALS:
        raise ValueRefused(f"{shown(text)}: too large or too finely divided a number")
    return abs(number) if number == 0 else number


def _meant_number(typed: str) -> list[str]:
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", typed):
        whole = typed.replace(",", "")
        return [whole, typed.replace(",", ".")] if typed.count(",") == 1 and "." not in typed else [whole]
    if re.fullmatch(r"[+-]?\d+,\d+", typed):
        return [typed.replace(",", ".")]
    if re.fullmatch(r"\d{1,3}([ '_]\d{3})+", typed):
        return [re.sub(r"\D", "", typed)]
    leading = re.match(r"[+-]?\d+(\.\d+)?(?=\s*[A-Za-z%]+$)", typed)
    return [leading[0]] if leading else []


def _check_range(parameter: Parameter, number: Decimal) -> None:
    for limit, words, sign in ((parameter.min, "at least", 1), (parameter.max, "at most", -1)):
        bound = as_decimal(limit) if limit else None
        if bound is not None and sign * number < sign * bound:
            is_range = as_decimal(parameter.min or "") is not None and as_decimal(parameter.max or "") is not None
            bounds = f"between {parameter.min} and {parameter.max}" if is_range else f"{words} {limit}"
            raise ValueRefused(f"{shown(number)}: must be {bounds}", near=[str(limit)])


def _check_rule(rule: Rule, number: Decimal) -> None:
    if number == number.to_integral_value() and rule.fits(int(number)):
        return
    near = [str(fitting) for fitting in dict.fromkeys(rule.nearest(int(number // 1)))]
    if len(near) == 1 and int(near[0]) < number:
        near.append(str(int(near[0]) + rule.factor))
    raise ValueRefused(f"{shown(number)}: must be {rule.text}, for example {' or '.join(near)}", near=near)


def _as_number(number: Decimal) -> int | float:
    if abs(number) > LARGEST_WHOLE_NUMBER:
        raise ValueRefused(f"{shown(number)}: too large a number")
    return int(number) if number == number.to_integral_value() else float(number)


def _as_text(parameter: Parameter, number: Decimal) -> str:
    """Returns plain decimal text. "81.0" becomes "81" where the service's own default is a whole number."""
    whole = parameter.type == "text" and (
        is_seed(parameter) or not (isinstance(parameter.default, str) and "." in parameter.default)
    )
    return format(number.to_integral_value() if whole and number == number.to_integral_value() else number, "f")
