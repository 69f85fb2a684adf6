"""Uploaded and generated files: kept under the data folder as `<accesskey>/<name>`, served like a CDN's."""

from __future__ import annotations

import mimetypes
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.datastructures import UploadFile

from wiro_nb.sandbox.requests import Failure
from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.tasks import new_token

__all__ = ["Files", "check_upload"]

_MAX_FILE_BYTES = 100 * 1024 * 1024
_EXTENSIONS = frozenset(
    [
        "jpg",
        "jpeg",
        "png",
        "gif",
        "webp",
        "heic",
        "mp4",
        "webm",
        "mov",
        "mp3",
        "wav",
        "m4a",
        "pdf",
        "csv",
        "docx",
        "xlsx",
        "pptx",
        "txt",
        "md",
        "epub",
        "zip",
    ]
)
_TYPES_NOT_EVERYWHERE = {"webp": "image/webp", "heic": "image/heic", "m4a": "audio/mp4", "md": "text/markdown"}


def check_upload(upload: UploadFile) -> None:
    """Checks an uploaded file as the service does.

    Raises:
        Failure: It is larger than 100 MB, or of a type that the service does not take.
    """
    if _extension(_safe_name(upload.filename or "")) not in _EXTENSIONS:
        raise Failure(0, "File type is not supported.")
    if (upload.size or 0) > _MAX_FILE_BYTES:
        raise Failure(0, "File size must not be larger than 100 MB.")


class Files:
    """Files of one sandbox.

    Args:
        folder: Where the bytes are.
        store: Where their metadata is.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        folder.mkdir(parents=True, exist_ok=True)
        for abandoned in folder.glob("work-*"):  # by a process that was killed while it rendered
            shutil.rmtree(abandoned, ignore_errors=True)

    def add_upload(self, upload: UploadFile) -> str:
        """Stores an uploaded file and returns its server path."""
        path = self._new_path(upload.filename or "")
        with path.open("wb") as target:
            shutil.copyfileobj(upload.file, target)
        return str(self._add(path, None)["url"])

    def add_output(self, made: Path, task_id: int) -> dict[str, Any]:
        """Takes over a file an engine made and returns it as the service shows it."""
        path = self._new_path(made.name)
        made.replace(path)
        return self._add(path, task_id)

    def work_folder(self) -> Path:
        """Returns a new empty folder for an engine."""
        folder = self._folder / f"work-{new_token()}"
        folder.mkdir()
        return folder

    def local_path(self, server_path: str) -> Path | None:
        """Returns the local file of a path `/files/<accesskey>/<name>`, or None."""
        row = self._store.find_file(server_path.removeprefix("/files/").partition("/")[0])
        return Path(row["path"]) if row and Path(row["path"]).is_file() else None

    def _new_path(self, name: str) -> Path:
        path = self._folder / new_token() / _safe_name(name)
        path.parent.mkdir()
        return path

    def _add(self, path: Path, task_id: int | None) -> dict[str, Any]:
        extension = _extension(path.name)
        content_type = _TYPES_NOT_EVERYWHERE.get(extension) or mimetypes.guess_type(path.name)[0]
        row = {
            "id": uuid.uuid4().hex,
            "accesskey": path.parent.name,
            "name": path.name,
            "contenttype": content_type or "application/octet-stream",
            "size": path.stat().st_size,
            "parentid": "0",
            "task_id": task_id,
            "path": str(path),
            "added": int(time.time()),
        }
        self._store.add_file(row)
        shown = ("id", "accesskey", "name", "contenttype", "parentid")
        return {
            **{name: row[name] for name in shown},
            "uuid": str(uuid.uuid4()),
            "size": str(row["size"]),
            "addedtime": str(row["added"]),
            "modifiedtime": str(row["added"]),
            "foldercount": "0",
            "filecount": "0",
            "ispublic": 0,
            "expiretime": None,
            "url": f"/files/{path.parent.name}/{quote(path.name)}",
        }


def _safe_name(name: str) -> str:
    """Returns a file name without folders and with plain characters only; never empty."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return re.sub(r"[^\w.\-]+", "_", last).lstrip(".")[-120:] or "file"


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()
