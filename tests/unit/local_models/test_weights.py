"""Weights are found without a network, and only when they are whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wiro_nb.local_models import LocalModel, Repository
from wiro_nb.local_models.weights import (
    Manifest,
    commit_of,
    locate,
    missing,
    repository_dir,
    write_manifest,
)

COMMIT, OTHER = "a" * 40, "b" * 40
REPOSITORY = Repository("me/tiny")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("WIRO_LOCAL_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def add_snapshot(cache: Path, commit: str = COMMIT, size: int = 4) -> Path:
    snapshot = repository_dir(cache, REPOSITORY.id) / "snapshots" / commit
    (snapshot / "unet").mkdir(parents=True)
    (snapshot / "unet/model.safetensors").write_bytes(b"x" * size)
    return snapshot


def add_manifest(cache: Path, revision: str = "main", size: int = 4) -> None:
    files = {"unet/model.safetensors": size}
    write_manifest(repository_dir(cache, REPOSITORY.id), Manifest(revision, COMMIT, files))


def test_the_pulled_commit_is_used_whatever_the_branch_means_now(cache: Path) -> None:
    snapshot = add_snapshot(cache)
    add_snapshot(cache, OTHER)
    refs = repository_dir(cache, REPOSITORY.id) / "refs"
    refs.mkdir()
    (refs / "main").write_text(OTHER)
    assert commit_of(locate(REPOSITORY) or cache) == OTHER
    add_manifest(cache)
    assert locate(REPOSITORY) == snapshot
    assert commit_of(snapshot) == COMMIT


def test_cut_files_another_revision_and_missing_shards_are_not_weights(cache: Path) -> None:
    model = LocalModel("me/tiny", (REPOSITORY,), "generic", 1)
    assert missing(model) == (REPOSITORY,)
    snapshot = add_snapshot(cache)
    add_manifest(cache, size=5)
    assert missing(model) == (REPOSITORY,)
    add_manifest(cache)
    assert missing(model) == ()
    assert locate(Repository("me/tiny", revision=OTHER)) is None
    # Fetched by another program, which writes no manifest.
    (repository_dir(cache, REPOSITORY.id) / "wiro_nb.json").unlink()
    by_commit = Repository("me/tiny", revision=COMMIT)
    assert locate(by_commit) == snapshot
    index = snapshot / "unet/model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "second.safetensors"}}))
    assert locate(by_commit) is None


def test_a_folder_of_the_users_own_comes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_snapshot(cache)
    add_manifest(cache)
    own = cache / "own"
    (own / "me/tiny").mkdir(parents=True)
    monkeypatch.setenv("WIRO_LOCAL_WEIGHTS", str(own))
    assert locate(REPOSITORY) == own / "me/tiny"
    assert commit_of(own / "me/tiny") is None
