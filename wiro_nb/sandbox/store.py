"""Persistent data: keys, balance and tasks in one SQLite file, uploads and outputs in folders.

Called on the event loop only; every call is one short transaction. A task is written when it is created and
when it ends. Progress in between is kept in memory: after a restart an unfinished task is queued again. The bill
and the final state share one transaction, so that no crash bills twice or loses a bill. A file lies at
`<accesskey>/<name>` and is served like a CDN's.
"""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
import shutil
import sqlite3
import string
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote

from starlette.datastructures import UploadFile

from wiro_nb.files import safe_name

KEYS = ("api_key", "api_secret", "key_only_api_key")
"""The credentials of the two projects, see `requests.authenticate`."""
TERMINAL = frozenset({"task_postprocess_end", "task_cancel"})
_STAGES = "accept preprocess_start preprocess_end assign start end postprocess_start postprocess_end cancel"
_STAMPS = {f"task_{stage}": stage.replace("_", "") for stage in _STAGES.split()} | {"task_error": "end"}
"""The stage whose time a status sets, by its name in Detail without `time`."""
_EVENT_ONLY = frozenset({"task_output_full", "task_error_full"})
_TEAM = "sandbox-team"
_LAST_UNUSED_ID = 100_000
_KEY_LENGTH = 40
_WORK_PREFIX = ".sandbox-work-"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY, token TEXT UNIQUE NOT NULL, slug TEXT NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS tasks_unfinished ON tasks (ended) WHERE ended = 0;
"""


def new_token(length: int = 30) -> str:
    """Returns a random token of letters and digits, like the service's."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(length))


def origin_of(port: int | str) -> str:
    """Returns the address of a sandbox on this machine, without a path."""
    return f"http://127.0.0.1:{port}"


@dataclass
class Task:
    """The state of a task, as it survives a restart.

    Attributes:
        id: Set by the store.
        token: The capability `socketaccesstoken`.
        slug: The model, `owner/name`.
        created: Unix time, seconds.
        parameters: As sent, with URLs in place of uploaded files.
        stamps: Unix times of the stages reached, by the names in `_STAMPS`.
        callback_url: Returned as `callbackurl`; the sandbox never calls it.
        cost_usd: The bill, or None before the end.
        outputs: As the service shows them.
        made_by: What the engine says about the making of the outputs.
        restarts: How often the task was queued again after a restart of the sandbox.
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

    def on_wire(self) -> dict[str, Any]:
        """Returns the task as Detail shows it: nearly every number as text."""
        owner, _, project = self.slug.partition("/")
        times = {f"{name}time": str(int(self.stamps.get(name, 0))) for name in _STAMPS.values()}
        return {
            "id": str(self.id),
            "uuid": self.uuid,
            "name": "",
            "socketaccesstoken": self.token,
            "parameters": self.parameters,
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
            "outputs": self.outputs,
            "size": str(sum(int(output.get("size", 0)) for output in self.outputs)),
            "modeldescription": self.model_title,
            "modelslugowner": owner,
            "modelslugproject": project,
            "teamguid": _TEAM,
            "madeby": self.made_by,
        }


class Store:
    """The data of one sandbox.

    Args:
        path: The SQLite file; created when missing, readable by its owner only.
        balance_usd: Balance of a new account, US dollars.

    Attributes:
        unfinished: The tasks that have not ended, by id. Their current state is here only.
    """

    def __init__(self, path: Path, balance_usd: Decimal) -> None:
        path.touch(mode=0o600)
        path.chmod(0o600)
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        values = {"balance_usd": str(balance_usd), **{name: new_token(_KEY_LENGTH) for name in KEYS}}
        with self._db:
            self._db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", values.items())
        self.unfinished: dict[int, Task] = {}

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def meta(self, name: str) -> str:
        """Returns a setting: a key, the balance, the port used last; "" when there is none."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def set_port(self, port: int) -> None:
        """Stores the port in use. URLs of files that were served on another one change with it."""
        former, now = (f"{origin_of(number)}/files/" for number in (self.meta("port"), port))
        if former != now:
            with self._db:
                self._db.execute("UPDATE tasks SET state = replace(state, ?, ?)", (former, now))
        self.set_meta("port", str(port))

    def set_meta(self, name: str, value: str) -> None:
        """Stores a setting."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @property
    def balance_usd(self) -> Decimal:
        """The account's balance, US dollars."""
        return Decimal(self.meta("balance_usd"))

    def add_task(self, task: Task) -> None:
        """Writes a new task and sets its id."""
        (last,) = self._db.execute("SELECT max(id) FROM tasks").fetchone()
        task.id = max(_LAST_UNUSED_ID, last or 0) + 1
        row = (task.id, task.token, task.slug, _to_json(task))
        with self._db:
            self._db.execute("INSERT INTO tasks (id, token, slug, state) VALUES (?, ?, ?, ?)", row)
        self.unfinished[task.id] = task

    def save_task(self, task: Task) -> None:
        """Writes the state of a task."""
        with self._db:
            self._db.execute("UPDATE tasks SET state = ? WHERE id = ?", (_to_json(task), task.id))

    def end_task(self, task: Task) -> None:
        """Writes a task's final state and takes its cost off the balance, in one transaction."""
        balance_usd = self.balance_usd - Decimal(task.cost_usd or 0)
        with self._db:
            self._db.execute("UPDATE tasks SET state = ?, ended = 1 WHERE id = ?", (_to_json(task), task.id))
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'balance_usd'", (str(balance_usd),))
        self.unfinished.pop(task.id, None)

    def load_unfinished(self) -> list[Task]:
        """Returns the tasks a former process left unfinished, oldest first."""
        self.unfinished = {task.id: task for task in self._tasks("WHERE ended = 0 ORDER BY id")}
        return list(self.unfinished.values())

    def find_task(self, *, task_id: str = "", token: str = "") -> Task | None:
        """Returns a task by its token, or else by its id, or None."""
        column, value = ("token", token) if token else ("id", task_id)
        return next(self._tasks(f"WHERE {column} = ?", value), None)

    def list_tasks(self, start: int, limit: int) -> tuple[int, list[Task]]:
        """Returns how many tasks there are, and a page of them, newest first."""
        (total,) = self._db.execute("SELECT count(*) FROM tasks").fetchone()
        return int(total), list(self._tasks("ORDER BY id DESC LIMIT ? OFFSET ?", limit, start))

    def audit(self) -> list[dict[str, Any]]:
        """Returns every task ever created and what it billed, oldest first."""
        return [task.audited() for task in self._tasks("ORDER BY id")]

    def _tasks(self, which: str, *values: str | int) -> Iterator[Task]:
        for task_id, state in self._db.execute(f"SELECT id, state FROM tasks {which}", values):
            yield self.unfinished.get(task_id) or Task(**json.loads(state))


def _to_json(task: Task) -> str:
    return json.dumps(asdict(task), ensure_ascii=False)


class Files:
    """Files of one sandbox.

    Args:
        folder: Where they are.
        origin: Where they are served, below `/files/`.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder, self._url = folder, f"{origin}/files/"
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob(f"{_WORK_PREFIX}*"):  # by a process that was killed while it rendered
            shutil.rmtree(abandoned, ignore_errors=True)

    def add_upload(self, upload: UploadFile) -> str:
        """Stores an uploaded file and returns its URL."""
        path = self._new_path(upload.filename or "")
        with path.open("wb") as target:
            shutil.copyfileobj(upload.file, target)
        return self._url_of(path)

    def add_output(self, made: Path) -> dict[str, Any]:
        """Takes over a file an engine made and returns it as the service shows it."""
        path = made.replace(self._new_path(made.name))
        now = str(int(time.time()))
        return {
            "id": uuid.uuid4().hex,
            "accesskey": path.parent.name,
            "name": path.name,
            "contenttype": mimetypes.guess_type(path.name)[0],
            "parentid": "0",
            "uuid": str(uuid.uuid4()),
            "size": str(path.stat().st_size),
            "addedtime": now,
            "modifiedtime": now,
            "foldercount": "0",
            "filecount": "0",
            "ispublic": 0,
            "expiretime": None,
            "url": self._url_of(path),
        }

    def work_folder(self) -> TemporaryDirectory[str]:
        """Returns a new empty folder for an engine, deleted at the end of a `with` block."""
        return TemporaryDirectory(prefix=_WORK_PREFIX, dir=self.folder, ignore_cleanup_errors=True)

    def find(self, url: str) -> Path | None:
        """Returns the file that is served at a URL, or None."""
        accesskey, _, name = url.partition("?")[0].removeprefix(self._url).partition("/")
        name = unquote(name)
        path = self.folder / accesskey / name
        return path if accesskey.isalnum() and name == _plain_name(name) and path.is_file() else None

    def _new_path(self, name: str) -> Path:
        path = self.folder / new_token() / _plain_name(name)
        path.parent.mkdir()
        return path

    def _url_of(self, path: Path) -> str:
        return f"{self._url}{path.parent.name}/{quote(path.name)}"


def _plain_name(name: str) -> str:
    """Returns a file name without folders and with plain characters only; never empty."""
    return re.sub(r"[^\w.\-]+", "_", safe_name(name, "file"))
