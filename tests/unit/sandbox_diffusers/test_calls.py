"""Every rule by which a request becomes a pipeline's call, without torch."""

from __future__ import annotations

import json
import math
import struct
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wiro_nb import local_models
from wiro_nb.local_models import Distilled, LocalModel, MappedParameter, Repository
from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.diffusers.adapters import ADAPTERS, make_call
from wiro_nb.sandbox.engines.diffusers.calls import Call, Picture, Request, for_worker
from wiro_nb.sandbox.engines.diffusers.memory import MemoryPlan, count_parameters, plan_memory

ANIMATE, TI2V, VACE = "wiro/animate-diff", "Wan-AI/Wan2.2-TI2V-5B-text-to-video", "pruna/vace"
EFFECTS, SKYREELS = "wiro/wan2.2-effects-extra", "wiro/SkyReels-V1"
WIDE, TALL = Picture(Path("wide.png"), 1600, 900), Picture(Path("tall.png"), 900, 1600)
GENERIC = LocalModel(
    "me/ltx",
    (Repository("Lightricks/LTX-Video"),),
    "generic",
    16,
    "LTXPipeline",
    (
        MappedParameter("prompt", "prompt"),
        MappedParameter("numFrames", "num_frames", 97),
        MappedParameter("scale", "guidance_scale", 3.0),
        MappedParameter("rate", "fps", 25),
        MappedParameter("still", "image"),
        MappedParameter("seed", "generator"),
    ),
)


def call(model: str | LocalModel, *pictures: Picture, **parameters: Any) -> Call:
    found = local_models.find(model) if isinstance(model, str) else model
    assert found is not None
    name = "still" if found is GENERIC else "inputImage"
    return make_call(Request(parameters, found, {name: pictures} if pictures else {}, lambda: 4711))


def test_a_distilled_lora_takes_the_place_of_steps_and_guidance_and_says_so() -> None:
    files = ("I2V/high.safetensors", "I2V/low.safetensors")
    repository = Repository("lightx2v/Wan2.2-Lightning", patterns=files)
    found = local_models.find(EFFECTS)
    assert found is not None
    made = call(replace(found, distilled=Distilled(repository, 4, 1.0)), WIDE, effectType="jungle")
    assert (made.arguments["num_inference_steps"], made.arguments["guidance_scale"]) == (4, 1.0)
    assert [lora.files for lora in made.loras] == [(), files]
    assert made.notes[-1] == (
        "lightx2v/Wan2.2-Lightning is loaded, as local.toml says: 4 steps and guidance 1 in place of "
        "num_inference_steps 40, guidance_scale 3.5."
    )
    sent = for_worker(made, {item.id: Path(item.id) for item in made.repositories})
    assert sent["loras"][1]["files"] == files


def test_every_model_of_the_catalogue_has_an_adapter() -> None:
    assert {model.adapter for model in local_models.models()} | {"generic"} == set(ADAPTERS)


@pytest.mark.parametrize(
    ("model", "pictures", "pipeline", "fps", "expected"),
    [
        (ANIMATE, (), "AnimateDiffPipeline", 8, {"num_frames": 18, "num_inference_steps": 16, "width": 512}),
        (TI2V, (), "WanPipeline", 16, {"num_frames": 121, "guidance_scale": 5.0, "width": 832, "height": 480}),
        (VACE, (), "WanVACEPipeline", 16, {"num_frames": 81, "num_inference_steps": 50, "width": 832}),
        (EFFECTS, (WIDE,), "WanImageToVideoPipeline", 16, {"num_frames": 81, "guidance_scale": 3.5, "width": 848}),
        (SKYREELS, (WIDE,), "HunyuanSkyreelsImageToVideoPipeline", 24, {"num_frames": 97, "width": 960}),
        (GENERIC, (), "LTXPipeline", 25, {"num_frames": 97, "guidance_scale": 3.0}),
    ],
    ids=["animatediff", "ti2v", "vace", "effects", "skyreels", "generic"],
)
def test_defaults(
    model: Any, pictures: tuple[Picture, ...], pipeline: str, fps: int, expected: dict[str, Any]
) -> None:
    made = call(model, *pictures, **({"effectType": "jungle"} if model == EFFECTS else {}))
    assert (made.pipeline, made.fps, made.seed) == (pipeline, fps, 4711)
    assert made.arguments | expected == made.arguments


@pytest.mark.parametrize(
    ("model", "given", "expected"),
    [
        (
            ANIMATE,
            {"frameNumber": "32", "steps": 20.0, "height": 768},
            {"num_frames": 32, "num_inference_steps": 20},
        ),
        (ANIMATE, {"prompt": "a", "negativePrompt": "b"}, {"prompt": "a", "negative_prompt": "b"}),
        (
            TI2V,
            {"size": "480*832", "scale": "1", "steps": 3},
            {"width": 480, "height": 832, "guidance_scale": 1.0},
        ),
        (TI2V, {"numFrames": "17"}, {"num_frames": 17}),
        (VACE, {"resolution": "720p", "ratio": "9:16"}, {"width": 720, "height": 1280}),
        (VACE, {"frameNum": "5", "guidanceScale": "3.5"}, {"num_frames": 5, "guidance_scale": 3.5}),
        (GENERIC, {"numFrames": "9", "prompt": "x"}, {"num_frames": 9, "prompt": "x"}),
    ],
)
def test_settings_become_arguments(model: Any, given: dict[str, Any], expected: dict[str, Any]) -> None:
    made = call(model, **given)
    assert made.arguments | expected == made.arguments


@pytest.mark.parametrize(
    ("model", "pictures", "given", "message"),
    [
        (ANIMATE, (), {"frameNumber": 40}, "frameNumber must be from 1 to 32; 40"),
        (ANIMATE, (), {"width": 500}, "multiple of 8, such as 496"),
        (ANIMATE, (), {"selectedModelPrivate": "mine"}, "not public"),
        (ANIMATE, (), {"loraType": "FILE:1"}, "unknown; there are FILE:169584"),
        (ANIMATE, (), {"steps": "many"}, "steps must be a whole number"),
        (TI2V, (), {"numFrames": 40}, r"4n \+ 1, for example 37 or 41"),
        (TI2V, (), {"size": "830*480"}, "multiples of 32"),
        (TI2V, (), {"size": "wide"}, r"size must read like 832\*480"),
        (VACE, (), {"frameNum": "12.5"}, "whole number"),
        (VACE, (), {"sampleSolver": "euler"}, "unipc or dpm"),
        (VACE, (), {"speedMode": "Warp"}, "Lightly, Juiced or Extra"),
        (VACE, (WIDE,) * 4, {}, "at most 3 pictures; 4"),
        (VACE, (), {"ratio": "1:1"}, "auto, 16:9 or 9:16"),
        (EFFECTS, (), {}, "needs a picture in inputImage"),
        (EFFECTS, (WIDE,), {}, "'fluffy-hair' has no public weights; there are assassin"),
        (SKYREELS, (), {"prompt": "x"}, "needs a picture"),
        (GENERIC, (), {"rate": "fast"}, "rate must be a whole number, got 'fast'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    model: str, pictures: tuple[Picture, ...], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        call(model, *pictures, **given)


@pytest.mark.parametrize(
    ("selected", "base", "has_own_vae", "notes"),
    [
        ("485", "SG161222/Realistic_Vision_V5.1_noVAE", True, 0),
        ("969", "Yntec/3DCute", False, 0),
        ("959", "liamhvn/SDVN5-3DCuteWave", False, 0),
        ("", "SG161222/Realistic_Vision_V5.1_noVAE", True, 1),
        ("814", "SG161222/Realistic_Vision_V5.1_noVAE", True, 1),
    ],
)
def test_the_base_model_of_animate_diff(selected: str, base: str, has_own_vae: bool, notes: int) -> None:
    made = call(ANIMATE, selectedModel=selected, loraType="FILE:169578")
    assert (made.parts["pipeline"].id, "vae" in made.parts, len(made.notes)) == (base, has_own_vae, notes)
    assert [lora.repository.id for lora in made.loras] == ["guoyww/animatediff-motion-lora-pan-left"]
    assert all("stands in for it" in note for note in made.notes)


def test_the_eight_motions_are_eight_repositories() -> None:
    files = [169584, 169585, 169578, 169579, 169583, 169582, 169581, 169580]
    names = [call(ANIMATE, loraType=f"FILE:{file}").loras[0].repository.id.split("lora-")[1] for file in files]
    assert names == [
        *("zoom-in", "zoom-out", "pan-left", "pan-right", "tilt-up", "tilt-down"),
        *("rolling-clockwise", "rolling-anticlockwise"),
    ]


def test_solver_shift_and_speed_of_vace() -> None:
    made = call(VACE, sampleSolver="dpm++", sampleShift="3", speedMode="Extra Juiced 🚀 (even more speed)")
    assert made.scheduler == "DPMSolverMultistepScheduler"
    assert made.scheduler_changes["flow_shift"] == 3.0
    assert made.cache_threshold == 0.2
    assert "not public" in made.notes[0]
    plain = call(VACE)
    assert (plain.scheduler_changes["flow_shift"], plain.cache_threshold, plain.notes) == (16.0, 0.0, ())


@pytest.mark.parametrize(
    ("pictures", "size"), [((WIDE,), (848, 480)), ((TALL, WIDE), (480, 848)), ((), (832, 480))]
)
def test_vace_takes_its_aspect_from_the_first_picture(
    pictures: tuple[Picture, ...], size: tuple[int, int]
) -> None:
    made = call(VACE, *pictures)
    assert (made.arguments["width"], made.arguments["height"]) == size
    assert made.pictures.get("reference_images", ()) == pictures


def test_an_effect_is_a_lora_and_its_trigger_words() -> None:
    made = call(EFFECTS, TALL, effectType="hulk-transformation")
    assert made.arguments["prompt"] == "h01k green hulk transformation"
    assert made.loras[0].repository.id == "Remade-AI/Hulk-Transformation"
    assert "trained for Wan 2.1" in made.notes[0]
    assert any("taken for" in note for note in call(EFFECTS, TALL, effectType="crash").notes)
    assert any("not known" in note for note in call(EFFECTS, TALL, effectType="assassin").notes)


def test_skyreels_never_loses_its_guidance_and_follows_the_picture() -> None:
    made = call(SKYREELS, TALL, prompt="a cat", negativePrompt="")
    assert made.arguments["prompt"] == "FPS-24, a cat"
    assert made.arguments["negative_prompt"]
    assert (made.arguments["true_cfg_scale"], made.arguments["guidance_scale"]) == (6.0, 1.0)
    assert (made.arguments["width"], made.arguments["height"]) == (544, 960)
    square = call(SKYREELS, Picture(Path("s.png"), 700, 700), prompt="a cat")
    assert (square.arguments["width"], square.arguments["height"]) == (720, 720)


@pytest.mark.parametrize(
    ("given", "seed"), [("7", 7), (7, 7), ("0", 4711), ("", 4711), ("lucky", 4711), ("-1", 4711)]
)
def test_a_seed_is_taken_or_drawn(given: Any, seed: int) -> None:
    assert call(TI2V, seed=given).seed == seed
    assert call(GENERIC, seed=given).seed == seed


def test_a_call_travels_as_json_and_names_folders_not_repositories() -> None:
    made = call(EFFECTS, WIDE, effectType="jungle")
    folders = {item.id: Path("/weights") / item.id for item in made.repositories}
    sent = json.loads(json.dumps(for_worker(made, folders)))
    assert sent["folders"] == {"pipeline": "/weights/Wan-AI/Wan2.2-I2V-A14B-Diffusers"}
    assert sent["loras"][0]["folder"] == "/weights/Remade-AI/Jungle"
    assert sent["pictures"] == {"image": "wide.png"}
    other = for_worker(
        call(EFFECTS, WIDE, effectType="crying", seed=5), folders | {"Remade-AI/crying": Path("/x")}
    )
    assert other["key"] == sent["key"], "a LoRA and a seed need no other model in memory"


GB = 1_000_000_000
PARTS = {"transformer": 14 * GB, "text_encoder": 6 * GB, "vae": GB // 10}


@pytest.mark.parametrize(
    ("card_gb", "ram_gb", "expected"),
    [
        (80, 128, MemoryPlan("none", False, 40_200_000_000)),
        (50, 128, MemoryPlan("none", True, 40_200_000_000)),
        (40, 128, MemoryPlan("model", True, 40_200_000_000)),
        (24, 128, MemoryPlan("group", True, 40_200_000_000)),
        (24, 16, "needs 40 GB of memory and this machine has 16"),
        (None, 128, MemoryPlan("none", False, 80_400_000_000)),
        (None, 64, "needs 80 GB of memory and this machine has 64"),
    ],
)
def test_a_model_is_fitted_into_the_memory_there_is(card_gb: int | None, ram_gb: int, expected: Any) -> None:
    expectation = pytest.raises(EngineError, match=expected) if isinstance(expected, str) else nullcontext()
    with expectation:
        assert plan_memory(PARTS, card_gb * GB if card_gb else None, ram_gb * GB) == expected


def test_parameters_are_counted_by_part_from_the_files_headers(tmp_path: Path) -> None:
    def write(name: str, *shape: int) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tensor = {"dtype": "I8", "shape": shape, "data_offsets": [0, math.prod(shape)]}
        header = json.dumps({"x": tensor, "__metadata__": {}}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(math.prod(shape)))

    write("base/vae/model.safetensors", 10)
    write("base/unet/1.safetensors", 3, 4)
    write("base/unet/2.safetensors", 2)
    write("vae/model.safetensors", 7)
    folders = {"pipeline": str(tmp_path / "base"), "vae": str(tmp_path / "vae")}
    assert count_parameters(folders) == {"unet": 14, "vae": 7}
    with pytest.raises(EngineError, match=r"no weights for vae in /nowhere/vae\. Set WIRO_LOCAL_WEIGHTS"):
        count_parameters({"pipeline": str(tmp_path / "base"), "vae": "/nowhere/vae"})
    cut = tmp_path / "base/unet/1.safetensors"
    whole = cut.read_bytes()
    for length in (0, 5, 30, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(EngineError, match=r"unet/1\.safetensors is cut or damaged\. .* wiro-nb local pull"):
            count_parameters(folders)
