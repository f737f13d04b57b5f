"""The two small networks of the strategies: CoRe2's weak network, and a golden-noise network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS
from .denoiser import GRID, PACKED, WIDTH, pack, unpack
from .words import MAX_TOKENS


class Block(nn.Module):
    """Pre-norm attention over image and word tokens, and a feed-forward layer, both modulated by a condition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.offsets = heads, nn.Parameter(torch.zeros(6, width))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """x [B, T, W], modulation [B, 6, W]."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.offsets).unsqueeze(2).unbind(1)
        inner = self.norm(x) * (1 + scale1) + shift1
        query, key, value = self.qkv(inner).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)
        x = x + (1 + gate1) * self.out(attended)
        inner = self.norm(x) * (1 + scale2) + shift2
        return x + (1 + gate2) * self.down(F.gelu(self.up(inner), approximate="tanh"))


class PromptedTransformer(nn.Module):
    """Latents [B, 4, 16, 16] under a condition [B, W] and token embeddings [B, 16, 192] to latents, at first zero."""

    def __init__(self, width: int, blocks: int, heads: int = 4) -> None:
        super().__init__()
        self.patches, self.words = nn.Linear(PACKED, width), nn.Linear(WIDTH, width)
        self.places = nn.Parameter(torch.randn(GRID * GRID + MAX_TOKENS, width) * 0.1)
        self.pooled, self.modulation = nn.Linear(WIDTH, width), nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, PACKED)
        for layer in (self.modulation, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latents: Tensor, tokens: Tensor, condition: Tensor) -> Tensor:
        x = torch.cat([self.patches(pack(latents)), self.words(tokens)], dim=1) + self.places
        condition = F.silu(condition + self.pooled(tokens.mean(1)))
        modulation = self.modulation(condition).unflatten(-1, (6, -1))
        for block in self.blocks:
            x = block(x, modulation)
        return unpack(self.head(self.norm(x[:, : GRID * GRID])).float())


class WeakNetwork(nn.Module):
    """CoRe2's R: (output [B, 4, 16, 16] under the prompt, time [B], tokens [B, 16, 192]) to the guided output.

    The authors' network knows the time by the bank of adapters that a step's number selects; here it is an input, so any
    number of steps will do. It starts as the identity.
    """

    INPUTS = ["output", "time", "tokens"]

    def __init__(self, width: int = 96, blocks: int = 3) -> None:
        super().__init__()
        self.register_buffer("waves", torch.arange(1, 17) * 0.5, persistent=False)
        self.time1, self.time2 = nn.Linear(32, width), nn.Linear(width, width)
        self.gap = PromptedTransformer(width, blocks)

    def forward(self, output: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        angles = time[:, None] * self.waves * torch.pi
        condition = self.time2(F.silu(self.time1(torch.cat([angles.cos(), angles.sin()], dim=-1))))
        return output + self.gap(output, tokens, condition)


class NoiseNetwork(nn.Module):
    """NPNet's form at this size: (latents [B, 4, 16, 16] of noise, tokens, pooled) to better noise.

    x + (2 sigmoid(a) - 1) e + z, where e is the noise normalised and then scaled and shifted per channel by the prompt, and
    z a transformer's answer to x + e, in the place of NPNet's Swin network. It starts as the identity.
    """

    INPUTS = ["latents", "tokens", "pooled"]

    def __init__(self, width: int = 72, blocks: int = 2) -> None:
        super().__init__()
        self.embed = nn.Linear(MAX_TOKENS * WIDTH, 2 * LATENT_CHANNELS)
        self.share, self.pooled = nn.Parameter(torch.zeros(())), nn.Linear(WIDTH, width)
        self.residual = PromptedTransformer(width, blocks)

    def forward(self, latents: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        scale, shift = self.embed(tokens.flatten(1))[:, :, None, None].chunk(2, dim=1)
        embedded = F.group_norm(latents, 1, eps=1e-6) * (1 + scale) + shift
        residual = self.residual(latents + embedded, tokens, self.pooled(pooled))
        return latents + (2 * torch.sigmoid(self.share) - 1) * embedded + residual
