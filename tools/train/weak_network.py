"""Fits CoRe2's weak network to trajectories: from the prediction under the prompt to the guided one.

    python tools/train/weak_network.py --work DIR [--seconds 420] [--init CHECKPOINT] [--partial] [--threads 1] [--seed 23] [--smoke]

Reads DIR/trajectories and DIR/trajectories-held-out, writes DIR/core2_weak.pt; goes on from it if it is there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glint_train.collection import Collection, Predictions
from glint_train.fit import Fit, fit_options
from glint_train.networks import WeakNetwork

BATCH, RATE, WORDLESS = 64, 2e-3, 0.2


def augmented(given: tuple[Tensor, ...], guided: Tensor, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
    """The same rows shifted by up to a latent pixel, some of them without words: few prompts have to teach any picture."""
    output, latents, time, tokens = given
    shifts = torch.randint(-1, 2, (2,), generator=generator).tolist()
    output, latents, guided = (torch.roll(x, shifts, (2, 3)) for x in (output, latents, guided))
    worded = (torch.rand(len(time), 1, 1, generator=generator) > WORDLESS).float()
    return (output, latents, time, tokens * worded), guided


def errors(model: nn.Module, data: Predictions) -> tuple[Tensor, Tensor, Tensor]:
    """Squared: of the network's prediction, of the conditional one in its place, and the size of the guided one: [rows]."""
    found = []
    with torch.no_grad():
        for rows in torch.arange(len(data)).split(128):
            given, guided = data.batch(rows)
            differences = (model(*given) - guided, given[0] - guided, guided)
            found.append(torch.stack([x.flatten(1).square().sum(1) for x in differences]))
    return tuple(torch.cat(found, dim=1))


def main() -> None:
    options = fit_options(__doc__, seconds=420, seed=23)
    collection = Collection(options.work / "trajectories", "trajectories", options.partial)
    data = Predictions(collection)
    held_out = Predictions(Collection(options.work / "trajectories-held-out", "trajectories"))

    def loss_of(model: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        given, guided = augmented(*data.batch(rows), generator)
        return F.mse_loss(model(*given), guided)

    fit = Fit(
        WeakNetwork(), options.work / "core2_weak.pt", seconds=2 if options.smoke else options.seconds, seed=options.seed,
        rate=RATE, identity=collection.identity, initial=options.init,
    )  # fmt: skip
    model = fit.run(loss_of, len(data), BATCH)
    for name, part in (("trained", data), ("held-out", held_out)):
        made, plain, size = (squares.sum() for squares in errors(model, part))
        print(f"{name} prompts: relative error {(made / size).sqrt():.4f}, of the conditional prediction {(plain / size).sqrt():.4f}: {(made / plain).sqrt():.3f}")


if __name__ == "__main__":
    main()
