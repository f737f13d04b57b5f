"""The text encoder that all bundled denoisers share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .words import MAX_TOKENS

WIDTH, HEADS = 192, 6


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
