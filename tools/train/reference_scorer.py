"""Prompts that a model was not trained with, and a scorer that compares pictures with their true renders.

    $(tools/env) tools/train/reference_scorer.py --out DIR [--count 128] [--seed 7001]
        [--bundle models/emoji-flow]

`DIR/prompts.txt` has compositions of held-out combinations, none of them evaluate.py's. `DIR/render.pt` is
for `glint eval --prompts DIR/prompts.txt --scorer DIR/render.pt`: 1 minus the root mean square difference
(of values in [0, 1]) to the render of the prompt, the smallest over shifts of up to 4 pixels. It is pixel
arithmetic and knows nothing of the bundle's own scorer, so that one can judge what the other chose. It knows
these prompts only: any other gets the score NaN, which an evaluation refuses.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from glint_train.bundle import WHAT_IS_A_BUNDLE
from glint_train.grammar import Grammar, Scene
from glint_train.prompts import evaluation_sets
from glint_train.render import Renderer
from glint_train.run import to_images
from glint_train.words import WordTokenizer, read_words

SHIFT = 4


class ReferenceScorer(nn.Module):
    """(image [B, 3, 64, 64] in [-1, 1], ids [B, L]) to closeness [B] to the render of the ids."""

    def __init__(self, ids: Tensor, renders: Tensor, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.register_buffer("ids", ids)
        self.register_buffer("renders", renders)

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        same = (ids.unsqueeze(1) == self.ids.unsqueeze(0)).all(2)
        wanted = self.renders[same.to(torch.long).argmax(1)].to(image.dtype) / 127.5 - 1.0
        least = torch.full([image.shape[0]], 4.0, dtype=image.dtype, device=image.device)
        for down in range(-self.shift, self.shift + 1):
            for right in range(-self.shift, self.shift + 1):
                moved = torch.roll(wanted, [down, right], [2, 3])
                least = torch.minimum(least, (image - moved).square().mean([1, 2, 3]))
        score = 1.0 - 0.5 * least.sqrt()
        return torch.where(same.any(1), score, torch.full_like(score, float("nan")))


def draw(count: int, seed: int, grammar: Grammar) -> dict[str, Scene]:
    """Distinct held-out compositions by prompt."""
    taken = {prompt for _, prompts in evaluation_sets(grammar).values() for prompt in prompts}
    rng, scenes = np.random.default_rng(seed), {}
    while len(scenes) < count:
        scene = grammar.draw_composition(rng, want_held_out=True)
        prompt = grammar.prompt(scene)
        if prompt not in taken:
            scenes[prompt] = scene
    return scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--seed", type=int, default=7001)
    parser.add_argument("--bundle", type=Path, default=Path("models/emoji-flow"))
    options = parser.parse_args()
    grammar = Grammar()
    scenes, renderer = draw(options.count, options.seed, grammar), Renderer(grammar)
    tokenizer = WordTokenizer(read_words(options.bundle, WHAT_IS_A_BUNDLE))
    ids = torch.from_numpy(np.stack([tokenizer.encode(prompt) for prompt in scenes]))
    pictures = np.stack([renderer.render(scene) for scene in scenes.values()])
    scorer = torch.jit.script(
        ReferenceScorer(ids.long(), torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), SHIFT)
    )
    true = scorer(to_images(pictures), ids.long())
    if float(true.min()) < 1.0 - 1e-6:
        raise SystemExit("two prompts have the same words")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "prompts.txt").write_text("".join(f"{prompt}\n" for prompt in scenes))
    torch.jit.save(scorer, str(options.out / "render.pt"))
    print(f"{options.out}: {len(scenes)} prompts")


if __name__ == "__main__":
    main()
