"""Stage 3: encode the samples once, then train a denoiser, and the text encoder with it unless a bundle lends its own.

    python tools/train/denoiser.py --work DIR [--kind flow|xl] [--seconds 5400] [--init BUNDLE] [--smoke]

A run that was stopped goes on from its last checkpoint. The learning rate follows the wall clock, so that it is always
annealed when the budget ends. `--init` takes the autoencoder and the text encoder of a bundle, which stay as they are but
for the roles of phrases, and for emoji-flow its denoiser. emoji-xl has no text encoder of its own and needs `--init`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from glint_train.autoencoder import Autoencoder
from glint_train.grammar import NULL_SHARE
from glint_train.mix import Mix
from glint_train.models import KINDS
from glint_train.precision import autocast, use_precise_attention
from glint_train.run import begin, load_checkpoint, to_images, training_parser
from glint_train.trainer import Trainer
from glint_train.warm_start import adopt_autoencoder, check_vocabulary, load_component

BATCH = 32
SNAPSHOTS = {0.25: "early", 0.5: "half"}  # by progress
CHECKPOINTS = {"flow": "denoiser", "xl": "xl"}


def encode_all(work: Path) -> Tensor:
    """Latents of the training images [N, 4, 16, 16] in float16, kept in a file."""
    path = work / "train_latents.npy"
    if not path.exists():
        model = Autoencoder().eval()
        state = load_checkpoint(work / "autoencoder.pt")
        if state is None:
            raise SystemExit("train the autoencoder first")
        model.load_state_dict(state["model"])
        images = np.load(work / "train_images.npy", mmap_mode="r")
        with torch.no_grad(), autocast():
            parts = [model.encode(to_images(np.array(images[i : i + 64]))).half() for i in range(0, len(images), 64)]
        np.save(path, torch.cat(parts).numpy())
    return torch.from_numpy(np.load(path))


def make_model(options: argparse.Namespace) -> nn.Module:
    """A model of the asked kind, with what `--init` lends it."""
    words = json.loads((options.work / "tokenizer.json").read_text())["words"]
    model = KINDS[options.kind](words)
    model.denoiser.prepare_mixed_precision()
    if options.init:
        load_component(model.text_encoder, options.init, "text_encoder")
        model.text_encoder.requires_grad_(options.train_text)
        model.text_encoder.roles.requires_grad_(options.kind == "flow")
        if options.kind == "flow":
            load_component(model.denoiser, options.init, "denoiser")
    return model


def parse() -> argparse.Namespace:
    parser = training_parser(__doc__, seconds=5400, seed=13)
    parser.add_argument("--kind", choices=tuple(CHECKPOINTS), default="flow")
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
        if not (options.work / "autoencoder.pt").exists():
            adopt_autoencoder(options.init, options.work / "autoencoder.pt")
    latents = encode_all(options.work)
    ids = torch.from_numpy(np.load(options.work / "train_ids.npy"))
    name, mix = CHECKPOINTS[options.kind], Mix(*options.compositions)
    model = make_model(options)
    trainer = Trainer(model, options.work / f"{name}.pt", options.seconds, options.seed)
    if options.init and options.kind == "flow" and trainer.step == 0:
        trainer.save(options.work / f"{name}_start.pt")
    ahead = [share for share in SNAPSHOTS if share > trainer.clock.progress]
    while (progress := trainer.clock.progress) < 1.0:
        chosen = torch.from_numpy(mix.batch(len(ids), BATCH, options.seed, trainer.step, progress))
        dropped = torch.rand(len(chosen), generator=trainer.generator) < NULL_SHARE
        asked, shown = ids[chosen].masked_fill(dropped[:, None], 0), latents[chosen].float()
        trainer.keep(trainer.update(lambda: model.loss(shown, asked, trainer.generator, progress)))
        while ahead and trainer.clock.progress >= ahead[0]:
            trainer.save(options.work / f"{name}_{SNAPSHOTS[ahead.pop(0)]}.pt")
    trainer.finish()


if __name__ == "__main__":
    main()
