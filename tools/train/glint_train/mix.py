"""Which samples are compositions, and batches that hold a chosen share of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SINGLE_EVERY = 4  # every fourth sample is a single object: there are few of them, and many compositions


def is_composition(index: int) -> bool:
    return index % SINGLE_EVERY != 0


@dataclass(frozen=True)
class Mix:
    """The share of compositions in batches, linear in progress."""

    start: float
    end: float

    def share(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress

    def batch(self, count: int, size: int, seed: int, step: int, progress: float) -> np.ndarray:
        """Sample indices [size] of a pool of `count`, drawn by (seed, step), so that a run can resume."""
        rng = np.random.default_rng([seed, step])
        composed = rng.random(size) < self.share(progress)
        offset = np.where(composed, rng.integers(1, SINGLE_EVERY, size), 0)
        return rng.integers(count // SINGLE_EVERY, size=size) * SINGLE_EVERY + offset
