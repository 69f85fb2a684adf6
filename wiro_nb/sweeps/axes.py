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
from difflib import get_close_matches
from typing import NoReturn

from wiro_nb.errors import InvalidParameter
from wiro_nb.schema.types import ModelSchema

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
_LONGEST_SHOWN = 40
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
        return (plain_number(self.start + self.step * index) for index in range(len(self)))


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


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep: `position` from 0, and the values of the axes by name."""

    position: int
    values: dict[str, object]


def read_axis(text: str) -> Axis:
    """Reads an axis as it is typed: `name=a,b,c`, `seed=1..6`, `scale=0.5..2..0.5`, `style="slow, calm",fast`.

    Commas part values; inside quotes they are text. A range stands alone or among values.

    Raises:
        InvalidParameter: The text has no name, an empty value, or a range that is reversed or never ends.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    if not equals or not _NAME.match(name):
        _refuse(text, f"--sweep {_shown(text)} is not name=values", "--sweep seed=1..6, or --sweep NAME=a,b,c")
    parts: list[object] = []
    for piece, quoted in _split(name, rest):
        parts.append(piece if quoted else _read_part(name, piece))
    return _axis(name, parts)


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
                f"{name}={_shown(values)} is one text with commas: whether that is one value or several is open",
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
    seen: set[str] = set()
    taken = {name.lower() for name in fixed}
    for axis in axes:
        if not schema.free_form and axis.name.lower() not in known:
            near = [known[name] for name in get_close_matches(axis.name.lower(), known, 3, 0.55)]
            tail = f" Did you mean {' or '.join(near)}?" if near else ""
            _refuse(axis.name, f"{schema.slug} has no input {axis.name}.{tail}", f"%wiro info {schema.slug}", near)
        if axis.name.lower() in seen:
            _refuse(
                axis.name, f"{axis.name} is varied twice", f"--sweep {axis.name}=a,b,c names all its values once"
            )
        if axis.name.lower() in taken:
            _refuse(axis.name, f"{axis.name} is varied and also given one value", f"leave {axis.name}=... out")
        seen.add(axis.name.lower())
    lengths = {axis.name: len(axis) for axis in axes}
    if zipped and len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {number:,}" for name, number in lengths.items())
        _refuse(
            axes[-1].name, f"--zip pairs values one by one, but {listed}", "give each the same number of values"
        )
    return [Axis(known.get(axis.name.lower(), axis.name), axis.parts) for axis in axes]


def count_points(axes: Sequence[Axis], *, zipped: bool) -> int:
    """Returns how many runs these axes make, without writing them out."""
    return min(map(len, axes)) if zipped else math.prod(len(axis) for axis in axes)


def list_points(axes: Sequence[Axis], *, zipped: bool) -> list[Point]:
    """Returns every point; the last axis varies fastest. Only for a count that was checked."""
    columns = [axis.values() for axis in axes]
    rows = zip(*columns, strict=True) if zipped else itertools.product(*columns)
    names = [axis.name for axis in axes]
    return [Point(position, dict(zip(names, row, strict=True))) for position, row in enumerate(rows)]


def first_point(axes: Sequence[Axis]) -> Point:
    """Returns the first point, of a sweep that may be too large to list."""
    firsts = {axis.name: axis.parts[0] for axis in axes}
    return Point(0, {name: next(iter(part)) if isinstance(part, Span) else part for name, part in firsts.items()})


def plain_number(number: Decimal) -> str:
    """Returns a number without exponent and needless zeros."""
    text = format(number, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"


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
                _refuse(name, f"a quote is not closed in {name}={_shown(text)}", f"--sweep {name}=a,b,c")
            _refuse(name, f"{name}={_shown(text)}: text follows a closing quote", "put commas between the values")
        quoted = match["double"] if match["double"] is not None else match["single"]
        pieces.append((match["plain"].strip(), False) if quoted is None else (quoted, True))
        position, separator = match.end(), match["separator"]
    if pieces == [("", False)]:
        return []
    if ("", False) in pieces:
        _refuse(
            name,
            f"{name}={_shown(text)} has an empty value between commas",
            f'--sweep {name}=a,"",c for an empty one',
        )
    return pieces


def _read_part(name: str, text: str) -> object:
    match = _RANGE.match(text)
    if match is None:
        if _OPEN_RANGE.match(text):
            _refuse(
                name, f"{name}={_shown(text)} is a range that never ends", f"--sweep {name}=1..6, both ends given"
            )
        return text
    if any(len(edge) > _LONGEST_NUMBER for edge in match.groups() if edge):
        _refuse(name, f"{name}={_shown(text)} is a range of numbers too long to count", f"--sweep {name}=1..6")
    start, stop = Decimal(match[1]), Decimal(match[2])
    whole = start == start.to_integral_value() and stop == stop.to_integral_value()
    if match[3] is None and not whole:
        _refuse(name, f"{name}={text} needs a step", f"--sweep {name}={text}..0.1")
    step = Decimal(match[3] or 1)
    if step <= 0:
        what = "never ends: its step is 0" if step == 0 else "runs backwards"
        _refuse(name, f"{name}={text} {what}", f"--sweep {name}={match[1]}..{match[2]}..1")
    if start > stop:
        _refuse(
            name,
            f"{name}={text} is reversed: {match[1]} is above {match[2]}",
            f"--sweep {name}={match[2]}..{match[1]}",
        )
    return Span(start, stop, step)


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _refuse(name: str, message: str, hint: str, near: Sequence[str] = ()) -> NoReturn:
    raise InvalidParameter(message, hint=hint, name=name, near=near)
