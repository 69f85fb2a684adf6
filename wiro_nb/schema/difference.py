"""Compares two readings of one model's inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wiro_nb.schema.types import ModelSchema, Parameter

_NAMES_SHOWN = 5
_ASPECTS: dict[str, Callable[[Parameter], object]] = {
    "another type": lambda item: item.type,
    "another default": lambda item: item.default,
    "other choices": lambda item: frozenset(option.value for option in item.options),
    "other limits": lambda item: (item.required, item.multiple, item.min, item.max, item.step, item.rule),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an input.

    Attributes:
        kind: "new", "gone", "another type", "another default", "other choices" or "other limits".
        old, new: The input before and after; None where there is none.
    """

    kind: str
    old: Parameter | None
    new: Parameter | None

    @property
    def name(self) -> str:
        """The input's id."""
        parameter = self.new or self.old
        return parameter.id if parameter else ""


def compare_schemas(old: ModelSchema, new: ModelSchema) -> tuple[Change, ...]:
    """Returns the changes that can affect a request, by kind; labels, help and order cannot.

    Args:
        old: The earlier reading.
        new: The later reading.
    """
    before = {parameter.id: parameter for parameter in old.parameters}
    after = {parameter.id: parameter for parameter in new.parameters}
    changes = [Change("new", None, after[name]) for name in after if name not in before]
    changes += [Change("gone", before[name], None) for name in before if name not in after]
    both = [(before[name], after[name]) for name in after if name in before]
    for kind, aspect in _ASPECTS.items():
        changes += [Change(kind, was, now) for was, now in both if aspect(was) != aspect(now)]
    return tuple(changes)


def describe_changes(old: ModelSchema, new: ModelSchema) -> tuple[str, ...]:
    """Returns the changes as text, one line for each kind of change; empty when there are none."""
    names: dict[str, list[str]] = {}
    for change in compare_schemas(old, new):
        names.setdefault(change.kind, []).append(change.name)
    return tuple(f"{kind}: {_shorten(found)}" for kind, found in names.items())


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{more}"
