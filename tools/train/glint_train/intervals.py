"""Means with intervals, by bootstrap over independent groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DRAWS = 4000


def interval(
    statistic: Callable[[np.ndarray], float], count: int, seed: int = 0
) -> tuple[float, float, float]:
    """`statistic(indices)` of all groups and the 2.5 and 97.5 percent points over resampled ones."""
    rng = np.random.default_rng(seed)
    values = [statistic(rng.integers(count, size=count)) for _ in range(DRAWS)]
    low, high = np.percentile(values, (2.5, 97.5))
    return statistic(np.arange(count)), float(low), float(high)


def mean_interval(values: np.ndarray) -> str:
    """'mean [low, high]' of values [N]."""
    mean, low, high = interval(lambda indices: float(values[indices].mean()), len(values))
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
