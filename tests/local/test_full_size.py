"""The five models on a GPU at their real size, with random weights.

Needs WIRO_TEST_GPU=1 and about 50 GB of scratch space; `--basetemp` chooses the disk. With `-s` each case prints
a row: the memory allowed, how the weights were held, the most memory taken, seconds to load, for a step, and from
the last step to the file.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.conftest import Studio
from tests.local.test_tiny_models import ANIMATE, EFFECTS, SKYREELS, TI2V, VACE
from wiro_nb.media.decode import probe
from wiro_nb.sandbox.engines import Result, diffusers

pytestmark = [
    pytest.mark.local,
    pytest.mark.skipif(os.environ.get("WIRO_TEST_GPU") != "1", reason="needs a GPU; set WIRO_TEST_GPU=1"),
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Returns what writes the weights of a model; those of the model before make room.

    `WIRO_TEST_WEIGHTS` names a folder that has them already.
    """
    given = os.environ.get("WIRO_TEST_WEIGHTS")
    root = Path(given) if given else tmp_path_factory.mktemp("weights")
    written = [""]

    def write(model: str) -> Path:
        if not given and written[-1] != model:
            shutil.rmtree(root)
            subprocess.run([sys.executable, "-m", "tests.local.full_size", str(root), model], check=True)
            written.append(model)
        return root

    yield write
    if not given:
        shutil.rmtree(root)


@pytest.fixture
def studio_for(
    weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str, int], Studio]]:
    """Returns what makes a studio of one worker with a model's weights, on a card of so many GB (0: all)."""
    with asyncio.Runner() as runner:
        studio = Studio(tmp_path, runner, worker_count=1, size={})

        def make(model: str, card_gb: int) -> Studio:
            monkeypatch.setenv("WIRO_LOCAL_WEIGHTS", str(weights(model)))
            monkeypatch.setenv("WIRO_LOCAL_GPU_MEMORY_GB", str(card_gb or 10_000))
            monkeypatch.setattr(diffusers, "make_call", studio.shrink)
            return studio

        yield make
        runner.run(studio.engine.close())


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "animatediff": (ANIMATE, {"selectedModel": "485"}),
    "ti2v": (TI2V, {}),
    "vace": (VACE, {"ratio": "16:9"}),
    "effects": (EFFECTS, {"effectType": "jungle"}),
    "skyreels": (SKYREELS, {}),
}


@pytest.mark.parametrize("card_gb", [0, 80, 24, 12, 8])
@pytest.mark.parametrize("name", REQUESTS)
def test_a_clip_of_the_size_and_length_of_the_models_page(
    studio_for: Any, picture: Path, name: str, card_gb: int
) -> None:
    """Four steps are enough: one takes as long as the other."""
    model, given = REQUESTS[name]
    studio = studio_for(name, card_gb)
    pictures = () if name in ("animatediff", "ti2v") else (picture,)
    request = {"prompt": "a lighthouse at night", "seed": "7"} | given
    started = time.monotonic()
    result = studio.run(model, request, *pictures, num_inference_steps=4)
    print("\n" + row(name, card_gb, studio, result, (started, time.monotonic())))
    assert probe(result.path).frames == result.made_by["call"]["num_frames"]
    clip = result.path.read_bytes()
    assert card_gb or clip == studio.bytes_of(model, request, *pictures, num_inference_steps=4)


def row(name: str, card_gb: int, studio: Studio, result: Result, span: tuple[float, float]) -> str:
    """Returns the measured values of a run as a line of a Markdown table."""
    memory, out = result.made_by["memory"], probe(result.path)
    begin = dict(reversed(studio.times))
    steps = [at for phase, at in studio.times if phase == "generate"]
    held = f"offload {memory['offload']}" + ", tiled VAE" * memory["vae_tiling"]
    cells = (
        result.made_by["device"], f"{card_gb or 'all'} GB", name,
        f"{out.width} x {out.height} x {out.frames}", held,
        f"{memory['peak_gb']} GB", f"{begin['encode'] - span[0]:.1f} s",
        f"{(steps[-1] - steps[0]) / (len(steps) - 1):.2f} s", f"{span[1] - begin['decode']:.1f} s",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"
