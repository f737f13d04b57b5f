"""What all training stages share: options, wall-clock schedule, batches in a fixed order, checkpoints."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

SMOKE_SECONDS = 4.0


def training_parser(description: str, seconds: float, seed: int, threads: int = 1) -> argparse.ArgumentParser:
    """The options that all trainings have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=seconds, help="budget of wall time")
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--smoke", action="store_true", help="a few steps")
    return parser


def begin(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The command line, by which torch's threads and seed are set."""
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.smoke:
        options.seconds = SMOKE_SECONDS
    return options


@dataclass
class Clock:
    """Progress of a run as elapsed wall time over its budget; time spent before a resume counts."""

    budget: float
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        return self.spent + time.monotonic() - self.started

    @property
    def progress(self) -> float:
        return min(self.elapsed / self.budget, 1.0)


def learning_rate(peak: float, step: int, warmup: int, progress: float, floor: float = 0.01) -> float:
    """Linear warm-up in steps, then cosine from `peak` to `floor * peak` in progress."""
    cosine = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * cosine * min(1.0, (step + 1) / warmup)


def shuffled_batches(count: int, batch: int, seed: int, start: int = 0) -> Iterator[np.ndarray]:
    """Endless batches of sample indices; a run resumed at step `start` goes on where it stopped."""
    per_epoch = count // batch
    step = start
    while True:
        epoch, within = divmod(step, per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(count)
        for position in range(within, per_epoch):
            yield order[position * batch : (position + 1) * batch]
            step += 1


def require(path: Path, hint: str) -> Path:
    """`path` if it exists, else a SystemExit that names it and says what makes it (`hint`)."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: {hint}")
    return path


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None when there is none yet."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None


def to_images(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [B, 64, 64, 3] to float [B, 3, 64, 64] in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def to_pixels(images: torch.Tensor) -> torch.Tensor:
    """Images [B, 3, 64, 64] in [-1, 1] or a little beyond to uint8 [B, 64, 64, 3]."""
    return images.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
