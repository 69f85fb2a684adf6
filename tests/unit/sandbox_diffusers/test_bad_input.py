"""What cannot be done on this machine is a sentence with the next thing to type, and the service goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox_diffusers.stub_python import write_stub_python
from wiro_nb.sandbox.engines import EngineError, Job, Progress
from wiro_nb.sandbox.engines.diffusers import DiffusersEngine
from wiro_nb.sandbox.engines.diffusers.pool import Pool, ProcessWorker

ANIMATE, SKYREELS = "wiro/animate-diff", "wiro/SkyReels-V1"
REPOSITORIES = (
    "SG161222/Realistic_Vision_V5.1_noVAE",
    "stabilityai/sd-vae-ft-mse",
    "guoyww/animatediff-motion-adapter-v1-5-2",
    "guoyww/animatediff-motion-lora-zoom-in",
    "hunyuanvideo-community/HunyuanVideo",
    "Skywork/SkyReels-V1-Hunyuan-I2V",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    for name in REPOSITORIES:
        (tmp_path / "weights" / name).mkdir(parents=True)
    monkeypatch.setenv("WIRO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WIRO_LOCAL_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("WIRO_STUB_LOG", str(tmp_path / "log"))
    stub = write_stub_python(tmp_path)

    async def main(model: str, python: str, inputs: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
        engine = DiffusersEngine(Pool(partial(ProcessWorker, python or stub), 1))
        notes: list[str] = []

        async def report(progress: Progress) -> None:
            notes.extend(progress.notes)

        out = tmp_path / "out"
        out.mkdir()
        try:
            await engine.run(Job(model, "clip", parameters, inputs, out), report)
        finally:
            await engine.close()
            shutil.rmtree(out)
        return notes

    return lambda model=ANIMATE, python="", inputs=None, **given: asyncio.run(
        main(model, python, inputs or {}, {"prompt": "ok", **given})
    )


def test_a_run_without_a_gpu_says_so_in_its_log(run: Callable[..., list[str]]) -> None:
    assert run()[-1] == "It runs on the processor, which is very slow. Type: wiro-nb local doctor"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"selectedModel": "969"}, r"Yntec/3DCute are not .* Type: wiro-nb local pull \S+ selectedModel=969"),
        ({"frameNumber": 40}, r"frameNumber must be from 1 to 32; 40 was asked for"),
        ({"python": "/nowhere/python"}, r"cannot be started: No such file .* Type: wiro-nb local doctor"),
        ({"python": "/bin/false"}, r"ended while it started: .* Type: wiro-nb local doctor"),
        ({"prompt": "fail"}, r"Out of memory on a card of 8 GB: lower the size"),
        ({"model": "me/unknown"}, r"does not run on this machine"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    run: Callable[..., list[str]], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        run(**given)


def test_a_disk_that_is_nearly_full_is_named_before_anything_runs(
    run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(EngineError, match=r"nearly full\. Free some space, or set WIRO_DATA_DIR"):
        run()


def test_a_picture_that_is_none_is_named(run: Callable[..., list[str]], tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    with pytest.raises(EngineError, match=r"text\.png cannot be read as an image; give a PNG, JPEG or WebP"):
        run(SKYREELS, inputs={"inputImage": (text,)})
