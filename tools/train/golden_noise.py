"""Fits a golden-noise network to noise pairs: from noise and prompt to the reflected noise.

    $(tools/env) tools/train/golden_noise.py --work DIR [--seconds 240] [--init CHECKPOINT] [--partial]
        [--threads 1] [--seed 29] [--smoke]

Reads DIR/noise-pairs and DIR/noise-pairs-held-out, writes DIR/npnet.pt; continues from it if it is there.
One pair of eight is not trained on but decides which weights are kept. The noise is turned by a random angle
while the displacement stays, so that the network learns what depends on the prompt, which few pairs can
teach.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glint_train.collection import Collection, joint_identity, training_collections, turned
from glint_train.fit import Fit, fit_options
from glint_train.networks import NoiseNetwork

BATCH, RATE, VALIDATED = 32, 1e-3, 8


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
        made = [
            model(*part) for part in zip(*(x.split(64) for x in (pairs.noise, pairs.tokens, pairs.pooled)))
        ]
    target = pairs.reflected.flatten(1)
    return tuple(F.cosine_similarity(x.flatten(1), target) for x in (torch.cat(made), pairs.noise))


def main() -> None:
    options = fit_options(__doc__, seconds=240, seed=29)
    (collection,) = collections = training_collections(options.work, "noise-pairs", options.partial)
    data = Pairs(collection)
    held_out = Pairs(Collection(options.work / "noise-pairs-held-out", "noise-pairs"))
    if len(data.noise) < 2 or not len(held_out.noise):
        raise SystemExit("too few pairs were kept; collect with more prompts or another reflection")

    order = torch.randperm(len(data.noise), generator=torch.Generator().manual_seed(options.seed))
    count = max(1, len(order) // VALIDATED)
    kept_back, trained = order[:count], order[count:]

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        rows = trained[rows]
        noise = turned(data.noise[rows], generator)
        change = data.reflected[rows] - data.noise[rows]
        return F.mse_loss(model(noise, data.tokens[rows], data.pooled[rows]), noise + change)

    @torch.no_grad()
    def validate(model: nn.Module) -> float:
        made = model(data.noise[kept_back], data.tokens[kept_back], data.pooled[kept_back])
        return float(F.mse_loss(made, data.reflected[kept_back]))

    network = NoiseNetwork()
    groups = [{"params": network.parameters(), "peak": RATE}]
    fit = Fit(
        network, options.work / "npnet.pt",
        [torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.05, fused=True)],
        seconds=options.seconds, seed=options.seed, identity=joint_identity(collections),
        initial=options.init, validate=validate,
    )  # fmt: skip
    model = fit.run(loss_of, len(trained), BATCH)
    for name, part in (("trained", data), ("held-out", held_out)):
        made, plain = (values.mean() for values in cosines(model, part))
        print(f"{name} prompts, {len(part.noise)} pairs: cosine {made:.5f}, of the noise itself {plain:.5f}")


if __name__ == "__main__":
    main()
