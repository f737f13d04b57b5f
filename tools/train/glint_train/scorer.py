"""How well a picture fits a prompt: the verifier's readings of both, compared."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .grammar import Grammar
from .layout import Labeller
from .verifier import Reading, Verifier
from .words import WordTokenizer, build_vocabulary

OBJECT_SHARE = 0.6  # of the similarity; the attributes share the rest


def make_verifier(grammar: Grammar) -> Verifier:
    """The verifier of a grammar, untrained."""
    labeller = Labeller(grammar)
    return Verifier(WordTokenizer(build_vocabulary(grammar)).size, len(labeller.names), len(labeller.colours))


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """The probability that draws of two distributions, as logarithms [B, n], are the same class: [B]."""
    return (a + b).exp().sum(-1)


def similarity(shown: Reading, asked: Reading) -> Tensor:
    """Continuous agreement of a picture with a prompt in about [0, 1]: [B]."""
    pair = 1.0 - asked.layout[:, 0].exp()  # the weight of the second slot
    slots = [
        torch.stack([(a.vector * b.vector).sum(-1), agreement(a.colour, b.colour), agreement(a.size, b.size)])
        for a, b in ((shown.first, asked.first), (shown.second, asked.second))
    ]
    objects, colours, sizes = (slots[0] + pair * slots[1]) / (1.0 + pair)
    scene = agreement(shown.layout, asked.layout) + agreement(shown.background, asked.background)
    return OBJECT_SHARE * objects + (1.0 - OBJECT_SHARE) * (colours + 0.5 * sizes + 0.5 * scene) / 2.5


class Scorer(nn.Module):
    """(image [B, 3, 64, 64] in [-1, 1], ids [B, 16]) to similarity [B], read in the prompt's layout."""

    def __init__(self, verifier: Verifier) -> None:
        super().__init__()
        self.verifier = verifier

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        asked = self.verifier.prompt(ids)
        return similarity(self.verifier.picture(image, asked.layout.argmax(-1)), asked)
