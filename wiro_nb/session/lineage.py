"""Lineage of runs: finds the run that made an input file by its hash, and formats a run's history.

A ledger row knows its notebook by path. A copied or renamed notebook has another path, but its file still names
the runs whose records it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wiro_nb.errors import BadRecord, DownloadFailed, LedgerError
from wiro_nb.execution.run import Run
from wiro_nb.ids import short_id
from wiro_nb.json_values import as_mapping
from wiro_nb.ledger.ledger import Ledger
from wiro_nb.ledger.state import LedgerRow
from wiro_nb.media import decode
from wiro_nb.provenance.find import records_in_notebook
from wiro_nb.provenance.record import read_json
from wiro_nb.schema.values import Prepared

MAX_ANCESTORS = 10
MAX_NESTED = 50
"""Ancestors that a record names."""
MAX_TREE = 200
"""Runs that a tree shows."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A run in the line or the tree of a run.

    Attributes:
        run_id: Its id. row: None where this ledger does not know it.
        link: How the later run uses it (in a line), or how it uses the run above it (in a tree): "from the last
            frame of", "made again from"; "" at the root.
        children: In a tree the runs that were made from it, oldest first.
    """

    run_id: str
    row: LedgerRow | None
    link: str
    children: tuple[Branch, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the tree as plain JSON data."""
        model = self.row.model if self.row is not None else None
        children = [child.to_dict() for child in self.children]
        return {"run_id": self.run_id, "model": model, "link": self.link, "children": children}


def find_parent(
    ledger: Ledger, prepared: Prepared, given: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Returns the run that a request continues: `run_id`, `output`, and `frame` where it starts from one.

    Its own parent is inside, and so on, so that each record holds the whole line.

    Args:
        ledger: Knows the contents that runs have made.
        prepared: The request; its first input file that a run made decides.
        given: What the caller knows already; used unless the content says more of the same run.
    """
    hashes = [item.sha256 for inputs in prepared.files.values() for item in inputs if item.sha256]
    found = next((made for sha256 in hashes if (made := ledger.find_maker(sha256)) is not None), None)
    if found is not None and (given is None or _is_vague(given, found.run_id)):
        frame = {} if found.frame is None else {"frame": found.frame}
        given = {"run_id": found.run_id, "output": found.output, **frame}
    if not given:
        return None
    earlier = ledger.lookup(str(given["run_id"]))
    return {**given, **_nest(earlier.parent if earlier is not None else None)}


def _is_vague(given: Mapping[str, Any], run_id: str) -> bool:
    """True when the lookup by content knows more about the same run; a rerun has no output that it continues."""
    return given.get("run_id") == run_id and given.get("output") is not None and "frame" not in given


def _nest(parent: Any, limit: int = MAX_NESTED) -> dict[str, Any]:
    """Returns a parent as a field of its run, with its own parent inside, and so on, at most `limit` of them."""
    if not isinstance(parent, Mapping) or not parent or not limit:
        return {}
    step = {name: value for name, value in parent.items() if name != "parent"}
    return {"parent": step | _nest(parent.get("parent"), limit - 1)}


def take_frame(ledger: Ledger, run: Run, index: int, folders: Sequence[Path]) -> bytes:
    """Returns one picture of a run's clip as PNG; the ledger remembers where it is from.

    Args:
        ledger: Knows the pictures by content.
        run: The run.
        index: Of the frame; negative counts from the end.
        folders: Where pictures are kept under their SHA-256.

    Raises:
        DownloadFailed: The run has no file here.
        MissingExtra: PyAV is not installed.
    """
    files = enumerate(map(run.snapshot.find_file, run.outputs))
    output, path = next(((place, path) for place, path in files if path is not None), (0, None))
    if path is None:
        raise DownloadFailed(
            f"run {run.short_id} has no file here", hint=f"%wiro download {run.short_id}", run_id=run.id
        )
    count = run.outputs[output].frames or 0
    wanted = {index, *([index - count if index >= 0 else index + count] if count else [])}
    known = ledger.frame_hashes(run.id, output, wanted)
    data = _read_picture(known, folders) or decode.frame(path, index)
    with contextlib.suppress(LedgerError):  # a ledger in trouble loses only the note
        ledger.note_frame(hashlib.sha256(data).hexdigest(), run.id, output, index)
    return data


def _read_picture(hashes: Iterable[str], folders: Sequence[Path]) -> bytes | None:
    """Returns a picture that was taken before, or None.

    Encoded anew by another version of a library it could have other bytes, and a run made from it would be
    another request, to be paid again.
    """
    for sha256, folder in itertools.product(hashes, folders):
        with contextlib.suppress(OSError):
            data = (folder / f"{sha256}.png").read_bytes()
            if hashlib.sha256(data).hexdigest() == sha256:
                return data
    return None


def ancestors(ledger: Ledger, row: LedgerRow, limit: int = MAX_ANCESTORS) -> tuple[Branch, ...]:
    """Returns the runs a run goes back to, nearest first, at most `limit`; never round in a circle."""
    found: list[Branch] = []
    seen, parent = {row.run_id}, row.parent
    while parent and len(found) < limit and parent["run_id"] not in seen:
        seen.add(str(parent["run_id"]))
        earlier = ledger.lookup(str(parent["run_id"]))
        found.append(Branch(str(parent["run_id"]), earlier, _describe_link(parent)))
        parent = earlier.parent if earlier is not None else None
    return tuple(found)


def tree(ledger: Ledger, row: LedgerRow) -> Branch:
    """Returns all runs that share a run's oldest known ancestor, as a tree; at most `MAX_TREE` of them."""
    seen: set[str] = set()

    def grow(run_id: str, found: LedgerRow | None, link: str) -> Branch:
        seen.add(run_id)
        later = ledger.list(parent=run_id, limit=None)[::-1] if len(seen) < MAX_TREE else ()
        children = tuple(
            grow(item.run_id, item, _describe_link(item.parent or {}))
            for item in later
            if item.run_id not in seen and len(seen) < MAX_TREE
        )
        return Branch(run_id, found, link, children)

    root = (Branch(row.run_id, row, ""), *ancestors(ledger, row, MAX_TREE))[-1]
    return grow(root.run_id, root.row, "")


def chain_text(ledger: Ledger, row: LedgerRow) -> str:
    """Returns a run's history on one line, or "" when it has none.

    For example: "9x2kd from the last frame of 8k2qf (pruna/vace), made again from 7abcd (wiro/animate-diff)".
    """
    steps = ancestors(ledger, row)
    if not steps:
        return ""
    history = ", ".join(
        f"{step.link} {short_id(step.run_id)} ({step.row.model if step.row else 'not in this ledger'})"
        for step in steps
    )
    last = steps[-1].row
    more = ", and further back" if len(steps) == MAX_ANCESTORS and last is not None and last.parent else ""
    return f"{row.short_id} {history}{more}"


def _describe_link(parent: Mapping[str, Any]) -> str:
    if parent.get("output") is None:
        return "made again from"
    frame = parent.get("frame")
    if isinstance(frame, int):
        return "from the last frame of" if frame == -1 else f"from frame {frame} of"
    return f"from output {parent['output']} of"


def list_notebook_runs(notebook: str | None, model: str) -> tuple[str, ...]:
    """Returns the ids of a model's runs that a notebook's file names; none where there is no such file."""
    if notebook is None:
        return ()
    try:
        facts = Path(notebook).stat()
    except (OSError, ValueError):
        return ()
    named = _read(notebook, facts.st_mtime_ns, facts.st_size)
    return tuple(run_id for run_id, slug in named if slug == model.lower())


@lru_cache(maxsize=4)
def _read(notebook: str, _mtime_ns: int, _size_bytes: int) -> tuple[tuple[str, str], ...]:
    """Returns run id and model of every record in a file."""
    try:
        records = records_in_notebook(read_json(Path(notebook)))
    except BadRecord:
        return ()
    slugs = {run_id: str(as_mapping(record.get("model")).get("slug")) for run_id, record in records.items()}
    return tuple((run_id, slug.lower()) for run_id, slug in slugs.items())
