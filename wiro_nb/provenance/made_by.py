"""How the outputs of a record were made, where a service on one's own machine says so: its field `made_by`.

A record may come from a stranger, so nothing here trusts the shape of the field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MOST_FACTS = 80
_LONGEST_FACT = 300
_MOST_NOTES = 10


def made_by_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """Returns the facts by name, nested ones as "repositories pipeline revision"; none for other services."""
    facts = record.get("made_by")
    found = _flatten(facts, ()) if isinstance(facts, Mapping) else iter(())
    return {name: value for (name, value), _ in zip(found, range(_MOST_FACTS), strict=False)}


def made_by_summary(record: Mapping[str, Any]) -> str:
    """Returns "diffusers, WanPipeline, NVIDIA H100, bfloat16"; "" for a placeholder and for other services."""
    facts = made_by_facts(record)
    if facts.keys() <= {"engine"}:  # the label of a placeholder says what it is
        return ""
    return ", ".join(facts[name] for name in ("engine", "pipeline", "device", "dtype") if name in facts)


def made_by_notes(record: Mapping[str, Any]) -> list[str]:
    """Returns what stood in for a setting that could not be followed, as sentences."""
    facts = record.get("made_by")
    notes = facts.get("notes") if isinstance(facts, Mapping) else None
    return [str(note)[:_LONGEST_FACT] for note in notes[:_MOST_NOTES]] if isinstance(notes, list) else []


def used_repositories(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns the id and the revision of each repository of weights that was used."""
    facts = record.get("made_by")
    if not isinstance(facts, Mapping):
        return []
    by_role, loras = facts.get("repositories"), facts.get("loras")
    items = list(by_role.values()) if isinstance(by_role, Mapping) else []
    items += loras if isinstance(loras, list) else []
    pairs = [(item.get("id"), item.get("revision")) for item in items if isinstance(item, Mapping)]
    named = [(name, revision) for name, revision in pairs if isinstance(name, str) and isinstance(revision, str)]
    return list(dict.fromkeys((name[:_LONGEST_FACT], revision[:_LONGEST_FACT]) for name, revision in named))


def _flatten(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flatten(item, (*path, str(name)))
    elif isinstance(value, list):
        for number, item in enumerate(value, 1):
            yield from _flatten(item, (*path, str(number)) if len(value) > 1 else path)
    else:
        yield " ".join(path)[:_LONGEST_FACT], str(value)[:_LONGEST_FACT]
