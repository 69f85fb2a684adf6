"""Repositories of weights as the hub has them, with the same class names and tiny random weights. Needs torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_skyreels_image2video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE

LETTERS = "".join(chr(code) for code in range(33, 127))


def make_all(root: Path) -> None:
    """Writes the repositories of all five models below a folder, OWNER/NAME each."""
    torch.manual_seed(1)
    _animatediff(root)
    _wan(root / "Wan-AI/Wan2.2-TI2V-5B-Diffusers", diffusers.WanPipeline, vae=_vae48(), expand_timesteps=True)
    _wan(root / "Wan-AI/Wan2.1-VACE-14B-diffusers", diffusers.WanVACEPipeline, transformer=_vace())
    _wan(
        root / "Wan-AI/Wan2.2-I2V-A14B-Diffusers",
        diffusers.WanImageToVideoPipeline,
        transformer=_wan_transformer(in_channels=36),
        transformer_2=_wan_transformer(in_channels=36),
        boundary_ratio=0.9,
        image_encoder=None,
        image_processor=None,
    )
    for folder in ("Remade-AI/Jungle", "tiny/distilled/high", "tiny/distilled/low"):
        _wan_lora(root / folder)
    _skyreels(root)


def _animatediff(root: Path) -> None:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    pieces = ["<|startoftext|>", "<|endoftext|>", *sorted(alphabet), *(f"{item}</w>" for item in sorted(alphabet))]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, projection_dim=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=2, cross_attention_dim=16,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), norm_num_groups=2, latent_channels=4, sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    motion = diffusers.MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_num_attention_heads=2,
        motion_norm_num_groups=2, use_motion_mid_block=False,
    )  # fmt: skip
    for name in ("SG161222/Realistic_Vision_V5.1_noVAE", "Yntec/3DCute"):
        torch.nn.init.normal_(unet.conv_in.weight)
        pipe = diffusers.StableDiffusionPipeline(
            vae, text, tokenizer, unet, diffusers.PNDMScheduler(skip_prk_steps=True), None, None,
            requires_safety_checker=False,
        )  # fmt: skip
        pipe.save_pretrained(root / name)
    vae.save_pretrained(root / "stabilityai/sd-vae-ft-mse")
    motion.save_pretrained(root / "guoyww/animatediff-motion-adapter-v1-5-2")
    full = diffusers.UNetMotionModel.from_unet2d(unet, motion)
    for name in ("zoom-in", "pan-left"):
        save_lora(full, root / f"guoyww/animatediff-motion-lora-{name}", "motion_modules", "unet")


def save_lora(module: Any, folder: Path, within: str, prefix: str) -> None:
    """Writes a LoRA for the query projections of a module."""
    from safetensors.torch import save_file

    tensors = {}
    for name, part in module.named_modules():
        if within in name and name.endswith("to_q"):
            tensors[f"{prefix}.{name}.lora_A.weight"] = torch.randn(4, part.in_features)
            tensors[f"{prefix}.{name}.lora_B.weight"] = torch.randn(part.out_features, 4)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")


def _wan_lora(folder: Path) -> None:
    save_lora(_wan_transformer(in_channels=36), folder, "attn", "transformer")


def _wan_transformer(in_channels: int = 16, out_channels: int = 16) -> Any:
    return diffusers.WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=in_channels,
        out_channels=out_channels, text_dim=16, freq_dim=16, ffn_dim=16, num_layers=2, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=64,
    )  # fmt: skip


def _vace() -> Any:
    transformer = diffusers.WanVACETransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16,
        text_dim=16, freq_dim=16, ffn_dim=16, num_layers=2, cross_attn_norm=True, qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64, vace_layers=[0], vace_in_channels=96,
    )  # fmt: skip
    # Weights as they are drawn hardly carry a picture from its own frame to the clip's.
    torch.nn.init.normal_(transformer.vace_patch_embedding.weight)
    for block in (*transformer.vace_blocks, *transformer.blocks):
        torch.nn.init.normal_(block.attn1.to_v.weight)
        torch.nn.init.normal_(block.attn1.to_out[0].weight)
        torch.nn.init.normal_(block.scale_shift_table)
    return transformer


def _vae16() -> Any:
    vae = diffusers.AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    # More contrast, so that what changes a latent survives the codec.
    for convolution in (vae.encoder.conv_in, vae.encoder.conv_out):
        torch.nn.init.normal_(convolution.weight)
    torch.nn.init.normal_(vae.decoder.conv_out.weight, std=0.2)
    return vae


def _vae48() -> Any:
    return diffusers.AutoencoderKLWan(
        base_dim=3, decoder_base_dim=3, z_dim=48, dim_mult=[1, 1, 1, 1], num_res_blocks=1, in_channels=12,
        out_channels=12, is_residual=True, patch_size=2, latents_mean=[0.0] * 48, latents_std=[1.0] * 48,
        scale_factor_spatial=16, scale_factor_temporal=4,
    )  # fmt: skip


def _wan(folder: Path, kind: Any, vae: Any = None, **parts: Any) -> None:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    tokenizer = transformers.T5Tokenizer(vocab=pieces, extra_ids=0)
    text = transformers.UMT5EncoderModel(
        transformers.UMT5Config(
            vocab_size=len(pieces), d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, num_decoder_layers=1
        )
    )
    channels = 48 if vae is not None else 16
    parts.setdefault("transformer", _wan_transformer(channels, channels))
    scheduler = diffusers.UniPCMultistepScheduler(
        flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    pipe = kind(tokenizer=tokenizer, text_encoder=text, vae=vae or _vae16(), scheduler=scheduler, **parts)
    pipe.save_pretrained(folder)


def _skyreels(root: Path) -> None:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = Tokenizer(BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, initial_alphabet=alphabet)
    words.train_from_iterator([DEFAULT_PROMPT_TEMPLATE["template"]] * 20, trainer)
    llama_tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=special[0], eos_token=special[1], pad_token=special[1]
    )
    llama = transformers.LlamaModel(
        transformers.LlamaConfig(
            vocab_size=len(llama_tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=4,
            num_attention_heads=2, num_key_value_heads=2, pad_token_id=1,
        )
    )  # fmt: skip
    clip = diffusers.StableDiffusionPipeline.from_pretrained(root / "Yntec/3DCute", safety_checker=None)
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=8, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, patch_size=2, patch_size_t=1, guidance_embeds=True,
        text_embed_dim=16, pooled_projection_dim=16, rope_axes_dim=(2, 4, 4), mlp_ratio=2.0,
    )  # fmt: skip
    vae = diffusers.AutoencoderKLHunyuanVideo(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4, up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        mid_block_add_attention=False,
    )  # fmt: skip
    pipe = diffusers.HunyuanSkyreelsImageToVideoPipeline(
        text_encoder=llama, tokenizer=llama_tokenizer, transformer=transformer, vae=vae,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0), text_encoder_2=clip.text_encoder,
        tokenizer_2=clip.tokenizer,
    )  # fmt: skip
    folder = root / "hunyuanvideo-community/HunyuanVideo"
    pipe.save_pretrained(folder)
    shutil.rmtree(folder / "transformer")  # it comes from the other repository
    transformer.save_pretrained(root / "Skywork/SkyReels-V1-Hunyuan-I2V")
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "LlamaTokenizerFast"]  # as the hub has it
    (folder / "model_index.json").write_text(json.dumps(index))
