"""The tiny repositories at the size of the real ones: same configuration, random weights. Needs torch and a GPU.

What a run takes in time and memory depends on shapes alone, so that these stand for the real weights in both, and
for nothing that can be seen in a clip. The numbers are those of the repositories' own `config.json` files.

    python -m tests.local.full_size ROOT MODEL      MODEL: animatediff, ti2v, vace, effects or skyreels
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.local import tiny

_WAN_14B = {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824, "in_channels": 16, "out_channels": 16}


def main(root: Path, model: str) -> None:
    """Writes the repositories of one model, and those of the others as tiny ones."""
    tiny.make_all(root)
    makers = {
        "animatediff": _animatediff,
        "ti2v": _ti2v,
        "vace": _vace,
        "effects": _effects,
        "skyreels": _skyreels,
    }
    makers[model](root)


def _write(folder: Path, make: Callable[[], Any], dtype: torch.dtype = torch.bfloat16) -> Any:
    """Replaces a part of a repository and returns the module."""
    with torch.device("cuda"):
        torch.set_default_dtype(torch.bfloat16)
        module = make().to(dtype)
        torch.set_default_dtype(torch.float32)
    shutil.rmtree(folder, ignore_errors=True)
    module.save_pretrained(folder, max_shard_size="10GB")
    return module


def _animatediff(root: Path) -> None:
    base = root / "SG161222/Realistic_Vision_V5.1_noVAE"
    _write(base / "text_encoder", _clip)
    vae = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    for folder in (base / "vae", root / "stabilityai/sd-vae-ft-mse"):
        _write(folder, lambda: diffusers.AutoencoderKL(**vae, **blocks, latent_channels=4))
    unet = _write(
        base / "unet",
        lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
    )
    adapter = root / "guoyww/animatediff-motion-adapter-v1-5-2"
    motion = _write(adapter, lambda: diffusers.MotionAdapter(motion_max_seq_length=32))
    full = diffusers.UNetMotionModel.from_unet2d(unet, motion).cpu().float()
    for name in ("zoom-in", "pan-left"):
        folder = root / f"guoyww/animatediff-motion-lora-{name}"
        shutil.rmtree(folder)
        tiny.save_lora(full, folder, "motion_modules", "unet")


def _clip() -> Any:
    return transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
            projection_dim=768, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip


def _umt5() -> Any:
    return transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip


def _wan(**values: Any) -> Any:
    return diffusers.WanTransformer3DModel(attention_head_dim=128, text_dim=4096, **values)


def _ti2v(root: Path) -> None:
    folder = root / "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    _write(folder / "text_encoder", _umt5)
    wan = {"num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336, "in_channels": 48, "out_channels": 48}
    _write(folder / "transformer", lambda: _wan(**wan))
    vae = {
        "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "in_channels": 12, "out_channels": 12,
        "is_residual": True, "patch_size": 2, "latents_mean": [0.0] * 48, "latents_std": [1.0] * 48,
        "scale_factor_spatial": 16, "scale_factor_temporal": 4,
    }  # fmt: skip
    _write(folder / "vae", lambda: diffusers.AutoencoderKLWan(**vae), torch.float32)


def _vace(root: Path) -> None:
    folder = root / "Wan-AI/Wan2.1-VACE-14B-diffusers"
    _write(folder / "text_encoder", _umt5)
    vace = {"vace_layers": [0, 5, 10, 15, 20, 25, 30, 35], "vace_in_channels": 96}
    _write(
        folder / "transformer",
        lambda: diffusers.WanVACETransformer3DModel(attention_head_dim=128, text_dim=4096, **_WAN_14B, **vace),
    )
    _write(folder / "vae", diffusers.AutoencoderKLWan, torch.float32)


def _effects(root: Path) -> None:
    folder = root / "Wan-AI/Wan2.2-I2V-A14B-Diffusers"
    _write(folder / "text_encoder", _umt5)
    module = _write(folder / "transformer", lambda: _wan(**_WAN_14B | {"in_channels": 36}))
    shutil.rmtree(folder / "transformer_2")
    shutil.copytree(folder / "transformer", folder / "transformer_2", copy_function=os.link)
    _write(folder / "vae", diffusers.AutoencoderKLWan, torch.float32)
    shutil.rmtree(root / "Remade-AI/Jungle")
    tiny.save_lora(module, root / "Remade-AI/Jungle", "attn", "transformer")


def _skyreels(root: Path) -> None:
    folder = root / "hunyuanvideo-community/HunyuanVideo"
    llama = transformers.LlamaConfig(
        vocab_size=128320, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8, max_position_embeddings=8192, pad_token_id=1,
    )  # fmt: skip
    _write(folder / "text_encoder", lambda: transformers.LlamaModel(llama))
    _write(folder / "text_encoder_2", _clip)
    _write(folder / "vae", diffusers.AutoencoderKLHunyuanVideo)
    _write(
        root / "Skywork/SkyReels-V1-Hunyuan-I2V",
        lambda: diffusers.HunyuanVideoTransformer3DModel(in_channels=32, out_channels=16, guidance_embeds=True),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
