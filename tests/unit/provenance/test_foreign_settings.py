"""Settings that other programs wrote into clips and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.provenance.clips import GRAPH, make_clip, remux
from tests.unit.provenance.test_hostile_files import five_seconds
from wiro_nb.provenance.embed import read_texts
from wiro_nb.provenance.made_by import match_inputs, read_settings

__all__ = ["five_seconds"]

PARAMETERS = (
    "a lighthouse, stormy sea\nat dusk\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7.5, "
    'Seed: 1234, Size: 512x768, Model: sd15, Lora hashes: "a: 1, b: 2"'
)
COMFY = {"prompt": "a fox in snow", "negative_prompt": "blurry", "seed": 42, "steps": 30, "guidance": 6.0}


def make_picture(path: Path, tags: dict[str, str], *, international: bool = False, packed: bool = False) -> Path:
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    for name, value in tags.items():
        text.add_itxt(name, value) if international else text.add_text(name, value, zip=packed)
    Image.new("RGB", (8, 8)).save(path, pnginfo=text)
    return path


def make_exif_picture(path: Path, comment: bytes = b"", **texts: str) -> Path:
    """A JPEG or WebP picture with a user comment as A1111 writes it, or with texts by tag."""
    from PIL import Image

    exif = Image.Exif()
    if comment:
        exif[0x8769] = {0x9286: b"UNICODE\0" + comment}
    exif.update({int(tag[1:], 16): text for tag, text in texts.items()})
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(
    "kind", ["png", "png, iTXt", "png, zTXt", "mp4", "mov", "mkv", "jpg", "jpg, little", "webp"]
)
def test_parameters_as_galleries_read_them(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind.partition(',')[0]}"
    if "png" in kind:
        make_picture(path, {"parameters": PARAMETERS}, international="iTXt" in kind, packed="zTXt" in kind)
    elif kind[:3] in ("jpg", "web"):
        make_exif_picture(path, PARAMETERS.encode("utf-16-le" if "little" in kind else "utf-16-be"))
    elif kind == "mkv":
        remux(make_clip(tmp_path / "a.mp4", comment=PARAMETERS), path)
    else:
        make_clip(path, comment=PARAMETERS)
    found = read_settings(read_texts(path))
    assert found is not None
    assert found["written_by"] == "A1111"
    assert found["settings"] == {
        "prompt": "a lighthouse, stormy sea\nat dusk",
        "negative_prompt": "blurry",
        "seed": 1234,
        "steps": 20,
        "size": "512x768",
        "guidance": 7.5,
    }
    assert found["other"].items() >= {"Sampler": "Euler a", "Model": "sd15", "Lora hashes": "a: 1, b: 2"}.items()


@pytest.mark.parametrize("kind", ["png", "keys", "comment", "webp"])
def test_graphs_of_comfyui(tmp_path: Path, kind: str) -> None:
    tags = {"prompt": json.dumps(GRAPH), "workflow": '{"nodes": []}'}
    if kind == "png":
        path = make_picture(tmp_path / "a.png", tags)
    elif kind == "webp":
        path = make_exif_picture(
            tmp_path / "a.webp", x10F=f"workflow:{tags['workflow']}", x110=f"prompt:{tags['prompt']}"
        )
    elif kind == "keys":
        path = make_clip(tmp_path / "a.mp4", tags=tags, flags="use_metadata_tags")
    else:
        path = make_clip(tmp_path / "a.mp4", comment=json.dumps({**tags, "CreationTime": "now"}))
    found = read_settings(read_texts(path))
    assert found is not None
    assert found["written_by"] == "ComfyUI"
    assert found["settings"] == {**COMFY, "size": "832x480"}
    assert found["other"]["3 KSampler.sampler_name"] == "euler"
    assert found["other"]["5 EmptyLatentImage.length"] == 81


def test_what_two_samplers_do_not_agree_on_is_not_named() -> None:
    second = {"class_type": "KSamplerAdvanced", "inputs": {**GRAPH["3"]["inputs"], "noise_seed": 42, "steps": 8}}
    linked = {"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0]}}
    graph = {**GRAPH, "8": second, "7": linked}
    found = read_settings([("prompt", json.dumps(graph))])
    assert found is not None
    assert found["settings"] == {"prompt": "a fox in snow", "seed": 42, "guidance": 6.0, "size": "832x480"}
    assert (found["other"]["3 KSampler.steps"], found["other"]["8 KSamplerAdvanced.steps"]) == (30, 8)


def test_a_node_between_prompt_and_sampler_is_no_sampler() -> None:
    """As in ComfyUI's graphs for Wan from a picture."""
    inputs = {"positive": ["6", 0], "negative": ["7", 0], "width": 832, "height": 480, "length": 81}
    sampler = {"class_type": "KSampler", "inputs": {**GRAPH["3"]["inputs"], "latent_image": ["9", 2]}}
    graph = {**GRAPH, "3": sampler, "9": {"class_type": "WanImageToVideo", "inputs": inputs}}
    found = read_settings([("prompt", json.dumps(graph))])
    assert found is not None
    assert found["settings"] == {**COMFY, "size": "832x480"}


@pytest.mark.parametrize("text", ["", "hello", "Steps: many", '{"prompt": 3}', "[]", '{"3": {"class_type": 1}}'])
@pytest.mark.parametrize("name", ["comment", "parameters", "prompt"])
def test_other_texts_are_no_settings(name: str, text: str) -> None:
    assert read_settings([(name, text)]) is None


@pytest.mark.parametrize("unit", ['"\\', ", ", ": ", "a: ", '"', "Steps: 1, ", "\nNegative prompt: "])
def test_parameters_are_read_in_proportion_to_their_length(unit: str) -> None:
    read_settings([("parameters", "x\nSteps: 1, " + unit * (900_000 // len(unit)))])


def test_numbers_beyond_measure_are_read_or_left() -> None:
    text = f"a fox\nSteps: 20, Seed: {'9' * 400}, CFG scale: 1e999, Size: {'9' * 5000}"
    found = read_settings([("parameters", text)])
    assert found is not None
    assert (found["settings"]["seed"], found["settings"]["guidance"]) == (int("9" * 400), "1e999")
    graph = {
        **GRAPH,
        "3": {**GRAPH["3"], "inputs": {**GRAPH["3"]["inputs"], "seed": 10**400, "cfg": float("nan")}},
    }
    found = read_settings([("prompt", json.dumps(graph))])
    assert found is not None
    assert found["settings"]["seed"] == 10**400
    assert "guidance" not in found["settings"]


def test_settings_are_matched_with_the_inputs_of_a_model_by_name_and_choice() -> None:
    settings = {**COMFY, "size": "832x480"}
    free = dict.fromkeys(("prompt", "negativePrompt", "seed", "sampleSteps", "fps"), ())
    found = match_inputs(settings, {**free, "size": ("480*832", "832*480"), "guidance_scale": ("1", "2")})
    assert found == {
        "prompt": "a fox in snow", "negativePrompt": "blurry", "seed": 42, "sampleSteps": 30, "size": "832*480",
    }  # fmt: skip
    assert match_inputs(settings, {"width": (), "height": ()}) == {"width": "832", "height": "480"}
    assert match_inputs({"size": "odd"}, {"width": (), "height": (), "size": ("832*480",)}) == {}


JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.just(["3", 0]) | st.just(["6", 0]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(GRAPH)), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["3", "5", "6"]), JSON),
    st.dictionaries(st.sampled_from(["seed", "positive", "negative", "latent_image", "text", "width"]), JSON),
)
def test_any_graph_is_read_or_left(odd: dict[str, Any], inputs: dict[str, Any]) -> None:
    graph = {**GRAPH, **odd, "8": {"class_type": "KSampler", "inputs": {**GRAPH["3"]["inputs"], **inputs}}}
    found = read_settings([("prompt", json.dumps(graph))])
    json.dumps(found, allow_nan=False)
