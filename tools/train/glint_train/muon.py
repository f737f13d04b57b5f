"""Muon in the dtype of the weights: torch's own multiplies in bfloat16, emulated on most processors and several times slower."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

NEWTON_SCHULZ, STEPS = (3.4445, -4.7750, 2.0315), 4


def orthogonal(matrix: Tensor) -> Tensor:
    """Near the orthogonal factor of a matrix: its singular values between about 0.7 and 1.2 (quintic Newton-Schulz)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x, (a, b, c) = wide / wide.norm().clamp_min(1e-7), NEWTON_SCHULZ
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if wide is matrix else x.T


def as_matrix(kernel: nn.Parameter) -> nn.Parameter:
    """A convolution's weights as a matrix [outputs, everything else] on the same memory, which receives their gradient."""
    matrix = nn.Parameter(kernel.detach().flatten(1))

    def hand_over(p: nn.Parameter) -> None:
        matrix.grad, p.grad = p.grad.flatten(1), None

    kernel.register_post_accumulate_grad_hook(hand_over)
    return matrix


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for matrices, its updates as large as AdamW's (Jordan et al. 2024; Liu et al. 2025)."""

    def __init__(self, groups: list[dict], momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(groups, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-0.2 * math.sqrt(max(p.shape)) * group["lr"])
