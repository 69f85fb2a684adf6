"""All five models on the CPU with tiny random weights, through the same code as with real ones."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.local.conftest import Studio
from wiro_nb.media.mp4 import probe_mp4
from wiro_nb.sandbox.engines import EngineError

pytestmark = pytest.mark.local

ANIMATE, TI2V, VACE = "wiro/animate-diff", "Wan-AI/Wan2.2-TI2V-5B-text-to-video", "pruna/vace"
EFFECTS, SKYREELS = "wiro/wan2.2-effects-extra", "wiro/SkyReels-V1"
SEED = {"seed": "7", "prompt": "a boat"}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("model", "base", "variants"),
    [
        (
            ANIMATE,
            SEED | {"selectedModel": "485"},
            [{"selectedModel": "969"}, {"loraType": "FILE:169578"}, {"negativePrompt": "blur"}],
        ),
        (TI2V, SEED, [{"scale": "1"}, {"negativePrompt": "blur"}]),
        (VACE, SEED, [{"sampleSolver": "dpm++"}, {"sampleShift": "2"}, {"guidanceScale": "1"}]),
        (EFFECTS, SEED | {"effectType": "jungle"}, []),
        (SKYREELS, SEED, [{"scale": "2"}, {"negativePrompt": "blur"}]),
    ],
    ids=["animatediff", "ti2v", "vace", "effects", "skyreels"],
)
def test_the_same_request_gives_the_same_bytes_and_every_setting_changes_them(
    studio: Studio, picture: Path, model: str, base: dict[str, Any], variants: list[dict[str, Any]]
) -> None:
    pictures = (picture,) if model in (VACE, EFFECTS, SKYREELS) else ()
    first = studio.run(model, base, *pictures)
    clip = first.path.read_bytes()
    info = probe_mp4(first.path)
    assert info is not None
    assert (info.width, info.height, info.frames) == (64, 64, 5)
    phases = [progress.phase for progress in studio.progress]
    assert phases == ["load", "encode", "generate", "generate", "generate", "decode", "save"]
    assert digest(studio.bytes_of(model, base, *pictures)) == digest(clip)

    made = first.made_by
    dtype = "float32" if studio.device == "CPU" else "bfloat16"
    assert (made["engine"], made["seed"], made["device"], made["dtype"]) == ("diffusers", 7, studio.device, dtype)
    assert made["versions"]["torch"]
    assert made["repositories"]["pipeline"]["licence"]
    assert made["repositories"]["pipeline"]["revision"] == "a plain copy"

    others = [{"seed": "8"}, *variants] + ([] if model == EFFECTS else [{"prompt": "a lighthouse at night"}])
    seen = {digest(clip): "the request itself"}
    for change in others:
        one = digest(studio.bytes_of(model, base | change, *pictures))
        assert one not in seen, f"{change} gives the same clip as {seen[one]}"
        seen[one] = str(change)
    assert digest(studio.bytes_of(model, base, *pictures, num_inference_steps=4)) not in seen


@pytest.mark.parametrize("model", [VACE, EFFECTS, SKYREELS])
def test_the_input_picture_matters(studio: Studio, picture: Path, other_picture: Path, model: str) -> None:
    given = SEED | {"effectType": "jungle"}
    clips = {digest(studio.bytes_of(model, given, path)) for path in (picture, other_picture)}
    if model == VACE:
        clips |= {
            digest(studio.bytes_of(model, given)),
            digest(studio.bytes_of(model, given, picture, other_picture)),
        }
    assert len(clips) == (4 if model == VACE else 2)


def test_a_lora_of_an_earlier_run_leaves_no_trace(studio: Studio, picture: Path) -> None:
    zoom, pan = SEED | {"loraType": "FILE:169584"}, SEED | {"loraType": "FILE:169578"}
    first, second, again = (digest(studio.bytes_of(ANIMATE, given)) for given in (zoom, pan, zoom))
    assert first == again != second


def test_a_distilled_lora_has_a_file_for_each_transformer(
    studio: Studio, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path))
    given = SEED | {"effectType": "jungle"}
    clips = [studio.bytes_of(EFFECTS, given, picture)]
    for files in (("high", "low"), ("low", "high"), ("high",)):
        names = [f"{name}/diffusion_pytorch_model.safetensors" for name in files]
        (tmp_path / "local.toml").write_text(
            f"[models.'{EFFECTS}'.distilled]\nrepository = 'tiny/distilled'\nfiles = {names}\nsteps = 4"
        )
        result = studio.run(EFFECTS, given, picture)
        clips.append(result.path.read_bytes())
    assert len(set(map(digest, clips))) == 4
    assert result.made_by["loras"][-1]["id"] == "tiny/distilled"
    assert "4 steps and guidance 1 in place of" in result.made_by["notes"][-1]


def test_two_workers_make_the_same_bytes(studio: Studio) -> None:
    async def both() -> list[bytes]:
        studio.changes = {"num_inference_steps": 4}
        runs = [studio.run_async(TI2V, SEED, ()) for _ in range(2)]
        return [result.path.read_bytes() for result in await asyncio.gather(*runs)]

    one, two = studio.runner.run(both())
    assert digest(one) == digest(two)
    assert len({worker.process.pid for worker in studio.workers}) == 2


@pytest.mark.parametrize("model", [ANIMATE, TI2V, VACE, EFFECTS, SKYREELS])
def test_a_cancel_ends_a_run_within_a_second_and_keeps_the_worker(
    studio: Studio, picture: Path, model: str
) -> None:
    given = SEED | {"effectType": "jungle"}
    pictures = (picture,) if model in (VACE, EFFECTS, SKYREELS) else ()

    async def cancel() -> float:
        studio.changes = {"num_inference_steps": 900}
        generating = asyncio.Event()
        run = asyncio.ensure_future(studio.run_async(model, given, pictures, generating))
        await asyncio.wait_for(generating.wait(), 60)
        before = [await worker.is_alive() for worker in studio.workers]
        started = time.monotonic()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        took_s = time.monotonic() - started
        alive = [await worker.is_alive() for worker in studio.workers]
        assert alive == before, "no worker was killed for it"
        return took_s

    assert studio.runner.run(cancel()) < 1
    assert list((studio.root / str(studio.count)).iterdir()) == []


def test_a_killed_worker_costs_a_second_run_with_the_same_bytes(studio: Studio) -> None:
    expected = digest(studio.bytes_of(TI2V, SEED, num_inference_steps=30))

    async def kill() -> bytes:
        generating = asyncio.Event()
        run = asyncio.ensure_future(studio.run_async(TI2V, SEED, (), generating))
        await asyncio.wait_for(generating.wait(), 60)
        for worker in studio.workers:
            if await worker.is_alive():
                worker.process.kill()
        return (await run).path.read_bytes()

    assert digest(studio.runner.run(kill())) == expected


def test_too_little_memory_is_a_sentence_and_the_next_run_works(studio: Studio) -> None:
    if studio.device != "CPU":
        pytest.skip("the noise is made in the machine's memory, and fills it before the card's")
    with pytest.raises(EngineError, match=r"^Out of memory on CPU \(.*40000001 frames\): lower the size"):
        studio.run(TI2V, SEED, num_frames=40_000_001, width=512, height=512)
    info = probe_mp4(studio.run(TI2V, SEED).path)
    assert info is not None
    assert info.frames == 5


def test_previews_are_small_pictures_a_few_times_a_second(studio: Studio) -> None:
    from PIL import Image

    started = time.monotonic()
    studio.run(TI2V, SEED, num_inference_steps=60)
    assert 1 <= len(studio.previews) <= 4 * (time.monotonic() - started)
    for preview in studio.previews:
        jpeg = base64.b64decode(preview["image"].removeprefix("data:image/jpeg;base64,"))
        assert len(jpeg) < 14_000
        with Image.open(io.BytesIO(jpeg)) as image:
            assert (image.format, image.size) == ("JPEG", (preview["width"], preview["height"]))


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (
            ANIMATE,
            {"selectedModel": "959"},
            r"liamhvn/SDVN5-3DCuteWave are not .* wiro-nb local pull wiro/animate-diff",
        ),
        (EFFECTS, {"effectType": "crying"}, r"weights Remade-AI/crying are not on this machine"),
        (SKYREELS, {}, "cannot be read as an image"),
    ],
)
def test_what_is_missing_or_no_picture_is_a_sentence(
    studio: Studio, picture: Path, tmp_path: Path, model: str, given: dict[str, Any], message: str
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(EngineError, match=message):
        studio.run(model, SEED | given, text if model == SKYREELS else picture)


_INSIDE = """
import json, math, sys, torch
from types import SimpleNamespace
from transformers import AutoTokenizer
from tests.local.conftest import SMALL
from wiro_nb.local_models import find, weights
from wiro_nb.sandbox.engines.diffusers.adapters import make_call
from wiro_nb.sandbox.engines.diffusers.calls import Request, for_worker
from wiro_nb.sandbox.engines.diffusers.generate import Generator
from wiro_nb.sandbox.engines.diffusers.memory import count_parameters, plan_memory
from wiro_nb.sandbox.engines.diffusers.pipelines import load_pipeline

def call_of(slug):
    call = make_call(Request({"prompt": "a boat"}, find(slug), {}, lambda: 7))
    made = for_worker(call, {item.id: weights.locate(item) for item in call.repositories})
    return {**made, "key": slug, "arguments": {**made["arguments"], **SMALL}}

def plan_of(folders):
    return plan_memory(count_parameters(folders), None, math.inf)

root, out, *slugs = sys.argv[1:]
folders = {"pipeline": f"{root}/hunyuanvideo-community/HunyuanVideo"}
folders["transformer"] = f"{root}/Skywork/SkyReels-V1-Hunyuan-I2V"
sky = {"pipeline": "HunyuanSkyreelsImageToVideoPipeline", "folders": folders}
text = "a boat on a calm lake"
tokens = load_pipeline(sky, plan_of(folders), torch.device("cpu")).pipe.tokenizer(text).input_ids
reference = AutoTokenizer.from_pretrained(f"{root}/hunyuanvideo-community/HunyuanVideo/tokenizer")(text).input_ids
first, second = map(call_of, slugs)
both = sum(plan_of(call["folders"]).weights_bytes for call in (first, second))
generator, kept = Generator(0, cache_bytes=both), []
channel = SimpleNamespace(phase="", report=lambda *given: None, check=lambda: None)
for call in (first, second, first, {**second, "key": "third"}):
    generator.run(call, out, channel)
    kept.append(generator.models())
print(json.dumps({"tokens": tokens, "reference": reference, "kept": kept}))
"""


def test_tokens_are_the_repositorys_and_the_least_recently_used_model_leaves_first(
    tiny_weights: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _INSIDE, str(tiny_weights), str(tmp_path / "clip.mp4"), ANIMATE, TI2V]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tokens"] == found["reference"]
    assert found["kept"] == [[ANIMATE], [ANIMATE, TI2V], [TI2V, ANIMATE], [ANIMATE, "third"]]


def test_the_service_runs_a_model_bills_nothing_and_says_how(tiny_weights: Path, start_sandbox: Any) -> None:
    service = start_sandbox("--engine", "diffusers", "--workers", "1")
    given = {"prompt": "[fail] a boat", "frameNumber": 2, "steps": 2, "width": 64, "height": 64, "seed": "7"}
    headers = {"x-api-key": service.key_only_api_key}
    with httpx2.Client(base_url=service.base_url, headers=headers, timeout=60, trust_env=False) as client:
        refused = client.post("/Run/sandbox/plain-clip", json={"prompt": "x"}).json()
        assert refused["result"] is False
        task_id = client.post("/Run/wiro/animate-diff", json=given).json()["taskid"]
        deadline = time.monotonic() + 120
        while True:
            (task,) = client.post("/Task/Detail", json={"taskid": task_id}).json()["tasklist"]
            if task["status"] == "task_postprocess_end":
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
        clip = client.get(task["outputs"][0]["url"]).content
    assert (task["pexit"], float(task["totalcost"])) == ("0", 0.0), task["debugerror"]
    assert task["madeby"]["call"]["num_frames"] == 2
    assert re.search(r"selectedModel 60 has no known public weights: .* stands in for it", task["debugoutput"])
    assert "on this machine, nothing is charged" in task["debugoutput"]
    assert clip[4:8] == b"ftyp"
