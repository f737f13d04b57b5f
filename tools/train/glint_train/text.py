"""The text encoder that all bundled denoisers share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .grammar import RELATIONS
from .words import MAX_TOKENS, PAD

WIDTH, HEADS = 192, 6
ROLES = 3  # the first phrase, the second, the background


class Phrases(nn.Module):
    """Where phrases begin: at a relation ("left of", "above", ...) and at the "on" of a background.

    Padding is dealt out to the phrases in turn, so that all 16 tokens tell the denoiser something.
    """

    def __init__(self, words: dict[str, int]) -> None:
        super().__init__()
        self.words, self.of, self.on = words, words["of"], words["on"]
        self.relations = [(words[relation.split(" ")[0]], " " in relation) for relation in RELATIONS]

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Ids [B, 16] to phrase numbers [B, 16], roles [B, 16] and the relation [B, 4] (none: zeros)."""
        padding, on = ids == PAD, ids == self.on
        before_of = F.pad(ids[:, 1:], (0, 1)) == self.of
        found = torch.stack(
            [(ids == word) & before_of if of else ids == word for word, of in self.relations], dim=-1
        )
        phrase = (found.any(-1) | on).long().cumsum(1)
        count = phrase[:, -1:] + 1
        phrase = torch.where(padding, torch.arange(MAX_TOKENS, device=ids.device) % count, phrase)
        background = on.any(1, keepdim=True) & (phrase == count - 1)
        return phrase, torch.where(background, 2, phrase.clamp_max(1)), found.any(1)


class TextEncoder(nn.Module):
    """Word ids [B, 16] to token embeddings [B, 16, 192] and a pooled vector [B, 192] that carries nothing.

    Words look at the words of their own phrase, so that a colour or size belongs to one object; a vector per
    relation and role is added to a phrase's tokens, which says where it goes. Without relation and
    background this is plain attention. There is no normalisation after the layer: the length of the
    embeddings stays free, so that scaling and mixing them changes the conditioning. Padding looks at words
    only: a single word among 79 other keys would be learned slowly.
    """

    def __init__(self, words: dict[str, int]) -> None:
        super().__init__()
        self.phrases = Phrases(words)
        self.words = nn.Embedding(len(words) + 2, WIDTH)
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS, WIDTH) * 0.1)
        self.roles = nn.Parameter(torch.randn(len(RELATIONS), ROLES, WIDTH) * 1.5)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        phrase, role, relation = self.phrases(ids)
        word = ids != PAD
        own = (phrase[:, :, None] == phrase[:, None, :]) & word[:, None, :]  # [B, 16, 16]
        own = own | (~own.any(-1, keepdim=True) & word[:, None, :])  # an empty phrase sees all words
        own = own | ~word.any(-1)[:, None, None]  # the null prompt sees its own padding
        x = self.words(ids) + self.positions
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=own[:, None])
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        here = torch.einsum("br,rkd->bkd", relation.to(x.dtype), self.roles.to(x.dtype))  # [B, 3, 192]
        x = x + here.gather(1, role[:, :, None].expand(-1, -1, WIDTH))
        return x, x[:, 0] * 0.0
