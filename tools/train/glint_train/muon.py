"""Muon in float32 on processors without bfloat16 products, where torch's own is several times slower."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .precision import autocast

NEWTON_SCHULZ, STEPS = (3.4445, -4.7750, 2.0315), 4


def orthogonal(matrix: Tensor) -> Tensor:
    """Near the orthogonal factor of a matrix (quintic Newton-Schulz).

    Singular values above about a hundredth of its norm come to between 0.7 and 1.2.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x, (a, b, c) = wide / wide.norm().clamp_min(1e-7), NEWTON_SCHULZ
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide is matrix else x.T


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum, updates as large as AdamW's (Jordan et al. 2024; Liu et al. 2025).

    A convolution's weights are a matrix of outputs by everything else.
    """

    def __init__(self, groups: list[dict], momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(groups, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                gradient, state = p.grad.flatten(1), self.state[p]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(gradient)
                mean = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
                with autocast():
                    update = orthogonal(gradient.lerp(mean, group["momentum"])).to(p.dtype)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-0.2 * math.sqrt(max(update.shape)) * group["lr"])
