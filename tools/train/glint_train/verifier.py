"""The verifier: a dual encoder of pictures and prompts with attribute heads.

Both sides name each object by a unit vector near the object's prototype, and colour, size, layout and
background by classes. Pairs are read through one half of the picture per object, enlarged, so that one
network sees single and paired objects alike.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .autoencoder import Residual
from .layout import BACKGROUNDS, LAYOUTS, SIZES
from .words import MAX_TOKENS

FEATURES, TEXT_WIDTH, SCALE = 128, 128, 16.0
WINDOW_WIDTH, SCENE_WIDTH = 256, 128
# Top left corners of 32 x 32 pixels.
WINDOWS = {"left": (16, 0), "right": (16, 32), "upper": (0, 16), "lower": (32, 16)}


class Slot(NamedTuple):
    """One object: unit vector [B, 128], log-probabilities of colours [B, C] and sizes [B, 3]."""

    vector: Tensor
    colour: Tensor
    size: Tensor


class Reading(NamedTuple):
    """What a picture shows or a prompt asks for.

    Two slots, and log-probabilities of layout [B, 3] and background [B, 11].
    """

    first: Slot
    second: Slot
    layout: Tensor
    background: Tensor


class Stage(nn.Sequential):
    """Halves the side by a convolution [B, i, 2s, 2s] -> [B, o, s, s], then a residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        down = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        super().__init__(down, nn.BatchNorm2d(outputs), Residual(outputs), nn.SiLU())


class ObjectEncoder(nn.Module):
    """A window [B, 3, 64, 64] to features [B, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(12, 24, 3, padding=1, bias=False), nn.BatchNorm2d(24), nn.SiLU())
        self.stages = nn.Sequential(Stage(24, 48), Stage(48, 96), Stage(96, 160))
        self.out = nn.Sequential(
            nn.Linear(160 * 16, WINDOW_WIDTH, bias=False), nn.BatchNorm1d(WINDOW_WIDTH), nn.SiLU()
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.out(self.stages(self.stem(F.pixel_unshuffle(image, 2))).flatten(1))


class SceneEncoder(nn.Module):
    """A picture [B, 3, 64, 64] at half its size to features [B, 128] of layout and background."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(12, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.SiLU())
        self.stages = nn.Sequential(Stage(32, 64), Stage(64, 96))
        self.out = nn.Sequential(
            nn.Linear(96 * 16, SCENE_WIDTH, bias=False), nn.BatchNorm1d(SCENE_WIDTH), nn.SiLU()
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.out(self.stages(self.stem(F.pixel_unshuffle(F.avg_pool2d(image, 2), 2))).flatten(1))


class ObjectHeads(nn.Module):
    """Features [B, n] to a slot."""

    def __init__(self, features: int, colours: int) -> None:
        super().__init__()
        self.vector = nn.Linear(features, FEATURES)
        self.colour, self.size = nn.Linear(features, colours), nn.Linear(features, len(SIZES))

    def forward(self, x: Tensor) -> Slot:
        return Slot(
            F.normalize(self.vector(x).float(), dim=-1),
            self.colour(x).float().log_softmax(-1),
            self.size(x).float().log_softmax(-1),
        )


class SceneHeads(nn.Module):
    """Features [B, n] to log-probabilities of layouts [B, 3] and backgrounds [B, 11]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layout = nn.Linear(features, len(LAYOUTS))
        self.background = nn.Linear(features, len(BACKGROUNDS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.layout(x).float().log_softmax(-1), self.background(x).float().log_softmax(-1)


def window(image: Tensor, name: str) -> Tensor:
    """A half of the pictures [B, 3, 64, 64], enlarged to 56 pixels inside a gray frame: [B, 3, 64, 64].

    So an object of a pair is seen as large as a single one, and the frame tells what counts as small or big.
    """
    top, left = WINDOWS[name]
    part = image[:, :, top : top + 32, left : left + 32]
    return F.pad(F.interpolate(part, scale_factor=1.75, mode="bilinear", align_corners=False), (4, 4, 4, 4))


class Picture(nn.Module):
    """Image [B, 3, 64, 64] in [-1, 1], read in the layout of the prompt, or in the one it shows."""

    def __init__(self, colours: int) -> None:
        super().__init__()
        self.encoder, self.heads = ObjectEncoder(), ObjectHeads(WINDOW_WIDTH, colours)
        self.scene, self.scene_heads = SceneEncoder(), SceneHeads(SCENE_WIDTH)

    def forward(self, image: Tensor, layout: Tensor) -> Reading:
        """`layout` [B]: 0 single, 1 beside, 2 stacked. The second slot of a single object means nothing."""
        which = layout[:, None, None, None]
        upper = torch.where(which == 1, window(image, "left"), window(image, "upper"))
        lower = torch.where(which == 1, window(image, "right"), window(image, "lower"))
        first = self.heads(self.encoder(torch.where(which == 0, image, upper)))
        return Reading(first, self.heads(self.encoder(lower)), *self.scene_heads(self.scene(image)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(-2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Prompt(nn.Module):
    """Word ids [B, 16] to what they ask for; two learned tokens collect the slots."""

    def __init__(self, words: int, colours: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, TEXT_WIDTH)
        self.positions = nn.Parameter(torch.randn(MAX_TOKENS, TEXT_WIDTH) * 0.3)
        self.slots = nn.Parameter(torch.randn(1, 2, TEXT_WIDTH) * 0.3)
        self.blocks = nn.Sequential(Block(TEXT_WIDTH), Block(TEXT_WIDTH))
        self.heads, self.scene_heads = ObjectHeads(TEXT_WIDTH, colours), SceneHeads(TEXT_WIDTH)
        nn.init.normal_(self.words.weight, std=0.5)

    def forward(self, ids: Tensor) -> Reading:
        x = self.words(ids) + self.positions
        x = self.blocks(torch.cat([x, self.slots.expand(x.shape[0], -1, -1)], dim=1))
        first, second = x[:, -2], x[:, -1]
        return Reading(self.heads(first), self.heads(second), *self.scene_heads(first))


class Verifier(nn.Module):
    """Picture and prompt encoders with the prototypes [objects, 128] they share."""

    def __init__(self, words: int, objects: int, colours: int) -> None:
        super().__init__()
        self.picture, self.prompt = Picture(colours), Prompt(words, colours)
        self.prototypes = nn.Parameter(torch.randn(objects, FEATURES))

    def object_logits(self, vector: Tensor) -> Tensor:
        """Unit vectors [B, 128] to logits [B, objects]."""
        return SCALE * vector @ F.normalize(self.prototypes, dim=-1).T
