"""Measures quality by guidance scale with fixed noises, as tables, and how many pairs tell two scales apart.

    $(tools/env) tools/train/evaluate.py --bundle models/emoji-flow [--judge BUNDLE]
        [--scales 1 1.5 2 3 5 7] [--smoke]

96 single objects, 96 compositions of trained and 64 of held-out combinations; prompt i of a set has the same
noise at every scale. Strict: everything the prompt asks for is right by the verifier (`scorer`) and, for the
background, by arithmetic; partial: the share that is; similarity and evidence: continuous
(glint_train/judge.py). Colour (single objects with an asked colour), mask and nearest glyph are arithmetic
on pixels. Rows of the true renders, also as the autoencoder draws them, show the judge's own errors. A
`weak_denoiser` is measured at scales 1, 2 and 3.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from glint_train.augment import decoded
from glint_train.autoencoder import load_autoencoder
from glint_train.bundle import Bundle
from glint_train.grammar import Grammar
from glint_train.judge import Judge, Verdict, colour_right, mask_iou
from glint_train.metrics import Retrieval, background_right
from glint_train.prompts import NOISE_SEED, SETS, evaluation_sets
from glint_train.render import Renderer
from glint_train.warm_start import autoencoder_state

POWER_FACTOR = (1.96 + 0.84) ** 2  # two-sided 5 %, 80 % power
WEAK_SCALES = (1.0, 2.0, 3.0)
SCORES = ("strict", "partial", "similarity", "evidence")
HEADER = ("set", "guidance", *SCORES, "background", "colour", "mask IoU", "nearest glyph")


class Evaluation:
    """Prompts, judge and renderer of one evaluation."""

    def __init__(self, judge: Path, counts: dict[str, int]) -> None:
        bundle, self.grammar = Bundle(judge), Grammar()
        self.tokens, self.coder = bundle.ids, load_autoencoder(autoencoder_state(judge))
        self.renderer = Renderer(self.grammar)
        self.judge = Judge.of_bundle(judge, self.grammar)
        self.retrieval = Retrieval.build(self.grammar, self.renderer)
        self.sets = evaluation_sets(self.grammar, counts)

    def row(self, label: str, kind: str, images: np.ndarray) -> list[Verdict]:
        """Prints the table row of uint8 pictures [N, 64, 64, 3] of a set and returns their verdicts."""
        scenes, prompts = self.sets[kind]
        verdicts = self.judge(images, scenes, self.tokens(prompts))
        means = [np.mean([getattr(one, name) for one in verdicts]) for name in SCORES]
        scores = f"{means[0]:.1%} | {means[1]:.1%} | {means[2]:.3f} | {means[3]:.3f}"
        print(f"| {kind} | {label} | {scores} | {self.pixels(kind, images)} |", flush=True)
        return verdicts

    def pixels(self, kind: str, images: np.ndarray) -> str:
        """The columns that are arithmetic on pixels, of uint8 pictures [N, 64, 64, 3] of a set."""
        scenes, prompts = self.sets[kind]
        background = np.mean([background_right(image, scene) for image, scene in zip(images, scenes)])
        checks = [colour_right(image, scene, self.renderer) for image, scene in zip(images, scenes)]
        asked = [check for check in checks if check is not None]
        mask = np.mean([mask_iou(image, self.renderer.render(scene)) for image, scene in zip(images, scenes)])
        colour, own = f"{np.mean(asked):.1%}" if asked else "-", "-"
        if kind == "singles":
            own = f"{np.mean([a == b for a, b in zip(self.retrieval.nearest(images), prompts)]):.1%}"
        return f"{background:.1%} | {colour} | {mask:.3f} | {own}"

    def truth(self) -> None:
        """The rows of the renders themselves, and of the renders through the autoencoder."""
        for kind, (scenes, _) in self.sets.items():
            images = np.stack([self.renderer.render(scene) for scene in scenes])
            self.row("truth", kind, images)
            drawn = decoded(torch.from_numpy(images), self.coder, torch.Generator().manual_seed(0), noise=0.0)
            self.row("truth, decoded", kind, drawn.numpy())

    def curve(
        self, bundle: Bundle, scales: list[float], steps: int, label: str
    ) -> dict[float, list[Verdict]]:
        """The rows of a denoiser; returns the verdicts of the compositions at every scale."""
        found: dict[float, list[Verdict]] = {scale: [] for scale in scales}
        for kind, (_, prompts) in self.sets.items():
            for scale in scales:
                images = bundle.generate(prompts, scale, steps, NOISE_SEED, batch=16)
                verdicts = self.row(f"{label}{scale:g}", kind, images)
                found[scale] += verdicts if kind != "singles" else []
        return found

    def diversity(self, bundle: Bundle, scale: float, steps: int, noises: int) -> float:
        """Mean distance in pixel values of [0, 1] between pictures of one prompt and different noises."""
        distances = []
        for prompt in self.sets["singles"][1][:6]:
            images = bundle.generate([prompt] * noises, scale, steps, NOISE_SEED).astype(np.float32) / 255.0
            distances += [np.square(a - b).mean() ** 0.5 for a, b in itertools.combinations(images, 2)]
        return float(np.mean(distances))


def power(low: list[Verdict], high: list[Verdict], measure: str) -> str:
    """How many pairs show the difference of two scales (normal approximation)."""
    difference = np.array([getattr(b, measure) - getattr(a, measure) for a, b in zip(low, high)], dtype=float)
    effect = difference.mean() / max(float(difference.std(ddof=1)), 1e-9)
    pairs = POWER_FACTOR / max(effect**2, 1e-9)
    return f"{measure} {difference.mean():+.4f}, {effect:.2f} standard deviations per pair, {pairs:.0f} pairs"


def print_power(name: str, found: dict[float, list[Verdict]]) -> None:
    if 1.0 in found and 2.0 in found:
        for measure in ("similarity", "evidence", "partial"):
            text = power(found[1.0], found[2.0], measure)
            print(f"{name}, guidance 1 against 2 over {len(found[1.0])} compositions: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--judge", type=Path, help="bundle whose scorer judges; default: the same")
    parser.add_argument("--adapter", type=Path, help="LoRA file added to the denoiser")
    parser.add_argument("--scales", type=float, nargs="*", default=[1.0, 1.5, 2.0, 3.0, 5.0, 7.0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--smoke", action="store_true", help="2 prompts of each kind, 2 steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle, counts, steps, scales = Bundle(options.bundle), SETS, options.steps, options.scales
    if not options.judge and "scorer" not in bundle.manifest["components"]:
        parser.error(
            f"{options.bundle} has no scorer: --judge names a bundle that has one, such as models/emoji-flow"
        )
    if options.adapter:
        bundle.adapt(options.adapter)
    if options.smoke:
        counts, steps, scales = dict.fromkeys(SETS, 2), 2, [1.0, 2.0]
    evaluation = Evaluation(options.judge or options.bundle, counts)
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
    evaluation.truth()
    found = {"denoiser": evaluation.curve(bundle, scales, steps, "")}
    if "weak_denoiser" in bundle.manifest["components"]:
        weak = Bundle(options.bundle, "weak_denoiser")
        found["weak denoiser"] = evaluation.curve(weak, list(WEAK_SCALES), steps, "weak, ")
    print()
    for name, verdicts in found.items():
        print_power(name, verdicts)
    for scale in (1.0, bundle.manifest["guidance"]["default"]):
        distance = evaluation.diversity(bundle, scale, steps, 2 if options.smoke else 6)
        print(f"Distance between noises of one prompt at guidance {scale:g}: {distance:.3f}")


if __name__ == "__main__":
    main()
