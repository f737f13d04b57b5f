"""Fits CoRe2's weak network to trajectories: from the prediction under the prompt to the guided one.

    python tools/train/weak_network.py --work DIR [--seconds 420] [--threads 1] [--seed 23] [--smoke]

Reads DIR/trajectories and DIR/trajectories-held-out, writes DIR/core2_weak.pt; goes on from it if it is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from glint_train.collection import Collection, Predictions
from glint_train.fit import fit
from glint_train.networks import WeakNetwork

BATCH, RATE = 64, 2e-3


def relative_errors(model: nn.Module, data: Predictions) -> tuple[Tensor, Tensor]:
    """|R - guided| / |guided| of the network, and of the prediction under the prompt in its place: [rows] each."""
    made, plain = [], []
    with torch.no_grad():
        for rows in torch.arange(len(data)).split(128):
            output, time, tokens, guided = data.batch(rows)
            size = guided.flatten(1).norm(dim=1)
            made.append((model(output, time, tokens) - guided).flatten(1).norm(dim=1) / size)
            plain.append((output - guided).flatten(1).norm(dim=1) / size)
    return torch.cat(made), torch.cat(plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    collection = Collection(options.work / "trajectories", "trajectories")
    data = Predictions(collection)
    held_out = Predictions(Collection(options.work / "trajectories-held-out", "trajectories"))

    def loss_of(model: nn.Module, rows: Tensor) -> Tensor:
        output, time, tokens, guided = data.batch(rows)
        error = (model(output, time, tokens) - guided).flatten(1)
        return (error.norm(dim=1) / guided.flatten(1).norm(dim=1)).mean()

    model = fit(
        WeakNetwork(), len(data), loss_of, options.work / "core2_weak.pt", seconds=2 if options.smoke else options.seconds,
        seed=options.seed, batch=BATCH, rate=RATE, identity=collection.identity,
    )  # fmt: skip
    for name, part in (("trained", data), ("held-out", held_out)):
        made, plain = (errors.mean() for errors in relative_errors(model, part))
        print(f"{name} prompts: relative error {made:.4f}, of the conditional prediction {plain:.4f}: {made / plain:.3f}")


if __name__ == "__main__":
    main()
