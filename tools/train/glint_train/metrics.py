"""Simple measures of pictures against the rendered truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .grammar import Grammar, Scene
from .objects import COLOURS
from .render import Renderer

RETRIEVAL_SIDE = 16
SHIFTS = range(-3, 4)


def shifted_rmse(image: np.ndarray, truth: np.ndarray) -> float:
    """The least root mean square error in [0, 1] over shifts of up to 3 pixels; both [64, 64, 3] uint8."""
    made, best = image.astype(np.float32) / 255.0, np.inf
    target = truth.astype(np.float32) / 255.0
    for dy in SHIFTS:
        for dx in SHIFTS:
            error = np.square(np.roll(target, (dy, dx), axis=(0, 1)) - made).mean()
            best = min(best, float(error))
    return best**0.5


def background_right(image: np.ndarray, scene: Scene) -> bool:
    """Whether the median colour of a uint8 picture's [64, 64, 3] corners is nearest to the asked one.

    Corners are 3 x 3 pixels. Objects that fill them are taken for background, so true renders in the big
    size are judged wrong: of window and musical keyboard on almost all backgrounds, of up arrow, right arrow
    and yin yang on many, of square in a few colours. evaluate.py asks for none of these in the big size, and
    published scores stay comparable.
    """
    corners = np.concatenate([image[y : y + 3, x : x + 3].reshape(-1, 3) for y in (0, 61) for x in (0, 61)])
    palette = {**COLOURS, None: (255, 255, 255)}
    colour = np.median(corners, axis=0)
    nearest = min(palette, key=lambda name: float(np.square(colour - np.asarray(palette[name])).sum()))
    return nearest == scene.background


@dataclass
class Retrieval:
    """Nearest glyph by pixels at 16 x 16: does a picture look most like its own object among all objects?"""

    names: list[str]
    table: np.ndarray  # [objects, 768] float32 in [0, 1]

    @classmethod
    def build(cls, grammar: Grammar, renderer: Renderer) -> Retrieval:
        """The table of all objects as they are drawn alone."""
        names = [item.name for item in grammar.objects]
        images = np.stack([renderer.render(grammar.single(item)) for item in grammar.objects])
        return cls(names, cls.shrink(images))

    @staticmethod
    def shrink(images: np.ndarray) -> np.ndarray:
        """uint8 [N, 64, 64, 3] to means of 4 x 4 pixels, flattened: [N, 768] float32 in [0, 1]."""
        factor = images.shape[1] // RETRIEVAL_SIDE
        blocks = images.reshape(-1, RETRIEVAL_SIDE, factor, RETRIEVAL_SIDE, factor, 3).astype(np.float32)
        return blocks.mean(axis=(2, 4)).reshape(len(images), -1) / 255.0

    def nearest(self, images: np.ndarray) -> list[str]:
        """The names of the objects that uint8 pictures [N, 64, 64, 3] look most like."""
        small = self.shrink(images)
        distance = np.square(small[:, None] - self.table[None]).sum(-1)
        return [self.names[i] for i in distance.argmin(-1)]
