"""From a record back to a request: what would be sent, what has changed, which files are missing.

Pure planning; nothing is sent and no path that a record names is ever opened. Input files come from
the caller's own store by their hash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.schema import ModelSchema, Parameter

FindFile = Callable[[str], Path | None]
"""Takes a SHA-256 (hex) and returns a file of the person's own with that content, or None."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One way in which the model's inputs differ from those the record was made with.

    Attributes:
        parameter: The input's id.
        kind: "gone", "option gone", "default changed", "new", "type changed" or "inputs changed".
        message: One line for people.
        blocks: True when the request cannot be made without a word from the person.
    """

    parameter: str
    kind: str
    message: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class MissingFile:
    """An input file that the record names and the store does not have."""

    parameter: str
    name: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """A request made again from a record.

    Attributes:
        record: The record it comes from.
        model: Slug.
        values: Settings by id, ready for `schema.prepare`; files are paths or URLs in lists.
        overridden: Ids the person changed.
        drift: Differences of the model's inputs, those that block first.
        missing: Files that have to be given again.
        notes: Further lines for people.
    """

    record: dict[str, Any]
    model: str
    values: dict[str, object]
    overridden: tuple[str, ...]
    drift: tuple[Drift, ...]
    missing: tuple[MissingFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """True when nothing is missing and no drift blocks."""
        return not self.missing and not any(item.blocks for item in self.drift)


def plan_replay(
    record: Mapping[str, Any],
    schema: ModelSchema,
    *,
    overrides: Mapping[str, object] | None = None,
    find_file: FindFile = lambda sha256: None,
    service: str = "",
    old_schema: ModelSchema | None = None,
) -> ReplayPlan:
    """Plans to make a record's request again.

    Args:
        record: A checked record.
        schema: The model's inputs as they are now.
        overrides: Settings to change; they replace the record's.
        find_file: Looks up input files by hash.
        service: The service it would be sent to now, for a note when the record names another.
        old_schema: The inputs at the time of the record, where they are still known; without them
            changed defaults cannot be named.

    Returns:
        The plan; check `is_ready` before sending.
    """
    overrides = dict(overrides or {})
    sent: dict[str, object] = dict(record["parameters"])
    files, missing = _collect_files(record["files"], skip=set(overrides), find_file=find_file)
    drift = [*_find_drift(sent, files, schema, overrides), *_compare_schemas(record, schema, old_schema)]
    gone = {item.parameter for item in drift if item.kind in ("gone", "option gone")}
    values: dict[str, object] = {name: value for name, value in sent.items() if name not in gone}
    values.update({name: value for name, value in files.items() if name not in gone})
    values.update(overrides)
    return ReplayPlan(
        record=dict(record),
        model=str(record["model"]["slug"]),
        values=values,
        overridden=tuple(sorted(overrides)),
        drift=tuple(sorted(drift, key=lambda item: not item.blocks)),
        missing=tuple(missing),
        notes=_notes(record, service),
    )


def _collect_files(
    files: Mapping[str, Sequence[Mapping[str, Any]]], *, skip: set[str], find_file: FindFile
) -> tuple[dict[str, list[str | Path]], list[MissingFile]]:
    found: dict[str, list[str | Path]] = {}
    missing: list[MissingFile] = []
    for parameter, items in files.items():
        if parameter in skip:
            continue
        for item in items:
            local = find_file(item["sha256"]) if item.get("sha256") else None
            if local is not None:
                found.setdefault(parameter, []).append(local)
            elif item.get("url"):
                found.setdefault(parameter, []).append(str(item["url"]))
            else:
                missing.append(MissingFile(parameter, str(item["name"]), item.get("sha256")))
    return found, missing


def _find_drift(
    sent: Mapping[str, object],
    files: Mapping[str, object],
    schema: ModelSchema,
    overrides: Mapping[str, object],
) -> list[Drift]:
    if schema.open:
        return []
    drift: list[Drift] = []
    for name in [*sent, *files]:
        parameter = schema.get(name)
        if parameter is None:
            drift.append(
                Drift(
                    name, "gone", f"the model no longer takes {name}; it would be left out", name not in overrides
                )
            )
        elif name not in overrides and not parameter.is_file and _option_is_gone(parameter, sent.get(name)):
            drift.append(
                Drift(
                    name,
                    "option gone",
                    f"{name} no longer has the choice {sent[name]}; give another: {name}=...",
                    True,
                )
            )
    named = {*sent, *files, *overrides}
    drift += [
        Drift(
            parameter.id,
            "new",
            f"the model has a new setting {parameter.id}; its default is used",
            parameter.required,
        )
        for parameter in schema.parameters
        if parameter.id not in named and not parameter.is_file and parameter.default is not None
    ]
    return drift


def _option_is_gone(parameter: Parameter, value: object) -> bool:
    """A service's own default counts as a choice even where its list does not have it."""
    if parameter.type != "select" or not parameter.options or value in (None, ""):
        return False
    return str(value) not in {option.value for option in parameter.options} and str(value) != str(
        parameter.default
    )


def _compare_schemas(record: Mapping[str, Any], now: ModelSchema, then: ModelSchema | None) -> list[Drift]:
    if record["model"].get("schema_sha256") in (None, now.sha256):
        return []
    if then is None:
        return [
            Drift(
                "",
                "inputs changed",
                "the model's inputs have changed since; every value is still sent as recorded",
            )
        ]
    changes: list[Drift] = []
    for parameter in now.parameters:
        before = then.get(parameter.id)
        if before is None:
            continue
        if before.type != parameter.type:
            changes.append(
                Drift(parameter.id, "type changed", f"{parameter.id} was {before.type}, is {parameter.type} now")
            )
        if before.default != parameter.default:
            changes.append(
                Drift(
                    parameter.id,
                    "default changed",
                    f"the default of {parameter.id} was {before.default}, is {parameter.default} now; "
                    "the recorded value is sent",
                )
            )
    return changes


def _notes(record: Mapping[str, Any], service: str) -> tuple[str, ...]:
    notes: list[str] = []
    made_on = record["service"]["name"]
    if service and service != made_on:
        notes.append(f"made on {made_on}; this would go to {service}")
    if record["seed"] is None:
        notes.append("the model has no seed: the clip cannot be repeated exactly")
    return tuple(notes)
