"""`wiro-nb seal`: copies the records of a closed notebook's outputs into its own metadata.

Afterwards the outputs can be cleared and the notebook still says how every clip was made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, InputError, MissingExtra
from wiro_nb.files import write_atomically
from wiro_nb.provenance.notebooks import KEY, merge_runs, records_in_notebook
from wiro_nb.provenance.reading import parse_json, read_bytes
from wiro_nb.provenance.record import check_record


@dataclass(frozen=True, slots=True)
class Sealed:
    """The result of sealing: run ids now in the metadata, those new there, and whether the file was written."""

    path: Path
    run_ids: tuple[str, ...]
    added: tuple[str, ...]
    changed: bool


def seal_notebook(path: Path) -> Sealed:
    """Writes the records of a notebook's outputs into `metadata.wiro`; the file is laid out as Jupyter saves it.

    Args:
        path: A notebook that is not open with unsaved changes.

    Returns:
        What was done; a notebook that is already sealed is not written again.

    Raises:
        BadRecord: It is no notebook, or one of its records is refused.
        InputError: The file changed while it was being sealed; it is then left as it is.
        MissingExtra: nbformat is not installed.
    """
    raw = read_bytes(path)
    notebook = _parse(path, raw)
    records = records_in_notebook(notebook)
    for run_id, record in records.items():
        check_record(record, source=f"{path.name}#{run_id}")
    present = notebook["metadata"].get(KEY)
    present = present if isinstance(present, dict) else None
    merged = merge_runs(present, records) if records else present
    run_ids = tuple(sorted((merged or {}).get("runs", {})))
    added = tuple(run_id for run_id in run_ids if run_id not in ((present or {}).get("runs") or {}))
    if merged is None or merged == present:
        return Sealed(path, run_ids, (), False)
    notebook["metadata"][KEY] = merged
    data = _dump(path, notebook)
    if read_bytes(path) != raw:
        raise InputError(
            f"{path.name} changed while it was being sealed; it was left as it is",
            hint=f"save and close it, then: wiro-nb seal {path.name}",
        )
    try:
        write_atomically(path, data)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be written: {error.strerror}; it was left as it is",
            hint="copy it to a folder you can write to, and seal the copy",
        ) from None
    return Sealed(path, run_ids, added, True)


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    nbformat = _import_nbformat()
    problem, hint = "", None
    try:
        notebook = parse_json(raw)
        if isinstance(notebook, dict) and "worksheets" in notebook:
            problem, hint = " of format 4 or later", "open it in Jupyter and save it, then seal it"
        else:
            nbformat.validate(nbformat.reads(json.dumps(notebook), as_version=nbformat.NO_CONVERT))
            return dict(notebook)
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        problem = f": {str(error).splitlines()[0]}"
    raise BadRecord(f"{path.name} is not a notebook{problem}", hint=hint, source=path.name, reason="shape")


def _dump(path: Path, notebook: dict[str, Any]) -> bytes:
    nbformat = _import_nbformat()
    try:
        text: str = nbformat.writes(nbformat.from_dict(notebook), allow_nan=False)
    except ValueError:
        raise BadRecord(
            f"{path.name} holds NaN or infinity, which a saved notebook cannot have",
            source=path.name,
            reason="shape",
        ) from None
    return text.encode() + b"\n"


def _import_nbformat() -> Any:
    try:
        import nbformat
    except ImportError:
        raise MissingExtra(
            "sealing a notebook needs the package nbformat",
            hint='python -m pip install "wiro_nb[lab]"',
            extra="lab",
            package="nbformat",
        ) from None
    return nbformat
