"""Fits CoRe2's weak network to trajectories: from the prediction under the prompt to the guided one.

    $(tools/env) tools/train/weak_network.py --work DIR --bundle BUNDLE [--seconds 3200] [--init CHECKPOINT]
        [--partial] [--threads 1] [--seed 23] [--smoke]

Reads DIR/trajectories, DIR/trajectories-fine if it is there, DIR/trajectories-held-out, and the denoiser of
the bundle they were made with, whose blocks the network begins with. Writes DIR/core2_weak.pt, and continues
from it if it is there.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glint_train.bundle import read_manifest
from glint_train.collection import Collection, Predictions, joint_identity, training_collections
from glint_train.denoiser import Denoiser
from glint_train.fit import Fit, fit_options
from glint_train.networks import WeakNetwork
from glint_train.trainer import make_optimizers
from glint_train.warm_start import load_component

BATCH, REPORTED = 32, 8192  # rows of a step; rows that the printed errors are taken from, at most


def errors(
    model: nn.Module, data: Predictions, chosen: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared errors of the network and of the conditional prediction, and the guided one's size: [rows]."""
    found = []
    with torch.no_grad():
        for rows in (torch.arange(len(data)) if chosen is None else chosen).split(128):
            given, guided = data.batch(rows)
            differences = (model(*given) - guided, given[0] - guided, guided)
            found.append(torch.stack([x.flatten(1).square().sum(1) for x in differences]))
    return tuple(torch.cat(found, dim=1))


def begun(bundle: Path, data: Predictions) -> WeakNetwork:
    """The network with the blocks of the bundle's denoiser."""
    whole, network = Denoiser(), WeakNetwork()
    load_component(whole, bundle, "denoiser")
    network.start_from(whole, data.null_tokens, data.guidance)
    return network


def main() -> None:
    options = fit_options(__doc__, seconds=3200, seed=23, needs_bundle=True)
    manifest = read_manifest(options.bundle)
    collections = training_collections(options.work, "trajectories", options.partial)
    for collection in collections:
        collection.check_model(manifest)
    data = Predictions(*collections)
    held_out = Predictions(Collection(options.work / "trajectories-held-out", "trajectories"))

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        given, guided = data.batch(rows)
        return F.mse_loss(model(*given), guided)

    network = begun(options.bundle, data)
    network.denoiser.prepare_mixed_precision()
    fit = Fit(
        network, options.work / "core2_weak.pt", make_optimizers(network), seconds=options.seconds,
        seed=options.seed, identity=joint_identity(collections), initial=options.init,
    )  # fmt: skip
    model = fit.run(loss_of, len(data), BATCH)
    for name, part in (("trained", data), ("held-out", held_out)):
        chosen = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:REPORTED]
        made, plain, size = (squares.sum() for squares in errors(model, part, chosen))
        figures = (made / size).sqrt(), (plain / size).sqrt(), (made / plain).sqrt()
        print(
            "{} prompts: relative error {:.4f}, of the conditional prediction {:.4f}: {:.3f}".format(
                name, *figures
            )
        )


if __name__ == "__main__":
    main()
