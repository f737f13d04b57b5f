"""The two small networks of the strategies: CoRe2's weak network, and a golden-noise network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS, LATENT_SIDE
from .denoiser import PACKED, Denoiser
from .text import WIDTH
from .words import MAX_TOKENS


class ModulatedResidual(nn.Module):
    """Two convolutions; a condition [B, W] scales and shifts the second's input. At first the identity."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(4, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(condition, 2 * channels)
        for layer in (self.conv2, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return x + self.conv2(F.silu(inner))


class Attention(nn.Module):
    """Places of an image [B, C, H, W] attend to each other and to tokens [B, L, D]. At first the identity."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(4, channels)
        self.qkv, self.words = nn.Linear(channels, 3 * channels), nn.Linear(WIDTH, 2 * channels)
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.qkv(places).chunk(3, dim=-1)
        word_key, word_value = self.words(tokens).chunk(2, dim=-1)
        key, value = torch.cat([key, word_key], dim=1), torch.cat([value, word_value], dim=1)
        query, key, value = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)
        return x + self.out(attended).transpose(1, 2).unflatten(-1, x.shape[-2:])


class PromptedUNet(nn.Module):
    """Images [B, I, 16, 16], condition [B, C], tokens [B, 16, 192] to latents [B, 4, 16, 16], zero at first.

    Convolutions at full size and at half of it, where places also see each other and the words.
    """

    def __init__(self, inputs: int, channels: int, condition: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(inputs, channels, 3, padding=1)
        self.head = nn.Conv2d(channels, LATENT_CHANNELS, 3, padding=1)
        self.down = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)
        self.up = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.before, self.after = (ModulatedResidual(channels, condition) for _ in range(2))
        self.inner, self.attention = ModulatedResidual(2 * channels, condition), Attention(2 * channels)
        self.places = nn.Parameter(torch.randn(2 * channels, LATENT_SIDE // 2, LATENT_SIDE // 2) * 0.1)
        self.pooled = nn.Linear(WIDTH, condition)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, tokens: Tensor, condition: Tensor) -> Tensor:
        condition = F.silu(condition + self.pooled(tokens.mean(1)))
        fine = self.before(self.stem(images), condition)
        coarse = self.attention(self.down(fine) + self.places, tokens)
        coarse = self.inner(coarse, condition)
        fine = fine + self.up(F.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        return self.head(F.silu(self.after(fine, condition))).float()


class WeakNetwork(nn.Module):
    """CoRe2's R: (output [B, 4, 16, 16] under the prompt, latents, sigma [B]) to the guided output.

    It guesses the output under the null prompt: a function of latents and sigma that half of the denoiser's
    blocks, started from the denoiser's own weights, can learn. The output beside the latents tells it what
    the whole denoiser makes of them. The authors' network sees the output alone and learns the noise level
    from a bank of adapters that the number of the step selects; here sigma is an input, so any number of
    steps works. Before `start_from` it is the identity.
    """

    INPUTS = ["output", "latents", "sigma"]
    DOUBLE, SINGLE = (0,), (2, 3)  # the blocks that are kept: untrained, these are nearest to the whole

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = Denoiser(blocks=(len(self.DOUBLE), len(self.SINGLE)), images=2)
        self.register_buffer("tokens", torch.zeros(1, MAX_TOKENS, WIDTH))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("waves", torch.arange(1, 9) * 0.5, persistent=False)
        self.time1, self.time2 = nn.Linear(16, 32), nn.Linear(32, 1)
        nn.init.zeros_(self.time2.weight)
        nn.init.zeros_(self.time2.bias)

    def start_from(self, whole: Denoiser, null_tokens: Tensor, scale: float) -> None:
        """Takes blocks of the denoiser, which ignore the output at first; `scale` is the guidance's."""
        state = whole.transformer.state_dict()
        kept = {}
        for kind, blocks in (("transformer_blocks", self.DOUBLE), ("single_transformer_blocks", self.SINGLE)):
            for here, there in enumerate(blocks):
                prefix = f"{kind}.{there}."
                kept |= {
                    f"{kind}.{here}.{k.removeprefix(prefix)}": v
                    for k, v in state.items()
                    if k.startswith(prefix)
                }
        kept |= {k: v for k, v in state.items() if "transformer_blocks." not in k}
        embed = kept["x_embedder.weight"]
        image, position = embed[:, :PACKED], embed[:, PACKED:]
        kept["x_embedder.weight"] = torch.cat([image, torch.zeros_like(image), position], dim=1)
        self.denoiser.transformer.load_state_dict(kept)
        self.tokens.copy_(null_tokens)
        self.scale.fill_(scale)

    def forward(self, output: Tensor, latents: Tensor, sigma: Tensor) -> Tensor:
        tokens = self.tokens.expand(latents.shape[0], -1, -1)
        null = self.denoiser(torch.cat([latents, output], dim=1), sigma, tokens, tokens[:, 0] * 0.0).float()
        angles = sigma[:, None] * self.waves * torch.pi
        share = torch.sigmoid(self.time2(F.silu(self.time1(torch.cat([angles.cos(), angles.sin()], dim=-1)))))
        return output + (self.scale - 1) * share[:, :, None, None] * (output - null)


class NoiseNetwork(nn.Module):
    """NPNet's form at this size: (latents [B, 4, 16, 16] of noise, tokens, pooled) to better noise.

    x + (2 sigmoid(a) - 1) e + z, where e is the noise normalised and then scaled and shifted per channel by
    the prompt, and z a network's answer to x + e, which here reads the prompt too. It starts as the identity.
    """

    INPUTS = ["latents", "tokens", "pooled"]

    def __init__(self, channels: int = 28, condition: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(MAX_TOKENS * WIDTH, 2 * LATENT_CHANNELS)
        self.share, self.pooled = nn.Parameter(torch.zeros(())), nn.Linear(WIDTH, condition)
        self.residual = PromptedUNet(LATENT_CHANNELS, channels, condition)

    def forward(self, latents: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        scale, shift = self.embed(tokens.flatten(1))[:, :, None, None].chunk(2, dim=1)
        embedded = F.group_norm(latents, 1, eps=1e-6) * (1 + scale) + shift
        residual = self.residual(latents + embedded, tokens, self.pooled(pooled))
        return latents + (2 * torch.sigmoid(self.share) - 1) * embedded + residual
