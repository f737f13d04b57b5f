"""Stage 7: quality by guidance scale with fixed noises, as tables.

    python tools/train/evaluate.py --bundle models/emoji-flow [--scales 1 1.5 2 3 5 7] [--component denoiser] [--smoke]

96 single objects, 96 compositions of trained and 64 of held-out combinations; prompt i of a set has the same noise at
every scale. Strict: everything the prompt asks for is right by the verifier (`scorer`); partial: the share that is;
similarity: its continuous score. Background, colour (single objects with an asked colour), mask and nearest glyph are
arithmetic on pixels. The first table row holds the scores of the true renders: the judge's own accuracy.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from glint_train.bundle import Bundle
from glint_train.grammar import Grammar, Scene
from glint_train.judge import Judge, colour_right, mask_iou
from glint_train.metrics import Retrieval, background_right
from glint_train.render import Renderer
from sheet import draw_prompts

SETS = {"singles": 96, "composed": 96, "held-out": 64}
PROMPT_SEED, NOISE_SEED = 4096, 9000
POWER_FACTOR = (1.96 + 0.84) ** 2  # two-sided 5 %, 80 % power


class Evaluation:
    """Prompts, judge and renderer of one evaluation."""

    def __init__(self, bundle: Bundle, folder: Path, counts: dict[str, int]) -> None:
        self.bundle, self.grammar = bundle, Grammar()
        self.renderer = Renderer(self.grammar)
        self.judge = Judge(folder, self.grammar, bundle.tokenizer)
        self.retrieval = Retrieval.build(self.grammar, self.renderer)
        self.sets = {kind: draw_prompts(kind, count, PROMPT_SEED, self.grammar) for kind, count in counts.items()}

    def row(self, label: str, kind: str, images: np.ndarray) -> tuple[str, np.ndarray]:
        """A table row and the similarities [N]."""
        scenes, prompts = self.sets[kind]
        verdicts = self.judge(images, scenes, prompts)
        near = np.array([one.similarity for one in verdicts])
        shares = [np.mean([one.strict for one in verdicts]), np.mean([one.partial for one in verdicts])]
        row = f"| {kind} | {label} | {shares[0]:.1%} | {shares[1]:.1%} | {near.mean():.3f} | {self.pixels(kind, images, scenes, prompts)} |"
        return row, near

    def pixels(self, kind: str, images: np.ndarray, scenes: list[Scene], prompts: list[str]) -> str:
        background = np.mean([background_right(image, scene) for image, scene in zip(images, scenes)])
        checks = [colour_right(image, scene, self.renderer) for image, scene in zip(images, scenes)]
        asked = [check for check in checks if check is not None]
        mask = np.mean([mask_iou(image, self.renderer.render(scene)) for image, scene in zip(images, scenes)])
        colour = f"{np.mean(asked):.1%}" if asked else "-"
        own = "-"
        if kind == "singles":
            own = f"{np.mean([a == b for a, b in zip(self.retrieval.nearest(images), prompts)]):.1%}"
        return f"{background:.1%} | {colour} | {mask:.3f} | {own}"

    def diversity(self, scale: float, steps: int, noises: int = 6) -> float:
        """Mean distance in pixel values of [0, 1] between pictures of one prompt and different noises."""
        prompts = self.sets["singles"][1][:6]
        distances = []
        for prompt in prompts:
            images = self.bundle.generate([prompt] * noises, scale, steps, NOISE_SEED).astype(np.float32) / 255.0
            distances += [np.square(a - b).mean() ** 0.5 for a, b in itertools.combinations(images, 2)]
        return float(np.mean(distances))


def power(low: np.ndarray, high: np.ndarray) -> str:
    """How many pairs show the difference of two scales (normal approximation)."""
    difference = high - low
    effect = difference.mean() / difference.std(ddof=1)
    return f"difference {difference.mean():+.4f}, {effect:.2f} standard deviations per pair, {POWER_FACTOR / effect**2:.0f} pairs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--scales", type=float, nargs="*", default=[1.0, 1.5, 2.0, 3.0, 5.0, 7.0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--component", choices=("denoiser", "weak_denoiser"), default="denoiser")
    parser.add_argument("--smoke", action="store_true", help="2 prompts of each kind, 2 steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = Bundle(options.bundle)
    if options.component == "weak_denoiser":
        bundle.denoiser = bundle.component("weak_denoiser")
    counts, steps, scales = SETS, options.steps, options.scales
    if options.smoke:
        counts, steps, scales = dict.fromkeys(SETS, 2), 2, [1.0, 2.0]
    evaluation = Evaluation(bundle, options.bundle, counts)
    print("| set | guidance | strict | partial | similarity | background | colour | mask IoU | nearest glyph |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind, (scenes, _) in evaluation.sets.items():
        print(evaluation.row("truth", kind, np.stack([evaluation.renderer.render(scene) for scene in scenes]))[0])
    near: dict[float, list[np.ndarray]] = {}
    for scale in scales:
        for kind, (_, prompts) in evaluation.sets.items():
            images = bundle.generate(prompts, scale, steps, NOISE_SEED, batch=16)
            row, values = evaluation.row(f"{scale:g}", kind, images)
            near.setdefault(scale, []).append(values)
            print(row, flush=True)
    if 1.0 in near and 2.0 in near:
        low, high = (np.concatenate([values[:48] for values in near[scale]]) for scale in (1.0, 2.0))
        print(f"\nGuidance 1 against 2, {len(low)} pairs: {power(low, high)}")
    for scale in (1.0, bundle.manifest["guidance"]["default"]):
        print(
            f"Distance between noises of one prompt at guidance {scale:g}: {evaluation.diversity(scale, steps, 2 if options.smoke else 6):.3f}"
        )


if __name__ == "__main__":
    main()
