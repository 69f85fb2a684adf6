"""One task as the sandbox keeps it, and as the service shows it."""

from __future__ import annotations

import json
import re
import secrets
import string
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from wiro_nb.sandbox.wire import text_number

__all__ = ["RUNNING_ORDER", "TERMINAL", "Task", "new_token"]

_ADDRESS = re.compile(r"https?://\S+")
TERMINAL = frozenset({"task_postprocess_end", "task_cancel", "task_error"})
RUNNING_ORDER = (
    "task_queue",
    "task_accept",
    "task_preprocess_start",
    "task_preprocess_end",
    "task_assign",
    "task_start",
    "task_output",
    "task_output_full",
    "task_end",
    "task_postprocess_start",
    "task_postprocess_end",
)
_STAMPS = {
    "task_accept": "accept",
    "task_preprocess_start": "preprocessstart",
    "task_preprocess_end": "preprocessend",
    "task_assign": "assign",
    "task_start": "start",
    "task_end": "end",
    "task_postprocess_start": "postprocessstart",
    "task_postprocess_end": "postprocessend",
    "task_cancel": "cancel",
    "task_error": "end",
}
_EVENT_ONLY = frozenset({"task_output_full", "task_error_full"})


def new_token(length: int = 30) -> str:
    """Returns a random token of letters and digits, as the service's look."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


@dataclass
class Task:
    """A task's whole state; what a restart brings back.

    Attributes:
        id: Number given by the store.
        token: The capability `socketaccesstoken`.
        slug: The model, `owner/name`.
        created: Unix time, seconds.
        stamps: Unix times of the stages reached, by the names in `_STAMPS`.
        parameters: As sent; files stand as server paths `/files/...`.
        input_paths: The input files on this machine.
        cost_usd: What it billed, or None before the end.
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
    input_paths: list[str] = field(default_factory=list)
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

    @property
    def is_terminal(self) -> bool:
        """True when nothing will happen to it any more."""
        return self.status in TERMINAL

    @property
    def elapsed_s(self) -> float:
        """Seconds the model ran; 0 before its end."""
        start, end = self.stamps.get("start", 0.0), self.stamps.get("end", 0.0)
        return max(0.0, end - start) if start and end else 0.0

    def move_to(self, status: str, now: float) -> None:
        """Takes the next status and stamps its time. Event-only statuses leave Detail as it is."""
        if status in _STAMPS:
            self.stamps[_STAMPS[status]] = now
        if status not in _EVENT_ONLY:
            self.status = status

    def requeue(self) -> None:
        """Puts an unfinished task back to the start of its life."""
        self.status, self.stamps, self.log, self.error_log = "task_queue", {}, "", ""

    def text(self) -> str:
        """Returns every text among the parameters; marks such as `[fail]` are looked for in it."""
        return " ".join(value for value in self.parameters.values() if isinstance(value, str))

    def foreign_urls(self, names: Collection[str] | None) -> list[str]:
        """Returns the inputs that are URLs of other hosts, without their queries.

        Args:
            names: The file inputs; None looks at every value that is an address and nothing else.
        """
        chosen = [value for name, value in self.parameters.items() if names is None or name in names]
        texts = [item for value in chosen for item in (value if isinstance(value, list) else [value])]
        words = [word.strip() for text in texts if isinstance(text, str) for word in text.split(",")]
        return [word.partition("?")[0] for word in words if _ADDRESS.fullmatch(word)]

    def to_json(self) -> str:
        """Returns the state as the store keeps it."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Task:
        """Builds a task from `to_json`'s text."""
        return cls(**json.loads(text))

    def on_wire(self, origin: str) -> dict[str, Any]:
        """Returns the task as Detail shows it: nearly every number as text.

        Args:
            origin: `http://host:port`, put before server paths.
        """
        owner, _, project = self.slug.partition("/")
        times = {name: text_number(self.stamps.get(name, 0)) for name in _STAMPS.values()}
        return {
            "id": str(self.id),
            "uuid": self.uuid,
            "name": "",
            "socketaccesstoken": self.token,
            "parameters": with_origin(self.parameters, origin),
            "debugoutput": self.log,
            "debugerror": self.error_log,
            "starttime": times["start"],
            "endtime": times["end"],
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
            "createtime": text_number(self.created),
            "canceltime": times["cancel"],
            "assigntime": times["assign"],
            "accepttime": times["accept"],
            "preprocessstarttime": times["preprocessstart"],
            "preprocessendtime": times["preprocessend"],
            "postprocessstarttime": times["postprocessstart"],
            "postprocessendtime": times["postprocessend"],
            "pexit": self.exit_code,
            "categories": json.dumps(self.categories),
            "outputs": with_origin(self.outputs, origin),
            "size": str(sum(int(output.get("size", 0)) for output in self.outputs)),
            "modeldescription": self.model_title,
            "modelslugowner": owner,
            "modelslugproject": project,
        }


def with_origin(value: Any, origin: str) -> Any:
    """Returns a copy in which server paths (`/files/...`, several with commas) are whole URLs."""
    if isinstance(value, str):
        if not value.startswith("/files/"):
            return value
        return ",".join(origin + path if path.startswith("/files/") else path for path in value.split(","))
    if isinstance(value, dict):
        return {key: with_origin(item, origin) for key, item in value.items()}
    if isinstance(value, list):
        return [with_origin(item, origin) for item in value]
    return value
