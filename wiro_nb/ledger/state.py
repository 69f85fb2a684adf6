"""What can be known of a run at one moment: the state that views show and the ledger stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

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
        """True when nothing more will happen by itself."""
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
class Snapshot:
    """A run at one moment. Immutable: a change makes a new one with a higher `version`.

    Attributes:
        run_id: ULID. short_id: its last five letters, lower case.
        model: Slug. service: "sandbox", "local", "cloud" or a name; is_free: nothing is billed.
        state: Ledger state. stage: What the service is doing; also where a failed run failed.
        percent: 0..100 or None when unknown. step, steps: of the model's loop. rate with rate_unit ("it/s").
        created, submitted, started, finished: UTC or None.
        elapsed_s: Seconds since submission (final value when finished). remaining_s: estimate or None.
        log_tail: The latest log lines (at most 200). log_count: all lines seen.
        message: One line for people about the present state (why it waits, what went wrong).
        ahead: Runs ahead of this one while waiting for a slot, or None.
        lost_since: When contact was lost, or None. retry_in_s: seconds to the next try at that moment.
        estimated_usd: Forecast or None (unknown). cost_usd: What the service billed, None until known.
        outputs: Files made. exit_code: The service's `pexit`, or None.
        cancel_requested: True once the user asked for it.
        preview: The latest look at the clip while it is generated, where the service shows one.
        parent: The run this one was made from, as the record has it; None for none.
    """

    run_id: str
    short_id: str
    model: str
    service: str
    is_free: bool
    state: RunState
    stage: Stage
    prompt: str = ""
    percent: float | None = None
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    rate_unit: str = ""
    created: datetime | None = None
    submitted: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    elapsed_s: float | None = None
    remaining_s: float | None = None
    log_tail: tuple[str, ...] = ()
    log_count: int = 0
    message: str = ""
    ahead: int | None = None
    lost_since: datetime | None = None
    retry_in_s: float | None = None
    estimated_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    outputs: tuple[RunOutput, ...] = ()
    exit_code: str | None = None
    task_id: str | None = None
    cancel_requested: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seed: dict[str, Any] | None = None
    parent: dict[str, Any] | None = None
    preview: Preview | None = None
    version: int = 0

    @property
    def is_cost_open(self) -> bool:
        """True when the run has ended and the service may still bill it, or has not said what it cost."""
        return self.state.is_final and self.task_id is not None and self.cost_usd is None

    def with_changes(self, changes: Mapping[str, Any]) -> Snapshot:
        """Returns a copy with other values: what `dataclasses.replace` does, in a third of its time."""
        changed = object.__new__(Snapshot)
        for name in _SNAPSHOT_FIELDS:
            _set(changed, name, changes[name] if name in changes else getattr(self, name))
        return changed


_set = object.__setattr__
_SNAPSHOT_FIELDS = tuple(item.name for item in fields(Snapshot))
