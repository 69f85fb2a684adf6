"""How outputs were made on one's own machine: shown, compared, and checked before a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wiro_nb.local_models.weights import Manifest, repository_dir, write_manifest
from wiro_nb.presentation.reproduction import made_by_block
from wiro_nb.provenance.made_by import made_by_facts, made_by_notes, used_repositories
from wiro_nb.reproduce import weights_notes
from wiro_nb.reproduce.compare import compare_settings

REPOSITORY, COMMIT, OTHER = "Wan-AI/Wan2.2-TI2V-5B-Diffusers", "a" * 40, "b" * 40


def record_of(service: str = "local", **made_by: Any) -> dict[str, Any]:
    facts = {
        "engine": "diffusers",
        "pipeline": "WanPipeline",
        "repositories": {"pipeline": {"id": REPOSITORY, "revision": COMMIT, "licence": "apache-2.0"}},
        "seed": 7,
        "device": "cpu",
        "versions": {"torch": "2.13.0"},
        "notes": ["speedMode is approximated."],
    }
    return {
        "model": {"slug": "Wan-AI/Wan2.2-TI2V-5B-text-to-video"},
        "service": {"name": service},
        "parameters": {},
        "files": {},
        "made_by": facts | made_by,
    }


def test_the_output_of_a_run_says_what_made_it_and_what_stands_in_for_a_setting() -> None:
    block = made_by_block(record_of())
    assert block.lines == ("  made by diffusers, WanPipeline, cpu", "  note: speedMode is approximated.")
    assert all(text in block.html for text in (REPOSITORY, COMMIT, "versions torch", "2.13.0"))
    for record in ({}, {"made_by": {"engine": "placeholder"}}):
        assert (made_by_block(record).html, made_by_block(record).lines) == ("", ())


def test_comparing_two_runs_names_each_fact_that_differs() -> None:
    other = record_of(device="NVIDIA H100", repositories={"pipeline": {"id": REPOSITORY, "revision": OTHER}})
    found = compare_settings(record_of(), other)
    assert found == {
        "made by: device": ("cpu", "NVIDIA H100"),
        "made by: repositories pipeline revision": (COMMIT, OTHER),
        "made by: repositories pipeline licence": ("apache-2.0", None),
    }


def test_a_replay_says_which_weights_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("WIRO_LOCAL_WEIGHTS", raising=False)
    record = record_of()
    (note,) = weights_notes(record, "local")
    assert note.startswith(f"The weights {REPOSITORY} are not here: wiro-nb local pull Wan-AI/")
    for commit, expected in (
        (COMMIT, []),
        (OTHER, [f"the weights {REPOSITORY} were aaaaaaaaaaaa, here are bbbbbbbbbbbb"]),
    ):
        folder = repository_dir(tmp_path / "hub", REPOSITORY)
        (folder / "snapshots" / commit).mkdir(parents=True)
        write_manifest(folder, Manifest("main", commit, {}))
        assert [note.split(":")[0] for note in weights_notes(record, "local")] == expected
    (note,) = weights_notes(record, "cloud")
    assert "cloud makes it with weights of its own" in note
    cloud = record_of("cloud") | {"made_by": {}}
    assert weights_notes(cloud, "cloud") == []
    assert weights_notes(cloud, "local") == ["Open weights on this machine make it now: other frames than before"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON, JSON, JSON)
def test_a_strangers_record_may_hold_anything_there(whole: Any, repositories: Any, notes: Any) -> None:
    for made_by in (whole, {"repositories": repositories, "loras": repositories, "notes": notes}):
        record = {"made_by": made_by}
        assert all(len(name) <= 300 and len(value) <= 300 for name, value in made_by_facts(record).items())
        assert all(len(note) <= 300 for note in made_by_notes(record))
        used_repositories(record)
        made_by_block(record)
