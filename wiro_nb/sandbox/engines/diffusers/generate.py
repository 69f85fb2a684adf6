"""Runs calls on one device and keeps the models used last. Needs torch; runs in a worker."""

from __future__ import annotations

import gc
import inspect
import json
import math
from collections import OrderedDict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import set_seed

from wiro_nb.local_models import GB
from wiro_nb.local_models.doctor import ram_bytes
from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.diffusers.memory import count_parameters, plan_memory
from wiro_nb.sandbox.engines.diffusers.pipelines import (
    LoadedPipeline,
    PreviewClock,
    card_bytes,
    load_pipeline,
)
from wiro_nb.sandbox.engines.media import Mp4Writer, read_picture

if TYPE_CHECKING:
    from wiro_nb.sandbox.engines.diffusers.worker import Channel

_VERSIONS = ("diffusers", "transformers", "torch", "accelerate", "peft", "av")
_CRF = 17


class Generator:
    """Generates clips on one device.

    Args:
        index: Of the worker; with several cards it takes one after the other.
        cache_bytes: Most bytes of weights that are kept; None for most of the card, or 8 GB on the CPU.
    """

    def __init__(self, index: int, cache_bytes: int | None = None) -> None:
        count = torch.cuda.device_count()
        self._device = torch.device("cuda", index % count) if count else torch.device("cpu")
        self._memory_bytes = card_bytes(self._device)
        if self._memory_bytes is not None:
            total = torch.cuda.get_device_properties(self._device).total_memory
            torch.cuda.set_per_process_memory_fraction(self._memory_bytes / total, self._device)
        most_bytes = 8 * GB if self._memory_bytes is None else int(0.8 * self._memory_bytes)
        self._cache_bytes = most_bytes if cache_bytes is None else cache_bytes
        self._loaded: OrderedDict[str, LoadedPipeline] = OrderedDict()

    def describe(self) -> dict[str, Any]:
        """Returns the description of this worker for the service."""
        has_card = self._memory_bytes is not None
        return {
            "device": str(self._device),
            "device_name": torch.cuda.get_device_name(self._device) if has_card else "CPU",
            "memory_bytes": self._memory_bytes,
            "devices": max(torch.cuda.device_count(), 1),
            "versions": {name: metadata.version(name) for name in _VERSIONS},
        }

    def models(self) -> list[str]:
        """Returns the keys of the models in memory."""
        return list(self._loaded)

    def run(self, call: dict[str, Any], out: str, channel: Channel) -> dict[str, Any]:
        """Makes one clip.

        Raises:
            EngineError: It does not fit into memory, or an input cannot be read.
            Cancelled: The job was cancelled.
        """
        has_card = self._memory_bytes is not None
        if has_card:
            torch.cuda.reset_peak_memory_stats(self._device)
        try:
            channel.report("load")
            loaded = self._load(call)
            loaded.prepare(call)
            frames = self._generate(loaded, call, channel)
            channel.report("save")
            _write_clip(Path(out), frames, call, channel)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._loaded.clear()
            _free_memory()
            raise EngineError(self._out_of_memory(call, channel.phase)) from error
        about, plan = self.describe(), loaded.plan
        memory: dict[str, Any] = {"offload": plan.offload, "vae_tiling": plan.vae_tiling}
        if has_card:
            memory["peak_gb"] = round(torch.cuda.max_memory_reserved(self._device) / GB, 1)
        facts = {
            "device": about["device_name"],
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "memory": memory,
            "scheduler": type(loaded.pipe.scheduler).__name__,
            "versions": about["versions"],
        }
        return {"facts": facts}

    def _load(self, call: dict[str, Any]) -> LoadedPipeline:
        key = call["key"]
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        plan = plan_memory(count_parameters(call["folders"]), self._memory_bytes, ram_bytes() or math.inf)
        available = self._cache_bytes - plan.weights_bytes
        while self._loaded and sum(item.plan.weights_bytes for item in self._loaded.values()) > available:
            self._loaded.popitem(last=False)
            _free_memory()
        self._loaded[key] = load_pipeline(call, plan, self._device)
        return self._loaded[key]

    def _generate(self, loaded: LoadedPipeline, call: dict[str, Any], channel: Channel) -> Any:
        """Returns the frames, shape (frames, height, width, 3), 0 to 1."""
        pipe, clock = loaded.pipe, PreviewClock()
        references = len(call["pictures"].get("reference_images", ()))

        def on_step(_: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            steps = getattr(pipe, "num_timesteps", 0)
            preview = clock.picture(loaded.colours, values["latents"], references)
            channel.report("generate", step + 1, steps, preview)
            if step + 1 == steps:
                channel.report("decode")
            return values

        arguments = {**call["arguments"], **_read_pictures(call)}
        accepted = inspect.signature(pipe.__call__).parameters
        if "callback_on_step_end" in accepted:
            arguments["callback_on_step_end"] = on_step
        unknown = sorted(arguments.keys() - accepted.keys())
        if unknown:
            raise EngineError(f"{call['pipeline']} has no argument {', '.join(unknown)}.")
        set_seed(call["seed"])  # of the global generators that libraries may use
        generator = torch.Generator("cpu").manual_seed(call["seed"])  # the same start on every card
        channel.report("encode")
        hooks = loaded.on_forward(channel.check)
        try:
            result = pipe(**arguments, generator=generator, output_type="np")
        finally:
            for hook in hooks:
                hook.remove()
            pipe.maybe_free_model_hooks()
        frames = getattr(result, "frames", None)
        if frames is None:
            raise EngineError(f"{call['pipeline']} makes no frames.")
        if not np.isfinite(frames[0]).all():
            raise EngineError(
                "The model computed values that are no numbers; try other settings or another dtype."
            )
        return frames[0]

    def _out_of_memory(self, call: dict[str, Any], phase: str) -> str:
        facts, asked = self.describe(), call["arguments"]
        held = f" of {facts['memory_bytes'] / GB:.0f} GB" if facts["memory_bytes"] else ""
        if phase == "load":
            doing = "loading the model"
            hint = "close other programs on it" + (" (nvidia-smi lists them)" if held else "")
        else:
            width, height, frames = (asked.get(name, "?") for name in ("width", "height", "num_frames"))
            doing, hint = f"{width} x {height}, {frames} frames", "lower the size or the number of frames"
        return f"Out of memory on {facts['device_name']}{held} ({phase}: {doing}): {hint}."


def _read_pictures(call: dict[str, Any]) -> dict[str, Any]:
    """Reads the input pictures; a single one covers the clip's size."""
    size = (call["arguments"].get("width"), call["arguments"].get("height"))
    pictures: dict[str, Any] = {}
    for name, value in call["pictures"].items():
        if isinstance(value, list):
            pictures[name] = [read_picture(Path(path)) for path in value]
        else:
            picture = read_picture(Path(value))
            pictures[name] = ImageOps.fit(picture, size, Image.Resampling.LANCZOS) if all(size) else picture
    return pictures


def _write_clip(path: Path, frames: Any, call: dict[str, Any], channel: Channel) -> None:
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    comment = json.dumps({"made_by": "wiro_nb, on this machine", "pipeline": call["pipeline"]}, sort_keys=True)
    with Mp4Writer(path, width, height, call["fps"], comment, _CRF) as writer:
        for frame in frames:
            channel.check()
            writer.write(np.ascontiguousarray(frame[:height, :width].transpose(2, 0, 1), np.float32) * 255)


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in text or "allocate" in text
    )


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
