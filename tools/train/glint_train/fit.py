"""The training loop of both small networks: wall-clock budget, averaged weights, checkpoints."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .precision import use_precise_attention
from .run import (
    Clock, begin, learning_rate, load_checkpoint, require, save_checkpoint, shuffled_batches, training_parser,
)  # fmt: skip
from .trainer import optimise

WARMUP, EMA_DECAY, CHECKPOINT_SECONDS = 50, 0.995, 20

Loss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]


def fit_options(
    description: str, seconds: float, seed: int, needs_bundle: bool = False
) -> argparse.Namespace:
    """The command line of a training, whose threads, seed and attention are set as it says."""
    parser = training_parser(description, seconds, seed)
    if needs_bundle:
        parser.add_argument(
            "--bundle", type=Path, required=True, help="the model that the collections were made with"
        )
    parser.add_argument(
        "--init", type=Path, help="begin with the weights of this checkpoint, of an earlier bundle say"
    )
    parser.add_argument("--partial", action="store_true", help="train on what an unfinished collection has")
    use_precise_attention()
    return begin(parser)


class Fit:
    """One training. It continues from `path` if it was stopped, and refuses other data (`identity`).

    `validate(model)` is called at every checkpoint, and the averaged weights with the least value are the
    result; without it the last ones are. Groups of `optimizers` name the `peak` of their learning rate.
    """

    def __init__(
        self, model: nn.Module, path: Path, optimizers: list[torch.optim.Optimizer], *, seconds: float,
        seed: int, identity: str, initial: Path | None = None,
        validate: Callable[[nn.Module], float] | None = None,
    ) -> None:  # fmt: skip
        if initial:
            constants = {name: value.clone() for name, value in model.named_buffers()}
            load_result(model, initial)
            # Of this bundle, not of the one the checkpoint was made for.
            for name, value in model.named_buffers():
                value.copy_(constants[name])
        self.model, self.path, self.optimizers, self.seed = model, path, optimizers, seed
        self.identity, self.validate = identity, validate
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
        self.clock, self.step, self.least = Clock(seconds), 0, math.inf
        self.result = self.averaged()
        if state := load_checkpoint(path):
            if state["identity"] != identity or "optimizers" not in state:
                raise SystemExit(
                    f"{path} was trained on other data or by an earlier form; delete it to start over"
                )
            model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, values in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(values)
            self.clock, self.step = Clock(seconds, spent=state["elapsed"]), state["step"]
            self.result, self.least = state["result"], state["least"]

    def averaged(self) -> dict[str, Tensor]:
        """A copy of the averaged weights and of the buffers."""
        return {name: value.clone() for name, value in self.average.module.state_dict().items()}

    def update(self, loss_of: Loss, rows: Tensor) -> float:
        """One step on the rows [batch] int64; returns its loss. Its random numbers depend on (seed, step)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        rates = lambda peak: learning_rate(peak, self.step, WARMUP, self.clock.progress)  # noqa: E731
        loss = optimise(self.model, self.optimizers, rates, lambda: loss_of(self.model, rows, generator))
        self.average.update_parameters(self.model)
        self.step += 1
        return loss

    def save(self) -> None:
        """Validates the average, keeps it as the result if it is the best, and writes the checkpoint."""
        value = self.validate(self.average.module.eval()) if self.validate else -math.inf
        if value < self.least or not self.validate:
            self.result, self.least = self.averaged(), value
        state = {
            "model": self.model.state_dict(), "average": self.average.state_dict(), "result": self.result,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers], "step": self.step,
            "elapsed": self.clock.elapsed, "least": self.least, "identity": self.identity,
        }  # fmt: skip
        save_checkpoint(self.path, state)

    def run(self, loss_of: Loss, rows: int, batch: int) -> nn.Module:
        """Trains on batches of `rows` row numbers until the time is up; returns the model with the result."""
        saved, losses = self.clock.elapsed, []
        self.model.train()
        for indices in shuffled_batches(rows, min(batch, rows), self.seed, self.step):
            if self.clock.progress >= 1.0:
                break
            losses.append(self.update(loss_of, torch.from_numpy(indices)))
            if self.clock.elapsed - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = self.clock.elapsed
                least = f" least {self.least:.5f}" if self.validate else ""
                print(f"step {self.step} {saved:.0f} s loss {np.mean(losses):.5f}{least}", flush=True)
                losses = []
        self.save()
        print(f"step {self.step} {self.clock.elapsed:.0f} s done", flush=True)
        self.model.load_state_dict(self.result)
        return self.model.eval()


def load_result(model: nn.Module, path: Path, identity: str | None = None) -> nn.Module:
    """Loads a checkpoint's result into `model`; it must come from the data `identity` (None: from any)."""
    state = load_checkpoint(require(path, "train the network first"))
    if identity not in (None, state["identity"]):
        raise SystemExit(f"{path} was trained on other collections than those beside it: train it again")
    model.load_state_dict(state["result"])
    return model.eval()
