"""Plans a request from a record: the request, changed inputs, and missing files.

Pure planning; nothing is sent. A record may come from a stranger, so nothing it names is ever opened: input
files come from the caller's own store by their hash, and only web addresses are taken from it as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wiro_nb.errors import InvalidFile
from wiro_nb.files import safe_name
from wiro_nb.provenance.record import canonical_json
from wiro_nb.redaction import MASK, redact
from wiro_nb.schema import FileInput, ModelSchema, Parameter, Prepared, open_file_input
from wiro_nb.schema.files import is_url, url_input
from wiro_nb.schema.types import CHOICE_TYPES, changed_inputs

_LONGEST_SHOWN = 60
_LONGEST_URL = 200

_RESERVED = frozenset(
    ("callbackurl", "projectid", "tasktoken", "socketaccesstoken", "previoustasktoken", "messages", "session_id")
)
"""Names that the service reads itself; a record may not set them for a model without published inputs."""

FindFile = Callable[[str], Path | None]
"""Takes a SHA-256 (hex) and returns a file of the user's own with that content, or None."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference between the model's current inputs and those the record was made with.

    Attributes:
        parameter: The input's id.
        kind: "gone", "option gone", "default changed", "new", "type changed", "value changed" or
            "inputs changed".
        message: One line for people.
        blocks: True when the request cannot be made without a decision by the user.
    """

    parameter: str
    kind: str
    message: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class MissingFile:
    """An input file of the record that the store does not have."""

    parameter: str
    name: str
    sha256: str | None

    @property
    def message(self) -> str:
        """One line for people."""
        known = f" (sha256 {self.sha256[:8]})" if self.sha256 else ""
        name = self.parameter
        return f"{name}: no copy of the file {self.name}{known} is here; give {name}=PATH"


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """A request made again from a record.

    Attributes:
        record: The record it comes from.
        model: Slug.
        values: Settings by id, ready for `schema.prepare`; files are lists of `FileInput`.
        overridden: Ids the user changed.
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
        overrides: Settings to change; they replace the record's. An empty one leaves out a setting that the
            model no longer takes.
        find_file: Looks up input files by hash; what it returns is hashed again.
        service: The service it would be sent to now, for a note when the record names another.
        old_schema: The inputs at the time of the record, where they are still known; without them
            changed defaults cannot be named.

    Returns:
        The plan; check `is_ready` before sending.
    """
    overrides = dict(overrides or {})
    sent, named_files = _split(record, schema)
    reserved = [name for name in (*sent, *named_files) if schema.free_form and name.casefold() in _RESERVED]
    for name in reserved:
        sent.pop(name, None)
        named_files.pop(name, None)
    files, missing = _collect_files(named_files, schema, skip=set(overrides), find_file=find_file)
    drift = [*_find_drift(sent, named_files, schema, overrides), *_compare_schemas(record, schema, old_schema)]
    if record["model"].get("schema_sha256") != schema.sha256:
        drift += _find_new(schema, {*sent, *named_files, *overrides})
    gone = {item.parameter for item in drift if item.kind in ("gone", "option gone")}
    values: dict[str, object] = {name: value for name, value in sent.items() if name not in gone}
    values.update({name: value for name, value in files.items() if name not in gone})
    values.update(
        {name: value for name, value in overrides.items() if not (name in gone and _is_left_out(name, overrides))}
    )
    return ReplayPlan(
        record=dict(record),
        model=str(record["model"]["slug"]),
        values=values,
        overridden=tuple(sorted(overrides)),
        drift=tuple(sorted(drift, key=lambda item: not item.blocks)),
        missing=tuple(missing),
        notes=(*_notes(record, service, reserved), *_addresses(values, overrides)),
    )


def check_prepared(plan: ReplayPlan, prepared: Prepared) -> ReplayPlan:
    """Returns the plan with what typing the values made of them: values that are not those of the record.

    Args:
        plan: A plan that is ready.
        prepared: Its values, typed by the present inputs.
    """
    drift, notes = list(plan.drift), list(plan.notes)
    for name, value in plan.values.items():
        is_setting = name in plan.record["parameters"] and name not in plan.overridden
        now = prepared.parameters.get(name)
        if is_setting and name not in prepared.files and not _is_same(value, now):
            text = f"{name} was sent as {_shown(value)}; the model now takes it as {_shown(now)}"
            drift.append(Drift(name, "value changed", text))
    if prepared.seed is None:
        notes.append("the model has no seed: the clip cannot be repeated exactly")
    elif not prepared.seed.pinned and prepared.seed.parameter not in plan.overridden:
        notes.append("the record holds no seed: a new one is drawn, so the clip will be another")
    return replace(plan, drift=tuple(drift), notes=tuple(notes))


def _is_same(recorded: object, now: object) -> bool:
    return canonical_json(recorded) == canonical_json(now) or str(recorded) == str(now)


def _split(
    record: Mapping[str, Any], schema: ModelSchema
) -> tuple[dict[str, object], dict[str, list[dict[str, Any]]]]:
    """Returns settings and files apart; a file input that stands among the settings counts as a file.

    A record of a task that was started elsewhere has the service's own view of it, where files are addresses.
    """
    files = {name: [dict(item) for item in items] for name, items in record["files"].items()}
    sent: dict[str, object] = {}
    for name, value in record["parameters"].items():
        owner = _file_input(schema, name)
        if owner is None:
            sent[name] = value
            continue
        for item in value if isinstance(value, list) else [value]:
            if item not in (None, ""):
                files.setdefault(owner, []).append({"name": str(item), "sha256": None, "url": str(item)})
    return sent, files


def _file_input(schema: ModelSchema, name: str) -> str | None:
    for wanted in (name, name.removesuffix("Url")):
        parameter = schema.get(wanted)
        if parameter is not None and parameter.is_file:
            return parameter.id
    return None


def _collect_files(
    files: Mapping[str, Sequence[Mapping[str, Any]]], schema: ModelSchema, *, skip: set[str], find_file: FindFile
) -> tuple[dict[str, list[FileInput]], list[MissingFile]]:
    found: dict[str, list[FileInput]] = {}
    missing: list[MissingFile] = []
    for parameter, items in files.items():
        if parameter in skip or (schema.get(parameter) is None and not schema.free_form):
            continue
        for item in items:
            name = safe_name(str(item["name"]), "file")
            opened = _open_stored(parameter, name, item.get("sha256"), find_file) or _take_address(
                parameter, item.get("url"), schema
            )
            if opened is not None:
                found.setdefault(parameter, []).append(opened)
            else:
                missing.append(MissingFile(parameter, name, item.get("sha256")))
    return found, missing


def _open_stored(parameter: str, name: str, sha256: str | None, find_file: FindFile) -> FileInput | None:
    place = find_file(sha256) if sha256 else None
    if place is None:
        return None
    try:
        opened = open_file_input(parameter, place)
    except InvalidFile:
        return None
    return replace(opened, name=name) if opened.sha256 == sha256 else None


def _take_address(parameter: str, url: object, schema: ModelSchema) -> FileInput | None:
    """Returns a web address or one of the model's own samples as an input; never a path of this machine."""
    if not isinstance(url, str) or not url or MASK in url:  # without its query a presigned address opens nothing
        return None
    known = schema.get(parameter)
    default = known.default if known is not None else None
    samples = default if isinstance(default, tuple) else (default or "",)
    return url_input(parameter, url) if is_url(url) or url in samples else None


def _find_drift(
    sent: Mapping[str, object],
    files: Mapping[str, object],
    schema: ModelSchema,
    overrides: Mapping[str, object],
) -> list[Drift]:
    if schema.free_form:
        return []
    drift: list[Drift] = []
    for name in [*sent, *files]:
        parameter = schema.get(name)
        if parameter is None:
            left_out = _is_left_out(name, overrides)
            was = f" (it was {_shown(sent[name])})" if name in sent else ""
            text = f"the model no longer takes {name}{was}"
            text += "; it is left out" if left_out else f"; leave it out with: {name}="
            drift.append(Drift(name, "gone", text, not left_out))
        elif name not in overrides and not parameter.is_file and _option_is_gone(parameter, sent.get(name)):
            choices = ", ".join(option.value for option in parameter.options[:6])
            text = f"{name} no longer has the choice {_shown(sent[name])}; give another: {name}=... ({choices})"
            drift.append(Drift(name, "option gone", text, True))
    return drift


def _is_left_out(name: str, overrides: Mapping[str, object]) -> bool:
    return name in overrides and overrides[name] in ("", None)


def _find_new(schema: ModelSchema, named: set[str]) -> list[Drift]:
    drift: list[Drift] = []
    for parameter in schema.parameters:
        if parameter.id in named:
            continue
        if parameter.required and (parameter.is_file or not parameter.default):
            text = f"the model now needs {parameter.id}: give {parameter.id}=..."
            drift.append(Drift(parameter.id, "new", text, True))
        elif not parameter.is_file and parameter.default is not None:
            text = f"the model has a new setting {parameter.id}; its default is used ({_shown(parameter.default)})"
            drift.append(Drift(parameter.id, "new", text))
    return drift


def _option_is_gone(parameter: Parameter, value: object) -> bool:
    """A service's own default counts as a choice even where its list does not have it."""
    if parameter.type not in CHOICE_TYPES or not parameter.options or value in (None, ""):
        return False
    choices = {option.value for option in parameter.options} | {str(parameter.default)}
    return any(str(item) not in choices for item in (value if isinstance(value, list) else [value]))


def _compare_schemas(record: Mapping[str, Any], now: ModelSchema, then: ModelSchema | None) -> list[Drift]:
    if now.free_form or record["model"].get("schema_sha256") in (None, now.sha256):
        return []
    if then is None:
        text = "the model's inputs have changed since; every value is still sent as recorded"
        return [Drift("", "inputs changed", text)]
    changes: list[Drift] = []
    for kind, was, is_now in changed_inputs(then, now):
        if kind == "another type":
            changes.append(Drift(was.id, "type changed", f"{was.id} was {was.type}, is {is_now.type} now"))
        elif kind == "another default":
            text = f"the default of {was.id} was {_shown(was.default)}, is {_shown(is_now.default)} now"
            changes.append(Drift(was.id, "default changed", f"{text}; the recorded value is sent"))
    return changes


def _notes(record: Mapping[str, Any], service: str, reserved: Sequence[str]) -> tuple[str, ...]:
    notes = [f"{name} belongs to the service and is no setting of a run: it is left out" for name in reserved]
    made_on = record["service"]["name"]
    if service and service != made_on:
        notes.insert(0, f"made on {made_on}; this would go to {service}")
    return tuple(notes)


def _addresses(values: Mapping[str, object], overrides: Mapping[str, object]) -> Iterator[str]:
    """Says which addresses of the record the service would be sent to fetch."""
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            url = item.url if isinstance(item, FileInput) else item
            if name not in overrides and isinstance(url, str) and is_url(url):
                yield f"{name}: the service fetches {redact(url)[:_LONGEST_URL]}"


def _shown(value: object) -> str:
    text = " ".join(str("empty" if value in (None, "") else value).split())
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "\u2026"
