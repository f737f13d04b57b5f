"""CoRe2's weak network: guidance imitated from the conditional prediction and the prompts' tokens.

Source: Shao et al., "CoRe^2: Collect, Reflect and Refine to Generate Better and Faster", arXiv:2503.09662.
Parameters have the names of the authors' checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .svd import canonical_svd

Trace = Callable[[str, Tensor], None]
BLOCKS_PER_HEAD = 4


@dataclass(frozen=True)
class Core2Config:
    channels: int
    width: int
    heads: int
    hidden: int  # of the blocks' feed-forward
    blocks: int
    tokens: int  # of one prompt
    token_width: int
    pooled: int  # width of both pooled vectors together
    pool_projection: bool
    null_first: bool  # how prompt and null prompt are stacked
    banks: int
    rank: int
    reader: int = 128  # width of the heads that read the text
    svd_rank: int = 64
    legacy_rows: bool = True  # rows of U as the released code takes them, not the columns
    table: int = 192  # patches per side of the position table
    table_base: int = 64  # patches per side its unit is
    patch: int = 2


class Pair(nn.Module):
    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.zeros(inputs, rank))
        self.B = nn.Parameter(torch.zeros(rank, outputs))


class Banked(nn.Module):
    """W x + x A_b B_b, b the bank in use."""

    def __init__(self, c: Core2Config, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.lora = nn.ModuleList(Pair(inputs, outputs, c.rank) for _ in range(c.banks))
        self.bank = 0

    def forward(self, x: Tensor) -> Tensor:
        pair = self.lora[self.bank]
        return self.linear(x) + x @ pair.A @ pair.B


class Attention(nn.Module):
    def __init__(self, c: Core2Config) -> None:
        super().__init__()
        self.heads = c.heads
        self.to_q, self.to_k, self.to_v = (Banked(c, c.width, c.width, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([Banked(c, c.width, c.width)])

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.to_q, self.to_k, self.to_v)
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return self.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


class Gate(nn.Module):
    def __init__(self, c: Core2Config) -> None:
        super().__init__()
        self.proj = Banked(c, c.width, 2 * c.hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, c: Core2Config) -> None:
        super().__init__()
        self.net = nn.Sequential(Gate(c), nn.Identity(), Banked(c, c.hidden, c.width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    def __init__(self, c: Core2Config) -> None:
        super().__init__()
        self.norm1, self.attn1 = nn.LayerNorm(c.width), Attention(c)
        self.norm3, self.ff = nn.LayerNorm(c.width), FeedForward(c)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        return x + self.ff(self.norm3(x))


def position_table(rows: int, columns: int, c: Core2Config) -> Tensor:
    """[rows columns, width] from the middle of the table: half of the width by column, half by row."""

    def encoded(count: int) -> Tensor:
        place = torch.arange((c.table - count) // 2, (c.table - count) // 2 + count, dtype=torch.float32)
        place = (place / (c.table / c.table_base)).double()
        frequency = 10000.0 ** -(torch.arange(c.width // 4, dtype=torch.float64) / (c.width / 4))
        angle = place[:, None] * frequency
        return torch.cat([angle.sin(), angle.cos()], dim=1).float()

    by_column = encoded(columns)[None].expand(rows, -1, -1)
    by_row = encoded(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([by_column, by_row], dim=2).flatten(0, 1)


class Patches(nn.Module):
    def __init__(self, c: Core2Config) -> None:
        super().__init__()
        self.config = c
        self.proj = nn.Conv2d(c.channels, c.width, c.patch, c.patch)
        self.register_buffer("pos_embed", position_table(c.table, c.table, c)[None])

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        return x.flatten(2).transpose(1, 2) + position_table(x.shape[2], x.shape[3], self.config)


class NormOut(nn.Module):
    def __init__(self, c: Core2Config) -> None:
        super().__init__()
        self.linear = Banked(c, c.width, 2 * c.width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.linear(F.silu(condition))[:, None].chunk(2, dim=-1)
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class Core2Network(nn.Module):
    def __init__(self, config: Core2Config) -> None:
        super().__init__()
        c = self.config = config
        text = 2 * c.tokens

        def head() -> nn.Sequential:
            return nn.Sequential(
                Banked(c, c.token_width, c.reader),
                nn.SiLU(),
                nn.LayerNorm(c.reader),
                Banked(c, c.reader, c.width),
            )

        self.pos_embed = Patches(c)
        self.transformer_blocks = nn.ModuleList(Block(c) for _ in range(c.blocks))
        self.norm_out, self.proj_out = NormOut(c), Banked(c, c.width, c.patch**2 * c.channels)
        for name in ("pre8", "pre16", "pre24"):
            setattr(self, f"{name}_linear", head())
            setattr(self, f"{name}_linear2", head())
        self.last_linear = head()
        self.skip_connection2 = Banked(c, c.token_width, 1, bias=False)
        self.skip_connection = Banked(c, text + 1, 2 * c.channels, bias=False)
        self.trans_linear = Banked(c, text + 1 + c.token_width, c.width, bias=False)
        if c.pool_projection:
            self.pool_prompt_linear = Banked(c, c.pooled, c.token_width, bias=False)

    def use_bank(self, bank: int) -> None:
        for module in self.modules():
            if isinstance(module, Banked):
                module.bank = bank

    def stacked(self, prompt: Tensor, null: Tensor) -> Tensor:
        return torch.cat([null, prompt] if self.config.null_first else [prompt, null])

    def decomposed(self, tokens: Tensor, null_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of one sample, tokens [L,D]: U [r,2L], s [r], Vh [r,D], float32."""
        r = self.config.svd_rank
        u, s, vh = canonical_svd(self.stacked(tokens, null_tokens))
        u = u[:r] if self.config.legacy_rows else u[:, :r].T
        return u.float(), s[:r].float(), vh[:r].float()

    def forward(
        self, output: Tensor, position: float, tokens: Tensor, pooled: Tensor, null_tokens: Tensor,
        null_pooled: Tensor, trace: Trace = lambda name, value: None,
    ) -> Tensor:  # fmt: skip
        """output [B,C,H,W]; position = step / steps; tokens [B,L,D]; pooled [B,P]. Returns [B,C,H,W]."""
        c = self.config
        # A float32 quotient may lie just below the whole number it means.
        self.use_bank(min(max(int(position * c.banks + 1e-4), 0), c.banks - 1))
        parts = [self.decomposed(a, b) for a, b in zip(tokens, null_tokens, strict=True)]
        u, s, vh = (torch.stack(values) for values in zip(*parts, strict=True))
        pool = torch.stack([self.stacked(a, b) for a, b in zip(pooled, null_pooled, strict=True)])
        if c.pool_projection:
            pool = self.pool_prompt_linear(pool)
        text = torch.cat([u.transpose(1, 2) @ torch.diag_embed(s) @ vh, pool[:, None]], dim=1)
        trace("text", text)

        def read(name: str) -> Tensor:
            return getattr(self, name)(text).mean(1, keepdim=True)

        trans = self.trans_linear(torch.cat([u, s[..., None], vh], dim=2)).mean(1, keepdim=True)
        trace("trans", trans)

        def modulated(h: Tensor, name: str) -> Tensor:
            return h * (1 + read(f"{name}_linear2") + trans) + read(f"{name}_linear")

        affine = self.skip_connection(self.skip_connection2(text).transpose(1, 2)).transpose(1, 2)
        trace("skip", affine)
        h = self.pos_embed(output)
        trace("patches", h)
        h = modulated(h, "pre8")
        for k, block in enumerate(self.transformer_blocks):
            h = modulated(block(h), ("pre16", "pre24")[k // BLOCKS_PER_HEAD])
            trace(f"block.{k}", h)
        h = self.proj_out(self.norm_out(h, read("last_linear")[:, 0]))
        trace("projected", h)
        rows, columns = output.shape[2] // c.patch, output.shape[3] // c.patch
        h = h.reshape(-1, rows, columns, c.patch, c.patch, c.channels)
        h = h.permute(0, 5, 1, 3, 2, 4).reshape(output.shape)
        scale, shift = affine[..., None].chunk(2, dim=1)
        return h + output * scale + shift
