"""The state of a run: its ledger row, and the snapshot that adds live progress to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from wiro_nb.config import FREE_SERVICES
from wiro_nb.ids import short_id

if TYPE_CHECKING:
    from wiro_nb.api.answers import Preview


class RunState(StrEnum):
    """States of a run in the ledger, from planned to ended."""

    PLANNED = "planned"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    UNCERTAIN = "uncertain"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True for a final state."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED)


class Stage(StrEnum):
    """Stages of a submitted task as people see them; the order never goes backwards."""

    WAITING = "waiting"
    QUEUED = "queued"
    PREPARING = "preparing"
    LOADING = "loading model"
    GENERATING = "generating"
    SAVING = "saving"
    FETCHING = "fetching"
    DONE = "done"

    @property
    def rank(self) -> int:
        """Position in the order of stages, from 0."""
        return _RANKS[self]


_RANKS = {stage: rank for rank, stage in enumerate(Stage)}


@dataclass(frozen=True, slots=True)
class RunOutput:
    """One file (or text) that a run made.

    Attributes:
        name: Safe file name, or "" for raw content.
        content_type: As found in the content, e.g. "video/mp4".
        size_bytes, sha256: Of the file as the service sent it; None while not downloaded.
        path: Relative to the folder of the notebook (POSIX separators); None while not downloaded.
        url: Where the service serves it, for a limited time.
        width, height: Pixels. duration_s: seconds. fps: frames a second. frames: count. None when unknown.
        poster_path: Relative path of a small JPEG, or None.
        content: For "raw" outputs the JSON content.
        problem: Why the file could not be fetched, or "".
        stored_sha256: Of the file on disk when it differs (the run's record was written into it); else None.
        credentials: Whose Content Credentials it carries and whether they are valid, in a few words; "" for none.
    """

    name: str
    content_type: str
    size_bytes: int | None = None
    sha256: str | None = None
    path: str | None = None
    url: str | None = None
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    fps: float | None = None
    frames: int | None = None
    poster_path: str | None = None
    content: Any = None
    problem: str = ""
    stored_sha256: str | None = None
    credentials: str = ""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One run in the ledger.

    Attributes:
        run_id: ULID. state: see `RunState`. model: slug. run_path: path after `/Run/`.
        service: "sandbox", "local", "cloud" or a name. base_url: where it was sent.
        notebook: Path of the notebook as the host gives it, or None. cell_id: or None.
        source_sha256: Hash of the cell's source, or None. origin: "magic", "form", "python" or "cli".
        request_sha256: Identity of the request. request: `parameters` as sent, `files`, `seed`.
        schema_sha256: Of the model's schema, or None.
        task_id: The service's id, or None. task_token: bearer secret; never shown, never exported.
        exit_code: The service's `pexit`, or None. estimated_usd, cost_usd: or None when unknown.
        created, submitting_at, submitted_at, started_at, finished_at: UTC or None.
        compute_s: Seconds of work as the service counts them, or from start to end; without the queue.
        stage, percent (0..100), message: The latest progress.
        outputs: Files made. record: The hashed record as canonical JSON text, or None.
        folder: Absolute folder of the run's files on this machine; never exported.
        parent: {"run_id", "output"} of the run it continues, or None.
        error: {"kind", "message", "hint", ...} or None.
        starred: Picked by the user.
        lease_owner, lease_until: Which process tracks it, and until when (UTC).
        deleted: Forgotten: not listed any more, but still counted as spent.
        sweep_id, sweep_point: The sweep it was started for and its place in it from 0, or None.
        cancel_at: When the user asked to cancel it (UTC), in any process; or None.
        scope: Where it answers the same request again: its notebook, else `FOLDER/*`; None in rows of earlier
            versions without a notebook. account: Hash that tells the accounts of a service apart, or None.
    """

    run_id: str
    state: RunState
    model: str
    run_path: str
    service: str
    base_url: str
    created: datetime
    request_sha256: str = ""
    request: dict[str, Any] = field(default_factory=dict)
    notebook: str | None = None
    cell_id: str | None = None
    source_sha256: str | None = None
    origin: str = "python"
    schema_sha256: str | None = None
    task_id: str | None = None
    task_token: str | None = field(default=None, repr=False)
    exit_code: str | None = None
    estimated_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    submitting_at: datetime | None = None
    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    compute_s: float | None = None
    stage: Stage = Stage.WAITING
    percent: float | None = None
    message: str = ""
    outputs: tuple[RunOutput, ...] = ()
    record: str | None = None
    folder: str | None = None
    parent: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    starred: bool = False
    lease_owner: str | None = field(default=None, compare=False)
    lease_until: datetime | None = field(default=None, compare=False)
    deleted: bool = False
    sweep_id: str | None = None
    sweep_point: int | None = None
    cancel_at: datetime | None = None
    scope: str | None = None
    account: str | None = None

    @property
    def short_id(self) -> str:
        """The last five letters of the id, lower case."""
        return short_id(self.run_id)

    @property
    def is_cost_open(self) -> bool:
        """True when the run has ended and the service may still bill it, or has not said what it cost."""
        return self.state.is_final and self.task_id is not None and self.cost_usd is None

    @property
    def lacks_downloads(self) -> bool:
        """True when the run succeeded and the service still may have a file of it that is not here."""
        return self.state is RunState.SUCCEEDED and any(output.problem and output.url for output in self.outputs)

    @property
    def wall_s(self) -> float | None:
        """Seconds from submission to the end, the queue included; None while either is unknown."""
        if self.submitted_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.submitted_at).total_seconds())

    def find_file(self, output: RunOutput) -> Path | None:
        """Returns an output's file on this machine, or None where it is not here."""
        if not output.path:
            return None
        path = PurePosixPath(output.path)
        if self.folder is None:
            places = [Path(path)] if path.is_absolute() else []
        else:  # the run's own, while the path begins at the notebook's folder, which holds the run's
            places = [Path(self.folder, path.name), Path(self.folder, path)]
        return next((place for place in places if place.is_file()), None)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as sent."""
        value = self.request.get("parameters")
        return value if isinstance(value, dict) else {}

    @property
    def prompt(self) -> str:
        """The prompt among the parameters, or ""."""
        return str(self.parameters.get("prompt") or "")

    @property
    def files(self) -> dict[str, list[dict[str, Any]]]:
        """The input files by parameter: name, sha256, size_bytes, url."""
        return self.request.get("files") or {}

    @property
    def seed(self) -> dict[str, Any] | None:
        """The seed: `parameter`, `value` and whether it is `pinned`; None for a model without one."""
        return self.request.get("seed")

    @property
    def is_free(self) -> bool:
        """True when its service bills nothing."""
        return self.service in FREE_SERVICES

    @property
    def cancel_requested(self) -> bool:
        """True while a run that the user asked to be cancelled continues."""
        is_open = self.state in (RunState.PLANNED, RunState.SUBMITTING, RunState.SUBMITTED)
        return is_open and self.cancel_at is not None

    def load_record(self) -> dict[str, Any] | None:
        """Returns the record; None where there is none, or its text is damaged."""
        try:
            record = json.loads(self.record or "null")
        except (ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) else None


@dataclass(frozen=True, slots=True)
class Snapshot(LedgerRow):
    """An immutable snapshot of a run: its ledger row, newer progress, and values that the row does not keep.

    Immutable: a change makes a new one with a higher `version`.

    Attributes:
        step, steps: Of the model's loop. rate with rate_unit ("it/s").
        elapsed_s: Seconds since submission (final value when finished). remaining_s: estimate or None.
        log_tail: The latest log lines (at most 200). log_count: all lines seen.
        ahead: Runs ahead of this one while waiting for a slot, or None.
        lost_since: When contact was lost, or None. retry_in_s: seconds to the next try at that moment.
        preview: The latest look at the clip while it is generated, where the service shows one.
    """

    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    rate_unit: str = ""
    elapsed_s: float | None = None
    remaining_s: float | None = None
    log_tail: tuple[str, ...] = ()
    log_count: int = 0
    ahead: int | None = None
    lost_since: datetime | None = None
    retry_in_s: float | None = None
    preview: Preview | None = None
    version: int = field(default=0, compare=False)

    @classmethod
    def of(cls, row: LedgerRow) -> Snapshot:
        """Returns a run as its row shows it."""
        return cls(*(getattr(row, name) for name in ROW_FIELDS)).with_row(row)

    def with_row(self, row: LedgerRow) -> Snapshot:
        """Returns the run with a newer row; what rows do not keep stays, as far as it still holds."""
        changes = {name: getattr(row, name) for name in ROW_FIELDS}
        if row.state is RunState.SUCCEEDED:
            changes |= {"stage": Stage.DONE, "percent": 100.0}
        if row.state.is_final or row.state is RunState.UNCERTAIN:
            changes |= dict.fromkeys(("remaining_s", "ahead", "lost_since", "retry_in_s", "preview"))
            changes |= {} if row.wall_s is None else {"elapsed_s": round(row.wall_s, 3)}
        return self.with_changes(changes)

    def with_changes(self, changes: Mapping[str, Any]) -> Snapshot:
        """Returns a copy with other values and the next version."""
        values = list(_get_values(self))  # each event makes a copy: `dataclasses.replace` takes over twice as long
        for name, value in {**changes, "version": self.version + 1}.items():
            values[_PLACES[name]] = value
        return Snapshot(*values)


ROW_FIELDS = tuple(item.name for item in fields(LedgerRow))
_PLACES = {item.name: place for place, item in enumerate(fields(Snapshot))}
_get_values = attrgetter(*_PLACES)
