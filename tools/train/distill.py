"""Stage 5: emoji-flow with the guidance scale as an input, distilled from the trained denoiser's guided predictions.

    python tools/train/distill.py --work DIR [--seconds 600] [--threads 1] [--seed 19] [--teacher denoiser] [--smoke]

The student starts from the teacher, reads the same tokens and draws in the same latent space. A run that was stopped goes on
from its last checkpoint `distilled.pt`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from denoiser import BATCH, encode_all
from export import load_model
from glint_train.grammar import NULL_SHARE
from glint_train.mix import Mix
from glint_train.models import DistilledModel
from glint_train.precision import use_precise_attention
from glint_train.trainer import Trainer

RATE = 0.5  # of a training from scratch
MIX = Mix(0.5, 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--teacher", default="denoiser", help="checkpoint in DIR whose average teaches")
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    use_precise_attention()
    latents, ids = encode_all(options.work), torch.from_numpy(np.load(options.work / "train_ids.npy"))
    teacher = load_model(options.work, "flow", options.teacher).requires_grad_(False)
    teacher.denoiser.prepare_mixed_precision()
    student = DistilledModel(teacher.text_encoder.phrases.words)
    student.start_from(teacher)
    student.text_encoder.requires_grad_(False)
    student.denoiser.prepare_mixed_precision()
    seconds = 6.0 if options.smoke else options.seconds
    trainer = Trainer(student, options.work / "distilled.pt", seconds, options.seed, RATE)
    while (progress := trainer.clock.progress) < 1.0:
        chosen = torch.from_numpy(MIX.batch(len(ids), BATCH, options.seed, trainer.step, progress))
        dropped = torch.rand(len(chosen), generator=trainer.generator) < NULL_SHARE
        asked, shown = ids[chosen].masked_fill(dropped[:, None], 0), latents[chosen].float()
        trainer.keep(trainer.update(lambda: student.loss(teacher, shown, asked, trainer.generator)))
    trainer.finish()


if __name__ == "__main__":
    main()
