"""The models that can run here, and what `local.toml` adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from wiro_nb.errors import ConfigError
from wiro_nb.local_models import find, models
from wiro_nb.schema import bundled_models


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path))
    return tmp_path


def test_every_bundled_model_can_run_here_and_names_its_licences() -> None:
    assert {model.name for model in models()} == {schema.slug for schema in bundled_models()}
    assert all(repository.licence for model in models() for repository in model.repositories)
    assert all(find(schema.run_path) is find(schema.slug) is not None for schema in bundled_models())


def test_the_settings_of_a_bundled_model_are_options_of_its_inputs() -> None:
    """A value that no input offers would never be downloaded."""
    for schema in bundled_models():
        options = {(item.id, option.value) for item in schema.parameters for option in item.options}
        model = find(schema.slug)
        assert model is not None
        assert {pair for repository in model.repositories for pair in repository.settings} <= options


def test_a_run_needs_the_repositories_of_its_settings_only() -> None:
    model = find("wiro/animate-diff")
    assert model is not None
    by_default = {repository.id for repository in model.repositories_for()}
    chosen = {item.id for item in model.repositories_for({"loraType": "FILE:169578", "selectedModel": "969"})}
    assert "guoyww/animatediff-motion-lora-zoom-in" in by_default - chosen
    assert {"guoyww/animatediff-motion-lora-pan-left", "Yntec/3DCute"} <= chosen - by_default


def test_local_toml_adds_a_pipeline_and_replaces_a_repository(data_folder: Path) -> None:
    (data_folder / "local.toml").write_text(
        """
        [models."me/ltx"]
        repository = "Lightricks/LTX-Video"
        pipeline = "LTXPipeline"
        memory_gb = 16
        [models."me/ltx".parameters]
        prompt = "prompt"
        numFrames = { argument = "num_frames", default = 97 }
        [models."pruna/vace"]
        repository = "Wan-AI/Wan2.1-VACE-1.3B-diffusers"
        """
    )
    ltx, vace = find("Me/LTX"), find("pruna/vace")
    assert ltx is not None
    assert vace is not None
    assert (ltx.adapter, ltx.pipeline, ltx.min_memory_gb) == ("generic", "LTXPipeline", 16)
    assert [(item.name, item.argument, item.default) for item in ltx.parameters] == [
        ("prompt", "prompt", None),
        ("numFrames", "num_frames", 97),
    ]
    assert (vace.adapter, vace.repositories[0].id) == ("wan_vace", "Wan-AI/Wan2.1-VACE-1.3B-diffusers")


def test_local_toml_adds_a_distilled_lora_that_every_run_of_its_model_needs(data_folder: Path) -> None:
    (data_folder / "local.toml").write_text(
        """
        [models."wiro/wan2.2-effects-extra".distilled]
        repository = "lightx2v/Wan2.2-Lightning"
        files = ["I2V/high.safetensors", "I2V/low.safetensors"]
        steps = 4
        """
    )
    model = find("wiro/wan2.2-effects-extra")
    assert model is not None
    assert model.distilled is not None
    assert (model.adapter, model.repositories[0].id) == ("wan_effects", "Wan-AI/Wan2.2-I2V-A14B-Diffusers")
    assert (model.distilled.steps, model.distilled.guidance) == (4, 1.0)
    assert model.repositories_for({})[-1].patterns == ("I2V/high.safetensors", "I2V/low.safetensors")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models", "cannot be read"),
        ("model = 1", "tables named"),
        ("[models.ltx]\nrepository='a/b'", "OWNER/NAME"),
        ("[models.'me/ltx']\nrepository=1", "repository is a text"),
        ("[models.'me/ltx']\nrepository='../x'", "names its weights"),
        ("[models.'me/ltx']\nrepository='a/b'", "class of diffusers"),
        ("[models.'me/ltx']\nrepository='a/b'\npipeline='os.system'", "class of diffusers"),
        ("[models.'me/ltx']\nrepository='a/b'\npipeline='P'\nmemory_gb='much'", "memory_gb"),
        ("[models.'me/ltx']\nrepository='a/b'\npipeline='P'\nmin_memory_gb=8", "nothing is called min_memory_gb"),
        ("[models.'me/ltx']\nrepository='a/b'\npipeline='P'\nparameters={n={argument='a b'}}", "parameters"),
        ("[models.'me/ltx']\nrepository='a/b'\npipeline='P'\nparameters=3", "parameters"),
        ("[models.'pruna/vace']\ndistilled=4", "distilled has a repository"),
        ("[models.'pruna/vace'.distilled]\nrepository='a/b'\nfiles=['x.bin']\nsteps=4", "one or two files"),
        ("[models.'pruna/vace'.distilled]\nrepository='a/b'\nfiles=['x.safetensors']\nsteps='4'", "steps = 4"),
    ],
)
def test_a_wrong_local_toml_is_one_sentence(data_folder: Path, text: str, said: str) -> None:
    (data_folder / "local.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        models()
