"""What denoiser trainings share: optimizers, the average of the weights, the clock and checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from .muon import Muon
from .precision import autocast
from .run import Clock, learning_rate, load_checkpoint, save_checkpoint

BATCH, WARMUP, EMA_DECAY, CHECKPOINT_SECONDS = 32, 60, 0.9985, 60
PEAK_RATE, WORD_RATE, MUON_RATE = 1e-3, 3e-3, 2e-3


class Average:
    """Exponential moving average of the trained parameters; early on it forgets faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values = [p.detach().clone() for p in model.parameters()]

    def update(self, model: nn.Module) -> None:
        self.updates += 1
        keep = min(1 - 1 / (1 + 0.1 * self.updates), self.decay)
        torch._foreach_lerp_(self.values, [p.detach() for p in model.parameters()], 1 - keep)

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        return {name: value for (name, _), value in zip(model.named_parameters(), self.values)}

    def load(self, model: nn.Module, state: dict[str, Tensor], updates: int) -> None:
        self.values, self.updates = [state[name].clone() for name, _ in model.named_parameters()], updates


def make_optimizers(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for matrices and convolutions inside the blocks, AdamW for everything else.

    Norms with their modulation are AdamW's too. Orthogonal updates learn rare words about as fast as
    frequent ones, which hundreds of objects need.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    inner = [p for n, p in trained.items() if p.dim() in (2, 4) and "_block" in n and "norm" not in n]
    words = [p for n, p in trained.items() if n in ("text_encoder.words.weight", "text_encoder.roles")]
    chosen = {id(p) for p in inner + words}
    rest = [p for p in trained.values() if id(p) not in chosen]
    groups = [{"params": rest, "peak": PEAK_RATE}, {"params": words, "peak": WORD_RATE}]
    muon = Muon([{"params": inner, "peak": MUON_RATE}])
    used = [group for group in groups if group["params"]]
    return [muon, torch.optim.AdamW(used, betas=(0.9, 0.99), weight_decay=0.0, fused=True)]


def optimise(
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    rate_of: Callable[[float], float],
    loss_of: Callable[[], Tensor],
) -> float:
    """One mixed-precision step with gradients of norm 1 at most; groups name their `peak` rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate_of(group["peak"])
        optimizer.zero_grad(set_to_none=True)
    with autocast():
        loss = loss_of()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss.detach())


class Trainer:
    """Model, average, optimizers and clock of one run, which continues from the checkpoint `path` if any.

    `origin` names the weights that the run began with (None: no others'). A checkpoint of a run from other
    weights is refused with a SystemExit.
    """

    def __init__(
        self,
        model: nn.Module,
        path: Path,
        seconds: float,
        seed: int,
        rate: float = 1.0,
        origin: str | None = None,
    ) -> None:
        self.model, self.path, self.rate, self.origin = model.train(), path, rate, origin
        self.optimizers = make_optimizers(model)
        self.average = Average(model, EMA_DECAY)
        self.clock, self.step = Clock(seconds), 0
        if state := load_checkpoint(path):
            if state.get("origin") != origin:
                raise SystemExit(
                    f"{path} is of a run that began with other weights: run in a new DIR, or delete it"
                )
            model.load_state_dict(state["model"])
            for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(values)
            self.average.load(model, state["average"], state["step"])
            self.clock, self.step = Clock(seconds, spent=state["elapsed"]), state["step"]
        self.generator = torch.Generator().manual_seed(seed + self.step)
        self.saved, self.losses = self.clock.elapsed, []

    def keep(self, loss: float) -> None:
        """Notes a step's loss; once a minute prints their mean and writes the checkpoint."""
        self.losses.append(loss)
        if self.clock.elapsed - self.saved <= CHECKPOINT_SECONDS:
            return
        self.saved = self.clock.elapsed
        self.save()
        print(
            f"step {self.step} {self.saved:.0f} s loss {sum(self.losses) / len(self.losses):.4f}", flush=True
        )
        self.losses = []

    def finish(self) -> None:
        self.save()
        print(f"step {self.step} {self.clock.elapsed:.0f} s done")

    def update(self, loss_of: Callable[[], Tensor]) -> float:
        """One step on the loss that `loss_of` computes in mixed precision."""

        def rates(peak: float) -> float:
            return learning_rate(self.rate * peak, self.step, WARMUP, self.clock.progress)

        loss = optimise(self.model, self.optimizers, rates, loss_of)
        self.step += 1
        self.average.update(self.model)
        return loss

    def save(self, path: Path | None = None) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average.state(self.model),
            "step": self.step,
            "elapsed": self.clock.elapsed,
            "origin": self.origin,
        }
        save_checkpoint(path or self.path, state)
