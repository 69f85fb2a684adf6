"""The models that can run on this machine, and the repositories on the Hugging Face Hub that hold their weights.

Data and files only; torch and diffusers belong to the service that generates. `weights` finds and downloads the
files, `doctor` says what this machine can run.

`models.toml` lists the five bundled models. `local.toml` in the data folder adds other pipelines of diffusers, or
gives a bundled model another repository:

    [models."me/ltx"]                      # owner/name, as %%wiro takes it
    repository = "Lightricks/LTX-Video"
    pipeline = "LTXPipeline"               # a class of diffusers
    memory_gb = 16                         # optional: the least GPU memory it needs
    revision = "main"                      # optional: a commit or a tag
    licence = "see the repository's page"  # optional: shown before the download

    [models."me/ltx".parameters]           # input = argument of the pipeline, or a table with a default
    prompt = "prompt"
    numFrames = { argument = "num_frames", default = 97 }

    [models."pruna/vace"]
    repository = "Wan-AI/Wan2.1-VACE-1.3B-diffusers"

    [models."wiro/wan2.2-effects-extra".distilled]   # a LoRA for few steps, loaded in every run of the model
    repository = "lightx2v/Wan2.2-Lightning"
    files = ["FOLDER/high_noise_model.safetensors", "FOLDER/low_noise_model.safetensors"]  # a transformer each
    steps = 4                              # in place of those that a run asks for
    guidance = 1.0                         # optional, 1.0 unless given
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from wiro_nb.config import data_dir
from wiro_nb.errors import ConfigError
from wiro_nb.schema import find_bundled
from wiro_nb.schema.types import is_slug

GB = 1_000_000_000
LOCAL_TOML = "local.toml"
_MOST_TRANSFORMERS = 2
_KEYS = {"repository", "revision", "licence", "memory_gb", "pipeline", "parameters", "distilled"}
_WEIGHT_FILES = ("diffusion_pytorch_model", "model")

NOT_STATED = "not stated on its page"


def pipeline_files(*folders: str) -> tuple[str, ...]:
    """Returns the patterns of a pipeline's parts: configuration, tokenizers and safetensors weights.

    Single-file copies, half-precision copies and pickled weights are left out.
    """
    endings = ["*.json", "*.txt", "*.model"]
    endings += [f"{name}{part}.safetensors" for name in _WEIGHT_FILES for part in ("", "-*-of-*")]
    return ("model_index.json", *(f"{folder}/{ending}" for folder in folders for ending in endings))


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of weights on the Hugging Face Hub.

    Attributes:
        id: "owner/name" on the Hub.
        revision: A commit, tag or branch. The commit that was pulled is used from then on.
        licence: As its page says, with conditions.
        patterns: Of the files needed, as `fnmatch` reads them.
        bytes_estimate: Size of these files, 0 where it is not known before the Hub is asked.
        settings: The (input, value) pairs, any of which needs this repository; empty for always.
    """

    id: str
    revision: str = "main"
    licence: str = "apache-2.0"
    patterns: tuple[str, ...] = pipeline_files("*")
    bytes_estimate: int = 0
    settings: tuple[tuple[str, str], ...] = ()

    def is_needed(self, parameters: Mapping[str, Any]) -> bool:
        """Says whether a run with these settings needs this repository."""
        return not self.settings or any(str(parameters.get(name)) == value for name, value in self.settings)


@dataclass(frozen=True, slots=True)
class MappedParameter:
    """An input of a model of `local.toml`: its name, the pipeline's argument, and its default or None."""

    name: str
    argument: str
    default: str | int | float | bool | None = None


@dataclass(frozen=True, slots=True)
class Distilled:
    """A LoRA that lets a model do with few steps: its repository with files by transformer, steps and guidance."""

    repository: Repository
    steps: int
    guidance: float


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that can run on this machine.

    Attributes:
        name: "owner/name", as the service spells it.
        repositories: Its weights; the first one holds the pipeline.
        adapter: Name of the adapter that loads and calls it; "generic" for the models of `local.toml`.
        min_memory_gb: The least GPU memory to try it with, in units of 1e9 bytes.
        pipeline: Class of diffusers, for "generic".
        parameters: Its inputs, for "generic".
        distilled: What `local.toml` adds for few steps; its repository is the last one.
    """

    name: str
    repositories: tuple[Repository, ...]
    adapter: str
    min_memory_gb: float
    pipeline: str = ""
    parameters: tuple[MappedParameter, ...] = ()
    distilled: Distilled | None = None

    def repositories_for(self, parameters: Mapping[str, Any] | None = None) -> tuple[Repository, ...]:
        """Returns the repositories that a run with these settings needs; None stands for the model's defaults."""
        if parameters is None:
            schema = find_bundled(self.name)
            parameters = {item.id: item.default for item in schema.parameters} if schema is not None else {}
        return tuple(repository for repository in self.repositories if repository.is_needed(parameters))


@cache
def _bundled_models() -> tuple[LocalModel, ...]:
    content = tomllib.loads(Path(__file__).with_name("models.toml").read_text("utf-8"))
    return tuple(
        LocalModel(**{**entry, "repositories": tuple(map(_bundled_repository, entry["repositories"]))})
        for entry in content["models"]
    )


def _bundled_repository(entry: Mapping[str, Any]) -> Repository:
    patterns = entry.get("files") or pipeline_files(*entry.get("parts", "*"))
    size = round(entry.get("gb", 0) * GB)
    licence, setting = entry.get("licence", "apache-2.0"), entry.get("setting", {})
    return Repository(entry["id"], "main", licence, tuple(patterns), size, tuple(setting.items()))


def models() -> tuple[LocalModel, ...]:
    """Returns the bundled models and those of `local.toml`.

    Raises:
        ConfigError: `local.toml` cannot be read, or an entry of it is wrong.
    """
    found = {model.name.lower(): model for model in _bundled_models()}
    for name, entry in _read_local_toml(data_dir() / LOCAL_TOML).items():
        found[_key(name)] = _read_model(name, entry, found.get(_key(name)))
    return tuple(found.values())


def find(model_name: str) -> LocalModel | None:
    """Returns the model of a slug or run path in any case, or None.

    Raises:
        ConfigError: As `models`.
    """
    return next((model for model in models() if model.name.lower() == _key(model_name)), None)


def _key(name: str) -> str:
    bundled = find_bundled(name)
    return (bundled.slug if bundled is not None else name.strip()).lower()


# local.toml ----------------------------------------------------------------------------------


def _read_local_toml(path: Path) -> Mapping[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _wrong(f"it cannot be read: {error}") from None
    entries = content.get("models", {})
    if not isinstance(entries, dict) or set(content) - {"models"}:
        raise _wrong('it holds tables named [models."OWNER/NAME"] only')
    return entries


def _read_model(name: str, entry: Any, bundled: LocalModel | None) -> LocalModel:
    """Reads one entry: a bundled model with another repository or a LoRA, or a pipeline of its own."""
    if not isinstance(entry, dict) or not is_slug(name):
        raise _wrong(f'{name}: a model is a table named [models."OWNER/NAME"]')
    if unknown := sorted(entry.keys() - _KEYS):
        raise _wrong(f"{name}: nothing is called {unknown[0]}; there are {', '.join(sorted(_KEYS))}")
    memory_gb, pipeline = entry.get("memory_gb", 0), _text(name, entry, "pipeline")
    if isinstance(memory_gb, bool) or not isinstance(memory_gb, (int, float)) or memory_gb < 0:
        raise _wrong(f"{name}: memory_gb is a number of gigabytes")
    if bundled is not None and "distilled" in entry and "repository" not in entry:
        model = bundled
    elif bundled is not None and not pipeline:
        repository = _read_repository(name, entry, bundled.repositories[0])
        repositories = (repository, *bundled.repositories[1:])
        model = replace(bundled, repositories=repositories, min_memory_gb=float(memory_gb))
    else:
        repository = _read_repository(name, entry, bundled.repositories[0] if bundled else Repository(""))
        if not pipeline.isidentifier():
            raise _wrong(f'{name}: pipeline = "CLASS" names a class of diffusers')
        parameters = tuple(_read_parameters(name, entry.get("parameters", {})))
        model = LocalModel(name, (repository,), "generic", float(memory_gb), pipeline, parameters)
    if "distilled" not in entry:
        return model
    distilled = _read_distilled(name, entry["distilled"])
    return replace(model, repositories=(*model.repositories, distilled.repository), distilled=distilled)


def _read_repository(name: str, entry: Mapping[str, Any], like: Repository) -> Repository:
    repository_id = _text(name, entry, "repository")
    if not is_slug(repository_id):
        raise _wrong(f'{name}: repository = "OWNER/NAME" names its weights on the Hugging Face Hub')
    revision, licence = _text(name, entry, "revision") or "main", _text(name, entry, "licence") or NOT_STATED
    return replace(like, id=repository_id, revision=revision, licence=licence, bytes_estimate=0)


def _read_distilled(name: str, table: Any) -> Distilled:
    files = table.get("files") if isinstance(table, dict) else None
    are_files = isinstance(files, list) and all(str(file).endswith(".safetensors") for file in files)
    if not are_files or not 1 <= len(files or ()) <= _MOST_TRANSFORMERS:
        raise _wrong(f'{name}: distilled has a repository and one or two files = ["NAME.safetensors"]')
    steps, guidance = table.get("steps"), table.get("guidance", 1.0)
    if type(steps) is not int or steps < 1 or type(guidance) not in (int, float):
        raise _wrong(f"{name}: distilled has steps = 4, a whole number, and guidance = 1.0")
    repository = _read_repository(name, table, Repository("", patterns=tuple(files or ())))
    return Distilled(repository, steps, float(guidance))


def _read_parameters(name: str, given: Any) -> Iterable[MappedParameter]:
    for key, value in (given if isinstance(given, dict) else {"": None}).items():
        table = value if isinstance(value, dict) else {"argument": value}
        argument, default = table.get("argument"), table.get("default")
        is_plain = default is None or isinstance(default, (str, int, float, bool))
        if not key or not isinstance(argument, str) or not argument.isidentifier() or not is_plain:
            raise _wrong(f'{name}: parameters holds lines such as numFrames = "num_frames"')
        yield MappedParameter(key, argument, default)


def _text(name: str, entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise _wrong(f"{name}: {key} is a text")
    return value.strip()


def _wrong(problem: str) -> ConfigError:
    return ConfigError(f"{LOCAL_TOML} is wrong: {problem}", hint=f"edit {LOCAL_TOML} in the data folder")
