"""The text encoder and the flow-matching denoiser (diffusers' FLUX transformer at width 192)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS, LATENT_SIDE
from .words import MAX_TOKENS

WIDTH, HEADS, PATCH = 192, 6, 2
GRID = LATENT_SIDE // PATCH
PACKED = LATENT_CHANNELS * PATCH**2
WAVES = 4  # cosine waves per axis in the position channels


class TextEncoder(nn.Module):
    """Word ids [B, 16] to token embeddings [B, 16, 192] and a pooled vector [B, 192] that carries nothing.

    There is no normalisation after the layer: the length of the embeddings stays free, so that scaling and mixing
    them changes the conditioning. Padding looks at the words only, so that every token tells the denoiser about them:
    a single word among 79 other keys would be learned slowly.
    """

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, WIDTH)
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS, WIDTH) * 0.1)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(ids) + self.positions
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        padding = ids == 0
        seen = ~padding | padding.all(dim=1, keepdim=True)  # [B, 16]; the null prompt sees its own padding
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None, :])
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return x, x[:, 0] * 0.0


def make_transformer() -> FluxTransformer2DModel:
    """2 double and 4 single blocks, 6 heads of 32, 64 image tokens of 2 x 2 x 4 latent values and 16 of position."""
    return FluxTransformer2DModel(
        patch_size=1, in_channels=PACKED + WAVES**2, out_channels=PACKED, num_layers=2, num_single_layers=4,
        attention_head_dim=WIDTH // HEADS, num_attention_heads=HEADS, joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH, guidance_embeds=False, axes_dims_rope=(8, 12, 12),
    )  # fmt: skip


def position_channels() -> Tensor:
    """Products of cosine waves over rows and columns: [64, 16].

    The rotary embedding tells image tokens how far apart they are; in pure noise nothing tells them where they are.
    """
    angles = torch.outer(torch.arange(GRID) + 0.5, torch.arange(WAVES)) * (torch.pi / GRID)
    waves = angles.cos()  # [8, 4]
    return torch.einsum("rk,cl->rckl", waves, waves).reshape(GRID * GRID, WAVES**2)


def pack(latents: Tensor) -> Tensor:
    """[B, 4, 16, 16] to tokens [B, 64, 16], the channel slowest within a token."""
    x = latents.unflatten(3, (GRID, PATCH)).unflatten(2, (GRID, PATCH))  # [B, C, gh, p, gw, p]
    return x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor) -> Tensor:
    """[B, 64, 16] to [B, 4, 16, 16]."""
    x = tokens.unflatten(2, (LATENT_CHANNELS, PATCH, PATCH)).unflatten(1, (GRID, GRID))
    return x.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


class Denoiser(nn.Module):
    """(latents [B, 4, 16, 16], time [B] in [0, 1], tokens [B, 16, 192], pooled [B, 192]) to velocity eps - x0."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = make_transformer()
        rows = torch.arange(GRID).repeat_interleave(GRID)
        columns = torch.arange(GRID).repeat(GRID)
        self.register_buffer(
            "img_ids", torch.stack([torch.zeros_like(rows), rows, columns], -1).float(), persistent=False
        )
        self.register_buffer("txt_ids", torch.zeros(MAX_TOKENS, 3), persistent=False)
        self.register_buffer("positions", position_channels(), persistent=False)

    def forward(self, latents: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        packed = pack(latents)
        positions = self.positions.expand(packed.shape[0], -1, -1)
        made = self.transformer(
            hidden_states=torch.cat([packed, positions], dim=-1), encoder_hidden_states=tokens, pooled_projections=pooled, timestep=time,
            img_ids=self.img_ids, txt_ids=self.txt_ids, return_dict=False,
        )[0]  # fmt: skip
        return unpack(made)


class FlowModel(nn.Module):
    """Text encoder and denoiser, trained together."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.text_encoder, self.denoiser = TextEncoder(words), Denoiser()

    def forward(self, latents: Tensor, time: Tensor, ids: Tensor) -> Tensor:
        return self.denoiser(latents, time, *self.text_encoder(ids))


def training_times(batch: int, generator: torch.Generator, centre: float = 0.3) -> Tensor:
    """Stratified t = sigmoid(N(centre, 1)): [B] in (0, 1)."""
    uniform = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
    return torch.sigmoid(centre + torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4)))


def flow_loss(
    model: nn.Module, latents: Tensor, ids: Tensor, generator: torch.Generator, centre: float = 0.3
) -> Tensor:
    """Flow matching: x_t = (1 - t) x0 + t eps, target eps - x0."""
    noise = torch.randn(latents.shape, generator=generator)
    time = training_times(len(latents), generator, centre)
    level = time[:, None, None, None]
    made = model((1 - level) * latents + level * noise, time, ids)
    return F.mse_loss(made.float(), noise - latents)
