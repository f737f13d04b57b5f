"""What each pipeline class becomes: parts, tokenizers and the fields of model.json."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import (
    DiffusionPipeline,
    FluxPipeline,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    WanPipeline,
)
from torch import Tensor, nn
from torch.export import Dim

from .autoencoders import statistics
from .denoisers import FluxDenoiser, GuidedFluxDenoiser, Sd3Denoiser, SdxlDenoiser, WanDenoiser
from .errors import require
from .networks import draw, image_vae_parts, text_parts, times, video_vae_parts
from .parts import Inputs, Part, Size, dtype_of
from .schedules import default_solver, flow_schedule, vp_schedule
from .text_encoders import ClipEncoder, MaskedT5Encoder, T5Encoder
from .tokenizers import write_clip, write_sentencepiece

# diffusers' convolutional networks treat batches of 64 and more in another way, which an exported program cannot.
BATCH = Dim("batch", max=63)
TOKENS = Dim("tokens", min=2, max=65536)
TIMESTEP = {"time": "timestep"}


@dataclass
class Family:
    name: str
    denoiser: Callable[[nn.Module], Part]  # from the UNet or transformer
    network: str  # the pipeline's name of it
    tokenizers: dict[str, tuple[Callable, int]]  # component -> writer, length
    encoders: dict[str, tuple[type[nn.Module], int]]
    vae: Callable[[nn.Module], list[Part]]
    manifest: dict[str, object]
    tokenizer_fields: dict[str, object]


def sides(largest: int) -> tuple[Dim, Dim]:
    """Height and width in patches, for torch.export."""
    return Dim("height", max=largest), Dim("width", max=largest)


def sdxl_denoiser(unet: nn.Module) -> Part:
    config = unet.config
    require(config.addition_embed_type == "text_time", f"unet: addition_embed_type {config.addition_embed_type!r} is not SDXL's")
    require(unet.config.time_cond_proj_dim is None, "unet: guidance embedding (time_cond_proj_dim) is not supported")
    multiple = 2 ** (len(config.block_out_channels) - 1)
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim

    def inputs_of(s: Size) -> Inputs:
        ids = torch.tensor([[64.0, 96.0, 0.0, 0.0, 64.0, 96.0]], device=unet.device, dtype=dtype_of(unet))
        latents = draw(unet, s.batch, config.in_channels, s.height * multiple, s.width * multiple)
        tokens = draw(unet, s.batch, s.tokens, config.cross_attention_dim)
        return latents, times(unet, s.batch), tokens, draw(unet, s.batch, pooled), ids.repeat(s.batch, 1)

    def reference(x: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, ids: Tensor) -> Tensor:
        return unet(x, time, tokens, added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}).sample

    height, width = sides(4096)
    shapes = ({0: BATCH, 2: multiple * height, 3: multiple * width}, {0: BATCH}, {0: BATCH, 1: TOKENS}, {0: BATCH}, {0: BATCH})
    return Part("denoiser", SdxlDenoiser(unet), inputs_of, reference, shapes, TIMESTEP)


def shuffled(count: int, device: torch.device) -> Tensor:
    return torch.randperm(count, device=device)


def sd3_denoiser(net: nn.Module) -> Part:
    config = net.config
    require(config.patch_size == 2, f"transformer: patch_size {config.patch_size} is not supported, only 2")

    def inputs_of(s: Size) -> Inputs:
        latents = draw(net, s.batch, config.in_channels, s.height * 2, s.width * 2)
        tokens = draw(net, s.batch, s.tokens, config.joint_attention_dim)
        pooled = draw(net, s.batch, config.pooled_projection_dim)
        return latents, times(net, s.batch), tokens, pooled, shuffled(s.height * s.width, net.device)

    def reference(x: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, _: Tensor) -> Tensor:
        return net(x, tokens, pooled, time).sample

    height, width = sides(config.pos_embed_max_size)
    shapes = ({0: BATCH, 2: 2 * height, 3: 2 * width}, {0: BATCH}, {0: BATCH, 1: TOKENS}, {0: BATCH}, {0: Dim.AUTO})
    return Part("denoiser", Sd3Denoiser(net), inputs_of, reference, shapes, TIMESTEP)


def flux_denoiser(net: nn.Module) -> Part:
    config = net.config
    require(config.patch_size == 1, f"transformer: patch_size {config.patch_size} is not supported, only 1")
    require(config.in_channels == (config.out_channels or config.in_channels), "transformer: takes further channels, as fill and control models do")
    guided, channels = config.guidance_embeds, config.in_channels // 4

    def inputs_of(s: Size) -> Inputs:
        latents = draw(net, s.batch, channels, s.height * 2, s.width * 2)
        tokens = draw(net, s.batch, s.tokens, config.joint_attention_dim)
        pooled = draw(net, s.batch, config.pooled_projection_dim)
        scale = (torch.full((s.batch,), 3.5, device=net.device),) if guided else ()
        return latents, times(net, s.batch), tokens, pooled, *scale, shuffled(s.height * s.width, net.device)

    def reference(x: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, *rest: Tensor) -> Tensor:
        height, width = x.shape[2:]
        packed = FluxPipeline._pack_latents(x, *x.shape)
        ids = FluxPipeline._prepare_latent_image_ids(len(x), height // 2, width // 2, x.device, x.dtype)
        text_ids = x.new_zeros(tokens.shape[1], 3)
        guidance = rest[0] if guided else None
        output = net(packed, tokens, pooled, time.to(x.dtype) / 1000, ids, text_ids, guidance).sample
        return FluxPipeline._unpack_latents(output, height * 8, width * 8, 8)

    height, width = sides(4096)
    shapes = ({0: BATCH, 2: 2 * height, 3: 2 * width}, {0: BATCH}, {0: BATCH, 1: TOKENS}, {0: BATCH})
    shapes += (({0: BATCH},) if guided else ()) + ({0: Dim.AUTO},)
    module = GuidedFluxDenoiser(net) if guided else FluxDenoiser(net)
    return Part("denoiser", module, inputs_of, reference, shapes, TIMESTEP)


def wan_denoiser(net: nn.Module) -> Part:
    config = net.config
    require(tuple(config.patch_size) == (1, 2, 2), f"transformer: patch_size {config.patch_size} is not supported, only (1, 2, 2)")
    require(config.image_dim is None, "transformer: conditioned on images (image_dim), only text is supported")
    require(config.in_channels == config.out_channels, "transformer: takes further channels, as image-to-video models do")

    def inputs_of(s: Size) -> Inputs:
        latents = draw(net, s.batch, config.in_channels, s.frames, s.height * 2, s.width * 2)
        tokens = draw(net, s.batch, s.tokens, config.text_dim)
        return latents, times(net, s.batch), tokens, shuffled(s.frames * s.height * s.width, net.device)

    def reference(x: Tensor, time: Tensor, tokens: Tensor, _: Tensor) -> Tensor:
        return net(x, time, tokens).sample

    largest = config.rope_max_seq_len
    frames, (height, width) = Dim("frames", max=largest), sides(largest)
    shapes = ({0: BATCH, 2: frames, 3: 2 * height, 4: 2 * width}, {0: BATCH}, {0: BATCH, 1: TOKENS}, {0: Dim.AUTO})
    return Part("denoiser", WanDenoiser(net), inputs_of, reference, shapes, TIMESTEP)


def image_latent(pipe: DiffusionPipeline, side: int, patch: int, multiple: int) -> dict[str, object]:
    config = pipe.vae.config
    plain = statistics(config, 4) is not None
    return {
        "channels": config.latent_channels,
        "spatial_scale": 2 ** (len(config.block_out_channels) - 1),
        "scaling_factor": 1.0 if plain else config.scaling_factor,
        "shift_factor": 0.0 if plain else (config.shift_factor or 0.0),
        "height": side,
        "width": side,
        "patch": patch,
        "multiple": multiple,
    }


def sdxl(pipe: StableDiffusionXLPipeline) -> Family:
    schedule, parameterization = vp_schedule(pipe.scheduler)
    clip = {"tokenizer": (write_clip, pipe.tokenizer.model_max_length), "tokenizer_2": (write_clip, pipe.tokenizer_2.model_max_length)}
    multiple = 2 ** (len(pipe.unet.config.block_out_channels) - 1)
    manifest = {
        "family": "sdxl",
        "parameterization": parameterization,
        "schedule": schedule,
        "latent": image_latent(pipe, pipe.unet.config.sample_size, 1, multiple),
        "guidance": {"null_branch": True, "embedded": False, "default": 5.0,
                     "zero_null": bool(pipe.config.force_zeros_for_empty_prompt)},
        "default_steps": 50,
    }  # fmt: skip
    encoders = {name.replace("tokenizer", "text_encoder"): (ClipEncoder, length) for name, (_, length) in clip.items()}
    return Family("sdxl", sdxl_denoiser, "unet", clip, encoders, image_vae_parts, manifest, {})


def sd3(pipe: StableDiffusion3Pipeline) -> Family:
    config, length = pipe.transformer.config, pipe.tokenizer_max_length
    tokenizers = {"tokenizer": (write_clip, length), "tokenizer_2": (write_clip, length), "tokenizer_3": (write_sentencepiece, 256)}
    encoders = {"text_encoder": (ClipEncoder, length), "text_encoder_2": (ClipEncoder, length), "text_encoder_3": (T5Encoder, 256)}
    manifest = {
        "family": "sd3",
        "parameterization": "velocity",
        "schedule": flow_schedule(pipe.scheduler, "training"),
        "latent": image_latent(pipe, config.sample_size, 2, 2) | {"largest": config.pos_embed_max_size * 2},
        "guidance": {"null_branch": True, "embedded": False, "default": 7.0},
        "default_steps": 28,
    }
    return Family("sd3", sd3_denoiser, "transformer", tokenizers, encoders, image_vae_parts, manifest, {})


def flux(pipe: FluxPipeline) -> Family:
    guided = pipe.transformer.config.guidance_embeds
    # The schnell kind is neither guided nor made for more text than 256 tokens.
    text = 512 if guided else 256
    tokenizers = {"tokenizer": (write_clip, pipe.tokenizer_max_length), "tokenizer_2": (write_sentencepiece, text)}
    encoders = {"text_encoder": (ClipEncoder, pipe.tokenizer_max_length), "text_encoder_2": (T5Encoder, text)}
    manifest = {
        "family": "flux",
        "parameterization": "velocity",
        "schedule": flow_schedule(pipe.scheduler, "per_step"),
        "latent": image_latent(pipe, pipe.default_sample_size, 2, 2),
        "guidance": {"null_branch": True, "embedded": guided, "default": 3.5 if guided else 1.0},
        "default_steps": 28 if guided else 4,
    }
    return Family("flux", flux_denoiser, "transformer", tokenizers, encoders, image_vae_parts, manifest, {})


def wan(pipe: WanPipeline) -> Family:
    require(pipe.transformer_2 is None, "transformer_2: two-stage models (Wan 2.2 A14B) are not supported")
    require(not pipe.config.expand_timesteps, "expand_timesteps: per-token timesteps (Wan 2.2 TI2V) are not supported")
    vae = pipe.vae.config
    require(not vae.is_residual and vae.patch_size is None, "vae: residual and patched autoencoders (Wan 2.2) are not supported")
    latent = {
        "channels": vae.z_dim,
        "spatial_scale": vae.scale_factor_spatial,
        "frame_scale": vae.scale_factor_temporal,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
        "height": 480 // vae.scale_factor_spatial,
        "width": 832 // vae.scale_factor_spatial,
        "frames": 80 // vae.scale_factor_temporal + 1,
        "patch": 2,
        "multiple": 2,
    }
    manifest = {
        "family": "wan",
        "parameterization": "velocity",
        "schedule": flow_schedule(pipe.scheduler, "training"),
        "latent": latent,
        "guidance": {"null_branch": True, "embedded": False, "default": 5.0},
        "default_steps": 50,
    }
    tokenizers = {"tokenizer": (write_sentencepiece, 512)}
    encoders = {"text_encoder": (MaskedT5Encoder, 512)}
    return Family("wan", wan_denoiser, "transformer", tokenizers, encoders, video_vae_parts, manifest, {"clean": "web"})


FAMILIES: dict[str, Callable[[DiffusionPipeline], Family]] = {
    "StableDiffusionXLPipeline": sdxl,
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "WanPipeline": wan,
}


def family_of(pipe: DiffusionPipeline) -> Family:
    family = FAMILIES[type(pipe).__name__](pipe)
    solver = default_solver(pipe.scheduler)
    if solver is not None:
        family.manifest["default_solver"] = solver
    return family


__all__ = ["FAMILIES", "Family", "family_of", "text_parts"]
