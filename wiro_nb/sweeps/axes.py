"""The axes and points of a sweep. Pure functions: no service, no ledger, no clock.

A sweep varies some of a model's inputs. Each varied input is an axis; several axes multiply, or run side
by side when they are zipped. Axes are counted before they are written out, so that a range with a
typing error is refused by its size and never fills the memory.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

from wiro_nb.api.pricing import as_plain
from wiro_nb.errors import InvalidParameter
from wiro_nb.schema.coerce import shown
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import unknown_input

MOST_POINTS = 1000
"""A larger sweep is refused, whatever it costs."""

_NAME = re.compile(r"[A-Za-z_][\w.\-]*(?: +[\w.\-]+)*\Z")
_NUMBER = r"[+-]?(?:\d+\.\d+|\d+)"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?\Z")
_OPEN_RANGE = re.compile(
    rf"(?:{_NUMBER}\.\.|\.\.{_NUMBER}|{_NUMBER}\.\.{_NUMBER}\.\.|{_NUMBER}\.\.\.\.{_NUMBER})\Z"
)
_PIECE = re.compile(
    r"""\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<plain>[^,"'\s][^,]*|))\s*(?P<separator>,|\Z)"""
)
_LONGEST_NUMBER = 16


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from `start` to `stop` (inclusive when a step lands on it), `step` apart; exact decimals."""

    start: Decimal
    stop: Decimal
    step: Decimal

    def __len__(self) -> int:
        return int((self.stop - self.start) // self.step) + 1

    def __iter__(self) -> Iterator[str]:
        return (as_plain(self.start + self.step * index) for index in range(len(self)))


@dataclass(frozen=True, slots=True)
class Axis:
    """One input that is varied.

    Attributes:
        name: The input's id.
        parts: Single values and spans, in the order given.
    """

    name: str
    parts: tuple[object, ...]

    def __len__(self) -> int:
        return sum(len(part) if isinstance(part, Span) else 1 for part in self.parts)

    def values(self) -> list[object]:
        """Returns every value. Only for an axis whose length was checked."""
        return [value for part in self.parts for value in (part if isinstance(part, Span) else (part,))]


def read_axis(text: str) -> Axis:
    """Reads an axis as it is typed: `name=a,b,c`, `seed=1..6`, `scale=0.5..2..0.5`, `style="slow, calm",fast`.

    Commas part values; inside quotes they are text. A range stands alone or among values.

    Raises:
        InvalidParameter: The text has no name, an empty value, or a range that is reversed or never ends.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    if not equals or not _NAME.match(name):
        _refuse(text, f"--sweep {shown(text)} is not name=values", "--sweep seed=1..6, or --sweep NAME=a,b,c")
    return _axis(name, [piece if quoted else _read_part(name, piece) for piece, quoted in _split(name, rest)])


def make_axis(name: str, values: object) -> Axis:
    """Makes an axis from Python values: a list, a `range`, or a text such as "1..6" (one range).

    Raises:
        InvalidParameter: There are no values, or a text that is neither a range nor a single value.
    """
    if isinstance(values, str):
        part = _read_part(name, values.strip())
        if not isinstance(part, Span) and "," in values:
            _refuse(
                name,
                f"{name}={shown(values)} is one text with commas: whether that is one value or several is open",
                f"{{{name!r}: [...]}}, a list with one value each",
            )
        return _axis(name, [part if isinstance(part, Span) else values])
    if isinstance(values, (bytes, Mapping)) or not hasattr(values, "__iter__"):
        return _axis(name, [values])
    if isinstance(values, Sequence) and len(values) > MOST_POINTS:
        if isinstance(values, range) and values.step > 0:
            return _axis(name, [Span(*(Decimal(edge) for edge in (values[0], values[-1], values.step)))])
        _refuse(
            name, f"{name} has {len(values):,} values; a sweep takes at most {MOST_POINTS:,}", "give fewer values"
        )
    # A generator may never end: one more than is allowed is enough to know.
    return _axis(name, list(itertools.islice(values, MOST_POINTS + 1)))


def check_axes(
    schema: ModelSchema, axes: Sequence[Axis], fixed: Mapping[str, object], *, zipped: bool
) -> list[Axis]:
    """Checks that the axes fit the model and one another; returns them with the names as the model writes them.

    Raises:
        InvalidParameter: No axis, an input the model does not have (with near ones), an input that is varied
            twice or fixed as well, or zipped axes of different lengths.
    """
    if not axes:
        _refuse("", "the sweep is empty: nothing is varied", "--sweep seed=1..6")
    known = {parameter.id.lower(): parameter.id for parameter in schema.parameters}
    taken = dict.fromkeys((name.lower() for name in fixed), False)
    for axis in axes:
        name, key = axis.name, axis.name.lower()
        if not schema.free_form and key not in known:
            raise unknown_input(schema, name)
        if taken.get(key):
            _refuse(name, f"{name} is varied twice", f"--sweep {name}=a,b,c names all its values once")
        if key in taken:
            _refuse(name, f"{name} is varied and also given one value", f"leave {name}=... out")
        taken[key] = True
    lengths = {axis.name: len(axis) for axis in axes}
    if zipped and len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {number:,}" for name, number in lengths.items())
        what = f"--zip pairs values one by one, but {listed}"
        _refuse(axes[-1].name, what, "give each the same number of values")
    return [Axis(known.get(axis.name.lower(), axis.name), axis.parts) for axis in axes]


def count_points(axes: Sequence[Axis], *, zipped: bool) -> int:
    """Returns how many runs these axes make, without writing them out."""
    return min(map(len, axes)) if zipped else math.prod(len(axis) for axis in axes)


def list_points(axes: Sequence[Axis], *, zipped: bool) -> list[dict[str, object]]:
    """Returns the values of every run by name; the last axis varies fastest. Only for a count that was checked."""
    columns = [axis.values() for axis in axes]
    rows = zip(*columns, strict=True) if zipped else itertools.product(*columns)
    return [dict(zip((axis.name for axis in axes), row, strict=True)) for row in rows]


def first_point(axes: Sequence[Axis]) -> dict[str, object]:
    """Returns the values of the first run, of a sweep that may be too large to list."""
    firsts = ((axis.name, axis.parts[0]) for axis in axes)
    return {name: next(iter(part)) if isinstance(part, Span) else part for name, part in firsts}


def _axis(name: str, parts: Sequence[object]) -> Axis:
    if not parts:
        _refuse(name, f"the sweep is empty: {name} has no values", f"--sweep {name}=a,b,c")
    return Axis(name, tuple(parts))


def _split(name: str, text: str) -> list[tuple[str, bool]]:
    """Splits at the commas outside quotes; True marks a value that stood in quotes."""
    pieces: list[tuple[str, bool]] = []
    position, separator = 0, ","
    while separator:
        match = _PIECE.match(text, position)
        if match is None:
            rest = text[position:].lstrip()
            if rest[0] not in rest[1:]:
                _refuse(name, f"a quote is not closed in {name}={shown(text)}", f"--sweep {name}=a,b,c")
            _refuse(name, f"{name}={shown(text)}: text follows a closing quote", "put commas between the values")
        quoted = match["double"] if match["double"] is not None else match["single"]
        pieces.append((match["plain"].strip(), False) if quoted is None else (quoted, True))
        position, separator = match.end(), match["separator"]
    if pieces == [("", False)]:
        return []
    if ("", False) in pieces:
        _refuse(
            name,
            f"{name}={shown(text)} has an empty value between commas",
            f'--sweep {name}=a,"",c for an empty one',
        )
    return pieces


def _read_part(name: str, text: str) -> object:
    """Returns a span where the text is a range, else the text."""
    match = _RANGE.match(text)
    if match is None:
        if _OPEN_RANGE.match(text):
            what = f"{name}={shown(text)} is a range that never ends"
            _refuse(name, what, f"--sweep {name}=1..6, both ends given")
        return text
    first, last, apart = match.groups()
    start, stop, step = Decimal(first), Decimal(last), Decimal(apart or 1)
    is_whole = start == start.to_integral_value() and stop == stop.to_integral_value()
    for is_wrong, what, instead in (
        (len(max(first, last, apart or "", key=len)) > _LONGEST_NUMBER, "has numbers too long to count", "1..6"),
        (apart is None and not is_whole, "needs a step", f"{text}..0.1"),
        (step == 0, "never ends: its step is 0", f"{first}..{last}..1"),
        (step < 0, "runs backwards", f"{first}..{last}..1"),
        (start > stop, f"is reversed: {first} is above {last}", f"{last}..{first}"),
    ):
        if is_wrong:
            _refuse(name, f"{name}={shown(text)} {what}", f"--sweep {name}={instead}")
    return Span(start, stop, step)


def _refuse(name: str, message: str, hint: str) -> NoReturn:
    raise InvalidParameter(message, hint=hint, name=name)
