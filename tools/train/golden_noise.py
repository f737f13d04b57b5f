"""Fits a golden-noise network to noise pairs: from noise and prompt to the reflected noise.

    python tools/train/golden_noise.py --work DIR [--seconds 300] [--threads 1] [--seed 29] [--smoke]

Reads DIR/noise-pairs and DIR/noise-pairs-held-out, writes DIR/npnet.pt; goes on from it if it is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glint_train.collection import Collection
from glint_train.fit import fit
from glint_train.networks import NoiseNetwork

BATCH, RATE = 32, 1e-3


class Pairs:
    """Noise, reflected noise, token embeddings and pooled vectors of the kept items."""

    def __init__(self, collection: Collection) -> None:
        t = collection.tensors
        self.noise, self.reflected, self.tokens, self.pooled = (
            t[name].float() for name in ("noise", "reflected", "tokens", "pooled")
        )


def cosines(model: nn.Module, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Of the network's noise, and of the noise itself, with the reflected noise: [pairs] each."""
    with torch.no_grad():
        made = [model(*part) for part in zip(*(x.split(64) for x in (pairs.noise, pairs.tokens, pairs.pooled)))]
    target = pairs.reflected.flatten(1)
    return tuple(F.cosine_similarity(x.flatten(1), target) for x in (torch.cat(made), pairs.noise))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=29)
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    collection = Collection(options.work / "noise-pairs", "noise-pairs")
    data, held_out = Pairs(collection), Pairs(Collection(options.work / "noise-pairs-held-out", "noise-pairs"))
    if not len(data.noise) or not len(held_out.noise):
        raise SystemExit("no pair was kept; collect with more prompts or another reflection")

    def loss_of(model: nn.Module, rows: Tensor) -> Tensor:
        made = model(data.noise[rows], data.tokens[rows], data.pooled[rows])
        return F.mse_loss(made, data.reflected[rows])

    model = fit(
        NoiseNetwork(), len(data.noise), loss_of, options.work / "npnet.pt", seconds=2 if options.smoke else options.seconds,
        seed=options.seed, batch=BATCH, rate=RATE, identity=collection.identity,
    )  # fmt: skip
    for name, part in (("trained", data), ("held-out", held_out)):
        made, plain = (values.mean() for values in cosines(model, part))
        print(f"{name} prompts, {len(part.noise)} pairs: cosine {made:.5f}, of the noise itself {plain:.5f}")


if __name__ == "__main__":
    main()
