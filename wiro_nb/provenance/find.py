"""Finds records in clips, sidecars, folders and notebooks, and gathers them in a notebook's metadata.

A notebook has records in two places: in each output's metadata, which always works, also headless, and in its own,
which survives cleared outputs: `metadata.wiro` is `{"format": 1, "runs": {run_id: record}, "omitted": n}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, UnknownRun
from wiro_nb.files import expand_user, is_there
from wiro_nb.ids import match_ids, short_id
from wiro_nb.json_values import as_list, as_mapping
from wiro_nb.provenance.content_credentials import RECORD_ASSERTION, read_assertions
from wiro_nb.provenance.embed import read_embedded, read_texts
from wiro_nb.provenance.made_by import read_settings
from wiro_nb.provenance.record import (
    FORMAT,
    SIDECAR_NAME,
    check_record,
    normalise,
    read_json,
    read_sidecar,
    require_file,
)

KEY = "wiro"
MAX_RUNS = 200
"""The latest runs a notebook keeps; older ones stay in the ledger."""


@dataclass(frozen=True, slots=True)
class Source:
    """A record and where it was found.

    Attributes:
        record: Checked.
        name: What to type to mean it again.
        kind: "clip", "sidecar", "notebook" or "ledger".
        path: The file that held it; None for the ledger.
    """

    record: dict[str, Any]
    name: str
    kind: str
    path: Path | None = None

    @property
    def typed_name(self) -> str:
        """The name as one word of a command line: in quotes where it has spaces."""
        return quote_name(self.name)

    @property
    def run_id(self) -> str:
        """The id of the recorded run."""
        return str(self.record["run_id"])

    @property
    def model(self) -> str:
        """The slug of its model."""
        return str(self.record["model"]["slug"])

    @property
    def is_film(self) -> bool:
        """True for the record of joined clips; its shots are runs of their own."""
        return isinstance(self.record.get("film"), dict)

    @property
    def short_id(self) -> str:
        """Its last five letters, lower case."""
        return short_id(self.run_id)


def quote_name(text: str) -> str:
    """Returns a text as one word of a command line: in quotes where it has spaces."""
    return f'"{text}"' if any(letter.isspace() for letter in text) else text


def find_records(
    source: str | Path, *, ignore_hash: bool = False, refused: list[BadRecord] | None = None
) -> list[Source]:
    """Returns the records a file or folder holds.

    Args:
        source: A clip or picture, a `run.json`, a run's folder or one that holds such folders, a notebook, or
            `NOTEBOOK#RUN` with the run's id or its unique first or last letters.
        ignore_hash: True reads records that were changed after they were written.
        refused: Takes the errors of those records of a notebook that are refused; the others are returned.

    Raises:
        BadRecord: There is none, or one is refused.
        UnknownRun: The notebook has no such run, or several.
    """
    path, wanted = split_source(source)
    if not is_there(path):
        raise BadRecord(f"{path.name} does not exist", reason="none")
    if path.is_dir():
        return _in_folder(path, ignore_hash)
    require_file(path)
    if path.suffix.lower() == ".ipynb":
        return _in_notebook(path, wanted, ignore_hash, refused)
    if path.suffix.lower() == ".json":
        return [_in_sidecar(path, ignore_hash)]
    try:
        return [Source(read_embedded(path, ignore_hash=ignore_hash), str(path), "clip", path)]
    except BadRecord as error:
        signed = read_assertions(path).get(RECORD_ASSERTION) if error.reason == "none" else None
        if signed is not None:
            record = check_record(signed, source=path.name, ignore_hash=ignore_hash)
            return [Source(record, str(path), "clip", path)]
        beside = path.parent / SIDECAR_NAME
        if error.reason not in ("none", "cut") or not beside.is_file():
            raise
    return [_in_sidecar(beside, ignore_hash)]


def find_settings(source: str | Path) -> dict[str, Any] | None:
    """Returns the generation settings that another program embedded in a clip or picture."""
    path = expand_user(Path(source))
    try:
        if not path.is_file():
            return None
        if (found := read_settings(read_texts(path))) is not None:
            return found
        stated = read_assertions(path)
    except (OSError, ValueError):
        return None
    return {"written_by": "Content Credentials", "settings": {}, "other": stated} if stated else None


def split_source(source: str | Path) -> tuple[Path, str]:
    """Returns the file of a source, and the run it names behind a `#` ("" for none)."""
    whole = expand_user(Path(source))
    if "#" not in str(source) or is_there(whole):
        return whole, ""
    text, _, wanted = str(source).rpartition("#")
    return expand_user(Path(text)), wanted


def _in_sidecar(path: Path, ignore_hash: bool) -> Source:
    return Source(read_sidecar(path, ignore_hash=ignore_hash), str(path), "sidecar", path)


def _in_folder(folder: Path, ignore_hash: bool) -> list[Source]:
    inside = [] if is_there(folder / SIDECAR_NAME) else sorted(folder.glob(f"*/{SIDECAR_NAME}"))
    sidecars = inside or [folder / SIDECAR_NAME]
    if not is_there(sidecars[0]):
        raise BadRecord(
            f"the folder {folder.resolve().name} holds no run",
            details=[f"neither it nor a folder in it has a {SIDECAR_NAME}"],
            hint="%wiro runs",
            reason="none",
        )
    return [_in_sidecar(path, ignore_hash) for path in sidecars]


def _in_notebook(path: Path, wanted: str, ignore_hash: bool, refused: list[BadRecord] | None) -> list[Source]:
    records = records_in_notebook(read_json(path))
    if not records:
        raise BadRecord(
            f"{path.name} holds no run record",
            details=["no output was made by wiro_nb, or outputs and metadata were cleared"],
            hint="wiro-nb runs",
            reason="none",
        )
    if wanted:
        named = match_ids(wanted, records)
        if len(named) != 1:
            raise UnknownRun(
                f"{path.name} has {f'{len(named)} runs' if named else 'no run'} called {wanted}",
                query=wanted,
                near=named or sorted(records),
                hint=f"wiro-nb record {path.name}",
            )
        records = {named[0]: records[named[0]]}
    found = []
    for run_id, record in sorted(records.items()):
        try:
            checked = check_record(record, source=f"{path.name}#{run_id}", ignore_hash=ignore_hash)
            found.append(Source(checked, f"{path}#{short_id(run_id)}", "notebook", path))
        except BadRecord as error:
            if refused is None:
                raise
            refused.append(error)
    return found


# Records of a parsed notebook -----------------------------------------------------------------


def output_marks(notebook: Any) -> Iterator[dict[str, Any]]:
    """Gives the `metadata.wiro` of every output that has one, in their order."""
    for cell in as_list(as_mapping(notebook).get("cells")):
        for output in as_list(as_mapping(cell).get("outputs")):
            if mark := as_mapping(as_mapping(as_mapping(output).get("metadata")).get(KEY)):
                yield mark


def records_in_outputs(notebook: Any) -> Iterator[dict[str, Any]]:
    """Gives the records of every output that has one, or those of a sweep or film, in their order."""
    for mark in output_marks(notebook):
        parts = (as_mapping(part).get("record") for part in as_list(as_mapping(mark.get("film")).get("parts")))
        yield from filter(_looks_like_record, [mark, *parts, *as_mapping(mark.get("runs")).values()])


def records_in_notebook(notebook: Any) -> dict[str, dict[str, Any]]:
    """Returns every record of a parsed nbformat 4 notebook by run id, unchecked; the finished one of two wins."""
    found: dict[str, dict[str, Any]] = {}
    gathered = as_mapping(as_mapping(as_mapping(notebook).get("metadata")).get(KEY))
    for record in [*as_mapping(gathered.get("runs")).values(), *records_in_outputs(notebook)]:
        if _looks_like_record(record):
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
    kept = {key: value for key, value in as_mapping(merged.get("runs")).items() if _looks_like_record(value)}
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


def _looks_like_record(value: Any) -> bool:
    """True for a value that has a format and a run id."""
    return isinstance(value, dict) and isinstance(value.get("run_id"), str) and "format" in value


def pick_newer(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Returns the one of two records of a run that is further along."""
    return old if old is not None and _progress(old) > _progress(new) else new


def _progress(record: Mapping[str, Any]) -> int:
    order = ("planned", "submitting", "uncertain", "submitted", "cancelled", "failed", "succeeded")
    status = record.get("status")
    return order.index(status) if status in order else -1
