"""Plans the rerun of a recorded run, found by its clip, notebook, sidecar or ledger row.

A record may come from a stranger. It decides what is asked for, never where it goes or what is read: the request
goes to the service that is in use, input files come from stores of inputs by their content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from wiro_nb.config import cache_dir, data_dir
from wiro_nb.errors import BadRecord, InvalidFile, InvalidParameter, LedgerError, UnknownModel, UnknownRun
from wiro_nb.execution.request_rows import Origin, notebook_dir_of
from wiro_nb.execution.run_record import build_run_record
from wiro_nb.files import INPUTS_FOLDER, OUTPUTS_FOLDER
from wiro_nb.ids import short_id
from wiro_nb.ledger.state import LedgerRow
from wiro_nb.local_models import catalog
from wiro_nb.local_models.weights import commit_of, locate
from wiro_nb.provenance.find import FoundRecord, find_records, split_source
from wiro_nb.provenance.made_by import used_repositories
from wiro_nb.provenance.reading import is_there
from wiro_nb.provenance.record import check_record
from wiro_nb.reproduce.plan import Drift, MissingFile, ReplayPlan, check_prepared, plan_replay
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared
from wiro_nb.services.catalogue import find_schema
from wiro_nb.services.selection import LOCAL
from wiro_nb.session.manager import Manager
from wiro_nb.session.submission import Batch, Submission, notebook_dir_of_row

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LONGEST_COMMIT = 12
_LATEST = 500
"""How many runs of the ledger may point to further stores of inputs."""


@dataclass(frozen=True, slots=True)
class Source:
    """A record and where it was found.

    Attributes:
        record: Checked.
        name: What to type to mean it again.
        kind: "clip", "sidecar", "notebook" or "ledger".
        path: The file that held it; None for the ledger.
    """

    record: dict[str, Any]
    name: str
    kind: str
    path: Path | None = None

    @property
    def typed_name(self) -> str:
        """The name as it can be typed."""
        return quote_name(self.name)

    @property
    def run_id(self) -> str:
        """The id of the recorded run."""
        return str(self.record["run_id"])

    @property
    def is_film(self) -> bool:
        """True for the record of joined clips; its shots are runs of their own."""
        return isinstance(self.record.get("film"), dict)

    @property
    def short_id(self) -> str:
        """Its last five letters, lower case."""
        return short_id(self.run_id)


@dataclass(frozen=True, slots=True)
class Replay:
    """A request made again, not sent yet.

    Attributes:
        source: Where it comes from.
        plan: What has changed, what is missing, what is worth knowing.
        prepared: The request; None while the plan is not ready.
    """

    source: Source
    plan: ReplayPlan
    prepared: Prepared | None

    @property
    def parent(self) -> dict[str, Any]:
        """The parent entry for the new run's record."""
        return {"run_id": self.source.run_id, "output": None}

    @property
    def lines(self) -> list[str]:
        """Remarks to show before it is sent, one line each."""
        problems: list[Drift | MissingFile] = [*self.plan.drift, *self.plan.missing]
        notes = self.prepared.notes if self.prepared is not None else ()
        return list(dict.fromkeys([*(item.message for item in problems), *self.plan.notes, *notes]))


def quote_name(text: str) -> str:
    """Returns a text as one word of a command line: in quotes where it has spaces."""
    return f'"{text}"' if any(letter.isspace() for letter in text) else text


def find_sources(
    manager: Manager, source: str | Path, *, notebook: str | None = None, ignore_hash: bool = False
) -> list[Source]:
    """Finds the records that a source names.

    Args:
        manager: Its ledger is asked for ids.
        source: A run's id or a part of it, a clip, picture, `run.json`, folder, notebook or `NOTEBOOK#RUN`.
        notebook: Whose runs come first where a part of an id fits several.
        ignore_hash: True reads records that were changed after they were written.

    Raises:
        UnknownRun: There is none, or an id fits several.
        BadRecord: A file holds no record, or one that is refused.
    """
    text = str(source).strip()
    path, wanted = split_source(text)
    if text and is_there(path):
        found = find_records(text, ignore_hash=ignore_hash)
        if len(found) == 1 and not wanted:
            return [Source(found[0].record, text, found[0].kind, found[0].path)]
        return [Source(item.record, _name_of(item, path), item.kind, item.path) for item in found]
    if wanted or "/" in text or "\\" in text or path.suffix:
        raise BadRecord(
            f"{path.name} does not exist here",
            hint="check the path, or name the run: %wiro runs",
            reason="none",
        )
    row = manager.ledger.find(text, notebook)
    return [Source(record_of(row), row.short_id, "ledger")]


def _name_of(found: FoundRecord, path: Path) -> str:
    return f"{path}#{short_id(found.record['run_id'])}" if found.kind == "notebook" else str(found.path)


def find_source(
    manager: Manager, source: str | Path, *, notebook: str | None = None, ignore_hash: bool = False
) -> Source:
    """Finds the one record that a source names.

    Raises:
        UnknownRun: None or several. BadRecord: as `find_sources`.
    """
    found = find_sources(manager, source, notebook=notebook, ignore_hash=ignore_hash)
    if len(found) > 1:
        name = Path(str(source)).name
        raise UnknownRun(
            f"{name} holds {len(found)} runs: name one",
            details=[f"{item.name}  {item.record['model']['slug']}" for item in found[:10]],
            hint=f"%wiro rerun {found[-1].typed_name}, or %wiro rerun {quote_name(str(source))} --all",
            query=str(source),
            near=[item.run_id for item in found[:5]],
        )
    return found[0]


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
    plan = plan_source(manager, source, schema, overrides, notebook_dir_of(origin.notebook))
    plan = replace(plan, notes=(*plan.notes, *weights_notes(source.record, manager.service_name)))
    if not plan.is_ready:
        return Replay(source, plan, None)
    prepared = manager.prepare(schema.slug, plan.values, origin=origin)
    return Replay(source, check_prepared(plan, prepared), prepared)


def plan_source(
    manager: Manager, source: Source, schema: ModelSchema, overrides: Mapping[str, object] | None, folder: Path
) -> ReplayPlan:
    """Works out the request of a record by the model's present inputs; `folder` is the notebook's."""
    return plan_replay(
        source.record,
        schema,
        overrides=overrides,
        find_file=find_input(manager, folder, source),
        service=manager.service_name,
        old_schema=find_schema(source.record["model"].get("schema_sha256"), data_dir()),
    )


def refuse(replay: Replay) -> InvalidParameter:
    """Returns the error that says why a replay cannot be sent, and what to type."""
    plan = replay.plan
    blocking = [item for item in plan.drift if item.blocks]
    problems: list[Drift | MissingFile] = [*blocking, *plan.missing]
    lines, names = [item.message for item in problems], [item.parameter for item in problems]
    settings = [f"{item.parameter}={'' if item.kind == 'gone' else '...'}" for item in blocking]
    settings += [f"{item.parameter}=PATH" for item in plan.missing]
    kind = InvalidFile if plan.missing and not blocking else InvalidParameter
    what = "an input file is not here" if kind is InvalidFile else "the model's inputs have changed since"
    return kind(
        f"run {replay.source.short_id} cannot be sent as it was: {what}",
        details=lines,
        hint=f"%wiro rerun {replay.source.typed_name} {' '.join(dict.fromkeys(settings))}",
        name=names[0],
        value="",
        allowed=[],
        near=[],
        problems=[{"name": name, "message": line, "near": []} for name, line in zip(names, lines, strict=True)],
    )


def send(
    manager: Manager,
    replay: Replay,
    *,
    origin: Origin | None = None,
    max_cost_usd: Decimal | None = None,
    out_dir: str | Path | None = None,
    fresh: bool = False,
) -> Submission:
    """Sends a replay, unless this run was made again already; the new run names the old one as its parent.

    Raises:
        InvalidParameter, InvalidFile: It is not ready; nothing was sent.
        WiroError: As `Manager.submit`.
    """
    if replay.prepared is None:
        raise refuse(replay)
    batch = Batch([replay.prepared], origin or Origin(), [replay.parent], fresh=fresh, is_rerun=True)
    (submission,) = manager.submit_many(batch, max_cost_usd=max_cost_usd, out_dir=out_dir)
    return submission


def record_of(row: LedgerRow) -> dict[str, Any]:
    """Returns a run's record; of one that has none yet, what the ledger knows of its request.

    Raises:
        BadRecord: The ledger's record is not what was written.
    """
    if (record := row.load_record()) is not None:
        return check_record(record, source=f"run {row.short_id}")
    return build_run_record(row, [])


def find_input(manager: Manager, home: Path, source: Source | None = None) -> Callable[[str], Path | None]:
    """Returns a function that finds an input file by its SHA-256 in the stores of inputs.

    Looked through in this order: the notebook's own store, what lies beside the source the user named, files
    kept in the cache, stores of other notebooks of the ledger, and what runs have made.

    Args:
        manager: Its ledger names further stores.
        home: The notebook's folder.
        source: Where the record was found.
    """

    def find(sha256: str) -> Path | None:
        if _SHA256.fullmatch(sha256) is None:
            return None
        for folder in dict.fromkeys(_stores(manager, home, source)):
            for path in sorted(folder.glob(f"{sha256}*")):
                if path.is_file() and not path.is_symlink():
                    return path
        return _made_by_a_run(manager, sha256)

    return find


def _stores(manager: Manager, home: Path, source: Source | None) -> Iterator[Path]:
    yield home / OUTPUTS_FOLDER / INPUTS_FOLDER
    for base in _folders_around(source):
        yield base / OUTPUTS_FOLDER / INPUTS_FOLDER
        yield base / INPUTS_FOLDER
        yield base / "inputs"  # an exported crate
    yield cache_dir() / "inputs"
    for row in manager.ledger.list(limit=_LATEST):
        if row.request.get("files"):
            yield notebook_dir_of_row(row) / OUTPUTS_FOLDER / INPUTS_FOLDER


def _folders_around(source: Source | None) -> Sequence[Path]:
    """The folder of the file a user named, and the two above it: a clip lies in its run's folder."""
    return source.path.resolve().parents[:3] if source is not None and source.path is not None else ()


def _made_by_a_run(manager: Manager, sha256: str) -> Path | None:
    made = manager.ledger.find_maker(sha256)
    if made is None or made.frame is not None:
        return None
    try:
        row = manager.ledger.get(made.run_id)
    except (UnknownRun, LedgerError):
        return None
    path = row.locate(row.outputs[made.output]) if made.output < len(row.outputs) else None
    return path if path is not None and path.is_file() else None


def _present_schema(manager: Manager, record: Mapping[str, Any]) -> ModelSchema:
    slug, run_path = str(record["model"]["slug"]), str(record["model"]["run_path"])
    try:
        return manager.schema(slug)
    except UnknownModel as error:
        if run_path != slug:
            return manager.schema(run_path)
        made_on = record["service"]["name"]
        raise UnknownModel(
            f"{manager.service_name} has no model {slug[:80]}; the run was made on {made_on}",
            details=list(error.details),
            hint="%wiro use SERVICE, one that has it",
            model=slug,
            near=list(error.near),
        ) from None


def weights_notes(record: Mapping[str, Any], service: str) -> list[str]:
    """Returns what differs between the weights of a record and those that a replay would use, as sentences.

    Args:
        record: Of the run to be made again.
        service: That a replay would go to.

    Raises:
        ConfigError: `local.toml` is wrong.
    """
    used = used_repositories(record)
    if not used:
        is_moving = service == LOCAL and record["service"]["name"] != LOCAL
        return ["Open weights on this machine make it now: other frames than before"] if is_moving else []
    if service != LOCAL:
        return [f"It was made with {used[0][0]} on one's own machine; {service} makes it with weights of its own"]
    model = catalog.find(str(record["model"]["slug"]))
    present = {item.id: item for item in model.repositories} if model is not None else {}
    notes = []
    for name, revision in used:
        folder = locate(present[name]) if name in present else None
        if name not in present:
            notes.append(
                f"the weights {name} are not what this machine makes the model with; local.toml can name them"
            )
        elif folder is None:
            notes.append(f"The weights {name} are not here: wiro-nb local pull {record['model']['slug']}")
        elif (commit := commit_of(folder) or "a plain copy") != revision:
            then, now = revision[:_LONGEST_COMMIT], commit[:_LONGEST_COMMIT]
            notes.append(f"the weights {name} were {then}, here are {now}: frames may differ")
    return notes
