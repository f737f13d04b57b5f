"""The denoiser of emoji-flow: diffusers' FLUX transformer at width 192."""

from __future__ import annotations

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS, LATENT_SIDE
from .precision import keep_in_float32
from .text import HEADS, WIDTH
from .words import MAX_TOKENS

PATCH = 2
GRID = LATENT_SIDE // PATCH
PACKED = LATENT_CHANNELS * PATCH**2
WAVES = 4  # cosine waves per axis in the position channels


def make_transformer(guidance: bool, blocks: tuple[int, int], images: int) -> FluxTransformer2DModel:
    """Double and single blocks, 6 heads of 32; 64 tokens: 2 x 2 x 4 values per image and 16 of position."""
    return FluxTransformer2DModel(
        patch_size=1, in_channels=images * PACKED + WAVES**2, out_channels=PACKED, num_layers=blocks[0],
        num_single_layers=blocks[1], attention_head_dim=WIDTH // HEADS, num_attention_heads=HEADS,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, guidance_embeds=guidance,
        axes_dims_rope=(8, 12, 12),
    )  # fmt: skip


def position_channels() -> Tensor:
    """Products of cosine waves over rows and columns: [64, 16].

    The rotary embedding tells image tokens how far apart they are; in pure noise nothing tells them where
    they are.
    """
    angles = torch.outer(torch.arange(GRID) + 0.5, torch.arange(WAVES)) * (torch.pi / GRID)
    waves = angles.cos()  # [8, 4]
    return torch.einsum("rk,cl->rckl", waves, waves).reshape(GRID * GRID, WAVES**2)


def pack(latents: Tensor) -> Tensor:
    """[B, C, 16, 16] to tokens [B, 64, 4 C], the channel slowest within a token."""
    x = latents.unflatten(3, (GRID, PATCH)).unflatten(2, (GRID, PATCH))  # [B, C, gh, p, gw, p]
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor) -> Tensor:
    """[B, 64, 16] to [B, 4, 16, 16]."""
    x = tokens.unflatten(2, (LATENT_CHANNELS, PATCH, PATCH)).unflatten(1, (GRID, GRID))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


class Denoiser(nn.Module):
    """(latents [B, 4, 16, 16], time [B] in [0, 1], tokens [B, 16, 192], pooled [B, 192]) to eps - x0.

    With `guidance`, a further argument [B] is the guidance scale whose result the network gives. With more
    `images`, others follow the latents along the channels.
    """

    def __init__(self, guidance: bool = False, blocks: tuple[int, int] = (2, 4), images: int = 1) -> None:
        super().__init__()
        self.transformer = make_transformer(guidance, blocks, images)
        rows = torch.arange(GRID).repeat_interleave(GRID)
        columns = torch.arange(GRID).repeat(GRID)
        self.register_buffer(
            "img_ids", torch.stack([torch.zeros_like(rows), rows, columns], -1).float(), persistent=False
        )
        self.register_buffer("txt_ids", torch.zeros(MAX_TOKENS, 3), persistent=False)
        self.register_buffer("positions", position_channels(), persistent=False)

    def prepare_mixed_precision(self) -> None:
        """Keeps in float32 what the residual streams and the time start from."""
        keep_in_float32(self.transformer.x_embedder)
        keep_in_float32(self.transformer.context_embedder)

    def forward(
        self, latents: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, guidance: Tensor | None = None
    ) -> Tensor:
        packed = pack(latents)
        positions = self.positions.expand(packed.shape[0], -1, -1)
        made = self.transformer(
            hidden_states=torch.cat([packed, positions], dim=-1), encoder_hidden_states=tokens,
            pooled_projections=pooled, timestep=time, img_ids=self.img_ids, txt_ids=self.txt_ids,
            guidance=guidance, return_dict=False,
        )[0]  # fmt: skip
        return unpack(made)
