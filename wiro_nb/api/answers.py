"""Typed answers of the service. Parsing never raises: fields may be missing, null, extra, or of another type."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wiro_nb.api.pricing import Pricing, read_pricing
from wiro_nb.json_values import (
    as_cost,
    as_flag,
    as_float,
    as_list,
    as_mapping,
    as_moment,
    as_optional_text,
    as_seconds,
    as_text,
    as_whole,
    as_words,
    load_json,
)
from wiro_nb.redaction import SecretText, register_secret

if TYPE_CHECKING:
    from wiro_nb.schema.types import ModelSchema

SUCCESS_STATUS = "task_postprocess_end"
CANCEL_STATUS = "task_cancel"
ERROR_STATUS = "task_error"
PREVIEW_STATUS = "task_preview"
TERMINAL_STATUSES = frozenset({SUCCESS_STATUS, CANCEL_STATUS})
"""Statuses after which nothing changes. A task in `task_error` may recover; an event of it is a line of stderr."""

# Bounds of texts of the service: beyond them they are nonsense, or too much to hold the I/O thread with.
_LONGEST_WORD = 200
_LONGEST_NAME = 1000
_LONGEST_URL = 16_000
_LONGEST_MADE_BY = 64 * 1024
_LONGEST_LOG = 256 * 1024
"""Of a log the end is kept: that is what is shown."""

_LARGEST_PREVIEW = 64 * 1024
_LONGEST_SIDE = 4096
_PREVIEW_URI = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}")


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a model's sampling loop.

    Attributes:
        task: The model's name for the current step ("Generate").
        percent: 0 to 100. step, steps: of the loop. rate: in `rate_unit` ("it/s").
        remaining_s: seconds. None where the service does not say.
    """

    task: str = ""
    percent: float | None = None
    step: int | None = None
    steps: int | None = None
    rate: float | None = None
    rate_unit: str = ""
    remaining_s: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a task.

    Attributes:
        name: As the service names it; never to be trusted as a path.
        content_type: MIME type, or "raw" for the content of a language model.
        size_bytes, url: None where the service did not say.
        content: For "raw" outputs the JSON content, else None.
    """

    name: str
    content_type: str
    size_bytes: int | None = None
    url: str | None = None
    content: Any = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as `Task/Detail` shows it.

    Attributes:
        id: Digits. token: bearer capability of this task; a secret.
        status: As the service spells it. exit_code: `pexit`; "0" is success.
        total_cost_usd: As the service bills it. compute_s: seconds of work.
        outputs: Output files. parameters: as received. model: "owner/name" if given.
        created, assigned, started, finished, cancelled: UTC, None while it has not happened.
        callback_url: As given with the run, or "".
        log, error_log: Whole stdout and stderr so far.
        made_by: How the outputs were made, where a service on this machine says so (`madeby`).
    """

    id: str
    token: str = field(repr=False)
    status: str
    exit_code: str | None = None
    total_cost_usd: Decimal | None = None
    compute_s: float | None = None
    outputs: tuple[Output, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    created: datetime | None = None
    assigned: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    cancelled: datetime | None = None
    callback_url: str = ""
    log: str = ""
    error_log: str = ""
    made_by: dict[str, Any] = field(default_factory=dict)

    @property
    def is_terminal(self) -> bool:
        """True when the task has ended."""
        return self.status in TERMINAL_STATUSES

    @property
    def is_success(self) -> bool:
        """True only for a finished task with exit code "0"."""
        return self.status == SUCCESS_STATUS and self.exit_code == "0"


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview of the clip while it is generated; it is displayed and never stored.

    Attributes:
        image: Data URI of a picture, at most 64 KB.
        width, height: Pixels.
    """

    image: str = field(repr=False)
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Event:
    """One message of the socket.

    Attributes:
        status: As the service spells it; "" for an answer without one.
        task_id, token: The task of the event, if given.
        text: Log line or whole log. progress, outputs, preview: set when the message has them.
        result: False when the service refused.
    """

    status: str
    task_id: str | None = None
    token: str | None = field(default=None, repr=False)
    text: str | None = None
    progress: Progress | None = None
    outputs: tuple[Output, ...] | None = None
    preview: Preview | None = None
    result: bool = True

    @property
    def is_terminal(self) -> bool:
        """True when no event follows this one."""
        return self.status in TERMINAL_STATUSES


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model in a list.

    Attributes:
        cover: URL of a picture or clip, or "".
        run_count, price: None when unknown.
        notice: Why it does not run now and what to type, or "".
    """

    slug: str
    title: str
    description: str = ""
    categories: tuple[str, ...] = ()
    cover: str = ""
    run_count: int | None = None
    price: Pricing | None = None
    notice: str = ""


@dataclass(frozen=True, slots=True)
class ModelDetail:
    """A model's inputs and price."""

    schema: ModelSchema
    pricing: Pricing
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Submitted:
    """An accepted run: the id of its task and the token that gives access to it (a secret)."""

    task_id: str
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        register_secret(self.token)


def read_task(data: object) -> Task:
    """Reads one task of a `tasklist`. Anything unreadable becomes a task without id and status."""
    raw = as_mapping(data)
    return Task(
        id=as_text(raw.get("id") or raw.get("taskid"), _LONGEST_WORD).strip(),
        token=_read_token(raw),
        status=as_text(raw.get("status"), _LONGEST_WORD).strip(),
        exit_code=as_optional_text(raw.get("pexit"), _LONGEST_WORD),
        total_cost_usd=as_cost(raw.get("totalcost")),
        compute_s=as_seconds(raw.get("elapsedseconds")),
        outputs=read_outputs(raw.get("outputs")),
        parameters=as_mapping(raw.get("parameters")),
        model=_join(raw.get("modelslugowner"), raw.get("modelslugproject")) or None,
        created=as_moment(raw.get("createtime")),
        assigned=as_moment(raw.get("assigntime")),
        started=as_moment(raw.get("starttime")),
        finished=as_moment(raw.get("postprocessendtime")) or as_moment(raw.get("endtime")),
        cancelled=as_moment(raw.get("canceltime")),
        callback_url=as_text(raw.get("callbackurl"), _LONGEST_NAME).strip(),
        log=_read_log(raw.get("debugoutput")),
        error_log=_read_log(raw.get("debugerror")),
        made_by=_read_made_by(raw.get("madeby")),
    )


def _read_made_by(value: object) -> dict[str, Any]:
    """Returns the facts for the record; none when they are no JSON object or larger than a record should carry."""
    facts = as_mapping(value)
    try:
        is_small = len(json.dumps(facts, allow_nan=False)) <= _LONGEST_MADE_BY
    except (TypeError, ValueError, RecursionError):
        return {}
    return facts if is_small else {}


def read_tasks(answer: object) -> tuple[Task, ...]:
    """Reads the `tasklist` of an answer; entries that are not objects are left out."""
    entries = as_list(as_mapping(answer).get("tasklist"))
    return tuple(read_task(entry) for entry in entries if isinstance(entry, Mapping))


def read_outputs(value: object) -> tuple[Output, ...]:
    """Reads a list of outputs; entries that are not objects are left out."""
    return tuple(_read_output(entry) for entry in as_list(value) if isinstance(entry, Mapping))


def _read_output(entry: Mapping[str, Any]) -> Output:
    url, size_bytes = as_optional_text(entry.get("url")), as_whole(entry.get("size"))
    return Output(
        name=as_text(entry.get("name"))[-_LONGEST_NAME:],
        content_type=as_text(entry.get("contenttype"), _LONGEST_WORD).strip(),
        size_bytes=size_bytes if size_bytes is not None and size_bytes >= 0 else None,
        url=url if url is not None and len(url) <= _LONGEST_URL else None,
        content=entry.get("content"),
    )


def read_event(frame: object) -> Event | None:
    """Reads one socket frame.

    Returns:
        The event, or None for a binary or unreadable frame, which is to be ignored.
    """
    if not isinstance(frame, str):
        return None
    data = load_json(frame)
    if not isinstance(data, dict):
        return None
    status = as_text(data.get("type"), _LONGEST_WORD).strip()
    result = as_flag(data.get("result"), default=True)
    if not status and result:
        return None
    message = data.get("message")
    progress = _read_progress(message) if status == "task_output" else None
    outputs = read_outputs(message) if status == SUCCESS_STATUS else None
    is_text = progress is None and outputs is None and status != PREVIEW_STATUS
    return Event(
        status=status,
        task_id=as_optional_text(data.get("id") or data.get("taskid"), _LONGEST_WORD),
        token=_read_token(data) or None,
        text=(_read_log(message) or None) if is_text else None,
        progress=progress,
        outputs=outputs,
        preview=_read_preview(message) if status == PREVIEW_STATUS else None,
        result=result,
    )


def _read_preview(message: object) -> Preview | None:
    """Reads a preview; None for anything but a small picture."""
    data = as_mapping(message)
    image, width, height = data.get("image"), as_whole(data.get("width")), as_whole(data.get("height"))
    if not isinstance(image, str) or len(image) > _LARGEST_PREVIEW or not _PREVIEW_URI.fullmatch(image):
        return None
    if width is None or height is None or not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE):
        return None
    return Preview(image, width, height)


def _read_progress(message: object) -> Progress | None:
    data = as_mapping(message)
    if not as_text(data.get("type")).startswith("progress") and "percentage" not in data:
        return None
    percent = as_float(data.get("percentage"))
    return Progress(
        task=as_text(data.get("task"), _LONGEST_WORD),
        percent=None if percent is None else min(100.0, max(0.0, percent)),
        step=as_whole(data.get("stepCurrent")),
        steps=as_whole(data.get("stepTotal")),
        rate=as_float(data.get("speed")),
        rate_unit=as_text(data.get("speedType"), _LONGEST_WORD),
        remaining_s=as_seconds(data.get("remainingTime")),
    )


def read_tool(entry: object) -> ModelCard:
    """Reads one model of `Tool/List` or `Tool/Detail`."""
    raw = as_mapping(entry)
    slug = _join(raw.get("slugowner"), raw.get("slugproject")) or _join(
        raw.get("cleanslugowner"), raw.get("cleanslugproject")
    )
    return ModelCard(
        slug=slug,
        title=as_text(raw.get("title")) or as_text(raw.get("name")) or slug,
        description=as_text(raw.get("description")),
        categories=as_words(raw.get("categories")),
        cover=as_text(raw.get("image")),
        run_count=as_whole(as_mapping(raw.get("taskstat")).get("runcount")),
        price=read_pricing(raw),
    )


def _join(owner: object, project: object) -> str:
    left, right = as_text(owner).strip(), as_text(project).strip()
    return f"{left}/{right}" if left and right else ""


def _read_log(value: object) -> str:
    return as_text(value)[-_LONGEST_LOG:]


def _read_token(raw: Mapping[str, Any]) -> str:
    token = as_text(raw.get("socketaccesstoken") or raw.get("tasktoken"), _LONGEST_NAME).strip()
    register_secret(token)
    return SecretText(token)
