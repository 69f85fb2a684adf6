"""Uploaded and generated files: kept under the data folder as `<accesskey>/<name>`, served like a CDN's."""

from __future__ import annotations

import mimetypes
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from starlette.datastructures import UploadFile

from wiro_nb.sandbox.requests import Failure
from wiro_nb.sandbox.tasks import new_token
from wiro_nb.schema.files import MAX_FILE_BYTES, accepted_types, safe_name

_EXTENSIONS = frozenset({"jpeg", *accepted_types().split(", ")})
_TYPES_NOT_EVERYWHERE = {"webp": "image/webp", "heic": "image/heic", "m4a": "audio/mp4", "md": "text/markdown"}


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
        for abandoned in folder.glob("work-*"):  # by a process that was killed while it rendered
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
        folder = self._folder / f"work-{new_token()}"
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
    guessed = _TYPES_NOT_EVERYWHERE.get(_extension(name)) or mimetypes.guess_type(name)[0]
    return guessed or "application/octet-stream"


def _server_path(path: Path) -> str:
    return f"/files/{path.parent.name}/{quote(path.name)}"


def _plain_name(name: str) -> str:
    """Returns a file name without folders and with plain characters only; never empty."""
    return re.sub(r"[^\w.\-]+", "_", safe_name(name))


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower()
