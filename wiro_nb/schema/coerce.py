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
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from wiro_nb.json_values import DEEPEST_LEVEL, as_decimal, as_flag, is_deeper
from wiro_nb.schema.types import Parameter

WireValue = str | int | float | list[Any] | dict[str, Any]
"""True and false are integers here; dicts and lists of other things than text come from `json` inputs."""

LARGEST_WHOLE_NUMBER = 2**53
"""Beyond this a JSON number loses digits on the way."""
_MOST_DIGITS = 20
_MOST_DECIMALS = 20
_MOST_LEVELS = DEEPEST_LEVEL - 4
"""Of a JSON input, so that it comes back whole in the service's answers, which have it in a task of a list."""
_UNSENDABLE = re.compile(r"[\x00\ud800-\udfff]")
_SHOWN_CHARS = 60
_COLOUR = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})")


@dataclass(eq=False)
class Problem(Exception):
    """What is wrong with one value.

    Attributes:
        message: One line.
        name: The input's id, or the unknown name as it was typed.
        near: Values (or names) that were probably meant, best first.
        allowed: All values a select takes; empty for others.
        hint: The next thing to do, or empty.
    """

    message: str
    name: str = ""
    near: Sequence[str] = ()
    allowed: Sequence[str] = ()
    hint: str = ""


def is_empty(value: object) -> bool:
    """True for what means "not given": None, blank text, an empty list."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | tuple) and len(value) == 0)


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
        Problem: The value does not fit.
    """
    if parameter.kind == "json":
        return _coerce_json(parameter, value)
    if isinstance(value, list | tuple | set | frozenset):
        values = list(value)
    elif parameter.type == "multiselect" and isinstance(value, str):
        values = _split_choices(parameter, value)
    elif parameter.multiple:
        values = [value]
    else:
        return _coerce_one(parameter, value)
    if not parameter.multiple and parameter.kind:
        raise Problem(f"takes one value, not a list of {len(values)}")
    return [str(_coerce_one(parameter, item)) for item in values]


def default_value(parameter: Parameter) -> WireValue | None:
    """Returns what is sent when nothing is given, or None to leave the input out.

    The service's own default is sent as it is, even when it breaks a rule. Two defaults are not: a select's
    that is not among its options (the service's own sample body sends an empty text then), and that of a
    required text such as the prompt, which is only a sample.
    """
    default = parameter.default
    if default is None or (parameter.required and parameter.is_free_text):
        return None
    if isinstance(default, tuple):
        return list(default)
    if parameter.kind == "flag":
        return as_flag(default, None)
    if parameter.kind == "json":
        return _load_json(default)
    if parameter.kind == "choice" and parameter.options:
        return default if default in {option.value for option in parameter.options} else ""
    number = as_decimal(default)
    if not _is_json_number(parameter) or (number is not None and abs(number.adjusted()) >= _MOST_DIGITS):
        return default
    return _as_number(number) if number is not None else default.strip() or None


def _coerce_one(parameter: Parameter, value: object) -> str | int | float:
    text = _plain_text(value)
    if isinstance(parameter.default, str) and text.strip() == parameter.default and parameter.type != "textarea":
        # Given as the default reads: the service accepts its own default, whatever the options or rule say.
        sent = parameter.default if parameter.kind == "choice" else default_value(parameter)
        return sent if isinstance(sent, str | int | float) else text
    if parameter.kind == "choice":
        return _choose(parameter, text)
    if parameter.kind == "flag":
        if (flag := as_flag(text, None)) is None:
            raise Problem(f"{shown(text)}: must be true or false", near=["true", "false"])
        return flag
    if parameter.kind == "colour":
        if (found := _COLOUR.fullmatch(text.strip())) is None:
            raise Problem(f"{shown(text)}: must be a colour such as #ff8800")
        return "#" + (found[1] if len(found[1]) == 6 else "".join(digit * 2 for digit in found[1]))
    if parameter.takes_number:
        if isinstance(value, bool):
            raise Problem(f"takes a number, not {text}")
        return _coerce_number(parameter, text)
    if parameter.kind == "text":
        return text
    return next((option.value for option in parameter.options if _fold(option.label) == _fold(text)), text)


def _plain_text(value: object) -> str:
    if isinstance(value, str):
        text = str(value)
    elif isinstance(value, bool) or type(value).__name__ in {"bool_", "bool"}:
        text = "true" if value else "false"
    elif isinstance(value, numbers.Number | Decimal | os.PathLike):
        try:
            text = str(value)
        except ValueError as error:
            raise Problem("is too large a number") from error
    else:
        raise Problem(f"takes text or a number, not {type(value).__name__}")
    if _UNSENDABLE.search(text):
        raise Problem("holds characters that cannot be sent (a NUL or half of a surrogate pair)")
    return text


# JSON ----------------------------------------------------------------------------------------


def _coerce_json(parameter: Parameter, value: object) -> WireValue:
    """Returns the JSON value of a text, or a Python value as JSON has it."""
    try:
        loaded = _load_json(value if isinstance(value, str) else json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        raise Problem(f"takes a JSON value, not {type(value).__name__}") from None
    if loaded is None:
        raise Problem(f"{shown(value)}: not JSON (text needs double quotes), or deeper than {_MOST_LEVELS} levels")
    if parameter.type == "json-array" and not isinstance(loaded, list):
        raise Problem(f"{shown(value)}: must be a JSON list, as in [1, 2]")
    return loaded


def _load_json(text: str) -> WireValue | None:
    """Returns the value of a JSON text; None when it is not JSON, or cannot be sent."""
    try:
        value: WireValue | None = json.loads(text)
        plain = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return None if _UNSENDABLE.search(plain) or is_deeper(value, _MOST_LEVELS) else value


# Choices -------------------------------------------------------------------------------------


def _fold(text: str) -> str:
    """Returns the text for comparison: case, blanks, full-width forms and emoji variation do not count."""
    plain = unicodedata.normalize("NFKC", text).replace("\ufe0f", "")
    return " ".join(plain.casefold().split())


def _split_choices(parameter: Parameter, text: str) -> list[Any]:
    """Returns the choices in a text: one choice, a JSON list, or names between commas."""
    loaded = _load_json(text)
    if isinstance(loaded, list):
        return loaded
    names = {_fold(name) for option in parameter.options for name in (option.value, option.label)}
    return [text] if _fold(text) in names else [part.strip() for part in text.split(",") if part.strip()]


def _choose(parameter: Parameter, text: str) -> str:
    """Returns the matching option: by exact value, then by value or label in any case."""
    options, wanted = parameter.options, _fold(text)
    if not options:
        default = f"only its default ({parameter.default})" if parameter.default else "nothing"
        raise Problem(f"{shown(text)}: this input publishes no choices and takes {default}; leave it out")
    values = [option.value for option in options]
    if text in values:
        return text
    for attribute in ("value", "label"):
        found = [option.value for option in options if _fold(getattr(option, attribute)) == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise Problem(f"{shown(text)}: {len(found)} choices are called that", near=found, allowed=values)
    names = {_fold(name): item.value for item in reversed(options) for name in (item.label, item.value)}
    near = near_values(wanted[:200], names)
    raise Problem(f"{shown(text)}: not one of the {len(values)} choices", near=near, allowed=values)


def near_values(wanted: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Returns up to three values whose names are similar to, contain, or are part of what was typed.

    Args:
        wanted: What was typed.
        names: Value by name.
    """
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.55)
    holding = [
        name for name in names if (len(wanted) > 1 and wanted in name) or (len(name) > 2 and name in wanted)
    ]
    return tuple(dict.fromkeys(names[name] for name in (*close, *holding)))[:3]


# Numbers -------------------------------------------------------------------------------------


def _coerce_number(parameter: Parameter, text: str) -> str | int | float:
    """Reads a number in any script's digits; refuses what only looks like one, with what was probably meant."""
    typed = unicodedata.normalize("NFKC", text).strip().replace("\u2212", "-")
    try:
        # Decimal would read 1_000; the service would not.
        number = Decimal(typed if "_" not in typed else "")
    except InvalidOperation:
        near = [meant for meant in _meant_numbers(typed) if _fits(parameter, meant)]
        raise Problem(f"{shown(text)}: not a number", near=near) from None
    if not number.is_finite():
        raise Problem(f"{shown(text)}: not a finite number")
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _MOST_DIGITS or not isinstance(exponent, int) or exponent < -_MOST_DECIMALS:
        raise Problem(f"{shown(text)}: too large or too finely divided a number")
    number = abs(number) if number == 0 else number
    is_whole = number == number.to_integral_value()
    if (parameter.is_seed or parameter.type == "integer") and not is_whole:
        what = "a seed is a whole number" if parameter.is_seed else "must be a whole number"
        raise Problem(f"{shown(text)}: {what}", near=[str(int(number))])
    _check_range(parameter, number)
    if (rule := parameter.number_rule) is not None and not (is_whole and rule.fits(int(number))):
        near = [str(fitting) for fitting in dict.fromkeys(rule.nearest(int(number // 1)))]
        if len(near) == 1 and int(near[0]) < number:
            near.append(str(int(near[0]) + rule.factor))
        raise Problem(f"{shown(number)}: must be {rule.text}, for example {' or '.join(near)}", near=near)
    if _is_json_number(parameter):
        return _as_number(number)
    # Plain decimal text. "81.0" becomes "81" where the service's own default is a whole number.
    has_decimals = not parameter.is_seed and isinstance(parameter.default, str) and "." in parameter.default
    drops_zeros = is_whole and parameter.type == "text" and not has_decimals
    return format(number.to_integral_value() if drops_zeros else number, "f")


def _fits(parameter: Parameter, text: str) -> bool:
    try:
        _coerce_number(parameter, text)
    except Problem:
        return False
    return True


def _meant_numbers(typed: str) -> list[str]:
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
    least, most = as_decimal(parameter.min), as_decimal(parameter.max)
    for limit, bound, words, sign in ((parameter.min, least, "least", 1), (parameter.max, most, "most", -1)):
        if bound is not None and sign * number < sign * bound:
            is_range = least is not None and most is not None
            bounds = f"between {parameter.min} and {parameter.max}" if is_range else f"at {words} {limit}"
            raise Problem(f"{shown(number)}: must be {bounds}", near=[str(limit)])


def _is_json_number(parameter: Parameter) -> bool:
    """True for what is sent as a JSON number; a `float` is sent as text."""
    return parameter.kind == "number" and parameter.type != "float"


def _as_number(number: Decimal) -> int | float:
    if abs(number) > LARGEST_WHOLE_NUMBER:
        raise Problem(f"{shown(number)}: too large a number")
    return int(number) if number == number.to_integral_value() else float(number)
