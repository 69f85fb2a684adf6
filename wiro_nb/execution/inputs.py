"""Resolves input files given as paths, URLs, bytes, pictures, arrays or earlier runs."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wiro_nb.config import cache_dir
from wiro_nb.errors import InvalidFile
from wiro_nb.execution.run import Run
from wiro_nb.files import keep_input, reason_of, write_atomically
from wiro_nb.ledger.state import RunOutput
from wiro_nb.media import decode
from wiro_nb.schema.files import SUFFIXES, FileInput, expected_media, sniff_type
from wiro_nb.schema.types import ModelSchema
from wiro_nb.schema.values import Prepared

RUN_PREFIX = "run:"
"""Text that names an earlier run as an input: "run:ID", or "run:ID#FRAME" for one frame of its clip."""


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
        value = _plain_scalar(given)
        parameter = schema.get(name)
        if (parameter is not None and parameter.is_file) or _is_medium(value):
            many = isinstance(value, (list, tuple))
            items = list(value) if isinstance(value, (list, tuple)) else [value]
            wants_picture = parameter is not None and expected_media(parameter) == "image"
            paths = [_resolve(name, item, find_run, folder, wants_picture) for item in items]
            resolved[name] = paths if many else paths[0]
        else:
            resolved[name] = value
    return resolved


def store_inputs(prepared: Prepared, notebook_dir: Path) -> Prepared:
    """Copies local input files beside the notebook, by content, and returns the request with the copies.

    What is sent is then what stays: an edit of the original cannot change the history of a run.

    Raises:
        InvalidFile: A file changed or vanished meanwhile, or cannot be copied.
    """
    kept: dict[str, tuple[FileInput, ...]] = {}
    for name, inputs in prepared.files.items():
        kept[name] = tuple(_store(item, notebook_dir) for item in inputs)
    return replace(prepared, files=kept)


def describe_files(prepared: Prepared) -> dict[str, list[dict[str, Any]]]:
    """Returns the input files as record and ledger keep them: by name and content, never by path."""
    described: dict[str, list[dict[str, Any]]] = {}
    for name, inputs in prepared.files.items():
        described[name] = [
            {"name": item.name, "sha256": item.sha256, "size_bytes": item.size_bytes, "url": item.url}
            for item in inputs
        ]
    return described


def _store(item: FileInput, notebook_dir: Path) -> FileInput:
    if item.path is None:
        return item
    try:
        return replace(item, path=keep_input(item.path, notebook_dir, item.sha256))
    except (OSError, ValueError) as error:
        problem = f"cannot be copied beside the notebook: {reason_of(error)}"
        hint = "check that the notebook's folder can be written to"
        raise InvalidFile.of_input(item.parameter, item.name, problem, hint=hint) from None


def read_run_text(text: str) -> tuple[str, int | None] | None:
    """Returns id and frame of "run:ID" or "run:ID#FRAME"; None for any other text."""
    found = re.fullmatch(rf"{RUN_PREFIX}\s*([^#\s]+)(?:#(-?\d{{1,6}}))?", text.strip())
    return (found[1], int(found[2]) if found[2] else None) if found else None


def _is_medium(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_is_medium(item) for item in value)
    return (
        isinstance(value, (bytes, bytearray, memoryview, Run, RunOutput)) or _is_picture(value) or _is_array(value)
    )


def _resolve(
    name: str, value: object, find_run: Callable[[str], Run], folder: Path | None, wants_picture: bool
) -> object:
    if isinstance(value, str) and (named := read_run_text(value)) is not None:
        query, position = named
        value = find_run(query)
        if position is not None:
            _path_of_run(name, value)
            return _stage(name, value.frame_png(position))
    if isinstance(value, (Run, RunOutput)):
        path = _path_of_run(name, value) if isinstance(value, Run) else _path_of_output(name, value, folder)
        # Continue from the last frame.
        if not wants_picture or not decode.sniff_file(path).startswith("video/"):
            return path
        return _stage(name, value.frame_png(-1) if isinstance(value, Run) else decode.frame(path, -1))
    if isinstance(value, FileInput):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _stage(name, bytes(value))
    if _is_picture(value):
        return _stage(name, _png_of(name, value))
    if _is_array(value):
        return _stage(name, _png_of(name, _picture_of(name, value)))
    if value is None or isinstance(value, (str, Path)):
        return _from_folder(value, folder)
    raise _invalid(
        name,
        f"a value of type {type(value).__name__} is no input file",
        "give a path, a URL, bytes, a picture or a run",
    )


def _from_folder(value: object, folder: Path | None) -> object:
    if folder is None or value is None:
        return value
    text = str(value).strip()
    if not text or "://" in text or text.startswith("~") or Path(text).is_absolute():
        return value
    # Beside the notebook first; the process may stand elsewhere. A name that is in neither place goes on as it
    # is: it may be one of the service's samples, and else the schema says what is wrong.
    beside = folder / text
    return beside if beside.exists() else value


def _path_of_run(name: str, run: Run) -> Path:
    if run.path is None:
        what = "it is not done yet" if not run.done else "it has no file here"
        raise _invalid(name, f"run {run.short_id} cannot be an input: {what}", f"%wiro wait {run.short_id}")
    return run.path


def _path_of_output(name: str, output: RunOutput, folder: Path | None) -> Path:
    path = None if output.path is None else (folder or Path()) / output.path
    if path is None or not path.is_file():
        raise _invalid(name, f"{output.name or 'this output'} is not here as a file", "%wiro download RUN")
    return path


def _stage(name: str, data: bytes) -> Path:
    """Writes bytes to a file named by its content in the cache; a run's own copy is made when it is submitted."""
    content_type = sniff_type(data[:4096], name)
    suffix = SUFFIXES.get(content_type)
    if suffix is None:
        raise _invalid(
            name, "the bytes are of a type the service does not take", "give a path with the right suffix"
        )
    folder = cache_dir() / "inputs"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()}{suffix}"
    if not path.exists():
        write_atomically(path, data)
    return path


def _is_picture(value: object) -> bool:
    return any(kind.__module__.startswith("PIL.") and kind.__name__ == "Image" for kind in type(value).__mro__)


def _plain_scalar(value: object) -> object:
    """Returns the Python value of a NumPy scalar or an array without dimensions, also within a list."""
    if isinstance(value, (list, tuple)):
        return type(value)([_plain_scalar(item) for item in value]) if type(value) in (list, tuple) else value
    return value.item() if _is_array(value) and value.shape == () else value  # type: ignore[attr-defined]


def _is_array(value: object) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "shape")


def _png_of(name: str, picture: Any) -> bytes:
    stream = io.BytesIO()
    fits = picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
    try:
        (picture if fits else picture.convert("RGB")).save(stream, "PNG")
    except (OSError, ValueError) as error:
        raise _invalid(name, f"this picture cannot be written as PNG: {error}", "give an RGB picture") from None
    return stream.getvalue()


def _picture_of(name: str, array: Any) -> Any:
    if 0 in array.shape:
        raise _invalid(name, "this array is empty", "give uint8 of shape (height, width, 3)")
    try:
        from PIL import Image

        return Image.fromarray(array)
    except ImportError:
        raise _invalid(name, "arrays need the package Pillow", "python -m pip install Pillow") from None
    except (TypeError, ValueError, IndexError) as error:
        raise _invalid(
            name, f"this array is no picture: {error}", "give uint8 of shape (height, width, 3)"
        ) from None


def _invalid(name: str, what: str, hint: str) -> InvalidFile:
    problems = [{"name": name, "message": f"{what}.", "near": []}]
    return InvalidFile(f"{name}: {what}.", hint=hint, name=name, problems=problems)
