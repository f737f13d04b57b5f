"""Weights in 8 bits: half the size of float16, at a loss that has to be measured."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Int8Weight(nn.Module):
    """A layer's weights as whole numbers from -127 to 127 times a scale per output.

    They are widened to the input's dtype, which a trace fixes.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        weight = layer.weight.detach()
        scale = weight.abs().amax(dim=tuple(range(1, weight.dim())), keepdim=True).clamp_min(1e-12) / 127.0
        self.register_buffer("rows", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = layer.bias

    def weight(self, x: Tensor) -> Tensor:
        return self.rows.to(x.dtype) * self.scale


class Int8Linear(Int8Weight):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight(x), self.bias)


class Int8Conv2d(Int8Weight):
    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        self.stride, self.padding = layer.stride, layer.padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight(x), self.bias, self.stride, self.padding)


def quantise(module: nn.Module) -> nn.Module:
    """Replaces the linear layers and plain convolutions of a module, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        elif (
            isinstance(child, nn.Conv2d)
            and child.groups == 1
            and child.dilation == (1, 1)
            and child.padding_mode == "zeros"
        ):
            setattr(module, name, Int8Conv2d(child))
        else:
            quantise(child)
    return module
