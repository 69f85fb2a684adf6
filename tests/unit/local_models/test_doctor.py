"""What keeps a model from running here is named, one thing after the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wiro_nb.local_models.doctor import NEEDED_PACKAGES, Machine, check_models

GB = 1_000_000_000
FIT = Machine("3.11", dict.fromkeys(NEEDED_PACKAGES, "1.0"), "12.8", (("a card", 80 * GB),), ("a card",))


@pytest.mark.parametrize(
    ("machine", "has_weights", "is_fine", "finding"),
    [
        (FIT, True, True, "weights are here"),
        (FIT, False, False, "its weights are not here"),
        (replace(FIT, gpus=(("a small card", 4 * GB),)), True, False, "needs a GPU with about 16 GB, found 4 GB"),
        (replace(FIT, gpus=()), True, False, "weights are here, but see above"),
        (replace(FIT, versions={}), True, False, "weights are here, but see above"),
        (replace(FIT, problem="it cannot be started"), True, False, "weights are here, but see above"),
    ],
)
def test_a_model_runs_here_with_weights_packages_and_a_large_enough_card(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: Machine,
    has_weights: bool,
    is_fine: bool,
    finding: str,
) -> None:
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("WIRO_LOCAL_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    entry = 'repository = "me/tiny"\npipeline = "TinyPipeline"\nlicence = "mit"\nmemory_gb = 16\n'
    (tmp_path / "local.toml").write_text(f'[models."me/tiny"]\n{entry}')
    if has_weights:
        (tmp_path / "weights" / "me" / "tiny").mkdir(parents=True)
    (check,) = (check for check in check_models(machine) if check.subject == "me/tiny")
    assert (check.is_fine, check.finding) == (is_fine, finding)
    assert bool(check.hint) is not has_weights
