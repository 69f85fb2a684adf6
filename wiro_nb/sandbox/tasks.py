"""The state of a task, and its wire format."""

from __future__ import annotations

import json
import re
import secrets
import string
import time
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from typing import Any

_ADDRESS = re.compile(r"https?://\S+")
TERMINAL = frozenset({"task_postprocess_end", "task_cancel"})
_STAGES = "accept preprocess_start preprocess_end assign start end postprocess_start postprocess_end cancel"
_STAMPS = {f"task_{stage}": stage.replace("_", "") for stage in _STAGES.split()} | {"task_error": "end"}
"""The stage whose time a status sets, by its name in Detail without `time`."""
_TEAM = "sandbox-team"
_EVENT_ONLY = frozenset({"task_output_full", "task_error_full"})


def new_token(length: int = 30) -> str:
    """Returns a random token of letters and digits, like the service's."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


@dataclass
class Task:
    """The state of a task, as it survives a restart.

    Attributes:
        id: Set by the store.
        token: The capability `socketaccesstoken`.
        slug: The model, `owner/name`.
        created: Unix time, seconds.
        stamps: Unix times of the stages reached, by the names in `_STAMPS`.
        parameters: As sent; files stand as server paths `/files/...`.
        callback_url: Returned as `callbackurl`; the sandbox never calls it.
        cost_usd: The bill, or None before the end.
        made_by: What the engine says about the making of the outputs.
        restarts: How often the task was queued again after a restart of the sandbox.
        outputs: As the service shows them, with server paths for URLs.
    """

    id: int
    token: str
    slug: str
    project_id: str
    created: float
    parameters: dict[str, Any]
    categories: list[str] = field(default_factory=list)
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    callback_url: str = ""
    cps: str = "0"
    model_id: str = "0"
    model_title: str = ""
    status: str = "task_queue"
    stamps: dict[str, float] = field(default_factory=dict)
    log: str = ""
    error_log: str = ""
    exit_code: str = ""
    cost_usd: str | None = None
    outputs: list[dict[str, Any]] = field(default_factory=list)
    made_by: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds the model ran; 0 before the end."""
        start, end = self.stamps.get("start", 0.0), self.stamps.get("end", 0.0)
        return max(0.0, end - start) if start and end else 0.0

    def move_to(self, status: str, at: float | None = None) -> None:
        """Sets the status and the time of its stage, or now. Event-only statuses leave Detail unchanged."""
        if status in _STAMPS:
            self.stamps[_STAMPS[status]] = time.time() if at is None else at
        if status not in _EVENT_ONLY:
            self.status = status

    def requeue(self) -> None:
        """Resets an unfinished task to queued, after a restart of the sandbox."""
        self.status, self.stamps, self.log, self.error_log = "task_queue", {}, "", ""
        self.restarts += 1

    def text(self) -> str:
        """Returns every text among the parameters, where test directives such as `[fail]` may stand."""
        return " ".join(value for value in self.parameters.values() if isinstance(value, str))

    def foreign_urls(self, names: Collection[str] | None) -> list[str]:
        """Returns the inputs that are URLs of other hosts, without their queries.

        Args:
            names: The file inputs; None checks every value that is an address and nothing else.
        """
        chosen = [value for name, value in self.parameters.items() if names is None or name in names]
        items = [item for value in chosen for item in _split(value)]
        return [item.partition("?")[0] for item in items if _ADDRESS.fullmatch(item)]

    def to_json(self) -> str:
        """Serializes the state."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Restores a task from the text of `to_json`; fields of other versions are dropped."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})

    def audited(self) -> dict[str, Any]:
        """Returns what the audit log says about the task."""
        return {
            "task_id": str(self.id),
            "project_id": self.project_id,
            "model": self.slug,
            "created": self.created,
            "ended": self.stamps.get(_STAMPS["task_postprocess_end"]),
            "parameters": self.parameters,
            "status": self.status,
            "pexit": self.exit_code,
            "billed_usd": self.cost_usd or "0",
        }

    def on_wire(self, origin: str) -> dict[str, Any]:
        """Returns the task as Detail shows it: nearly every number as text.

        Args:
            origin: `http://host:port`, put before server paths.
        """
        owner, _, project = self.slug.partition("/")
        times = {f"{name}time": str(int(self.stamps.get(name, 0))) for name in _STAMPS.values()}
        return {
            "id": str(self.id),
            "uuid": self.uuid,
            "name": "",
            "socketaccesstoken": self.token,
            "parameters": _with_origin(self.parameters, origin),
            "debugoutput": self.log,
            "debugerror": self.error_log,
            **times,
            "elapsedseconds": f"{self.elapsed_s:.4f}",
            "status": self.status,
            "cps": f"{Decimal(self.cps):.12f}",
            "totalcost": f"{Decimal(self.cost_usd or 0):.12f}",
            "guestid": None,
            "projectid": self.project_id,
            "modelid": self.model_id,
            "description": "",
            "basemodelid": "0",
            "runtype": "model",
            "modelfolderid": "",
            "modelfileid": "",
            "callbackurl": self.callback_url,
            "marketplaceid": None,
            "createtime": str(int(self.created)),
            "pexit": self.exit_code,
            "categories": json.dumps(self.categories),
            "outputs": _with_origin(self.outputs, origin),
            "size": str(sum(int(output.get("size", 0)) for output in self.outputs)),
            "modeldescription": self.model_title,
            "modelslugowner": owner,
            "modelslugproject": project,
            "teamguid": _TEAM,
            "madeby": self.made_by,
        }


def server_paths(value: Any) -> list[str]:
    """Returns the paths `/files/...` in a parameter's value."""
    return [item for item in _split(value) if item.startswith("/files/")]


def _split(value: Any) -> list[str]:
    texts = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)]
    return [item.strip() for text in texts for item in text.split(",")]


def _with_origin(value: Any, origin: str) -> Any:
    """Returns a copy in which server paths (`/files/...`, several separated by commas) are complete URLs."""
    if isinstance(value, str):
        if not value.startswith("/files/"):
            return value
        return ",".join(origin + path if path.startswith("/files/") else path for path in value.split(","))
    if isinstance(value, dict):
        return {key: _with_origin(item, origin) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_origin(item, origin) for item in value]
    return value
