"""Swin transformer without its classifier. Parameters are named as in timm's models.

Source: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
arXiv:2103.14030.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class SwinConfig:
    image: int = 224
    patch: int = 4
    window: int = 7
    width: int = 96  # of the first stage; every later stage has twice as much
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)


def windows(x: Tensor, size: int) -> Tensor:
    """[B,H,W,C] to [B H/size W/size, size size, C]."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c).transpose(2, 3)
    return x.reshape(-1, size * size, c)


def merged(x: Tensor, size: int, height: int, width: int) -> Tensor:
    """What `windows` undoes."""
    x = x.reshape(-1, height // size, width // size, size, size, x.shape[-1]).transpose(2, 3)
    return x.reshape(-1, height, width, x.shape[-1])


def relative_index(size: int) -> Tensor:
    """[size^2, size^2]: the row of the bias table that belongs to a pair of places of a window."""
    place = torch.stack(torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")).flatten(1)
    apart = place[:, :, None] - place[:, None] + size - 1
    return apart[0] * (2 * size - 1) + apart[1]


def shift_mask(height: int, width: int, size: int, shift: int) -> Tensor:
    """[windows, size^2, size^2]: 0 between neighbours before the cyclic shift, -100 between others."""
    region = torch.zeros(1, height, width, 1)
    cuts = (slice(0, -size), slice(-size, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
        region[:, rows, columns] = number
    numbers = windows(region, size)[..., 0]
    return torch.where(numbers[:, None] == numbers[:, :, None], 0.0, -100.0)


class WindowAttention(nn.Module):
    def __init__(self, width: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * size - 1) ** 2, heads))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        weights = weights + self.relative_position_bias_table[relative_index(self.size)].permute(2, 0, 1)
        if mask is not None:
            weights = (weights.unflatten(0, (-1, len(mask))) + mask[:, None]).flatten(0, 1)
        return self.proj((weights.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    def __init__(self, width: int, heads: int, side: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.size = min(side, window)
        self.shift = self.size // 2 if shifted and side > window else 0
        self.norm1, self.attn = nn.LayerNorm(width), WindowAttention(width, heads, self.size)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        h = self.norm1(x)
        if self.shift:
            h = h.roll((-self.shift, -self.shift), (1, 2))
        mask = shift_mask(height, width, self.size, self.shift) if self.shift else None
        h = merged(self.attn(windows(h, self.size), mask), self.size, height, width)
        if self.shift:
            h = h.roll((self.shift, self.shift), (1, 2))
        x = x + h
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class Stage(nn.Module):
    def __init__(self, c: SwinConfig, index: int) -> None:
        super().__init__()
        width, side = c.width * 2**index, c.image // c.patch // 2**index
        self.downsample = PatchMerging(width // 2) if index > 0 else nn.Identity()
        self.blocks = nn.Sequential(
            *(SwinBlock(width, c.heads[index], side, c.window, k % 2 == 1) for k in range(c.depths[index]))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class PatchEmbed(nn.Module):
    def __init__(self, c: SwinConfig) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, c.width, c.patch, c.patch), nn.LayerNorm(c.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Swin(nn.Module):
    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config)
        self.layers = nn.ModuleList(Stage(config, index) for index in range(len(config.depths)))
        self.norm = nn.LayerNorm(config.width * 2 ** (len(config.depths) - 1))

    def forward(self, x: Tensor, trace: object = None) -> Tensor:
        """[B,3,image,image] to features [B,h,w,C], channels last."""
        x = self.patch_embed(x)
        for index, stage in enumerate(self.layers):
            x = stage(x)
            if trace:
                trace(f"swin.{index}", x)
        return self.norm(x)
