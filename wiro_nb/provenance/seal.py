"""`wiro-nb seal`: hoisting the records of a closed notebook's outputs into its own metadata.

After sealing, the outputs can be cleared and the notebook still says how every clip was made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, InputError, MissingExtra
from wiro_nb.files import write_atomically
from wiro_nb.provenance.notebooks import KEY, merge_runs, records_in_notebook
from wiro_nb.provenance.reading import parse_json, require_file
from wiro_nb.provenance.record import check_record


@dataclass(frozen=True, slots=True)
class Sealed:
    """What sealing did: run ids now in the metadata, those new there, and whether the file was written."""

    path: Path
    run_ids: tuple[str, ...]
    added: tuple[str, ...]
    changed: bool


def seal_notebook(path: Path) -> Sealed:
    """Writes the records of a notebook's outputs into `metadata.wiro`.

    Args:
        path: A notebook nobody has open with unsaved changes.

    Returns:
        What was done; a notebook that is already sealed is not written again.

    Raises:
        BadRecord: It is no notebook, or one of its records is refused.
        InputError: The file changed while it was being sealed; it is then left as it is.
        MissingExtra: nbformat is not installed.
    """
    before, raw = _stamp(path), _read(path)
    notebook = _parse(path, raw)
    _validate(path, notebook)
    records = records_in_notebook(notebook)
    for run_id, record in records.items():
        check_record(record, source=f"{path.name}#{run_id}")
    metadata = notebook.setdefault("metadata", {})
    present = metadata.get(KEY) if isinstance(metadata.get(KEY), dict) else None
    merged = merge_runs(present, records) if records else present
    run_ids = tuple(sorted((merged or {}).get("runs", {})))
    added = tuple(run_id for run_id in run_ids if run_id not in ((present or {}).get("runs") or {}))
    if merged is None or merged == present:
        return Sealed(path, run_ids, (), False)
    metadata[KEY] = merged
    _validate(path, notebook)
    if _stamp(path) != before or _read(path) != raw:
        raise InputError(
            f"{path.name} changed while it was being sealed; it was left as it is",
            hint=f"save and close it, then: wiro-nb seal {path.name}",
        )
    data = _dump(path, notebook, raw)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be written: {error.strerror}; it was left as it is",
            hint="copy it to a folder you can write to, and seal the copy",
        ) from None
    return Sealed(path, run_ids, added, True)


def _read(path: Path) -> bytes:
    require_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> BadRecord:
    return BadRecord(f"{path.name} cannot be read: {error.strerror}", source=path.name, reason="shape")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return status.st_mtime_ns, status.st_size


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    problem, hint = "", None
    try:
        notebook = parse_json(raw)
    except ValueError as error:
        notebook, problem = None, f": {error}"
    if isinstance(notebook, dict) and isinstance(notebook.get("cells"), list):
        return notebook
    if isinstance(notebook, dict) and "worksheets" in notebook:
        problem, hint = " of format 4 or later", "open it in Jupyter and save it, then seal it"
    raise BadRecord(f"{path.name} is not a notebook{problem}", hint=hint, source=path.name, reason="shape")


def _validate(path: Path, notebook: dict[str, Any]) -> None:
    try:
        import nbformat
    except ImportError:
        raise MissingExtra(
            "sealing a notebook needs the package nbformat",
            hint='python -m pip install "wiro_nb[lab]"',
            extra="lab",
            package="nbformat",
        ) from None
    problem = ""
    try:
        read: Any = nbformat.reads
        nbformat.validate(read(json.dumps(notebook), as_version=nbformat.NO_CONVERT))
    except (nbformat.ValidationError, nbformat.NBFormatError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        raise BadRecord(
            f"{path.name} is not a valid notebook", details=[problem], source=path.name, reason="shape"
        )


def _dump(path: Path, notebook: dict[str, Any], raw: bytes) -> bytes:
    """Writes as Jupyter does, keeping the file's own indent, line ends and order of keys.

    Raises:
        BadRecord: It holds a number that JSON has no word for.
    """
    text = raw.decode("utf-8-sig")
    second = text.partition("\n")[2]
    indent = second[: len(second) - len(second.lstrip(" \t"))] or None
    ending = "\n" if text.endswith("\n") else ""
    try:
        written = json.dumps(notebook, indent=indent, ensure_ascii=False, allow_nan=False) + ending
    except ValueError:
        raise BadRecord(
            f"{path.name} holds a number that is none (NaN or infinity), which a saved notebook cannot have",
            source=path.name,
            reason="shape",
        ) from None
    return (written.replace("\n", "\r\n") if "\r\n" in text else written).encode()
