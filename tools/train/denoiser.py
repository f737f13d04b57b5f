"""Stage 3: encode the samples once, then train text encoder and denoiser by flow matching.

    python tools/train/denoiser.py --work DIR [--seconds 5400] [--threads 1] [--seed 13] [--init BUNDLE] [--smoke]

A run that was stopped goes on from its last checkpoint. The learning rate follows the wall clock, so that it is always
annealed when the budget ends. `--init` starts from the weights of a bundle, in its latent space
and with its text encoder, which stays as it is: the bundle's denoiser remains a weak variant that reads the same tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glint_train.autoencoder import Autoencoder
from glint_train.denoiser import FlowModel, flow_loss
from glint_train.grammar import NULL_SHARE
from glint_train.run import Clock, learning_rate, load_checkpoint, save_checkpoint, shuffled_batches, to_images
from glint_train.warm_start import adopt_autoencoder, check_vocabulary, load_flow

BATCH, WARMUP, EMA_DECAY = 32, 60, 0.9985
PEAK_RATE, WORD_RATE, MUON_RATE = 1e-3, 3e-3, 2e-3
SNAPSHOTS = {0.25: "denoiser_early", 0.5: "denoiser_half"}  # by progress


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
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            parts = [model.encode(to_images(np.array(images[i : i + 64]))).half() for i in range(0, len(images), 64)]
        np.save(path, torch.cat(parts).numpy())
    return torch.from_numpy(np.load(path))


def precise_attention(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The attention in float32: its bfloat16 backward pass is several times slower on processors."""

    def wrapped(query: Tensor, key: Tensor, value: Tensor, *rest: object, **options: object) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return attention(query.float(), key.float(), value.float(), *rest, **options).to(query.dtype)

    return wrapped


def time_centre(progress: float) -> float:
    """High noise first, where what an object is gets decided; details later."""
    return 0.3 + 0.7 * (1 - progress)


def outside_autocast(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The layer in float32: the residual streams start from it, and the transformer casts the time to its dtype."""

    def wrapped(x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    return wrapped


class Average:
    """Exponential moving average of the parameters; early on it forgets faster."""

    def __init__(self, model: FlowModel, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = [p.detach().clone() for p in model.parameters()]

    def update(self, model: FlowModel) -> None:
        self.updates += 1
        keep = min(1 - 1 / (1 + 0.1 * self.updates), self.decay)
        torch._foreach_lerp_(self.values, [p.detach() for p in model.parameters()], 1 - keep)

    def state(self, model: FlowModel) -> dict[str, Tensor]:
        return {name: value for (name, _), value in zip(model.named_parameters(), self.values)}

    def load(self, model: FlowModel, state: dict[str, Tensor], updates: int) -> None:
        self.values, self.updates = [state[name].clone() for name, _ in model.named_parameters()], updates


def make_optimizers(model: FlowModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, biases, norms and the outermost projections.

    Orthogonal updates learn rare words about as fast as frequent ones, which is what hundreds of objects need.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    inner = [p for n, p in trained.items() if p.dim() == 2 and "_blocks." in n and "norm" not in n]
    words = [p for n, p in trained.items() if n == "text_encoder.words.weight"]
    chosen = {id(p) for p in inner + words}
    rest = [p for p in trained.values() if id(p) not in chosen]
    groups = [{"params": rest, "peak": PEAK_RATE}, {"params": words, "peak": WORD_RATE}]
    groups = [group for group in groups if group["params"]]
    return [
        torch.optim.Muon(
            [{"params": inner, "peak": MUON_RATE}],
            weight_decay=0.01,
            momentum=0.95,
            ns_steps=4,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(groups, betas=(0.9, 0.99), weight_decay=0.0, fused=True),
    ]


class Trainer:
    """Model, average, optimizer and clock of one run."""

    def __init__(self, options: argparse.Namespace) -> None:
        tokenizer = json.loads((options.work / "tokenizer.json").read_text())
        self.path = options.work / "denoiser.pt"
        self.model = FlowModel(len(tokenizer["words"]) + 2).train()
        for layer in (self.model.denoiser.transformer.x_embedder, self.model.denoiser.transformer.context_embedder):
            layer.forward = outside_autocast(layer.forward)
        if options.init:
            load_flow(self.model, options.init)
            self.model.text_encoder.requires_grad_(options.train_text)
        self.optimizers = make_optimizers(self.model)
        self.average = Average(self.model, EMA_DECAY)
        self.clock, self.step = Clock(6.0 if options.smoke else options.seconds), 0
        if state := load_checkpoint(self.path):
            self.model.load_state_dict(state["model"])
            for optimizer, values in zip(self.optimizers, state["optimizers"]):
                optimizer.load_state_dict(values)
            self.average.load(self.model, state["average"], state["step"])
            self.clock, self.step = Clock(self.clock.budget, spent=state["elapsed"]), state["step"]
        self.generator = torch.Generator().manual_seed(options.seed + self.step)

    def update(self, latents: Tensor, ids: Tensor) -> float:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(group["peak"], self.step, WARMUP, self.clock.progress)
            optimizer.zero_grad(set_to_none=True)
        dropped = torch.rand(len(ids), generator=self.generator) < NULL_SHARE
        ids = torch.where(dropped[:, None], torch.zeros_like(ids), ids)
        with autocast():
            loss = flow_loss(self.model, latents, ids, self.generator, time_centre(self.clock.progress))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self.average.update(self.model)
        return float(loss.detach())

    def save(self, path: Path | None = None) -> None:
        state = {"model": self.model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in self.optimizers], "step": self.step,
                 "average": self.average.state(self.model), "elapsed": self.clock.elapsed}  # fmt: skip
        save_checkpoint(path or self.path, state)


def autocast() -> AbstractContextManager:
    """bfloat16 products where the processor has them."""
    supported = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast("cpu", torch.bfloat16) if supported else nullcontext()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=5400)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--init", type=Path, help="go on from the weights of this bundle, its text encoder frozen")
    parser.add_argument("--train-text", action="store_true", help="with --init: train the text encoder too")
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    F.scaled_dot_product_attention = precise_attention(F.scaled_dot_product_attention)
    if options.init:
        check_vocabulary(options.init, options.work)
        if not (options.work / "autoencoder.pt").exists():
            adopt_autoencoder(options.init, options.work / "autoencoder.pt")
    latents = encode_all(options.work)
    ids = torch.from_numpy(np.load(options.work / "train_ids.npy"))
    trainer = Trainer(options)
    saved, losses = trainer.clock.elapsed, []
    ahead = [share for share in SNAPSHOTS if share > trainer.clock.progress]
    for indices in shuffled_batches(len(ids), BATCH, options.seed, trainer.step):
        if trainer.clock.progress >= 1.0:
            break
        losses.append(trainer.update(latents[indices].float(), ids[indices]))
        if ahead and trainer.clock.progress >= ahead[0]:
            trainer.save(options.work / f"{SNAPSHOTS[ahead.pop(0)]}.pt")
        if trainer.clock.elapsed - saved > 60:
            saved = trainer.clock.elapsed
            trainer.save()
            print(f"step {trainer.step} {saved:.0f} s loss {np.mean(losses):.4f}", flush=True)
            losses = []
    trainer.save()
    print(f"step {trainer.step} {trainer.clock.elapsed:.0f} s done")


if __name__ == "__main__":
    main()
