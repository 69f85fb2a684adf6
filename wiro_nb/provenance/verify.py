"""Checking that notebooks, run folders and clips still tell the truth, and tell no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord
from wiro_nb.provenance.compare import hash_file
from wiro_nb.provenance.embed import hash_media
from wiro_nb.provenance.find import FoundRecord, find_records
from wiro_nb.provenance.record import HASH_FIELD
from wiro_nb.provenance.sidecar import SIDECAR_NAME
from wiro_nb.redaction import MASK, redact

ReadLedger = Callable[[str], Mapping[str, Any] | None]
"""Takes a run id and returns the ledger's record of it, or None."""

_SECRET_FIELDS = re.compile(r"(?i)socketaccesstoken|tasktoken|x-api-key|x-signature|api[_-]?secret")
_ABSOLUTE = re.compile(
    r"(?:^|[\s\"'=(])((?:/(?:home|Users|root|var|tmp|private|mnt)/|[A-Za-z]:\\Users\\)[^\s\"')]+)"
)
_LOGIN_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s@]+@", re.IGNORECASE)
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".gif"}
_CLIP_SUFFIXES = _PICTURES | {".mp4", ".mov", ".m4v", ".webm", ".mp3", ".wav", ".m4a"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing verify saw.

    Attributes:
        level: "ok", "note" or "problem"; only problems make the command fail.
        kind: "record", "file", "ledger" or "secret".
        where: The file, and the run where there is one.
        message: One line for people.
    """

    level: str
    kind: str
    where: str
    message: str


def verify_paths(paths: list[Path], *, read_ledger: ReadLedger = lambda run_id: None) -> list[Finding]:
    """Checks notebooks, run folders and clips.

    Args:
        paths: Files or folders; folders are searched through, hidden ones left out.
        read_ledger: Looks up what the ledger says of a run.

    Returns:
        Findings in the order of the paths: hashes, files (moved ones are found by their hash),
        agreement with the ledger, and secrets or private paths in records and notebooks.
    """
    findings: list[Finding] = []
    index = _FileIndex([path if path.is_dir() else path.parent for path in paths])
    for path in paths:
        targets = list(_targets(path))
        if not targets:
            nothing = "nothing to verify: no notebook, clip or run.json here"
            findings.append(Finding("problem", "file", path.name, nothing))
        for target in targets:
            findings += _verify_file(target, index, read_ledger)
    return findings


def _targets(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for item in sorted(path.rglob("*")):
        if not item.is_file() or _is_hidden(item, path):
            continue
        is_lone_clip = item.suffix.lower() in _CLIP_SUFFIXES and not (item.parent / SIDECAR_NAME).exists()
        if item.suffix == ".ipynb" or item.name == SIDECAR_NAME or is_lone_clip:
            yield item


def _is_hidden(item: Path, top: Path) -> bool:
    return any(part.startswith(".") for part in item.relative_to(top).parts)


def _verify_file(path: Path, index: _FileIndex, read_ledger: ReadLedger) -> Iterator[Finding]:
    yield from _find_secrets(path)
    try:
        found = find_records(path)
    except BadRecord as error:
        level = "note" if error.reason == "none" else "problem"
        yield Finding(level, "record", path.name, error.message)
        return
    for item in found:
        where = f"{path.name}#{item.record['run_id'][-5:].lower()}"
        yield Finding("ok", "record", where, "the record is whole and unchanged")
        yield from _verify_outputs(item, where, index)
        yield from _verify_ledger(item.record, where, read_ledger)


def _verify_outputs(item: FoundRecord, where: str, index: _FileIndex) -> Iterator[Finding]:
    for output in item.record["outputs"]:
        if not output.get("sha256") or not output.get("path"):
            continue
        name = Path(output["path"]).name
        place = _locate(item, output["path"])
        if place is not None and index.matches(place, output):
            yield Finding("ok", "file", where, f"{name} is there and unchanged")
            continue
        moved = index.find(output)
        short = item.record["run_id"][-5:].lower()
        if moved is not None:
            seen = f"{moved.parent.name}/{moved.name}"
            yield Finding("note", "file", where, f"{name} was moved; the same content is in {seen}")
        elif place is None:
            yield Finding("problem", "file", where, f"{name} is missing; %wiro fetch {short}")
        else:
            yield Finding("problem", "file", where, f"{name} is not what the service sent: its content changed")


def _locate(item: FoundRecord, recorded: str) -> Path | None:
    """Returns the output's file, looked for beside what holds the record; recorded paths are relative."""
    relative = Path(recorded)
    if relative.is_absolute() or ".." in relative.parts:
        return None
    base = item.path.parent
    candidates = [base / relative, base / relative.name]
    if item.kind == "clip":
        candidates.append(item.path)
    return next((path for path in candidates if path.is_file()), None)


def _verify_ledger(record: Mapping[str, Any], where: str, read_ledger: ReadLedger) -> Iterator[Finding]:
    known = read_ledger(record["run_id"])
    if known is None:
        yield Finding("note", "ledger", where, "this machine's ledger does not know the run")
    elif known.get(HASH_FIELD) == record.get(HASH_FIELD):
        yield Finding("ok", "ledger", where, "the ledger agrees")
    else:
        yield Finding("problem", "ledger", where, "the ledger has another record of this run")


def _find_secrets(path: Path) -> Iterator[Finding]:
    """Looks through the text of a notebook or sidecar, or the record inside a clip."""
    if path.suffix in {".ipynb", ".json"}:
        try:
            text = path.read_text("utf-8", errors="replace")
        except OSError:
            return
    else:
        try:
            text = json.dumps([item.record for item in find_records(path)])
        except BadRecord:
            return
    for label, seen in find_leaks(text):
        yield Finding("problem", "secret", path.name, f"{label}: {seen}")


def find_leaks(text: str) -> list[tuple[str, str]]:
    """Returns what a shared text should not hold, each as (what it is, a safe excerpt)."""
    leaks = []
    if redact(text) != text and MASK not in text:
        leaks.append(("a key, secret or task token of this machine", MASK))
    leaks += [("the name of a secret field", match.group()) for match in _SECRET_FIELDS.finditer(text)]
    leaks += [("an address with a login", MASK) for _ in _LOGIN_URL.finditer(text)]
    leaks += [("a path of this machine", match.group(1)) for match in _ABSOLUTE.finditer(text)]
    return list(dict.fromkeys(leaks))


class _FileIndex:
    """Hashes of the clips below some folders, taken once and only when asked for.

    A clip that carries its record has other bytes than those the service sent; its media data,
    which the tag leaves alone, vouches for it.
    """

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._hashes: dict[Path, frozenset[str]] = {}
        self._clips: list[Path] | None = None

    def matches(self, path: Path, output: Mapping[str, Any]) -> bool:
        """True when the file is the recorded output, with or without a tag."""
        return bool(self._hashes_of(path) & {output["sha256"], output.get("media_sha256") or output["sha256"]})

    def find(self, output: Mapping[str, Any]) -> Path | None:
        """Returns a clip with the recorded content, or None."""
        if self._clips is None:
            found = {path for folder in self._folders for path in folder.rglob("*") if path.is_file()}
            self._clips = sorted(path for path in found if path.suffix.lower() in _CLIP_SUFFIXES)
        return next((path for path in self._clips if self.matches(path, output)), None)

    def _hashes_of(self, path: Path) -> frozenset[str]:
        if path not in self._hashes:
            media = hash_media(path)
            self._hashes[path] = frozenset({hash_file(path)} | ({media} if media else set()))
        return self._hashes[path]
