"""Checks notebooks, run folders, clips and the ledger: hashes, files, records, and that no secret is in them.

A shared file must not contain keys and tokens, URLs with credentials, or paths of this machine. Every pattern that
looks for them takes time in proportion to the text, whatever the text is.
"""

from __future__ import annotations

import re
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
from wiro_nb.provenance.find import Source, find_records, output_marks
from wiro_nb.provenance.made_by import made_by_summary
from wiro_nb.provenance.record import HASH_FIELD, SIDECAR_NAME, canonical_json, parse_json, read_bytes
from wiro_nb.redaction import MASK, redact
from wiro_nb.reproduce import locate_output
from wiro_nb.services.credentials import CLOUD, find_credentials, named_services
from wiro_nb.session.manager import Manager

ReadLedger = Callable[[str], Mapping[str, Any] | None]
"""Takes a run id and returns the ledger's record of it, or None."""

_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif"}
_CLIP_SUFFIXES = _PICTURES | {".mp4", ".mov", ".m4v", ".webm", ".mp3", ".wav", ".m4a"}
_REQUEST = ("model", "service", "parameters", "files", "seed", "task_id")
_SECRET_FIELDS = re.compile(r"(?i)socketaccesstoken|tasktoken|x-api-key|x-signature|api[_-]?secret")
_ROOTS = r"home|Users|root|var|tmp|private|mnt|media|srv|data|opt|work|workspace|content|kaggle"
_ABSOLUTE = re.compile(rf"(?:^|[\s\"'=(,\[:])((?:file://)?(?:/(?:{_ROOTS})/|[A-Za-z]:[\\/])[^\s\"')\]]+)")
_LOGIN_URL = re.compile(r"[A-Za-z0-9+.-]://[^/\s:@]+:[^/\s@]+@")
_WORD = re.compile(r"[A-Za-z0-9_\-]{6,}")


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
    rows, checked, whole = manager.ledger.list(limit=None), 0, 0
    for row in rows:
        for output in row.outputs:
            if output.path and (output.stored_sha256 or output.sha256):
                problem = _check_output(row, output)
                findings += [Finding("problem", "file", f"run {row.short_id}", problem)] if problem else []
                checked, whole = checked + 1, whole + (not problem)
    summary = f"{len(rows)} runs, {whole} of {checked} files as they were saved"
    return [*findings, Finding("ok", "ledger", "ledger", summary)]


def _check_output(row: LedgerRow, output: RunOutput) -> str:
    """Reads and hashes a saved output; returns what is wrong with it, or ""."""
    path = row.find_file(output)
    if path is None:
        return f"{output.path} is not there any more."
    try:
        found = hash_file(path)
    except OSError as error:
        return f"{output.path}: {error.strerror}."
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
    paths: list[Path], *, read_ledger: ReadLedger = lambda run_id: None, secrets: Collection[str] = ()
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
    verifier = _Verifier(paths, read_ledger, secrets)
    for path in paths:
        targets = list(_targets(path))
        if not targets:
            nothing = "nothing to verify: no notebook, clip or run.json here"
            nothing = nothing if is_there(path) else "there is no such file"
            findings.append(Finding("problem", "file", path.name, nothing))
        for target in targets:
            findings += verifier.verify(target)
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


class _Verifier:
    """Checks files one by one; the clips near them are hashed once, and only when a file is missing.

    A clip that carries its record has other bytes than those the service sent; its media data,
    which the tag leaves alone, vouches for it.
    """

    def __init__(self, paths: list[Path], read_ledger: ReadLedger, secrets: Collection[str]) -> None:
        self._paths, self._read_ledger, self._secrets = paths, read_ledger, secrets
        self._hashes_of = cache(content_hashes)

    def verify(self, path: Path) -> Iterator[Finding]:
        """Yields the findings in one file."""
        yield from scan_file(path, self._secrets)
        yield from _verify_credentials(path, path.name)
        refused: list[BadRecord] = []
        try:
            found = find_records(path, refused=refused)
        except BadRecord as error:
            yield _refused(error, path.name)
            return
        for bad in refused:
            yield Finding("problem", "record", path.name, bad.message)
        for item in found:
            where = f"{path.name}#{item.short_id}"
            maker = made_by_summary(item.record)
            made = f"; made by {maker}" if maker else ""
            yield Finding("ok", "record", where, f"the record is whole and unchanged{made}")
            try:
                yield from self._verify_outputs(item, path, where)
            except OSError:
                yield Finding("problem", "file", where, "a file cannot be read")
            yield from self._verify_ledger(item, where)

    def _verify_outputs(self, item: Source, path: Path, where: str) -> Iterator[Finding]:
        outputs = [output for output in item.record["outputs"] if output.get("sha256")]
        if item.kind == "clip" or item.path != path:  # a clip that lost its tag is known by the sidecar beside it
            # Exactly the named file, wherever it is now; other files of its run are not checked.
            yield _describe_content(path.name, where, any(self._matches(path, output) for output in outputs))
            return
        for output in outputs:
            if not output.get("path"):
                continue
            name, place = Path(output["path"]).name, locate_output(item.path, output)
            if place is not None and self._matches(place, output):
                yield _describe_content(name, where, True)
                yield from _verify_embedded(item, place, where)
                yield from _verify_credentials(place, where)
            elif (moved := self._find_moved(output)) is not None:
                seen = f"{moved.parent.name}/{moved.name}"
                yield Finding("note", "file", where, f"{name} was moved; the same content is in {seen}")
            elif place is not None:
                yield _describe_content(name, where, False)
            else:
                is_known = self._read_ledger(item.run_id) is not None
                again = f"%wiro download {item.short_id}" if is_known else f"make it again: %wiro rerun {where}"
                yield Finding("problem", "file", where, f"{name} is missing; {again}")

    def _verify_ledger(self, item: Source, where: str) -> Iterator[Finding]:
        known = self._read_ledger(item.run_id)
        if known is None and not item.is_film:  # a film was joined on this machine: no run of a service
            yield Finding("note", "ledger", where, "this machine's ledger does not know the run")
        elif known is not None and known.get(HASH_FIELD) == item.record.get(HASH_FIELD):
            yield Finding("ok", "ledger", where, "the ledger agrees")
        elif known is not None and _level_of_difference(item.record, known) == "note":
            yield Finding("note", "ledger", where, "the ledger has a later record of the same request and outputs")
        elif known is not None:
            yield Finding("problem", "ledger", where, "the ledger has another record of this run")

    def _matches(self, path: Path, output: Mapping[str, Any]) -> bool:
        """True when the file is the recorded output, with or without a tag."""
        return not recorded_hashes(output).isdisjoint(self._hashes_of(path))

    def _find_moved(self, output: Mapping[str, Any]) -> Path | None:
        """Returns a clip with the recorded content, or None."""
        least = output.get("size_bytes") or 0  # a tag only ever adds to a file
        large_enough = (path for path in self._clips if path.stat().st_size >= least)
        return next((path for path in large_enough if self._matches(path, output)), None)

    @cached_property
    def _clips(self) -> list[Path]:
        """The clips below a named folder; for a named file, those in its folder and its outputs."""
        found: set[Path] = set()
        for path in self._paths:
            if is_there(path) and path.is_dir():
                found.update(path.rglob("*"))
            else:
                found.update(path.parent.glob("*"), (path.parent / OUTPUTS_FOLDER).rglob("*"))
        return sorted(item for item in found if item.suffix.lower() in _CLIP_SUFFIXES and item.is_file())


def _describe_content(name: str, where: str, is_same: bool) -> Finding:
    if is_same:
        return Finding("ok", "file", where, f"{name} is there and unchanged")
    return Finding("problem", "file", where, f"{name} is not what the service sent: its content changed")


def _refused(error: BadRecord, where: str) -> Finding:
    return Finding("note" if error.reason == "none" else "problem", "record", where, error.message)


def _verify_embedded(item: Source, place: Path, where: str) -> Iterator[Finding]:
    """Checks that the record inside a clip matches the one beside it."""
    if format_of(place) is None:
        return
    try:
        inside = read_embedded(place)
    except BadRecord as error:
        yield _refused(error, where)
        return
    if inside["run_id"] != item.run_id:
        other = short_id(inside["run_id"])
        yield Finding("problem", "record", where, f"{place.name} carries the record of run {other}")
    elif inside[HASH_FIELD] != item.record[HASH_FIELD]:
        level = _level_of_difference(inside, item.record)
        yield Finding(level, "record", where, f"{place.name} carries another record of the run")


def _verify_credentials(path: Path, where: str) -> Iterator[Finding]:
    found = describe_credentials(path)
    if found is not None:
        yield Finding("problem" if found.is_valid is False else "note", "credentials", where, found.text)


def _level_of_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Returns "note" where two records differ in what a later look may change: files fetched again, the cost."""
    requests = [canonical_json({name: record.get(name) for name in _REQUEST}) for record in (one, other)]
    contents = [{item.get("sha256") for item in record.get("outputs") or ()} for record in (one, other)]
    is_complete = all(None not in hashes for hashes in contents)
    differs = requests[0] != requests[1] or (is_complete and contents[0] != contents[1])
    return "problem" if differs else "note"


# Secrets -------------------------------------------------------------------------------------


def scan_file(path: Path, secrets: Collection[str] = ()) -> list[Finding]:
    """Returns secrets and paths in a notebook, a sidecar or the record inside a clip, without duplicates.

    Args:
        path: The file; one that cannot be read has no findings.
        secrets: Keys, secrets and task tokens to search for, beside those this process has registered.
    """
    content = _read(path)
    marks = list(output_marks(content))
    cells = content.pop("cells", None) if isinstance(content, dict) else None
    found = dict.fromkeys(
        Finding("problem" if is_problem else "note", "secret", path.name, message)
        for value, is_own in ((content, True), (cells, False), (marks, True))
        for text, is_ours in _texts(value, is_own)
        for message, is_problem in scan_text(text, secrets, is_own=is_ours)
    )
    # A path in a record is a problem, the same path in a user's code only a note: report it once.
    worst = {item.message for item in found if item.level == "problem"}
    return [item for item in found if item.level == "problem" or item.message not in worst]


def scan_text(text: str, secrets: Collection[str] = (), *, is_own: bool = True) -> Iterator[tuple[str, bool]]:
    """Yields what a text must not contain, with an excerpt that is safe to show, and whether it is a problem.

    Args:
        text: Any text.
        secrets: As in `scan_file`; a set.
        is_own: True for text this package wrote; a path or a field's name in a user's own may be meant.
    """
    if redact(text) != text or any(word in secrets for word in _WORD.findall(text)):
        yield f"a key, secret or task token: {MASK}", True
    for match in _SECRET_FIELDS.finditer(text):
        yield f"the name of a secret field: {match.group()}", is_own
    if _LOGIN_URL.search(text):
        yield f"an address with a login: {MASK}", True
    home = str(Path.home())
    if len(home) > 1 and home in text:
        yield "the home folder: ~", is_own
    for match in _ABSOLUTE.finditer(text):
        yield f"a path of this machine: {match.group(1)}", is_own


def _read(path: Path) -> Any:
    try:
        if path.suffix.lower() not in {".ipynb", ".json"}:
            return [item.record for item in find_records(path, ignore_hash=True)]
        raw = read_bytes(path)
        return parse_json(raw)
    except (OSError, BadRecord):
        return None
    except ValueError:
        return raw.decode("utf-8", "replace")


def _texts(value: Any, is_own: bool, *, is_setting: bool = False) -> Iterator[tuple[str, bool]]:
    """Yields every text and every key of nested JSON, unescaped; the lines of a cell are joined.

    With each text comes whether this package wrote it. A setting such as the prompt is a user's words, unless it
    is nothing but a path.
    """
    if isinstance(value, str):
        yield value, is_own and not (is_setting and _ABSOLUTE.fullmatch(value) is None)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key), is_own
            yield from _texts(item, is_own, is_setting=is_setting or key == "parameters")
    elif isinstance(value, list):
        is_text = value and all(isinstance(item, str) for item in value)
        for item in ["".join(value)] if is_text else value:
            yield from _texts(item, is_own, is_setting=is_setting)
