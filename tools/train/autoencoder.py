"""Trains the autoencoder.

    $(tools/env) tools/train/autoencoder.py --work DIR [--seconds 1200] [--threads 2] [--seed 11] [--smoke]
"""

from __future__ import annotations

import numpy as np
import torch

from glint_train.autoencoder import Autoencoder, psnr, reconstruction_loss
from glint_train.precision import autocast
from glint_train.run import (
    Clock, begin, learning_rate, load_checkpoint, save_checkpoint, shuffled_batches, to_images,
    training_parser,
)  # fmt: skip
from glint_train.work import samples

BATCH, PEAK_RATE, WARMUP, LATENT_NOISE = 16, 2e-3, 100, 0.04


def evaluate(model: Autoencoder, images: np.ndarray) -> float:
    """Mean PSNR in dB of uint8 images [N, 64, 64, 3]."""
    model.eval()
    with torch.no_grad():
        batches = [to_images(images[i : i + 64]) for i in range(0, len(images), 64)]
        value = torch.cat([psnr(model.decode(model.encode(batch)), batch) for batch in batches]).mean()
    model.train()
    return float(value)


def train_step(
    model: Autoencoder, optimizer: torch.optim.Optimizer, batch: torch.Tensor, noise: float
) -> float:
    """One update; noise on the latents makes the decoder forgive small errors of the denoiser."""
    with autocast():
        latents = model.encode(batch)
        made = model.decode(latents + noise * torch.randn_like(latents))
    loss = reconstruction_loss(made.float(), batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def main() -> None:
    options = begin(training_parser(__doc__, seconds=1200, seed=11, threads=2))
    train, test = samples(options.work, "train_images", mapped=True), samples(options.work, "test_images")
    model = Autoencoder().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    path = options.work / "autoencoder.pt"
    clock, step = Clock(options.seconds), 0
    if state := load_checkpoint(path):
        if "optimizer" not in state:
            raise SystemExit(
                f"{path} was taken from a bundle and is not trained on: delete it to train one from nothing"
            )
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        clock, step = Clock(clock.budget, spent=state["elapsed"]), state["step"]
    saved = clock.elapsed

    def save() -> None:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        save_checkpoint(path, state | {"step": step, "elapsed": clock.elapsed})

    for indices in shuffled_batches(len(train), BATCH, options.seed, step):
        if clock.progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(PEAK_RATE, step, WARMUP, clock.progress)
        batch = to_images(train[np.sort(indices)]).contiguous(memory_format=torch.channels_last)
        loss = train_step(model, optimizer, batch, LATENT_NOISE)
        step += 1
        if clock.elapsed - saved > 60:
            saved = clock.elapsed
            save()
            reached = evaluate(model, test[:128])
            print(
                f"step {step} {clock.elapsed:.0f} s loss {loss:.4f} held-out PSNR {reached:.2f} dB",
                flush=True,
            )
    save()
    print(f"step {step} {clock.elapsed:.0f} s final held-out PSNR {evaluate(model, test):.2f} dB")


if __name__ == "__main__":
    main()
