"""The sandbox's files: uploads, inputs and outputs, kept under the data folder and served like a CDN's."""

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

from wiro_nb.sandbox.store import Store
from wiro_nb.sandbox.task import new_token
from wiro_nb.sandbox.wire import Failure

__all__ = ["MAX_FILE_BYTES", "Files", "content_type_of"]

MAX_FILE_BYTES = 100 * 1024 * 1024
_TYPES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "m4a": "audio/mp4",
    "pdf": "application/pdf",
    "csv": "text/csv",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "txt": "text/plain",
    "md": "text/markdown",
    "epub": "application/epub+zip",
    "zip": "application/zip",
}
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")
ROOT_FOLDER = "0"


def content_type_of(name: str) -> str:
    """Returns the type a file name stands for."""
    extension = name.rpartition(".")[2].lower()
    return _TYPES.get(extension) or mimetypes.guess_type(name)[0] or "application/octet-stream"


class Files:
    """Files and folders of one sandbox.

    Args:
        folder: Where the bytes lie: `<accesskey>/<name>` below it.
        store: Where their facts are kept.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._store = store
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("work-*"):  # of a process that was killed while it rendered
            shutil.rmtree(left, ignore_errors=True)

    def new_folder(self, name: str, parent_id: str) -> dict[str, Any]:
        """Makes a folder and returns it as the service shows it.

        Raises:
            Failure: The name has other characters than letters, digits, `-`, `_`; or no such parent.
        """
        if not name:
            raise Failure(0, "Request parameter [name] required")
        if not _FOLDER_NAME.match(name):
            raise Failure(0, "Folder name can only contain letters, numbers, hyphens and underscores.")
        self._check_folder(parent_id)
        folder_id, added = uuid.uuid4().hex, int(time.time())
        self._store.add_folder(folder_id, name, parent_id or ROOT_FOLDER, added)
        return {
            "id": folder_id,
            "name": name,
            "parentid": parent_id or ROOT_FOLDER,
            "size": "0",
            "contenttype": "",
            "addedtime": str(added),
            "filecount": "0",
            "foldercount": "0",
        }

    async def take_upload(self, upload: UploadFile, folder_id: str = "") -> dict[str, Any]:
        """Stores an uploaded file and returns it as the service shows it, its URL as a server path.

        Raises:
            Failure: Over 100 MB, a type the service does not take, or no such folder.
        """
        name = safe_name(upload.filename or "")
        if name.rpartition(".")[2].lower() not in _TYPES:
            raise Failure(0, "File type is not supported.")
        if (upload.size or 0) > MAX_FILE_BYTES:
            raise Failure(0, "File size must not be larger than 100 MB.")
        self._check_folder(folder_id)
        access_key = new_token()
        path = self._folder / access_key / name
        path.parent.mkdir()
        with path.open("wb") as target:
            while chunk := await upload.read(1 << 20):
                target.write(chunk)
        return self._keep(access_key, path, folder_id or ROOT_FOLDER, None)

    def work_folder(self) -> Path:
        """Returns a new empty folder for an engine to work in."""
        folder = self._folder / f"work-{new_token()}"
        folder.mkdir()
        return folder

    def drop_work_folder(self, folder: Path) -> None:
        """Removes an engine's folder with what is left in it."""
        shutil.rmtree(folder, ignore_errors=True)

    def take_output(self, made: Path, task_id: int) -> dict[str, Any]:
        """Takes over a file an engine made and returns it as the service shows it."""
        access_key = new_token()
        path = self._folder / access_key / safe_name(made.name)
        path.parent.mkdir()
        made.replace(path)
        return self._keep(access_key, path, ROOT_FOLDER, task_id)

    def local_path(self, server_path: str) -> Path | None:
        """Returns where the file of a path `/files/<accesskey>/<name>` lies, or None."""
        _, _, rest = server_path.partition("/files/")
        row = self._store.find_file(rest.partition("/")[0])
        return Path(row["path"]) if row and Path(row["path"]).is_file() else None

    def drop(self, access_keys: list[str]) -> None:
        """Deletes files by their access keys."""
        for path in self._store.drop_files("accesskey", access_keys):
            shutil.rmtree(path.parent, ignore_errors=True)

    def drop_task_files(self, task_id: int) -> None:
        """Deletes the inputs and outputs of a task. Nothing there is no error."""
        for path in self._store.drop_files("task_id", [task_id]):
            shutil.rmtree(path.parent, ignore_errors=True)

    def _check_folder(self, folder_id: str) -> None:
        if folder_id not in ("", ROOT_FOLDER) and not self._store.has_folder(folder_id):
            raise Failure(1, "Folder is not found.")

    def _keep(self, access_key: str, path: Path, parent_id: str, task_id: int | None) -> dict[str, Any]:
        row = {
            "id": uuid.uuid4().hex,
            "accesskey": access_key,
            "name": path.name,
            "contenttype": content_type_of(path.name),
            "size": path.stat().st_size,
            "parentid": parent_id,
            "task_id": task_id,
            "path": str(path),
            "added": int(time.time()),
        }
        self._store.add_file(row)
        return {
            "id": row["id"],
            "name": row["name"],
            "contenttype": row["contenttype"],
            "parentid": parent_id,
            "uuid": str(uuid.uuid4()),
            "size": str(row["size"]),
            "addedtime": str(row["added"]),
            "modifiedtime": str(row["added"]),
            "accesskey": access_key,
            "foldercount": "0",
            "filecount": "0",
            "ispublic": 0,
            "expiretime": None,
            "url": f"/files/{access_key}/{quote(path.name)}",
        }


def safe_name(name: str) -> str:
    """Returns a file name without folders and with plain characters only; never empty."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = re.sub(r"[^\w.\-]+", "_", last).lstrip(".")[-120:]
    return plain or "file"
