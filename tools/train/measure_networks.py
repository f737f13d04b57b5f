"""What the bundle's CoRe2 weak network and golden-noise network do.

    $(tools/env) tools/train/measure_networks.py --bundle models/emoji-flow --work DIR [--steps 10]
        [--count N] [--smoke]

Errors and cosines over DIR/trajectories-held-out and DIR/noise-pairs-held-out, of prompts they were not
trained with; then pictures of `evaluate.py`'s prompts with the same noises, scored by the bundle's scorer:
paired differences with 95 % intervals (bootstrap over prompts). network_prompts.py leaves those prompts out,
but did not yet when the bundled networks were collected.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glint_train.bundle import Bundle, Predict, initial_noise
from glint_train.collection import Collection, Predictions
from glint_train.grammar import Grammar
from glint_train.intervals import interval, mean_interval
from glint_train.judge import Judge
from glint_train.prompts import NOISE_SEED, SETS, evaluation_sets
from golden_noise import Pairs, cosines
from weak_network import errors


def weak_figures(bundle: Bundle, folder: Path) -> None:
    """Prints errors of `core2_weak` on a folder's trajectories; a SystemExit if another bundle's."""
    collection = Collection(folder, "trajectories")
    collection.check_model(bundle.manifest)
    data, sigmas = Predictions(collection), collection.tensors["sigma"].tolist()
    made, plain, size = (
        x.numpy().reshape(-1, len(sigmas)) for x in errors(bundle.component("core2_weak"), data)
    )

    def ratio(items: np.ndarray) -> float:
        return float(np.sqrt(made[items].sum() / plain[items].sum()))

    print(
        f"core2_weak: {len(made)} held-out prompts, {len(sigmas)} steps, guidance {data.guidance:g}", end=", "
    )
    print("at 1 row a step instead of 2")
    print(
        f"relative error of the guided prediction (root of summed squares): "
        f"{np.sqrt(made.sum() / size.sum()):.4f}, "
        f"with the conditional one in its place {np.sqrt(plain.sum() / size.sum()):.4f}"
    )
    print("ratio {:.3f} [{:.3f}, {:.3f}]".format(*interval(ratio, len(made))), end=", ")
    print(f"of the means of every row's own {np.sqrt(made / size).mean() / np.sqrt(plain / size).mean():.3f}")
    print("sigma: " + " ".join(f"{sigma:5.2f}" for sigma in sigmas))
    print("ratio: " + " ".join(f"{value:5.2f}" for value in np.sqrt(made.sum(0) / plain.sum(0))))


def noise_figures(bundle: Bundle, folder: Path) -> None:
    """Prints cosines of `npnet` on a folder's noise pairs; a SystemExit if another bundle's."""
    collection = Collection(folder, "noise-pairs")
    collection.check_model(bundle.manifest)
    pairs = Pairs(collection)
    made, plain = (values.numpy() for values in cosines(bundle.component("npnet"), pairs))
    candidates = collection.tensors["candidate_scores"]
    print(f"npnet: {len(pairs.noise)} held-out pairs of {len(candidates)} candidates")
    print(f"cosine to the target {made.mean():.5f}, of the noise itself {plain.mean():.5f}", end=", ")
    print(f"difference {mean_interval(made - plain)}")
    gains = candidates.diff(dim=1).numpy().ravel()
    print(f"score of reflected minus score of noise, all candidates: {mean_interval(gains)}")


class Comparison:
    """Pictures of the same prompts and noises by several methods."""

    def __init__(self, folder: Path, bundle: Bundle, counts: dict[str, int], steps: int) -> None:
        self.bundle, self.steps, grammar = bundle, steps, Grammar()
        self.judge = Judge.of_bundle(folder, grammar)
        self.weak, self.golden = (bundle.component(name) for name in ("core2_weak", "npnet"))
        self.sets = evaluation_sets(grammar, counts)

    @torch.no_grad()
    def pictures(self, prompts: list[str], guidance: float, weak: bool, golden: bool) -> np.ndarray:
        """uint8 [N, 64, 64, 3]; guidance 1 is the conditional prediction alone, `weak` imitates guidance."""
        parts = []
        for start in range(0, len(prompts), 16):
            part = prompts[start : start + 16]
            noise = initial_noise(len(part), NOISE_SEED + start)
            predict = self.bundle.predictor(part, guidance)
            if golden:
                noise = self.golden(noise, *self.bundle.encode_text(part))
            if weak:
                predict = self.imitation(predict)
            parts.append(self.bundle.pictures(self.bundle.sample(noise, predict, self.steps)))
        return np.concatenate(parts)

    def imitation(self, conditional: Predict) -> Predict:
        """What the weak network makes of the conditional prediction."""

        def predict(x: Tensor, time: Tensor) -> Tensor:
            return self.weak(conditional(x, time), x, time.expand(len(x)))

        return predict

    def scores(self, guidance: float, weak: bool = False, golden: bool = False) -> dict[str, np.ndarray]:
        """Similarity and strict score [N, 2] by set."""
        found = {}
        for kind, (scenes, prompts) in self.sets.items():
            verdicts = self.judge(
                self.pictures(prompts, guidance, weak, golden), scenes, self.bundle.ids(prompts)
            )
            found[kind] = np.array([(one.similarity, float(one.strict)) for one in verdicts])
        return found


def score_figures(comparison: Comparison) -> None:
    """Prints the table of paired differences in similarity and strict score, by set and of all prompts."""
    scale = float(comparison.bundle.manifest["guidance"]["default"])
    guided, plain = comparison.scores(scale), comparison.scores(1.0)
    core2, golden = comparison.scores(1.0, weak=True), comparison.scores(scale, golden=True)
    cfg = f"CFG {scale:g}"
    print(f"scores, {comparison.steps} steps: paired differences, similarity and strict")
    for name, a, b in (
        ("core2 (1 row) - conditional alone (1 row)", core2, plain),
        (f"core2 (1 row) - {cfg} (2 rows)", core2, guided),
        (f"{cfg} (2 rows) - conditional alone (1 row)", guided, plain),
        (f"golden-noise and {cfg} - {cfg}", golden, guided),
    ):
        for kind in (*a, "all"):
            first, second = (np.concatenate(list(x.values())) if kind == "all" else x[kind] for x in (a, b))
            difference = first - second
            columns = (name, kind, len(first), *(mean_interval(values) for values in difference.T))
            print(f"| {' | '.join(map(str, columns))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--count", type=int, help="prompts of each kind; default: evaluate.py's")
    parser.add_argument("--smoke", action="store_true", help="2 prompts of each kind, 2 steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = Bundle(options.bundle)
    weak_figures(bundle, options.work / "trajectories-held-out")
    noise_figures(bundle, options.work / "noise-pairs-held-out")
    counts, steps = (dict.fromkeys(SETS, 2), 2) if options.smoke else (SETS, options.steps)
    if options.count:
        counts = dict.fromkeys(SETS, options.count)
    score_figures(Comparison(options.bundle, bundle, counts, steps))


if __name__ == "__main__":
    main()
