"""Pictures for the verifier: renders of the whole grammar, half of them autoencoded, and distortions."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .autoencoder import Autoencoder
from .grammar import Grammar, Scene
from .layout import Labeller
from .render import SIDE, Renderer
from .run import to_images, to_pixels
from .words import WordTokenizer, build_vocabulary

SINGLE_SHARE, PAIR_SHARE, EVERYDAY = 0.3, 0.7, 0.5  # of all scenes; of compositions; of their objects
LATENT_NOISE = 0.15  # standard deviation of the largest disturbance before decoding


def draw(count: int, seed: int) -> tuple[list[Scene], Tensor, Tensor]:
    """Scenes, ids [N, 16], labels [N, 12]; also of combinations held out from the denoiser."""
    grammar = Grammar()
    labeller, tokenizer = Labeller(grammar), WordTokenizer(build_vocabulary(grammar))
    scenes, ids, labels = [], [], []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        if rng.random() < SINGLE_SHARE:
            item = grammar.objects[int(rng.integers(len(grammar.objects)))]
            scene, prompt = grammar.single(item), grammar.single_prompt(item, rng)
        else:
            scene = grammar.composition(rng, PAIR_SHARE, EVERYDAY)
            while not grammar.valid(scene):
                scene = grammar.composition(rng, PAIR_SHARE, EVERYDAY)
            prompt = grammar.prompt(scene, rng)
        scenes.append(scene)
        ids.append(tokenizer.encode(prompt))
        labels.append(np.hstack(astuple(labeller(scene))).astype(np.int64))
    return scenes, torch.from_numpy(np.stack(ids)), torch.from_numpy(np.stack(labels))


def render(scenes: list[Scene], seed: int) -> Tensor:
    """The scenes with the grammar's jitter: uint8 [N, 64, 64, 3]."""
    renderer = Renderer(Grammar())
    images = np.empty((len(scenes), SIDE, SIDE, 3), np.uint8)
    for index, scene in enumerate(scenes):
        images[index] = renderer.render(scene, np.random.default_rng([seed, index]))
    return torch.from_numpy(images)


@torch.no_grad()
def decoded(
    images: Tensor, autoencoder: Autoencoder, generator: torch.Generator, noise: float = LATENT_NOISE
) -> Tensor:
    """The pictures [N, 64, 64, 3] as the decoder draws them from slightly wrong latents, uint8."""
    parts = []
    for start in range(0, len(images), 64):
        latents = autoencoder.encode(to_images(images[start : start + 64].numpy()))
        level = torch.rand(len(latents), 1, 1, 1, generator=generator) * noise
        wrong = autoencoder.decode(latents + level * torch.randn(latents.shape, generator=generator))
        parts.append(to_pixels(wrong))
    return torch.cat(parts)


def distort(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shifts and scales [B, 3, 64, 64] a little, blurs some, changes brightness and adds noise."""
    count = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, generator=generator)

    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = uniform(0.97, 1.04)
    theta[:, :, 2] = uniform(-0.06, 0.06, 2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    x = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(
        F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), 3, 1, 1, count_include_pad=False
    )
    x = torch.lerp(x, blurred, uniform(-0.5, 1.0, 1, 1, 1).clamp_min(0))
    x = x * uniform(0.92, 1.05, 1, 1, 1) + uniform(-0.04, 0.04, 3, 1, 1)
    level = uniform(-0.1, 0.15, 1, 1, 1).clamp_min(0)
    return (x + level * torch.randn(x.shape, generator=generator)).clamp(-1, 1)
