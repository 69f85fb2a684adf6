"""What changed between two readings of one model's inputs. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wiro_nb.schema.types import ModelSchema, Parameter

_NAMES_SHOWN = 5


def describe_changes(old: ModelSchema, new: ModelSchema) -> tuple[str, ...]:
    """Returns what a person has to know of a changed schema, one line a kind of change; empty when nothing is.

    Words (labels, help, the order of inputs and options) do not count: they change no request.

    Args:
        old: As it was read before.
        new: As it is now.
    """
    before = {parameter.id: parameter for parameter in old.parameters}
    now = {parameter.id: parameter for parameter in new.parameters}
    both = [name for name in now if name in before]
    lines = [
        _line("new", (name for name in now if name not in before)),
        _line("gone", (name for name in before if name not in now)),
        _line("another type", (name for name in both if before[name].type != now[name].type)),
        _line("another default", (name for name in both if before[name].default != now[name].default)),
        _line("other choices", (name for name in both if _choices(before[name]) != _choices(now[name]))),
        _line("other limits", (name for name in both if _limits(before[name]) != _limits(now[name]))),
    ]
    return tuple(line for line in lines if line)


def _line(what: str, names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    return f"{what}: {', '.join(found[:_NAMES_SHOWN])}{more}" if found else ""


def _choices(parameter: Parameter) -> frozenset[str]:
    return frozenset(option.value for option in parameter.options)


def _limits(parameter: Parameter) -> tuple[object, ...]:
    return parameter.required, parameter.multiple, parameter.min, parameter.max, parameter.step, parameter.rule
