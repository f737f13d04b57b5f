"""Denoisers as parts: what they are traced and checked with, and what an exported program may vary."""

from __future__ import annotations

import torch
from diffusers import FluxPipeline
from torch import Tensor, nn
from torch.export import Dim

from .denoisers import FluxDenoiser, GuidedFluxDenoiser, Sd3Denoiser, SdxlDenoiser, WanDenoiser
from .errors import require
from .networks import draw, times
from .parts import Inputs, Part, Size, dtype_of

# diffusers' convolutional networks treat batches of 64 and more differently; an exported program cannot.
BATCH = Dim("batch", max=63)
TOKENS = Dim("tokens", min=2, max=65536)
TIMESTEP = {"time": "timestep"}


def sides(largest: int) -> tuple[Dim, Dim]:
    """Height and width in patches, for torch.export."""
    return Dim("height", max=largest), Dim("width", max=largest)


def sdxl_denoiser(unet: nn.Module) -> Part:
    config = unet.config
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
    shapes = (
        {0: BATCH, 2: multiple * height, 3: multiple * width},
        {0: BATCH},
        {0: BATCH, 1: TOKENS},
        {0: BATCH},
        {0: BATCH},
    )
    return Part("denoiser", SdxlDenoiser(unet), inputs_of, reference, shapes, TIMESTEP)


def shuffled(count: int, device: torch.device) -> Tensor:
    return torch.randperm(count, device=device)


def sd3_denoiser(net: nn.Module) -> Part:
    config = net.config

    def inputs_of(s: Size) -> Inputs:
        latents = draw(net, s.batch, config.in_channels, s.height * 2, s.width * 2)
        tokens = draw(net, s.batch, s.tokens, config.joint_attention_dim)
        pooled = draw(net, s.batch, config.pooled_projection_dim)
        return latents, times(net, s.batch), tokens, pooled, shuffled(s.height * s.width, net.device)

    def reference(x: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, _: Tensor) -> Tensor:
        return net(x, tokens, pooled, time).sample

    height, width = sides(config.pos_embed_max_size)
    shapes = (
        {0: BATCH, 2: 2 * height, 3: 2 * width},
        {0: BATCH},
        {0: BATCH, 1: TOKENS},
        {0: BATCH},
        {0: Dim.AUTO},
    )
    return Part("denoiser", Sd3Denoiser(net), inputs_of, reference, shapes, TIMESTEP)


def flux_denoiser(net: nn.Module) -> Part:
    config = net.config
    require(
        config.in_channels == (config.out_channels or config.in_channels),
        "transformer: takes further channels, as fill and control models do",
    )
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
    require(
        config.in_channels == config.out_channels,
        "transformer: takes further channels, as image-to-video models do",
    )

    def inputs_of(s: Size) -> Inputs:
        latents = draw(net, s.batch, config.in_channels, s.frames, s.height * 2, s.width * 2)
        tokens = draw(net, s.batch, s.tokens, config.text_dim)
        return latents, times(net, s.batch), tokens, shuffled(s.frames * s.height * s.width, net.device)

    def reference(x: Tensor, time: Tensor, tokens: Tensor, _: Tensor) -> Tensor:
        return net(x, time, tokens).sample

    largest = config.rope_max_seq_len
    frames, (height, width) = Dim("frames", max=largest), sides(largest)
    shapes = (
        {0: BATCH, 2: frames, 3: 2 * height, 4: 2 * width},
        {0: BATCH},
        {0: BATCH, 1: TOKENS},
        {0: Dim.AUTO},
    )
    return Part("denoiser", WanDenoiser(net), inputs_of, reference, shapes, TIMESTEP)
