"""Loads pipelines, fits them into the device's memory, and shows their latents as pictures. Needs torch.

Colours are nearly linear in a latent: a chart of known colours, encoded once, gives the linear map by least
squares. A preview costs a matrix product of one latent frame and a JPEG.
"""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer

from wiro_nb.local_models import GB
from wiro_nb.sandbox.engines import EngineError
from wiro_nb.sandbox.engines.diffusers.memory import MemoryPlan

MEMORY_VARIABLE = "WIRO_LOCAL_GPU_MEMORY_GB"

_DENOISERS = ("transformer", "transformer_2", "unet")
_PART_CLASSES = {
    "motion_adapter": diffusers.MotionAdapter,
    "vae": diffusers.AutoencoderKL,
    "transformer": diffusers.HunyuanVideoTransformer3DModel,
}


@dataclass
class LoadedPipeline:
    """A pipeline in memory.

    Attributes:
        pipe: The pipeline.
        scheduler: The scheduler it came with.
        plan: How it is held.
        dtype: Of its weights.
        colours: Shows its latents as pictures; None where they cannot be shown.
        loras: The LoRAs it holds now, as the call names them.
    """

    pipe: Any
    scheduler: Any
    plan: MemoryPlan
    dtype: torch.dtype
    colours: LatentColours | None
    loras: str = "[]"

    def prepare(self, call: dict[str, Any]) -> None:
        """Sets scheduler, LoRAs and cache for a call."""
        kind = getattr(diffusers, call["scheduler"] or type(self.scheduler).__name__)
        self.pipe.scheduler = kind.from_config(self.scheduler.config, **call["scheduler_changes"])
        wanted = json.dumps(call["loras"])
        if wanted != self.loras:
            self._load_loras(call["loras"])
            self.loras = wanted
        for module in filter(None, (getattr(self.pipe, name, None) for name in _DENOISERS)):
            if getattr(module, "is_cache_enabled", False):
                module.disable_cache()
            if call["cache_threshold"]:
                module.enable_cache(diffusers.FirstBlockCacheConfig(threshold=call["cache_threshold"]))

    def on_forward(self, check: Callable[[], None]) -> list[Any]:
        """Calls `check` before each part, its children, and the members of its lists of blocks.

        Returns:
            Handles with `remove`.
        """

        def hook(module: Any, arguments: Any) -> None:
            check()

        modules: set[torch.nn.Module] = set()
        for part in self.pipe.components.values():
            if isinstance(part, torch.nn.Module):
                children = list(part.children())
                modules |= {part, *children, *(layer for child in children for layer in child.children())}
        return [module.register_forward_pre_hook(hook) for module in modules]

    def _load_loras(self, loras: list[dict[str, Any]]) -> None:
        if self.loras != "[]":
            self.pipe.unload_lora_weights()
        names = [f"lora{number}" for number in range(len(loras))]
        has_second = getattr(self.pipe, "transformer_2", None) is not None
        for name, lora in zip(names, loras, strict=True):
            folder = Path(lora["folder"])
            files = lora["files"] or [path.name for path in sorted(folder.glob("*.safetensors"))[:1]]
            absent = [file for file in files or ["*.safetensors"] if not (folder / file).is_file()]
            if absent:
                raise EngineError(f"The LoRA {lora['id']} has no file {absent[0]}.")
            options = {"adapter_name": name, "local_files_only": True}
            self.pipe.load_lora_weights(lora["folder"], weight_name=files[0], **options)
            if has_second:
                options["load_into_transformer_2"] = True
                self.pipe.load_lora_weights(lora["folder"], weight_name=files[-1], **options)
        if names:
            self.pipe.set_adapters(names)


def card_bytes(device: torch.device) -> int | None:
    """Returns the memory of a card that may be used, or None for the CPU.

    `WIRO_LOCAL_GPU_MEMORY_GB` lowers it, so that a card can be shared.
    """
    if device.type != "cuda":
        return None
    total: int = torch.cuda.get_device_properties(device).total_memory
    try:
        allowed = int(float(os.environ[MEMORY_VARIABLE]) * GB)
        return min(total, allowed) if allowed > 0 else total
    except (KeyError, ValueError, OverflowError):
        return total


def load_pipeline(call: dict[str, Any], plan: MemoryPlan, device: torch.device) -> LoadedPipeline:
    """Loads the pipeline of a call from local folders; nothing is downloaded and no code of a repository runs.

    Raises:
        EngineError: diffusers has no such pipeline.
    """
    kind = getattr(diffusers, call["pipeline"], None)
    if kind is None:
        raise EngineError(f"diffusers {diffusers.__version__} has no pipeline {call['pipeline']}.")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    options = {"local_files_only": True, "use_safetensors": True}
    is_wan = call["pipeline"].startswith("Wan")
    pipe = kind.from_pretrained(
        call["folders"]["pipeline"],
        # Wan's decoder loses detail in 16 bits.
        torch_dtype={"default": dtype, "vae": torch.float32} if is_wan else dtype,
        **_own_parts(call, dtype, options),
        **options,
    )
    pipe.set_progress_bar_config(disable=True)
    loaded = LoadedPipeline(pipe, pipe.scheduler, plan, dtype, None)
    if hasattr(pipe.vae, "enable_slicing"):
        pipe.vae.enable_slicing()  # a decoder of pictures takes one frame after the other
    if plan.vae_tiling and hasattr(pipe.vae, "enable_tiling"):
        pipe.vae.enable_tiling()
    if plan.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif plan.offload == "group":
        pipe.enable_group_offload(onload_device=device, offload_type="leaf_level", use_stream=True)
    else:
        pipe.to(device)
    loaded.colours = LatentColours.fit(pipe)
    return loaded


def _own_parts(call: dict[str, Any], dtype: torch.dtype, options: dict[str, Any]) -> dict[str, Any]:
    """Loads the parts that come from repositories of their own."""
    folders = call["folders"]
    parts: dict[str, Any] = {
        role: kind.from_pretrained(folders[role], torch_dtype=dtype, **options)
        for role, kind in _PART_CLASSES.items()
        if role in folders
    }
    if "motion_adapter" in parts:
        parts |= {"feature_extractor": None, "image_encoder": None}
    if "transformer" in parts:
        # With transformers 5 the class that the repository names drops spaces (transformers issue 45488).
        tokenizer = Path(folders["pipeline"]) / "tokenizer"
        parts["tokenizer"] = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    return parts


# Previews ------------------------------------------------------------------------------------


_CHART_PX, _PATCH_PX = 256, 16
_MAX_SIDE_PX = 160
_QUALITY = 70
_MIN_GAP_S = 0.25
_MAX_SHARE = 0.03


class LatentColours:
    """The linear map from latents of one VAE to colours, shape (channels + 1, 3)."""

    def __init__(self, weights: np.ndarray[Any, Any]) -> None:
        self._weights = weights

    @classmethod
    def fit(cls, pipe: Any) -> LatentColours | None:
        """Fits the map to a pipeline's VAE; None where its latents have no such form."""
        try:
            latents = _encode_chart(pipe.vae)
        except Exception:  # a pipeline without a VAE, or one with latents of another form: no previews
            return None
        channels, height, width = latents.shape
        chart = _chart().reshape(height, _CHART_PX // height, width, _CHART_PX // width, 3).mean((1, 3))
        rows = _rows(latents)
        gram = rows.T @ rows + 1e-3 * np.eye(channels + 1)
        return cls(np.linalg.solve(gram, rows.T @ chart.reshape(-1, 3)))

    def picture(self, frame: np.ndarray[Any, Any]) -> dict[str, Any]:
        """Returns one latent frame, shape (channels, height, width), as a message's `preview`."""
        colours = (_rows(frame) @ self._weights).reshape(*frame.shape[1:], 3).clip(0, 1) * 255
        image = Image.fromarray(colours.astype(np.uint8))
        image.thumbnail((_MAX_SIDE_PX, _MAX_SIDE_PX))
        target = io.BytesIO()
        image.save(target, "JPEG", quality=_QUALITY)
        jpeg = base64.b64encode(target.getvalue()).decode()
        return {"image": f"data:image/jpeg;base64,{jpeg}", "width": image.width, "height": image.height}


def _rows(latents: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Returns the pixels of a latent frame, each with a 1 for the constant, shape (pixels, channels + 1)."""
    pixels = latents.reshape(len(latents), -1).T
    return np.concatenate([pixels, np.ones((len(pixels), 1))], 1)


class PreviewClock:
    """Decides when a preview is due: at most four a second, and below 3 % of the time."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._spent_s = 0.0
        self._count = 0

    def picture(self, colours: LatentColours | None, latents: torch.Tensor, skip: int) -> dict[str, Any] | None:
        """Returns a picture when one is due, of one frame after the other; `skip` leading frames are left out."""
        now = time.monotonic()
        typical_s = self._spent_s / max(self._count, 1)
        too_soon = now - self._last < _MIN_GAP_S
        too_expensive = self._spent_s + typical_s > _MAX_SHARE * (now - self._started)
        if colours is None or latents.dim() != 5 or too_soon or too_expensive:
            return None
        frames = latents.shape[2] - skip
        frame = latents[0, :, skip + self._count % frames].detach().float().cpu().numpy()
        picture = colours.picture(frame)
        self._last = time.monotonic()
        self._spent_s += self._last - now
        self._count += 1
        return picture


def _chart() -> np.ndarray[Any, Any]:
    """Returns a picture of coloured patches, shape (256, 256, 3), 0 to 1; always the same."""
    side = _CHART_PX // _PATCH_PX
    colours = np.random.Generator(np.random.PCG64(1)).random((side, side, 3))
    return colours.repeat(_PATCH_PX, 0).repeat(_PATCH_PX, 1)


def _encode_chart(vae: Any) -> np.ndarray[Any, Any]:
    """Returns the chart's latents as the pipelines hold them, shape (channels, height, width)."""
    pixels = torch.from_numpy(_chart() * 2 - 1).permute(2, 0, 1)[None]
    is_video = "3D" in type(vae.encoder).__name__ or type(vae).__name__ != "AutoencoderKL"
    pixels = pixels[:, :, None] if is_video else pixels
    device = next(vae.parameters()).device
    if device.type == "cpu" and torch.cuda.is_available():
        device = torch.device("cuda")  # an offloaded VAE comes to the card when it is called
    with torch.no_grad():
        latents = vae.encode(pixels.to(device, vae.dtype)).latent_dist.mode().float().cpu()[0]
    latents = latents[:, 0] if is_video else latents
    config = vae.config
    if getattr(config, "latents_mean", None) is not None and getattr(config, "latents_std", None) is not None:
        mean, std = (torch.tensor(values)[:, None, None] for values in (config.latents_mean, config.latents_std))
        latents = (latents - mean) / std
    else:
        latents = latents * float(getattr(config, "scaling_factor", 1.0))
    return np.asarray(latents.numpy(), np.float64)
