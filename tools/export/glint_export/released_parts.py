"""Components made of other projects' released checkpoints: NPNet and CoRe2's weak network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor, nn

from . import archives
from .errors import require
from .released.checkpoints import core2_checkpoint, npnet_checkpoint, with_component, write_component
from .released.core2 import Core2Network
from .released.npnet import CHANNELS, Npnet

# The same network twice, from the checkpoint and from the file.
TOLERANCE = 1e-6
INPUTS = {
    Npnet: ["latents", "tokens"],
    Core2Network: ["output", "position", "tokens", "pooled", "null_tokens", "null_pooled"],
}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """What the pipeline's prompts become."""

    tokens: int
    width: int
    pooled: int


def prompt_of(pipe: DiffusionPipeline, family: str) -> Prompt:
    if family == "sdxl":
        width = pipe.unet.config.cross_attention_dim
        return Prompt(pipe.tokenizer.model_max_length, width, pipe.text_encoder_2.config.projection_dim)
    config = pipe.transformer.config
    return Prompt(pipe.tokenizer_max_length + 256, config.joint_attention_dim, config.pooled_projection_dim)


def examples(network: nn.Module) -> list[tuple[Tensor | float, ...]]:
    generator, c = torch.Generator().manual_seed(0), network.config

    def normal(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=generator)

    if isinstance(network, Npnet):
        return [(normal(CHANNELS, c.side, c.side), normal(c.tokens, c.token_width))]
    output, pooled = normal(c.channels, 2 * c.patch, 3 * c.patch), [normal(c.pooled // 2) for _ in range(2)]
    tokens = [normal(c.tokens, c.token_width) for _ in range(2)]
    places = [0.0, (c.banks - 1) / c.banks]
    return [(output, place, tokens[0], pooled[0], tokens[1], pooled[1]) for place in places]


@torch.no_grad()
def written(network: nn.Module, name: str, out: Path) -> dict[str, object]:
    """Writes the component's file, compares it with the checkpoint, and returns its manifest entry."""
    path = out / f"{name}.safetensors"
    write_component(network, path)
    stored = with_component(type(network)(network.config).eval(), load_file(path))
    worst = 0.0
    for inputs in examples(network):
        ours, theirs = stored(*inputs), network(*inputs)
        require(
            bool(theirs.isfinite().all()),
            f"{name}: the checkpoint's network gives values that are not finite",
        )
        worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1.0)))
    require(
        worst <= TOLERANCE,
        f"{path.name}: differs from the checkpoint by {worst:.1e}, more than {TOLERANCE:.0e}",
    )
    print(
        f"{path.name:24} {path.stat().st_size:12,d} bytes, within {worst:.1e} of the checkpoint", flush=True
    )
    entry = {"file": path.name, "backend": "safetensors", "sha256": archives.sha256(path)}
    return entry | {"dtype": "float32", "inputs": INPUTS[type(network)]}


def npnet_entry(path: Path, pipe: DiffusionPipeline, family: str, out: Path) -> dict[str, object]:
    require(family == "sdxl", f"{path}: NPNet's released networks are for sdxl models, not for {family}")
    prompt = prompt_of(pipe, family)
    network = npnet_checkpoint(path, prompt.tokens)
    c, channels = network.config, pipe.vae.config.latent_channels
    require(
        c.token_width == prompt.width,
        f"{path}: made for prompts of {c.tokens} tokens of width {c.token_width}, "
        f"the pipeline's have {prompt.width}",
    )
    require(
        channels == CHANNELS,
        f"{path}: made for latents of {CHANNELS} channels, the pipeline's have {channels}",
    )
    return written(network, "npnet", out)


def core2_entry(path: Path, pipe: DiffusionPipeline, family: str, out: Path) -> dict[str, object]:
    known = family in ("sdxl", "sd3")
    require(known, f"{path}: CoRe2's released networks are for sdxl and sd3 models, not for {family}")
    network, prompt = core2_checkpoint(path), prompt_of(pipe, family)
    c = network.config
    for what, theirs, ours in (
        ("latents of channels", c.channels, pipe.vae.config.latent_channels),
        ("prompts of tokens", c.tokens, prompt.tokens),
        ("tokens of width", c.token_width, prompt.width),
        ("pooled vectors of width", c.pooled // 2, prompt.pooled),
    ):
        require(theirs == ours, f"{path}: made for {what} {theirs}, the pipeline's have {ours}")
    return written(network, "core2_weak", out)
