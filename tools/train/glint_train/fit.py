"""The loop both small networks are trained by: a wall-clock budget, an average of the weights, checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .run import Clock, learning_rate, load_checkpoint, save_checkpoint, shuffled_batches

WARMUP, EMA_DECAY, CHECKPOINT_SECONDS = 50, 0.995, 30


def autocast() -> AbstractContextManager:
    """bfloat16 products where the processor has them."""
    supported = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast("cpu", torch.bfloat16) if supported else nullcontext()


def fit(
    model: nn.Module, rows: int, loss_of: Callable[[nn.Module, Tensor], Tensor], path: Path, *,
    seconds: float, seed: int, batch: int, rate: float, identity: str,
) -> nn.Module:  # fmt: skip
    """Trains until `seconds` of wall time are spent and returns the averaged model.

    `loss_of(model, indices)` is the loss of the rows with these indices. A run that was stopped goes on from `path`, if it
    had the same data (`identity`).
    """
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.05, fused=True)
    clock, step = Clock(seconds), 0
    if state := load_checkpoint(path):
        if state["identity"] != identity:
            raise SystemExit(f"{path} was trained on other data; delete it to start over")
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        clock, step = Clock(seconds, spent=state["elapsed"]), state["step"]
    saved, losses = clock.elapsed, []

    def save() -> None:
        save_checkpoint(
            path,
            {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(),
             "step": step, "elapsed": clock.elapsed, "identity": identity},
        )  # fmt: skip

    model.train()
    for indices in shuffled_batches(rows, min(batch, rows), seed, step):
        if clock.progress >= 1.0:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(rate, step, WARMUP, clock.progress)
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = loss_of(model, torch.from_numpy(indices))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        step += 1
        losses.append(float(loss.detach()))
        if clock.elapsed - saved > CHECKPOINT_SECONDS:
            saved = clock.elapsed
            save()
            print(f"step {step} {saved:.0f} s loss {np.mean(losses):.5f}", flush=True)
            losses = []
    save()
    print(f"step {step} {clock.elapsed:.0f} s done", flush=True)
    return average.module.eval()


def averaged(model: nn.Module, path: Path) -> nn.Module:
    """The averaged weights of a checkpoint in `model`."""
    state = load_checkpoint(path)
    if state is None:
        raise SystemExit(f"{path} does not exist; train the network first")
    prefix = "module."
    model.load_state_dict({k.removeprefix(prefix): v for k, v in state["average"].items() if k.startswith(prefix)})
    return model.eval()
