"""Records in notebooks: in each output's metadata, and gathered in the notebook's own.

`metadata.wiro` is `{"format": 1, "runs": {run_id: record}, "budget": ..., "omitted": n}`. Output
metadata always works, also headless; notebook metadata survives cleared outputs. `wiro-nb seal` copies the
records of a closed notebook's outputs there.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, InputError, MissingExtra
from wiro_nb.files import write_atomically
from wiro_nb.provenance.record import FORMAT, check_record, normalise, parse_json, read_bytes

KEY = "wiro"
MAX_RUNS = 200
"""The latest runs a notebook keeps; older ones stay in the ledger."""


def output_marks(notebook: Any) -> Iterator[dict[str, Any]]:
    """Gives the `metadata.wiro` of every output that has one, in their order."""
    for cell in _items(_fields(notebook).get("cells")):
        for output in _items(_fields(cell).get("outputs")):
            if mark := _fields(_fields(_fields(output).get("metadata")).get(KEY)):
                yield mark


def records_in_outputs(notebook: Any) -> Iterator[dict[str, Any]]:
    """Gives the records of every output that has one, or those of a sweep or film, in their order."""
    for mark in output_marks(notebook):
        parts = (_fields(part).get("record") for part in _items(_fields(mark.get("film")).get("parts")))
        yield from filter(is_record, [mark, *parts, *_fields(mark.get("runs")).values()])


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _fields(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def records_in_notebook(notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns every record of a parsed notebook by run id; the finished one of two wins.

    Args:
        notebook: JSON of an nbformat 4 notebook. Records are not checked here.
    """
    found: dict[str, dict[str, Any]] = {}
    gathered = _fields(_fields(notebook.get("metadata")).get(KEY))
    for record in [*_fields(gathered.get("runs")).values(), *records_in_outputs(notebook)]:
        if is_record(record):
            found[record["run_id"]] = pick_newer(found.get(record["run_id"]), record)
    return found


def merge_runs(present: Mapping[str, Any] | None, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns notebook metadata with these records added: the latest `MAX_RUNS`; `omitted` counts the others.

    Args:
        present: The notebook's `metadata.wiro`, or None; keys it has beside `runs` stay.
        records: By run id.

    Returns:
        New metadata; the same content gives the same result, so that saving twice changes nothing.
    """
    merged = dict(present or {})
    kept = {key: value for key, value in _fields(merged.get("runs")).items() if is_record(value)}
    for run_id, record in records.items():
        kept[run_id] = pick_newer(kept.get(run_id), dict(record))
    latest = sorted(kept)[-MAX_RUNS:]
    before = merged.pop("omitted", 0)
    omitted = max(before if isinstance(before, int) else 0, len(kept) - len(latest))
    merged["format"] = FORMAT
    merged["runs"] = {run_id: kept[run_id] for run_id in latest}
    if omitted > 0:
        merged["omitted"] = omitted
    result: dict[str, Any] = normalise(merged)
    return result


def is_record(value: Any) -> bool:
    """True for a value that looks like a record: it has a format and a run id."""
    return isinstance(_fields(value).get("run_id"), str) and "format" in value


def pick_newer(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Returns the one of two records of a run that is further along."""
    return old if old is not None and _progress(old) > _progress(new) else new


def _progress(record: Mapping[str, Any]) -> int:
    order = ("planned", "submitting", "uncertain", "submitted", "cancelled", "failed", "succeeded")
    status = record.get("status")
    return order.index(status) if status in order else -1


@dataclass(frozen=True, slots=True)
class Sealed:
    """The result of sealing: run ids now in the metadata, those new there, and whether the file was written."""

    path: Path
    run_ids: tuple[str, ...]
    added: tuple[str, ...]
    changed: bool


def seal_notebook(
    path: Path, find_more: Callable[[dict[str, Any]], Mapping[str, dict[str, Any]]] = lambda notebook: {}
) -> Sealed:
    """Writes the records of a notebook's outputs into `metadata.wiro`; the file is laid out as Jupyter saves it.

    Args:
        path: A notebook that is not open with unsaved changes.
        find_more: Gives records of the notebook, by run id, that none of its outputs has.

    Returns:
        What was done; a notebook that is already sealed is not written again.

    Raises:
        BadRecord: It is no notebook, or one of its records is refused.
        InputError: The file changed while it was being sealed; it is then left as it is.
        MissingExtra: nbformat is not installed.
    """
    MissingExtra.require("sealing a notebook", "lab", "nbformat")
    raw = read_bytes(path)
    notebook = _parse(path, raw)
    records = {**find_more(notebook), **records_in_notebook(notebook)}
    for run_id, record in records.items():
        check_record(record, source=f"{path.name}#{run_id}")
    present = _fields(notebook["metadata"].get(KEY))
    merged = merge_runs(present, records) if records else present
    run_ids = tuple(sorted(_fields(merged.get("runs"))))
    added = tuple(run_id for run_id in run_ids if run_id not in _fields(present.get("runs")))
    if merged == present:
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
    import nbformat

    problem, hint = "", None
    try:
        notebook = parse_json(raw)
        if isinstance(notebook, dict) and "worksheets" in notebook:
            problem, hint = " of format 4 or later", "open it in Jupyter and save it, then seal it"
        else:
            with warnings.catch_warnings(action="ignore"):  # it repairs what it warns about
                nbformat.validate(nbformat.reads(json.dumps(notebook), as_version=nbformat.NO_CONVERT))
            return dict(notebook)
    except (ValueError, nbformat.ValidationError) as error:
        problem = f": {str(error).splitlines()[0]}"
    except (TypeError, AttributeError, KeyError, AssertionError):  # of a layout that nbformat does not expect
        pass
    raise BadRecord(f"{path.name} is not a notebook{problem}", hint=hint)


def _dump(path: Path, notebook: dict[str, Any]) -> bytes:
    import nbformat

    try:
        with warnings.catch_warnings(action="ignore"):
            text: str = nbformat.writes(nbformat.from_dict(notebook), allow_nan=False)
        return text.encode() + b"\n"
    except ValueError:
        problem = "values that no saved notebook can have (NaN, infinity, half a character)"
        raise BadRecord(f"{path.name} holds {problem}") from None
