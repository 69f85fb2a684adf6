"""A request on its way to the ledger and back: where it comes from, its input files, and its row.

Input files are given as paths, URLs, bytes, pictures, arrays or earlier runs. They are copied beside the notebook
before a run is planned, so that the request survives a restart and an edit of the original.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import mimetypes
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from wiro_nb.config import ANY_NOTEBOOK, cache_dir
from wiro_nb.errors import NOTHING_SENT, ConfigError, InvalidFile, WiroError
from wiro_nb.execution.run import Run
from wiro_nb.files import input_path, keep_input, reason_of, run_folder_name, write_atomically
from wiro_nb.ids import new_run_id
from wiro_nb.ledger.state import LedgerRow, RunOutput, RunState
from wiro_nb.media import decode
from wiro_nb.schema import FileInput, ModelSchema, Prepared, request_sha256
from wiro_nb.schema.files import SUFFIXES, expected_media, sniff_type
from wiro_nb.schema.values import Seed
from wiro_nb.services.selection import ServiceChoice

RUN_PREFIX = "run:"
"""Text that names an earlier run as an input: "run:ID", or "run:ID#FRAME" for one frame of its clip."""
_UINT8 = "give uint8 of shape (height, width, 3)"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run was asked for.

    Attributes:
        notebook: Path of the notebook as the host gives it, or None.
        cell_id, source_sha256: Of the cell, or None.
        kind: "magic", "form", "python" or "cli".
        parameters: What a runner such as papermill put into the notebook, by name, or None.
    """

    notebook: str | None = None
    cell_id: str | None = None
    source_sha256: str | None = None
    kind: str = "python"
    parameters: Mapping[str, Any] | None = None

    @property
    def folder(self) -> Path:
        """The folder beside which clips are saved: the notebook's, else the working folder.

        Raises:
            ConfigError: The present folder was deleted, or its name is not UTF-8.
        """
        if self.notebook:
            with contextlib.suppress(RuntimeError):  # "~name" of nobody on this machine
                folder = Path(self.notebook).expanduser().parent
                if folder.is_absolute() and folder.is_dir():
                    return folder
        try:
            present = Path.cwd()
            str(present).encode()
        except OSError:
            raise ConfigError("the present folder was deleted", hint="cd to a folder that exists") from None
        except UnicodeEncodeError:
            raise ConfigError(
                "the name of the present folder is not UTF-8, so no record can name its files",
                hint="rename the folder, or cd to another one",
            ) from None
        return present

    @property
    def scope(self) -> str:
        """The scope within which equal requests are reused: the notebook, else the working folder."""
        return self.notebook or str(self.folder / ANY_NOTEBOOK)


def notebook_dir_of_row(row: LedgerRow) -> Path:
    """Returns the folder that a run's output paths start from; raises as `Origin.folder` where none is known."""
    if row.notebook is None and row.scope is not None:
        return Path(row.scope).parent
    # By default clips are saved two levels below it. Earlier versions did not note the folder.
    above = Path(row.folder).parent.parent if row.folder else None
    if row.notebook or above is None:
        try:
            return Origin(row.notebook).folder
        except ConfigError:  # a paid run ends as it should where the present folder was deleted
            if above is None:
                raise
    return above


# Input files as they are given ---------------------------------------------------------------


def resolve_inputs(
    schema: ModelSchema,
    values: Mapping[str, object],
    *,
    find_run: Callable[[str], Run],
    folder: Path | None = None,
) -> dict[str, object]:
    """Returns the values with every input file as a path or URL that `schema.values.prepare` takes.

    Args:
        schema: The model; only its file inputs are touched (of an open one, values that are no plain data).
        values: As given: text, `Path`, bytes, a PIL image, an array of pixels, a `Run` or "run:ID" (its first
            file), "run:ID#0" or "run:ID#-1" (that frame), one of `run.outputs`, or lists of these. Of a clip the
            last frame is taken where a picture is wanted.
        find_run: Looks up "run:ID".
        folder: Where relative paths start (the notebook's folder); None leaves them to the process.

    Raises:
        InvalidFile: A value is none of these, or the run has no file here.
    """
    resolved: dict[str, object] = {}
    for name, given in values.items():
        value, parameter = _plain_scalar(given), schema.get(name)
        if (parameter is not None and parameter.is_file) or _is_medium(value):
            wants_picture = parameter is not None and expected_media(parameter) == "image"
            resolve = partial(_resolve, name, find_run=find_run, folder=folder, wants_picture=wants_picture)
            value = [resolve(item) for item in value] if isinstance(value, (list, tuple)) else resolve(value)
        resolved[name] = value
    return resolved


def read_run_text(text: str) -> tuple[str, int | None] | None:
    """Returns id and frame of "run:ID" or "run:ID#FRAME"; None for any other text."""
    found = re.fullmatch(rf"{RUN_PREFIX}\s*([^#\s]+)(?:#(-?\d{{1,6}}))?", text.strip())
    return (found[1], int(found[2]) if found[2] else None) if found else None


def _resolve(
    name: str, value: object, *, find_run: Callable[[str], Run], folder: Path | None, wants_picture: bool
) -> object:
    frame: int | None = None
    if isinstance(value, str) and (named := read_run_text(value)) is not None:
        value, frame = find_run(named[0]), named[1]
    if isinstance(value, Run):
        if value.path is None:
            what = "it is not done yet" if not value.done else "it has no file here"
            hint = f"%wiro wait {value.short_id}"
            raise _invalid(name, f"run {value.short_id} cannot be an input: {what}", hint)
        frame = -1 if frame is None and wants_picture and decode.is_clip(value.path) else frame
        return value.path if frame is None else _stage(name, value.frame_png(frame))
    if isinstance(value, RunOutput):
        path = (folder or Path()) / (value.path or "")
        if not path.is_file():
            raise _invalid(name, f"{value.name or 'this output'} is not here as a file", "%wiro download RUN")
        return _stage(name, decode.frame(path, -1)) if wants_picture and decode.is_clip(path) else path
    if value is None or isinstance(value, FileInput):
        return value
    if isinstance(value, (str, Path)):
        return _beside(value, folder)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _stage(name, bytes(value))
    if _is_picture(value) or _is_array(value):
        return _stage(name, _png_of(name, value))
    hint = "give a path, a URL, bytes, a picture or a run"
    raise _invalid(name, f"a value of type {type(value).__name__} is no input file", hint)


def _beside(value: str | Path, folder: Path | None) -> str | Path:
    """Returns a relative path as one beside the notebook, where that exists; the process may stand elsewhere.

    A name that is in neither place stays as it is: it may be one of the service's samples, and else the schema
    says what is wrong.
    """
    text = str(value).strip()
    if folder is None or not text or "://" in text or text.startswith("~") or Path(text).is_absolute():
        return value
    return folder / text if (folder / text).exists() else value


def _stage(name: str, data: bytes) -> Path:
    """Writes bytes to a file named by its content in the cache; a run's own copy is made when it is submitted."""
    suffix = SUFFIXES.get(sniff_type(data[:4096], name))
    if suffix is None:
        what = "the bytes are of a type the service does not take"
        raise _invalid(name, what, "give a path with the right suffix")
    folder = cache_dir() / "inputs"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()}{suffix}"
    if not path.exists():
        write_atomically(path, data)
    return path


def _is_medium(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_is_medium(item) for item in value)
    is_file = isinstance(value, (bytes, bytearray, memoryview, Run, RunOutput))
    return is_file or _is_picture(value) or _is_array(value)


def _is_picture(value: object) -> bool:
    return any(kind.__module__.startswith("PIL.") and kind.__name__ == "Image" for kind in type(value).__mro__)


def _is_array(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "shape")


def _plain_scalar(value: object) -> object:
    """Returns the Python value of a NumPy scalar or an array without dimensions, also within a list."""
    if isinstance(value, (list, tuple)):
        return [_plain_scalar(item) for item in value]
    return value.item() if _is_array(value) and value.shape == () else value  # type: ignore[attr-defined]


def _png_of(name: str, value: Any) -> bytes:
    """Returns a picture, or an array of pixels, as PNG."""
    stream, picture = io.BytesIO(), value
    if _is_array(value) and 0 in value.shape:
        raise _invalid(name, "this array is empty", _UINT8)
    try:
        if _is_array(value):
            from PIL import Image

            picture = Image.fromarray(value)
        fits = picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
        (picture if fits else picture.convert("RGB")).save(stream, "PNG")
    except ImportError:
        raise _invalid(name, "arrays need the package Pillow", "python -m pip install Pillow") from None
    except (OSError, TypeError, ValueError, IndexError) as error:
        if picture is value and _is_array(value):
            raise _invalid(name, f"this array is no picture: {error}", _UINT8) from None
        raise _invalid(name, f"this picture cannot be written as PNG: {error}", "give an RGB picture") from None
    return stream.getvalue()


def _invalid(name: str, what: str, hint: str) -> InvalidFile:
    return InvalidFile(f"{name}: {what}.", hint=hint, name=name)


# Input files as they are kept ----------------------------------------------------------------


def store_inputs(prepared: Prepared, notebook_dir: Path) -> Prepared:
    """Copies local input files beside the notebook, by content, and returns the request with the copies.

    What is sent is then what stays: an edit of the original cannot change the history of a run.

    Raises:
        InvalidFile: A file changed or vanished meanwhile, or cannot be copied.
    """
    files = {
        name: tuple(_store(name, item, notebook_dir) for item in items) for name, items in prepared.files.items()
    }
    return replace(prepared, files=files)


def _store(name: str, item: FileInput, notebook_dir: Path) -> FileInput:
    if item.path is None:
        return item
    try:
        return replace(item, path=keep_input(item.path, notebook_dir, item.sha256))
    except (OSError, ValueError) as error:
        message = f"{name}={item.name}: cannot be copied beside the notebook: {reason_of(error)}."
        hint = "check that the notebook's folder can be written to"
        raise InvalidFile(message, hint=hint, name=name, value=item.name) from None


def plan_row(
    prepared: Prepared,
    choice: ServiceChoice,
    *,
    origin: Origin,
    created: datetime,
    out_folder: Path,
    parent: Mapping[str, Any] | None = None,
    sweep_id: str | None = None,
    sweep_point: int | None = None,
) -> LedgerRow:
    """Returns the intent to run, ready for the ledger; see `LedgerRow` for the fields."""
    schema, run_id = prepared.schema, new_run_id()
    # By name and content, never by path.
    files = {
        name: [
            {"name": item.name, "sha256": item.sha256, "size_bytes": item.size_bytes, "url": item.url}
            for item in items
        ]
        for name, items in prepared.files.items()
    }
    return LedgerRow(
        run_id=run_id,
        state=RunState.PLANNED,
        model=schema.slug,
        run_path=schema.run_path,
        service=choice.name,
        base_url=choice.recorded_url,
        created=created,
        request_sha256=request_sha256(prepared),
        request={
            "parameters": dict(prepared.parameters),
            "files": files,
            "seed": asdict(prepared.seed) if prepared.seed else None,
            **({"cell_parameters": dict(origin.parameters)} if origin.parameters else {}),
        },
        notebook=origin.notebook,
        cell_id=origin.cell_id,
        source_sha256=origin.source_sha256,
        origin=origin.kind,
        schema_sha256=schema.sha256,
        folder=str(out_folder / run_folder_name(schema.slug, run_id, created)),
        parent=dict(parent) if parent else None,
        sweep_id=sweep_id,
        sweep_point=sweep_point,
        scope=origin.scope,
        account=choice.account,
    )


def prepared_from_row(row: LedgerRow, schema: ModelSchema, notebook_dir: Path) -> Prepared:
    """Rebuilds a request from the ledger; its files are the copies beside the notebook.

    Raises:
        WiroError: A copy is gone, so the request cannot be sent as it was meant.
    """
    files = {
        name: tuple(_restore(name, item, notebook_dir, row) for item in items) for name, items in row.files.items()
    }
    seed = row.request.get("seed")
    return Prepared(schema, dict(row.parameters), files, Seed(**seed) if seed else None)


def _restore(parameter: str, item: Mapping[str, Any], notebook_dir: Path, row: LedgerRow) -> FileInput:
    name, sha256 = str(item.get("name") or "file"), item.get("sha256")
    content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    if not sha256:
        return FileInput(name, None, item.get("url"), content_type, None, None)
    path = input_path(notebook_dir, str(sha256), name)
    if not path.is_file():
        raise WiroError(
            f"the input file {name} of run {row.short_id} is gone, so it was not sent",
            billed=NOTHING_SENT,
            hint=f"%wiro rerun {row.short_id} {parameter}=PATH",
        )
    return FileInput(name, path, None, content_type, path.stat().st_size, str(sha256))
