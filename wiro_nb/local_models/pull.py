"""Downloads weights from the Hugging Face Hub, through huggingface_hub. Nothing else here uses the network.

Only configuration, tokenizers and safetensors files are fetched: no pickled weights and no code. Whole files
survive an interrupted pull; the next one fetches the rest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from wiro_nb.config import local_dir
from wiro_nb.errors import ConfigError, ConnectFailed, DownloadFailed, MissingExtra, NotAccessible, WiroError
from wiro_nb.files import write_atomically
from wiro_nb.local_models.catalog import GB, Repository
from wiro_nb.local_models.weights import (
    Manifest,
    cut_files,
    read_manifest,
    repository_dir,
    write_manifest,
)

LICENCES_NAME = "licences.json"
SAFE_ENDINGS = (".json", ".txt", ".model", ".safetensors")
_SPARE_BYTES = GB
_COMMIT_LENGTH = 40


@dataclass(frozen=True, slots=True)
class Download:
    """What a pull fetches of one repository.

    Attributes:
        repository: The repository.
        snapshot: Folder of the files, in the cache.
        manifest: The commit, and every file needed with its size in bytes.
        page_licence: The licence as the repository's page states it now, or "".
    """

    repository: Repository
    snapshot: Path
    manifest: Manifest
    page_licence: str

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(self.manifest.files.values())

    @property
    def missing(self) -> Mapping[str, int]:
        """The files that are not here whole, with their sizes."""
        return {name: self.manifest.files[name] for name in cut_files(self.snapshot, self.manifest)}

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk so far, those of the file under way included."""
        stored = self.total_bytes - sum(self.missing.values())
        for part in (self.snapshot.parents[1] / "blobs").glob("*.incomplete"):
            try:
                stored += part.stat().st_size
            except OSError:  # it was moved to its place meanwhile
                continue
        return min(stored, self.total_bytes)


def plan_download(repository: Repository, root: Path) -> Download:
    """Asks the Hub for the files of a repository and their sizes. A commit that was pulled before is kept.

    Args:
        repository: The repository.
        root: Folder of the cache.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        NotAccessible: There is no such repository or revision, it is gated, or no file of it can be used.
        ConnectFailed: The Hub cannot be reached.
    """
    folder = repository_dir(root, repository.id)
    earlier = read_manifest(folder)
    is_same = earlier is not None and repository.revision in (earlier.revision, earlier.commit)
    asked = earlier.commit if earlier is not None and is_same else repository.revision
    hub = _require_hub()
    with _explained(repository):
        info = hub.HfApi().model_info(repository.id, revision=asked, files_metadata=True)
    sizes = {str(item.rfilename): item.size for item in info.siblings or ()}
    files = {
        name: size
        for name, size in sizes.items()
        if isinstance(size, int)
        and name.endswith(SAFE_ENDINGS)
        and any(fnmatchcase(name, pattern) for pattern in repository.patterns)
    }
    commit = str(info.sha or "")
    if len(commit) != _COMMIT_LENGTH or not any(name.endswith(".safetensors") for name in files):
        raise NotAccessible(
            f"{repository.id} has no safetensors weights in the layout of diffusers",
            hint=f"see https://huggingface.co/{repository.id}", code=None, status=None,
        )  # fmt: skip
    manifest = Manifest(repository.revision, commit, files)
    licence = str(getattr(info.card_data, "license", "") or "")
    return Download(repository, folder / "snapshots" / commit, manifest, licence)


def check_space(downloads: Sequence[Download], root: Path) -> None:
    """Checks that the disk has room for what is missing, and 1 GB more.

    Raises:
        ConfigError: It has not.
    """
    needed = sum(sum(item.missing.values()) for item in downloads)
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed and free < needed + _SPARE_BYTES:
        raise ConfigError(
            f"{(needed + _SPARE_BYTES) / GB:.1f} GB are needed, {free / GB:.1f} GB are free on the disk of {root}",
            hint="free some space, or set WIRO_LOCAL_WEIGHTS to a folder on another disk",
        )


def fetch(download: Download, root: Path) -> None:
    """Fetches the files that are missing, then records the commit.

    Raises:
        ConnectFailed: The Hub cannot be reached.
        NotAccessible: The repository is gated.
        DownloadFailed: A file is cut.
        ConfigError: The disk is full or cannot be written.
    """
    hub, manifest, repository = _require_hub(), download.manifest, download.repository
    hub.utils.disable_progress_bars()  # they cannot be counted over files, and need a raw terminal
    hub.utils.logging.set_verbosity_error()
    with _explained(repository):
        for name in download.missing:
            hub.hf_hub_download(
                repository.id,
                name,
                revision=manifest.commit,
                cache_dir=root,
                force_download=(download.snapshot / name).exists(),  # it is cut
            )
    if cut := cut_files(download.snapshot, manifest):
        raise DownloadFailed(
            f"{cut[0]} of {repository.id} is not whole",
            hint="run the same command again", url="", reason="size", run_id=None,
        )  # fmt: skip
    try:
        write_manifest(repository_dir(root, repository.id), manifest)
    except OSError as error:
        raise ConfigError(f"{root} cannot be written: {error.strerror}", hint="set WIRO_LOCAL_WEIGHTS") from None


def open_licences(downloads: Iterable[Download]) -> list[Download]:
    """Returns the downloads whose licence was not accepted on this machine, or reads otherwise now."""
    accepted = _read_accepted()
    return [item for item in downloads if accepted.get(item.repository.id, {}).get("licence") != _licence(item)]


def accept_licences(downloads: Iterable[Download]) -> None:
    """Stores that the licences were accepted now."""
    date = datetime.now(UTC).date().isoformat()
    added = {item.repository.id: {"licence": _licence(item), "date": date} for item in downloads}
    content = json.dumps(_read_accepted() | added, indent=1, sort_keys=True)
    write_atomically(local_dir() / LICENCES_NAME, content.encode())


def _licence(download: Download) -> str:
    return f"{download.repository.licence}; {download.page_licence}"


def _read_accepted() -> dict[str, Any]:
    try:
        content = json.loads((local_dir() / LICENCES_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return (
        {name: item for name, item in content.items() if isinstance(item, dict)}
        if isinstance(content, dict)
        else {}
    )


def _require_hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra(
            "Downloading weights needs huggingface_hub, which is not installed.",
            hint='python -m pip install huggingface_hub, or "wiro_nb[local]" to generate in this environment too',
            extra="local",
            package="huggingface_hub",
        ) from error
    return huggingface_hub


@contextmanager
def _explained(repository: Repository) -> Iterator[None]:
    """Turns whatever huggingface_hub and its HTTP library raise into one sentence."""
    try:
        yield
    except Exception as error:
        raise _explain(repository, error) from None


def _explain(repository: Repository, error: Exception) -> WiroError:
    from huggingface_hub import errors

    name, page = repository.id, f"https://huggingface.co/{repository.id}"
    answer: dict[str, Any] = {
        "code": None,
        "status": getattr(getattr(error, "response", None), "status_code", None),
    }
    if isinstance(error, errors.GatedRepoError):
        return NotAccessible(
            f"{name} is gated: its owner asks for your agreement first",
            hint=f"agree at {page}, then hf auth login, then run the same command again", **answer,
        )  # fmt: skip
    if isinstance(error, errors.RevisionNotFoundError):
        return NotAccessible(f"{name} has no revision {repository.revision}", hint=f"see {page}", **answer)
    if isinstance(error, errors.RepositoryNotFoundError):
        return NotAccessible(f"the Hub shows no repository {name}, or not to you", hint=f"see {page}", **answer)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ConnectFailed("HF_HUB_OFFLINE is set, so nothing is downloaded", hint="unset HF_HUB_OFFLINE")
    if isinstance(error, errors.HfHubHTTPError):
        return NotAccessible(
            f"the Hub answers HTTP {answer['status']} for {name}", hint="run the same command later", **answer
        )
    if isinstance(error, OSError) and not isinstance(error, ConnectionError) and error.errno is not None:
        return ConfigError(
            f"the weights cannot be written: {error.strerror}",
            hint="free some space, or set WIRO_LOCAL_WEIGHTS to another folder",
        )
    return ConnectFailed(
        f"the Hub cannot be reached for {name} ({type(error).__name__})",
        hint="check the network, then run the same command again: whole files are kept",
        billed="",
    )
