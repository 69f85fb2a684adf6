"""Checks notebooks, run folders, clips and the ledger: hashes, files, records, and that no secret is in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, WiroError
from wiro_nb.files import OUTPUTS_FOLDER, hash_file, is_there
from wiro_nb.ids import short_id
from wiro_nb.ledger.state import LedgerRow, RunOutput
from wiro_nb.provenance.content_credentials import describe_credentials
from wiro_nb.provenance.embed import content_hashes, format_of, read_embedded, recorded_hashes
from wiro_nb.provenance.find import Source, find_records
from wiro_nb.provenance.made_by import made_by_summary
from wiro_nb.provenance.record import HASH_FIELD, SIDECAR_NAME, canonical_json
from wiro_nb.provenance.secret_scan import scan_file
from wiro_nb.reproduce import locate_output
from wiro_nb.services.credentials import CLOUD, find_credentials, named_services
from wiro_nb.session.manager import Manager

ReadLedger = Callable[[str], Mapping[str, Any] | None]
"""Takes a run id and returns the ledger's record of it, or None."""

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif"}
_CLIP_SUFFIXES = _PICTURES | {".mp4", ".mov", ".m4v", ".webm", ".mp3", ".wav", ".m4a"}
_REQUEST = ("model", "service", "parameters", "files", "seed", "task_id")


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of `verify`.

    Attributes:
        level: "ok", "note" or "problem"; only problems make the command fail.
        kind: "record", "file", "ledger", "secret" or "credentials".
        where: The file, and the run where there is one.
        message: One line for people.
    """

    level: str
    kind: str
    where: str
    message: str


def verify(manager: Manager, paths: list[Path], *, ledger: bool = False) -> list[Finding]:
    """Checks paths against the ledger, and the ledger itself where it is asked for.

    Args:
        manager: Its ledger is read; no service is asked.
        paths: Notebooks, run folders, clips.
        ledger: True checks the ledger's file and every output it knows as well.
    """

    def read_record(run_id: str) -> dict[str, Any] | None:
        row = manager.ledger.lookup(run_id)
        return None if row is None else row.load_record()

    findings = verify_paths(paths, read_ledger=read_record, secrets=_known_secrets(manager)) if paths else []
    return [*findings, *_check_ledger(manager)] if ledger else findings


def _check_ledger(manager: Manager) -> list[Finding]:
    integrity = manager.ledger.check_integrity()
    findings = [Finding("note", "ledger", "ledger", notice) for notice in manager.ledger.take_notices()]
    if integrity != "ok":
        findings.append(Finding("problem", "ledger", "ledger", f"its file is damaged: {integrity}"))
    rows = manager.ledger.list(limit=None)
    pairs = [
        (row, output)
        for row in rows
        for output in row.outputs
        if output.path and (output.stored_sha256 or output.sha256)
    ]
    problems = [(row, problem) for row, output in pairs if (problem := _check_output(row, output))]
    findings += [Finding("problem", "file", f"run {row.short_id}", problem) for row, problem in problems]
    summary = f"{len(rows)} runs, {len(pairs) - len(problems)} of {len(pairs)} files as they were saved"
    return [*findings, Finding("ok", "ledger", "ledger", summary)]


def _check_output(row: LedgerRow, output: RunOutput) -> str:
    """Reads and hashes a saved output; returns what is wrong with it, or ""."""
    path = row.find_file(output)
    if path is None:
        return f"{output.path} is not there any more."
    try:
        found = hash_file(path)
    except OSError as error:
        return f"{output.path}: {error.strerror or error}."
    # Writing the record into a clip changes its bytes, so the file has a hash of its own beside the service's.
    is_same = found == (output.stored_sha256 or output.sha256)
    return "" if is_same else f"{output.path} was changed after it was saved."


def _known_secrets(manager: Manager) -> frozenset[str]:
    """Returns the task tokens of the ledger and the keys this machine keeps."""
    found = {row.task_token for row in manager.ledger.list(limit=None) if row.task_token}
    for name in (CLOUD, *named_services()):
        with suppress(WiroError):
            credentials, _ = find_credentials(name)
            found |= {text for text in (credentials.key, credentials.secret) if text}
    return frozenset(found)


def verify_paths(
    paths: list[Path],
    *,
    read_ledger: ReadLedger = lambda run_id: None,
    secrets: Collection[str] = (),
) -> list[Finding]:
    """Checks notebooks, run folders and clips.

    Args:
        paths: Files or folders; folders are searched through, hidden ones left out.
        read_ledger: Looks up a run in the ledger.
        secrets: Keys, secrets and task tokens of this person; their presence anywhere is a problem.

    Returns:
        Findings in the order of the paths: hashes, files (moved ones are found by their hash),
        agreement with the ledger, and secrets or private paths in records and notebooks.
    """
    findings: list[Finding] = []
    index = _FileIndex(paths)
    for path in paths:
        targets = list(_targets(path))
        if not targets:
            nothing = "nothing to verify: no notebook, clip or run.json here"
            nothing = nothing if is_there(path) else "there is no such file"
            findings.append(Finding("problem", "file", path.name, nothing))
        for target in targets:
            findings += _verify_file(target, index, read_ledger, secrets)
    return findings


def _targets(path: Path) -> Iterator[Path]:
    if not is_there(path):
        return
    if path.is_file():
        yield path
        return
    for item in sorted(path.rglob("*")):
        if not item.is_file() or any(part.startswith(".") for part in item.relative_to(path).parts):
            continue
        suffix = item.suffix.lower()
        is_lone_clip = suffix in _CLIP_SUFFIXES and not (item.parent / SIDECAR_NAME).exists()
        if suffix == ".ipynb" or item.name == SIDECAR_NAME or is_lone_clip:
            yield item


def _verify_file(
    path: Path, index: _FileIndex, read_ledger: ReadLedger, secrets: Collection[str]
) -> Iterator[Finding]:
    for secret in scan_file(path, secrets):
        level = "problem" if secret.is_secret else "note"
        yield Finding(level, "secret", path.name, f"{secret.label}: {secret.excerpt}")
    yield from _verify_credentials(path, path.name)
    refused: list[BadRecord] = []
    try:
        found = find_records(path, refused=refused)
    except BadRecord as error:
        level = "note" if error.reason == "none" else "problem"
        yield Finding(level, "record", path.name, error.message)
        return
    for bad in refused:
        yield Finding("problem", "record", path.name, bad.message)
    for item in found:
        where = f"{path.name}#{short_id(item.record['run_id'])}"
        maker = made_by_summary(item.record)
        made = f"; made by {maker}" if maker else ""
        yield Finding("ok", "record", where, f"the record is whole and unchanged{made}")
        try:
            yield from _verify_outputs(item, path, where, index, read_ledger)
        except (BadRecord, OSError) as error:
            yield Finding("problem", "file", where, getattr(error, "message", None) or "a file cannot be read")
        yield from _verify_ledger(item.record, where, read_ledger)


def _verify_outputs(
    item: Source, path: Path, where: str, index: _FileIndex, read_ledger: ReadLedger
) -> Iterator[Finding]:
    outputs = [output for output in item.record["outputs"] if output.get("sha256")]
    if item.kind == "clip" or item.path != path:  # a clip that lost its tag is known by the sidecar beside it
        # Exactly the named file, wherever it is now; other files of its run are not checked.
        yield _describe_content(path.name, where, any(index.matches(path, output) for output in outputs))
        return
    for output in outputs:
        if not output.get("path"):
            continue
        name, place = Path(output["path"]).name, locate_output(item.path, output)
        is_same = place is not None and index.matches(place, output)
        moved = None if is_same else index.find(output)
        if moved is not None:
            seen = f"{moved.parent.name}/{moved.name}"
            yield Finding("note", "file", where, f"{name} was moved; the same content is in {seen}")
        elif place is None:
            run_id, again = item.record["run_id"], f"make it again: %wiro rerun {where}"
            if read_ledger(run_id) is not None:
                again = f"%wiro download {short_id(run_id)}"
            yield Finding("problem", "file", where, f"{name} is missing; {again}")
        else:
            yield _describe_content(name, where, is_same)
        if place is not None and is_same:
            yield from _verify_embedded(item, place, where)
            yield from _verify_credentials(place, where)


def _describe_content(name: str, where: str, is_same: bool) -> Finding:
    if is_same:
        return Finding("ok", "file", where, f"{name} is there and unchanged")
    return Finding("problem", "file", where, f"{name} is not what the service sent: its content changed")


def _verify_embedded(item: Source, place: Path, where: str) -> Iterator[Finding]:
    """Checks that the record inside a clip matches the one beside it."""
    if format_of(place) is None:
        return
    try:
        inside = read_embedded(place)
    except BadRecord as error:
        level = "note" if error.reason == "none" else "problem"
        yield Finding(level, "record", where, error.message)
        return
    if inside["run_id"] != item.record["run_id"]:
        other = short_id(inside["run_id"])
        yield Finding("problem", "record", where, f"{place.name} carries the record of run {other}")
    elif inside[HASH_FIELD] != item.record[HASH_FIELD]:
        level = _level_of_difference(inside, item.record)
        yield Finding(level, "record", where, f"{place.name} carries another record of the run")


def _verify_credentials(path: Path, where: str) -> Iterator[Finding]:
    found = describe_credentials(path)
    if found is not None:
        yield Finding("problem" if found.is_valid is False else "note", "credentials", where, found.text)


def _verify_ledger(record: Mapping[str, Any], where: str, read_ledger: ReadLedger) -> Iterator[Finding]:
    known = read_ledger(record["run_id"])
    if known is None and "film" in record:
        return  # joined on this machine: no run of a service
    if known is None:
        yield Finding("note", "ledger", where, "this machine's ledger does not know the run")
    elif known.get(HASH_FIELD) == record.get(HASH_FIELD):
        yield Finding("ok", "ledger", where, "the ledger agrees")
    elif _level_of_difference(record, known) == "note":
        yield Finding("note", "ledger", where, "the ledger has a later record of the same request and outputs")
    else:
        yield Finding("problem", "ledger", where, "the ledger has another record of this run")


def _level_of_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Returns "note" where two records differ in what a later look may change: files fetched again, the cost."""
    requests = [canonical_json({name: record.get(name) for name in _REQUEST}) for record in (one, other)]
    contents = [{item.get("sha256") for item in record.get("outputs") or ()} for record in (one, other)]
    is_complete = all(None not in hashes for hashes in contents)
    differs = requests[0] != requests[1] or (is_complete and contents[0] != contents[1])
    return "problem" if differs else "note"


class _FileIndex:
    """Hashes of the clips in some places, taken once and only when asked for.

    A clip that carries its record has other bytes than those the service sent; its media data,
    which the tag leaves alone, vouches for it.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._hashes_of = cache(content_hashes)

    def matches(self, path: Path, output: Mapping[str, Any]) -> bool:
        """True when the file is the recorded output, with or without a tag."""
        return not recorded_hashes(output).isdisjoint(self._hashes_of(path))

    def find(self, output: Mapping[str, Any]) -> Path | None:
        """Returns a clip with the recorded content, or None."""
        least = output.get("size_bytes") or 0  # a tag only ever adds to a file
        large_enough = (path for path in self._clips if path.stat().st_size >= least)
        return next((path for path in large_enough if self.matches(path, output)), None)

    @cached_property
    def _clips(self) -> list[Path]:
        return sorted(set(self._list_clips()))

    def _list_clips(self) -> Iterator[Path]:
        """Lists the clips below a named folder; for a named file, those in its folder and its outputs."""
        for path in self._paths:
            folders = [path.rglob("*")]
            if not (is_there(path) and path.is_dir()):
                folders = [path.parent.glob("*"), (path.parent / OUTPUTS_FOLDER).rglob("*")]
            for items in folders:
                yield from (item for item in items if item.suffix.lower() in _CLIP_SUFFIXES and item.is_file())
