"""The weights on this machine: finds them without a network, and downloads them through huggingface_hub.

They are looked for in two places:

    WIRO_LOCAL_WEIGHTS, where it is set    a plain copy OWNER/NAME/, or a cache of the Hugging Face layout
    the cache of the Hugging Face Hub      HF_HUB_CACHE, HF_HOME/hub, or ~/.cache/huggingface/hub

In a cache a pull writes `wiro_nb.json` into the repository's folder: the commit, and the files with their sizes.
From then on this commit is used, whatever else is pulled into the same cache. Only configuration, tokenizers and
safetensors files are fetched: no pickled weights and no code. Whole files survive an interrupted pull; the next
one fetches the rest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from wiro_nb.config import local_dir
from wiro_nb.errors import ConfigError, ConnectFailed, DownloadFailed, MissingExtra, NotAccessible, WiroError
from wiro_nb.files import write_atomically
from wiro_nb.local_models import GB, LocalModel, Repository

WEIGHTS_VARIABLE = "WIRO_LOCAL_WEIGHTS"
MANIFEST_NAME = "wiro_nb.json"
LICENCES_NAME = "licences.json"
SAFE_ENDINGS = (".json", ".txt", ".model", ".safetensors")
_SHA1_LENGTH = 40
_SPARE_BYTES = GB


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a pull stored of one repository: the revision asked for, its commit, and sizes in bytes by file."""

    revision: str
    commit: str
    files: Mapping[str, int]

    def missing(self, snapshot: Path) -> dict[str, int]:
        """Returns the files that are gone from a folder, or have another size than when they were pulled."""
        paths = {name: snapshot / name for name in self.files}
        sizes = {name: path.stat().st_size for name, path in paths.items() if path.is_file()}
        return {name: size for name, size in self.files.items() if sizes.get(name) != size}


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
            whole = not manifest.missing(snapshot)
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
    """Reads the manifest in a repository's folder; None if it is missing or unreadable."""
    try:
        content = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        files = {str(name): int(size) for name, size in content["files"].items()}
        return Manifest(str(content["revision"]), str(content["commit"]), files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest; the last step of a pull."""
    write_atomically(folder / MANIFEST_NAME, json.dumps(asdict(manifest), indent=1, sort_keys=True).encode())


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
    """Returns whether the weights exist, with every file that a shard index names."""
    for index in snapshot.rglob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        if not all((index.parent / str(shard)).is_file() for shard in shards):
            return False
    return any(path.is_file() for path in snapshot.rglob("*.safetensors"))


# Downloads -----------------------------------------------------------------------------------


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
        return self.manifest.missing(self.snapshot)

    @property
    def stored_bytes(self) -> int:
        """Bytes on disk so far, partial files included."""
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
    if not _is_commit(commit) or not any(name.endswith(".safetensors") for name in files):
        raise NotAccessible(
            f"{repository.id} has no safetensors weights in the layout of diffusers",
            hint=f"see https://huggingface.co/{repository.id}", code=None, status=None,
        )  # fmt: skip
    manifest = Manifest(repository.revision, commit, files)
    licence = str(getattr(info.card_data, "license", "") or "")
    return Download(repository, folder / "snapshots" / commit, manifest, licence)


def check_space(downloads: Sequence[Download], root: Path) -> None:
    """Checks that the disk has space for what is missing, and 1 GB more.

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
    if cut := download.missing:
        raise DownloadFailed(
            f"{next(iter(cut))} of {repository.id} is not whole",
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
    entries = content.items() if isinstance(content, dict) else ()
    return {name: item for name, item in entries if isinstance(item, dict)}


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
    """Converts errors of huggingface_hub and its HTTP library to one sentence."""
    try:
        yield
    except Exception as error:
        raise _explain(repository, error) from None


def _explain(repository: Repository, error: Exception) -> WiroError:
    from huggingface_hub import errors

    name, page = repository.id, f"https://huggingface.co/{repository.id}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    refusals = (  # a class before its base
        (
            errors.GatedRepoError,
            f"{name} is gated: its owner asks for your agreement first",
            f"agree at {page}, then hf auth login, then run the same command again",
        ),
        (errors.RevisionNotFoundError, f"{name} has no revision {repository.revision}", f"see {page}"),
        (errors.RepositoryNotFoundError, f"the Hub shows no repository {name}, or not to you", f"see {page}"),
        (errors.HfHubHTTPError, f"the Hub answers HTTP {status} for {name}", "run the same command later"),
    )
    for kind, message, hint in refusals:
        if isinstance(error, kind):
            return NotAccessible(message, hint=hint, code=None, status=status)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ConnectFailed("HF_HUB_OFFLINE is set, so nothing is downloaded", hint="unset HF_HUB_OFFLINE")
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
