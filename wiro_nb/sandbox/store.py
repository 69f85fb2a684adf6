"""Persistent data: keys, balance and tasks in one SQLite file, uploads and outputs in folders.

Called on the event loop only; every call is one short transaction. A task is written when it is created and
when it ends. Progress in between is not kept: after a restart an unfinished task is queued again. The bill
and the final state share one transaction, so that no crash bills twice or loses a bill. A file lies at
`<accesskey>/<name>` and is served like a CDN's.
"""

from __future__ import annotations

import mimetypes
import re
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from starlette.datastructures import UploadFile

from wiro_nb.files import safe_name
from wiro_nb.media.sniffing import UNKNOWN
from wiro_nb.sandbox.requests import Failure
from wiro_nb.sandbox.tasks import Task, new_token
from wiro_nb.schema.files import MAX_FILE_BYTES, TYPES, accepted_types

KEYS = ("api_key", "api_secret", "key_only_api_key")
"""The settings of the two projects, see `requests.Authenticator`."""
FIRST_TASK_ID = 100001
_KEY_LENGTH = 40
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT UNIQUE NOT NULL, slug TEXT NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS tasks_unfinished ON tasks (ended) WHERE ended = 0;
"""
_EXTENSIONS = frozenset({"jpeg", *accepted_types().split(", ")})


class Store:
    """The data of one sandbox.

    Args:
        path: The SQLite file; created when missing, readable by its owner only.
        balance_usd: Balance of a new account, US dollars.
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
            self._db.execute(
                "INSERT INTO sqlite_sequence (name, seq) SELECT 'tasks', ? WHERE NOT EXISTS "
                "(SELECT 1 FROM sqlite_sequence WHERE name = 'tasks')",
                (FIRST_TASK_ID - 1,),
            )

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def meta(self, name: str) -> str | None:
        """Returns a setting: a key, the balance, the port used last."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Stores a setting."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    @property
    def balance_usd(self) -> Decimal:
        """The account's balance, US dollars."""
        return Decimal(self.meta("balance_usd") or "0")

    def add_task(self, task: Task) -> None:
        """Writes a new task and sets its id."""
        with self._db:
            new = "INSERT INTO tasks (token, slug, state) VALUES (?, ?, '')"
            task.id = int(self._db.execute(new, (task.token, task.slug)).lastrowid or 0)
            self._db.execute("UPDATE tasks SET state = ? WHERE id = ?", (task.to_json(), task.id))

    def save_task(self, task: Task) -> None:
        """Writes the state of a task."""
        with self._db:
            self._db.execute("UPDATE tasks SET state = ? WHERE id = ?", (task.to_json(), task.id))

    def end_task(self, task: Task) -> None:
        """Writes a task's final state and takes its cost off the balance, in one transaction."""
        balance_usd = self.balance_usd - Decimal(task.cost_usd or 0)
        with self._db:
            self._db.execute("UPDATE tasks SET state = ?, ended = 1 WHERE id = ?", (task.to_json(), task.id))
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'balance_usd'", (str(balance_usd),))

    def find_task(self, *, task_id: str | None = None, token: str | None = None) -> Task | None:
        """Returns a task by its token, or else by its id, or None."""
        if token:
            return next(self._tasks("WHERE token = ?", token), None)
        if task_id and task_id.isdecimal() and len(task_id) < 19:
            return next(self._tasks("WHERE id = ?", int(task_id)), None)
        return None

    def list_tasks(self, start: int, limit: int) -> tuple[int, list[Task]]:
        """Returns the number of tasks, and `limit` of them, newest first without the first `start`."""
        (total,) = self._db.execute("SELECT count(*) FROM tasks").fetchone()
        return int(total), list(self._tasks("ORDER BY id DESC LIMIT ? OFFSET ?", limit, start))

    def unfinished_tasks(self) -> list[Task]:
        """Returns the tasks a former process left unfinished, oldest first."""
        return list(self._tasks("WHERE ended = 0 ORDER BY id"))

    def audit(self) -> list[dict[str, Any]]:
        """Returns every task ever created and what it billed, oldest first."""
        return [task.audited() for task in self._tasks("ORDER BY id")]

    def _tasks(self, which: str, *values: str | int) -> Iterator[Task]:
        for (state,) in self._db.execute(f"SELECT state FROM tasks {which}", values):
            yield Task.from_json(state)


def check_upload(upload: UploadFile) -> None:
    """Checks an uploaded file as the service does.

    Raises:
        Failure: It is larger than 100 MB, or of a type that the service does not take.
    """
    if _extension(upload.filename or "") not in _EXTENSIONS:
        raise Failure(0, "File type is not supported.")
    if (upload.size or 0) > MAX_FILE_BYTES:
        raise Failure(0, "File size must not be larger than 100 MB.")


class Files:
    """Files of one sandbox.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob(".sandbox-work-*"):  # by a process that was killed while it rendered
            shutil.rmtree(abandoned, ignore_errors=True)

    def add_upload(self, upload: UploadFile) -> str:
        """Stores an uploaded file and returns its server path."""
        path = self._new_path(upload.filename or "")
        with path.open("wb") as target:
            shutil.copyfileobj(upload.file, target)
        return _server_path(path)

    def add_output(self, made: Path) -> dict[str, Any]:
        """Takes over a file an engine made and returns it as the service shows it."""
        path = made.replace(self._new_path(made.name))
        now = str(int(time.time()))
        return {
            "id": uuid.uuid4().hex,
            "accesskey": path.parent.name,
            "name": path.name,
            "contenttype": content_type(path.name),
            "parentid": "0",
            "uuid": str(uuid.uuid4()),
            "size": str(path.stat().st_size),
            "addedtime": now,
            "modifiedtime": now,
            "foldercount": "0",
            "filecount": "0",
            "ispublic": 0,
            "expiretime": None,
            "url": _server_path(path),
        }

    def work_folder(self) -> Path:
        """Returns a new empty folder for an engine."""
        folder = self._folder / f".sandbox-work-{new_token()}"
        folder.mkdir()
        return folder

    def find(self, accesskey: str, name: str) -> Path | None:
        """Returns a file by the two parts of its path, or None."""
        path = self._folder / accesskey / name
        is_own = accesskey.isalnum() and name == _plain_name(name)
        return path if is_own and path.is_file() else None

    def local_path(self, server_path: str) -> Path | None:
        """Returns the local file of a path `/files/<accesskey>/<name>`, or None."""
        accesskey, _, name = server_path.partition("?")[0].removeprefix("/files/").partition("/")
        return self.find(accesskey, unquote(name))

    def _new_path(self, name: str) -> Path:
        path = self._folder / new_token() / _plain_name(name)
        path.parent.mkdir()
        return path


def content_type(name: str) -> str:
    """Returns the media type that a file name stands for."""
    return TYPES.get(f".{_extension(name)}") or mimetypes.guess_type(name)[0] or UNKNOWN


def _server_path(path: Path) -> str:
    return f"/files/{path.parent.name}/{quote(path.name)}"


def _plain_name(name: str) -> str:
    """Returns a file name without folders and with plain characters only; never empty."""
    return re.sub(r"[^\w.\-]+", "_", safe_name(name, "file"))


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()
