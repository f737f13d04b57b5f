"""Encodes the samples once, then trains a denoiser, and the text encoder too unless a bundle lends its own.

    $(tools/env) tools/train/denoiser.py --work DIR [--kind flow|xl] [--seconds 5400] [--init BUNDLE]
        [--smoke]

A stopped run continues from its last checkpoint. The learning rate follows the wall clock, so that it is
always annealed when the budget ends. `--init` takes a bundle's autoencoder and text encoder, which stay as
they are but for the roles of phrases, and for emoji-flow its denoiser. A DIR whose autoencoder or checkpoint
comes from elsewhere is refused. emoji-xl has no text encoder of its own and needs `--init`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from glint_train.grammar import NULL_SHARE
from glint_train.mix import Mix
from glint_train.models import KINDS
from glint_train.precision import use_precise_attention
from glint_train.run import begin, training_parser
from glint_train.trainer import BATCH, Trainer
from glint_train.warm_start import adopt_autoencoder, check_vocabulary, identity, load_component
from glint_train.work import CHECKPOINTS, encoded, samples, vocabulary

SNAPSHOTS = {0.25: "early", 0.5: "half"}  # by progress
LENT = {"flow": ("text_encoder", "denoiser"), "xl": ("text_encoder",)}  # by `--init`, beside the autoencoder


def make_model(options: argparse.Namespace) -> nn.Module:
    """A model of the asked kind, with what `--init` lends it."""
    model = KINDS[options.kind](vocabulary(options.work))
    model.denoiser.prepare_mixed_precision()
    if options.init:
        for name in LENT[options.kind]:
            load_component(getattr(model, name), options.init, name)
        model.text_encoder.requires_grad_(options.train_text)
        model.text_encoder.roles.requires_grad_(options.kind == "flow")
    return model


def parse() -> argparse.Namespace:
    parser = training_parser(__doc__, seconds=5400, seed=13)
    parser.add_argument("--kind", choices=tuple(LENT), default="flow")
    parser.add_argument("--compositions", type=float, nargs=2, default=(0.35, 0.35), metavar=("START", "END"),
                        help="share of compositions at the start and at the end of the run")  # fmt: skip
    parser.add_argument("--init", type=Path, help="go on from this bundle, its text encoder frozen")
    parser.add_argument("--train-text", action="store_true", help="with --init: train the text encoder too")
    options = begin(parser)
    if options.kind == "xl" and not options.init:
        parser.error("--kind xl needs --init, the bundle whose text encoder it reads")
    return options


def main() -> None:
    options = parse()
    use_precise_attention()
    if options.init:
        check_vocabulary(options.init, options.work)
        adopt_autoencoder(options.init, options.work)
    latents, ids = encoded(options.work), torch.from_numpy(samples(options.work, "train_ids"))
    name, mix = CHECKPOINTS[options.kind], Mix(*options.compositions)
    model = make_model(options)
    origin = identity(options.init, *LENT[options.kind]) if options.init else None
    trainer = Trainer(model, options.work / f"{name}.pt", options.seconds, options.seed, origin=origin)
    if options.init and options.kind == "flow" and trainer.step == 0:
        trainer.save(options.work / f"{name}_start.pt")
    ahead = [share for share in SNAPSHOTS if share > trainer.clock.progress]
    while (progress := trainer.clock.progress) < 1.0 or ahead:
        chosen = torch.from_numpy(mix.batch(len(ids), BATCH, options.seed, trainer.step, progress))
        dropped = torch.rand(len(chosen), generator=trainer.generator) < NULL_SHARE
        asked, shown = ids[chosen].masked_fill(dropped[:, None], 0), latents[chosen].float()
        trainer.keep(trainer.update(lambda: model.loss(shown, asked, trainer.generator, progress)))
        # One a step, so that they differ even where a short run's time is over after its first step.
        if ahead and trainer.clock.progress >= ahead[0]:
            trainer.save(options.work / f"{name}_{SNAPSHOTS[ahead.pop(0)]}.pt")
    trainer.finish()


if __name__ == "__main__":
    main()
