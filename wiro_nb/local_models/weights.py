"""Finds the weights on this machine, without a network.

They are looked for in two places:

    WIRO_LOCAL_WEIGHTS, where it is set    a plain copy OWNER/NAME/, or a cache of the Hugging Face layout
    the cache of the Hugging Face Hub      HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub

In a cache a pull writes `wiro_nb.json` into the repository's folder: the commit, and the files with their sizes.
From then on this commit is used, whatever else is pulled into the same cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiro_nb.files import write_atomically
from wiro_nb.local_models.catalog import LocalModel, Repository

WEIGHTS_VARIABLE = "WIRO_LOCAL_WEIGHTS"
MANIFEST_NAME = "wiro_nb.json"
_SHA1_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a pull stored of one repository: the revision asked for, its commit, and sizes in bytes by file."""

    revision: str
    commit: str
    files: Mapping[str, int]


def weights_dirs() -> tuple[Path, ...]:
    """Returns the folders that weights are looked for in; a pull stores them in the first."""
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if not hub:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        hub = os.path.join(os.environ.get("HF_HOME") or os.path.join(cache, "huggingface"), "hub")  # noqa: PTH118
    chosen = os.environ.get(WEIGHTS_VARIABLE, "").strip()
    return tuple(Path(os.path.expanduser(folder)) for folder in (chosen, hub) if folder)  # noqa: PTH111


def locate(repository: Repository) -> Path | None:
    """Returns the folder with a repository's files, or None when they are not here or not whole."""
    for root in weights_dirs():
        plain = root / repository.id
        if plain.is_dir():
            return plain
        folder = repository_dir(root, repository.id)
        manifest = read_manifest(folder)
        if manifest is not None and repository.revision in (manifest.revision, manifest.commit):
            snapshot = folder / "snapshots" / manifest.commit
            whole = not cut_files(snapshot, manifest)
        else:
            snapshot = folder / "snapshots" / (_commit_of(folder, repository.revision) or "none")
            whole = _has_all_shards(snapshot)
        if whole:
            return snapshot
    return None


def missing(model: LocalModel, parameters: Mapping[str, Any] | None = None) -> tuple[Repository, ...]:
    """Returns the repositories that are not here.

    Args:
        model: The model.
        parameters: The settings of a run; None takes the model's defaults, {} what every run needs.
    """
    return tuple(item for item in model.repositories_for(parameters) if locate(item) is None)


def pull_command(model: LocalModel, repository: Repository | None = None) -> str:
    """Returns what to type to download a model's weights, with the setting that needs the repository."""
    settings = repository.settings[:1] if repository is not None else ()
    return " ".join([f"wiro-nb local pull {model.name}", *(f"{name}={value}" for name, value in settings)])


def commit_of(folder: Path) -> str | None:
    """Returns the commit whose files a folder of `locate` holds; None for a plain copy."""
    return folder.name if _is_commit(folder.name) and folder.parent.name == "snapshots" else None


def repository_dir(root: Path, repository_id: str) -> Path:
    """Returns the folder of a repository in a cache of the Hugging Face layout."""
    return root / f"models--{repository_id.replace('/', '--')}"


def read_manifest(folder: Path) -> Manifest | None:
    """Reads what a pull wrote into a repository's folder; None where there is nothing readable."""
    try:
        content = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        files = {str(name): int(size) for name, size in content["files"].items()}
        return Manifest(str(content["revision"]), str(content["commit"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest; the last step of a pull."""
    content = {"revision": manifest.revision, "commit": manifest.commit, "files": dict(manifest.files)}
    write_atomically(folder / MANIFEST_NAME, json.dumps(content, indent=1, sort_keys=True).encode())


def cut_files(snapshot: Path, manifest: Manifest) -> list[str]:
    """Returns the files that are gone or have another size than when they were pulled."""

    def size_of(name: str) -> int:
        try:
            return (snapshot / name).stat().st_size
        except OSError:
            return -1

    return [name for name, size in manifest.files.items() if size_of(name) != size]


def _commit_of(folder: Path, revision: str) -> str | None:
    """Returns the commit that a revision meant when another program fetched it."""
    if _is_commit(revision):
        return revision
    try:
        text = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return text if _is_commit(text) else None


def _is_commit(text: str) -> bool:
    return len(text) == _SHA1_LENGTH and set(text) <= set("0123456789abcdef")


def _has_all_shards(snapshot: Path) -> bool:
    """Says whether weights are there, and every part that an index of shards names."""
    for index in snapshot.rglob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        if not all((index.parent / str(shard)).is_file() for shard in shards):
            return False
    return any(path.is_file() for path in snapshot.rglob("*.safetensors"))
