"""Trains emoji-flow with the guidance scale as an input, distilled from the denoiser's guided predictions.

    $(tools/env) tools/train/distill.py --work DIR [--seconds 600] [--threads 1] [--seed 19]
        [--teacher denoiser] [--smoke]

The student starts from the teacher, reads the same tokens and draws in the same latent space. A stopped run
continues from its last checkpoint `distilled.pt`.
"""

from __future__ import annotations

import torch

from glint_train.grammar import NULL_SHARE
from glint_train.mix import Mix
from glint_train.models import DistilledModel
from glint_train.precision import use_precise_attention
from glint_train.run import begin, training_parser
from glint_train.trainer import BATCH, Trainer
from glint_train.work import encoded, fingerprint, load_model, samples

RATE = 0.5  # of a training from scratch
MIX = Mix(0.5, 0.5)


def main() -> None:
    parser = training_parser(__doc__, seconds=600, seed=19)
    parser.add_argument("--teacher", default="denoiser", help="checkpoint in DIR whose average teaches")
    options = begin(parser)
    use_precise_attention()
    latents, ids = encoded(options.work), torch.from_numpy(samples(options.work, "train_ids"))
    teacher = load_model(options.work, "flow", options.teacher).requires_grad_(False)
    teacher.denoiser.prepare_mixed_precision()
    student = DistilledModel(teacher.text_encoder.phrases.words)
    student.start_from(teacher)
    student.text_encoder.requires_grad_(False)
    student.denoiser.prepare_mixed_precision()
    origin = fingerprint(teacher.state_dict())
    trainer = Trainer(student, options.work / "distilled.pt", options.seconds, options.seed, RATE, origin)
    while (progress := trainer.clock.progress) < 1.0:
        chosen = torch.from_numpy(MIX.batch(len(ids), BATCH, options.seed, trainer.step, progress))
        dropped = torch.rand(len(chosen), generator=trainer.generator) < NULL_SHARE
        asked, shown = ids[chosen].masked_fill(dropped[:, None], 0), latents[chosen].float()
        trainer.keep(trainer.update(lambda: student.loss(teacher, shown, asked, trainer.generator)))
    trainer.finish()


if __name__ == "__main__":
    main()
