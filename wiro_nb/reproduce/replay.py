"""Makes a recorded request again by the model's present inputs: what changed, what is missing, what is sent.

A record may come from a stranger. It decides what is asked for, never where it goes or what is read: the request
goes to the service that is in use, input files come from the caller's own stores by their hash, and only web
addresses are taken from it as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from wiro_nb.config import data_dir
from wiro_nb.errors import InvalidFile, InvalidParameter, UnknownModel
from wiro_nb.execution.requests import Origin
from wiro_nb.files import safe_name
from wiro_nb.provenance.find import Source
from wiro_nb.provenance.record import canonical_json
from wiro_nb.redaction import MASK, redact
from wiro_nb.reproduce import find_input, weights_notes
from wiro_nb.schema import FileInput, ModelSchema, Parameter, Prepared, open_file_input
from wiro_nb.schema.coerce import is_empty, shown
from wiro_nb.schema.files import is_url, url_input
from wiro_nb.schema.types import changed_inputs
from wiro_nb.services.catalogue import find_schema
from wiro_nb.session.manager import Manager

_LONGEST_URL = 200

_RESERVED = frozenset(
    ("callbackurl", "projectid", "tasktoken", "socketaccesstoken", "previoustasktoken", "messages", "session_id")
)
"""Names that the service reads itself; a record may not set them for a model without published inputs."""

FindFile = Callable[[str], Path | None]
"""Takes a SHA-256 (hex) and returns a file of the user's own with that content, or None."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference between what was sent and what can be sent now.

    Attributes:
        parameter: The input's id.
        kind: "gone", "option gone", "default changed", "new", "type changed", "value changed",
            "inputs changed" or "file missing".
        message: One line for people.
        blocks: True when the request cannot be made without a decision by the user.
    """

    parameter: str
    kind: str
    message: str
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class MissingFile(Drift):
    """An input file of the record that no store of inputs has.

    Attributes:
        name: Of the file.
        sha256: Of its content, or None where the record has none.
    """

    name: str = ""
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """A request made again from a record, not sent yet.

    Attributes:
        source: Where it comes from.
        values: Settings by id, ready for `schema.prepare`; files are lists of `FileInput`.
        overridden: Ids the user changed.
        drift: What differs, what blocks first.
        notes: Further lines for people.
        prepared: The request; None while something blocks it, or before it is typed.
    """

    source: Source
    values: dict[str, object]
    overridden: frozenset[str]
    drift: tuple[Drift, ...]
    notes: tuple[str, ...] = ()
    prepared: Prepared | None = None

    @property
    def is_ready(self) -> bool:
        """True when nothing blocks."""
        return not any(item.blocks for item in self.drift)

    @property
    def parent(self) -> dict[str, Any]:
        """The parent entry for the new run's record."""
        return {"run_id": self.source.run_id, "output": None}

    @property
    def lines(self) -> list[str]:
        """Remarks to show before it is sent, one line each."""
        notes = self.prepared.notes if self.prepared is not None else ()
        return list(dict.fromkeys([*(item.message for item in self.drift), *self.notes, *notes]))


def plan_replay(
    source: Source,
    schema: ModelSchema,
    *,
    overrides: Mapping[str, object] | None = None,
    find_file: FindFile = lambda sha256: None,
    service: str = "",
    old_schema: ModelSchema | None = None,
) -> Replay:
    """Plans to make a record's request again; asks and sends nothing.

    Args:
        source: The record.
        schema: The model's inputs as they are now.
        overrides: Settings to change; they replace the record's. An empty one leaves out a setting that the
            model no longer takes.
        find_file: Looks up input files by hash; what it returns is hashed again.
        service: The service it would be sent to now, for a note when the record names another.
        old_schema: The inputs at the time of the record, where they are still known; without them
            changed defaults cannot be named.

    Returns:
        The plan; check `is_ready` before `check_prepared`.
    """
    overrides, record = overrides or {}, source.record
    sent, files = _split(record, schema)
    left_out = {name for name, value in overrides.items() if is_empty(value)}
    values: dict[str, object] = {}
    drift: list[Drift] = []
    notes: list[str] = []
    if service and service != record["service"]["name"]:
        notes.append(f"made on {record['service']['name']}; this would go to {service}")
    for name, value in {**sent, **files}.items():
        parameter = schema.get(name)
        if schema.free_form and name.casefold() in _RESERVED:
            notes.append(f"{name} belongs to the service and is no setting of a run: it is left out")
        elif parameter is None and not schema.free_form:
            drift.append(_gone(name, sent.get(name), is_left_out=name in left_out))
        elif name in overrides:
            continue
        elif name in files:
            opened = [_reopen(name, item, parameter, find_file) for item in files[name]]
            drift += [item for item in opened if isinstance(item, Drift)]
            if given := [item for item in opened if isinstance(item, FileInput)]:
                values[name] = given
        elif parameter is not None and _option_is_gone(parameter, value):
            choices = ", ".join(option.value for option in parameter.options[:6])
            text = f"{name} no longer has the choice {_shown(value)}; give another: {name}=... ({choices})"
            drift.append(Drift(name, "option gone", text, True))
        else:
            values[name] = value
    gone = {item.parameter for item in drift if item.kind == "gone"}
    drift += _schema_changes(record, schema, old_schema, {*sent, *files, *overrides})
    return Replay(
        source,
        {**values, **{name: value for name, value in overrides.items() if name not in gone & left_out}},
        frozenset(overrides),
        tuple(sorted(drift, key=lambda item: not item.blocks)),
        (*notes, *_addresses(values)),
    )


def check_prepared(replay: Replay, prepared: Prepared) -> Replay:
    """Returns the replay with its request, and with the values that are not sent as they were recorded.

    Args:
        replay: One that is ready.
        prepared: Its values, typed by the present inputs.
    """
    drift, notes = list(replay.drift), list(replay.notes)
    for name in replay.source.record["parameters"]:
        was, now = replay.values.get(name), prepared.parameters.get(name)
        is_setting = name in replay.values and name not in replay.overridden and name not in prepared.files
        if is_setting and canonical_json(was) != canonical_json(now) and str(was) != str(now):
            text = f"{name} was sent as {_shown(was)}; the model now takes it as {_shown(now)}"
            drift.append(Drift(name, "value changed", text))
    seed = prepared.seed
    if seed is not None and not seed.pinned and seed.parameter not in replay.overridden:
        notes.append("the record holds no seed: a new one is drawn, so the clip will be another")
    return replace(replay, drift=tuple(drift), notes=tuple(notes), prepared=prepared)


def _split(record: Mapping[str, Any], schema: ModelSchema) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Returns settings and files apart; a file input that stands among the settings counts as a file.

    A record of a task that was started elsewhere has the service's own view of it, where files are addresses.
    """
    files = {name: list(items) for name, items in record["files"].items()}
    sent: dict[str, Any] = {}
    for name, value in record["parameters"].items():
        inputs = (schema.get(name), schema.get(name.removesuffix("Url")))
        owner = next((item.id for item in inputs if item is not None and item.is_file), None)
        if owner is None:
            sent[name] = value
            continue
        for item in value if isinstance(value, list) else [value]:
            if item not in (None, ""):
                files.setdefault(owner, []).append({"name": str(item), "url": str(item)})
    return sent, files


def _reopen(
    name: str, item: Mapping[str, Any], parameter: Parameter | None, find_file: FindFile
) -> FileInput | Drift:
    """Returns an input file again: from the store by its hash, a web address, or one of the model's samples."""
    label, sha256, url = safe_name(str(item["name"]), "file"), item.get("sha256"), item.get("url")
    if sha256 and (place := find_file(sha256)) is not None:
        opened = open_file_input(name, place)
        if opened.sha256 == sha256:
            return replace(opened, name=label)
    is_sample = parameter is not None and url in parameter.samples
    # Without its query, which no record holds, a presigned address opens nothing.
    if isinstance(url, str) and url and MASK not in url and (is_url(url) or is_sample):
        return url_input(url)
    known = f" (sha256 {sha256[:8]})" if sha256 else ""
    text = f"{name}: no copy of the file {label}{known} is here; give {name}=PATH"
    return MissingFile(name, "file missing", text, True, label, sha256)


def _gone(name: str, value: object, *, is_left_out: bool) -> Drift:
    was = f" (it was {_shown(value)})" if value is not None else ""
    end = "it is left out" if is_left_out else f"leave it out with: {name}="
    return Drift(name, "gone", f"the model no longer takes {name}{was}; {end}", not is_left_out)


def _option_is_gone(parameter: Parameter, value: object) -> bool:
    """A service's own default counts as a choice even where its list does not have it."""
    if parameter.kind != "choice" or not parameter.options or value in (None, ""):
        return False
    choices = {option.value for option in parameter.options} | {str(parameter.default)}
    return any(str(item) not in choices for item in (value if isinstance(value, list) else [value]))


def _schema_changes(
    record: Mapping[str, Any], now: ModelSchema, then: ModelSchema | None, named: set[str]
) -> Iterator[Drift]:
    """Yields what changed in the model's inputs since the record; `named` are those that get a value anyway."""
    recorded = record["model"].get("schema_sha256")
    if now.free_form or recorded == now.sha256:
        return
    for item in now.parameters:
        if item.id in named:
            continue
        if item.required and (item.is_file or not item.default):
            yield Drift(item.id, "new", f"the model now needs {item.id}: give {item.id}=...", True)
        elif not item.is_file and item.default is not None:
            text = f"the model has a new setting {item.id}; its default is used ({_shown(item.default)})"
            yield Drift(item.id, "new", text)
    if recorded is not None and then is None:
        text = "the model's inputs have changed since; every value is still sent as recorded"
        yield Drift("", "inputs changed", text)
    for kind, was, is_now in changed_inputs(then, now) if recorded is not None and then is not None else ():
        if kind == "another type":
            yield Drift(was.id, "type changed", f"{was.id} was {was.type}, is {is_now.type} now")
        elif kind == "another default":
            text = f"the default of {was.id} was {_shown(was.default)}, is {_shown(is_now.default)} now"
            yield Drift(was.id, "default changed", f"{text}; the recorded value is sent")


def _addresses(values: Mapping[str, object]) -> Iterator[str]:
    """Says which addresses of the record the service would be sent to fetch."""
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            url = item.url if isinstance(item, FileInput) else item
            if isinstance(url, str) and is_url(url):
                yield f"{name}: the service fetches {redact(url)[:_LONGEST_URL]}"


def _shown(value: object) -> str:
    return shown("empty" if value in (None, "") else value)


# With the service in use ---------------------------------------------------------------------


def plan_rerun(
    manager: Manager,
    source: Source,
    overrides: Mapping[str, object] | None = None,
    *,
    origin: Origin | None = None,
) -> Replay:
    """Makes a record's request again, as far as it can be made; sends nothing.

    Args:
        manager: Knows the present inputs of the model, and the service in use.
        source: From `find_source`.
        overrides: Settings to change, as given.
        origin: Whose notebook relative paths and the store of inputs belong to.

    Raises:
        UnknownModel: The service in use does not have the model.
        InvalidParameter, InvalidFile: A changed setting does not fit.
    """
    origin = origin or Origin()
    schema = _present_schema(manager, source.record)
    replay = plan_source(manager, source, schema, overrides, origin.folder)
    replay = replace(replay, notes=(*replay.notes, *weights_notes(source.record, manager.service_name)))
    if not replay.is_ready:
        return replay
    return check_prepared(replay, manager.prepare(schema, replay.values, origin=origin))


def plan_source(
    manager: Manager, source: Source, schema: ModelSchema, overrides: Mapping[str, object] | None, folder: Path
) -> Replay:
    """Works out the request of a record by the model's present inputs; `folder` is the notebook's."""
    return plan_replay(
        source,
        schema,
        overrides=overrides,
        find_file=partial(find_input, manager, folder, source),
        service=manager.service_name,
        old_schema=find_schema(source.record["model"].get("schema_sha256"), data_dir()),
    )


def refuse(replay: Replay) -> InvalidParameter:
    """Returns the error that says why a replay cannot be sent, and what to type."""
    blocking = [item for item in replay.drift if item.blocks]
    given = {"gone": "", "file missing": "PATH"}
    settings = dict.fromkeys(f"{item.parameter}={given.get(item.kind, '...')}" for item in blocking)
    kind = InvalidFile if all(item.kind == "file missing" for item in blocking) else InvalidParameter
    what = "an input file is not here" if kind is InvalidFile else "the model's inputs have changed since"
    return kind(
        f"run {replay.source.short_id} cannot be sent as it was: {what}",
        details=[item.message for item in blocking],
        hint=f"%wiro rerun {replay.source.typed_name} {' '.join(settings)}",
        name=blocking[0].parameter,
        problems=[{"name": item.parameter, "message": item.message, "near": []} for item in blocking],
    )


def require_ready(replays: Iterable[Replay]) -> list[Prepared]:
    """Returns the requests of replays, in order.

    Raises:
        InvalidParameter, InvalidFile: One of them cannot be sent.
    """
    requests = []
    for replay in replays:
        if replay.prepared is None:
            raise refuse(replay)
        requests.append(replay.prepared)
    return requests


def _present_schema(manager: Manager, record: Mapping[str, Any]) -> ModelSchema:
    slug, run_path = (str(record["model"][name]) for name in ("slug", "run_path"))
    try:
        return manager.schema(slug)
    except UnknownModel as error:
        if run_path != slug:
            return manager.schema(run_path)
        raise UnknownModel(
            f"{manager.service_name} has no model {slug[:80]}; the run was made on {record['service']['name']}",
            details=error.details,
            hint="%wiro use SERVICE, one that has it",
            model=slug,
            near=error.near,
        ) from None
