"""NPNet, the network of Golden Noise: better initial noise from noise and prompt.

Source: Zhou et al., "Golden Noise for Diffusion Models: A Learning Framework", ICCV 2025, arXiv:2411.09502.
Parameters have the names of the authors' checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .svd import canonical_svd
from .swin import Swin, SwinConfig

Trace = Callable[[str, Tensor], None]
CHANNELS = 4  # two by two of them are one matrix


@dataclass(frozen=True)
class NpnetConfig:
    side: int = 128  # of the latents
    tokens: int = 77
    token_width: int = 2048
    heads: int = 8
    hidden: int = 64
    value_hidden: int = 1024
    attention: bool = True  # without: as the released trainer builds its SVD branch
    channels_first: bool = False  # features read as intended; the released code takes rows for channels
    swin: SwinConfig = field(default_factory=SwinConfig)


def tiled(x: Tensor) -> Tensor:
    """[B,4,h,w] to [B,2h,2w]: channel 2a + b is block (a,b)."""
    b, _, h, w = x.shape
    return x.reshape(b, 2, 2, h, w).transpose(2, 3).reshape(b, 2 * h, 2 * w)


def untiled(m: Tensor) -> Tensor:
    b, h, w = m.shape
    return m.reshape(b, 2, h // 2, 2, w // 2).transpose(2, 3).reshape(b, CHANNELS, h // 2, w // 2)


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class SvdBranch(nn.Module):
    def __init__(self, c: NpnetConfig) -> None:
        super().__init__()
        width = 2 * c.side
        self.with_attention = c.attention

        def mlp(hidden: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

        self.mlp1, self.mlp2 = mlp(c.hidden), mlp(c.hidden)
        self.mlp3 = nn.Sequential(nn.Linear(width, width))
        self.attention = SelfAttention(width, c.heads)
        self.bn = nn.BatchNorm2d(width)  # in the checkpoints, never called
        self.mlp4 = mlp(c.value_hidden)

    def forward(self, x: Tensor, trace: Trace) -> Tensor:
        parts = [canonical_svd(m) for m in tiled(x)]
        u, s, vh = (torch.stack(values).float() for values in zip(*parts, strict=True))
        out = self.mlp1(u.transpose(1, 2)) + self.mlp2(vh) + self.mlp3(s)[:, None]
        trace("svd.tokens", out)
        out = self.mlp4(self.attention(out).mean(1)) if self.with_attention else self.mlp4(out).mean(1)
        trace("svd.values", out + s)
        return untiled(u @ torch.diag_embed(out + s) @ vh)


class NoiseTransformer(nn.Module):
    def __init__(self, c: NpnetConfig) -> None:
        super().__init__()
        self.config = c
        side = c.swin.image // c.swin.patch // 2 ** (len(c.swin.depths) - 1)
        features = c.swin.width * 2 ** (len(c.swin.depths) - 1) if c.channels_first else side
        self.upconv, self.downconv = nn.Conv2d(features, CHANNELS, 1), nn.Conv2d(CHANNELS, 3, 1)
        self.swin = Swin(c.swin)

    def forward(self, x: Tensor, trace: Trace) -> Tensor:
        image = self.downconv(F.interpolate(x, size=(self.config.swin.image,) * 2))
        trace("swin.image", image)
        features = self.swin(image, trace)
        if self.config.channels_first:
            features = features.permute(0, 3, 1, 2)
        return self.upconv(F.interpolate(features, size=x.shape[2:]))


class TextNorm(nn.Module):
    """Latents normalised over all channels, then scaled and shifted by the prompt."""

    def __init__(self, c: NpnetConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(c.tokens * c.token_width, 2 * CHANNELS)

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        scale, shift = self.linear(prompt)[..., None, None].chunk(2, dim=1)
        return F.group_norm(x, 1, eps=1e-6) * (1 + scale) + shift


class Npnet(nn.Module):
    def __init__(self, config: NpnetConfig) -> None:
        super().__init__()
        self.config = config
        self.unet_svd, self.unet_embedding = SvdBranch(config), NoiseTransformer(config)
        self.embedding = TextNorm(config)
        self.alpha, self.beta = (nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, latents: Tensor, tokens: Tensor, trace: Trace = lambda name, value: None) -> Tensor:
        """latents [B,4,h,w], tokens [B,L,D]; returns better latents."""
        text = self.embedding(latents, tokens.flatten(1))
        trace("text", text)
        svd = self.unet_svd(latents, trace)
        trace("svd", svd)
        swin = self.unet_embedding(latents + text, trace)
        trace("swin", swin)
        return svd + (2 * self.alpha.sigmoid() - 1) * text + self.beta * swin
