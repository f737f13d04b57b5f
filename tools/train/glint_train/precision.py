"""bfloat16 products on processors, and what stays in float32 beside them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def autocast() -> AbstractContextManager:
    """bfloat16 products where the processor has them."""
    supported = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast("cpu", torch.bfloat16) if supported else nullcontext()


def use_precise_attention() -> None:
    """Attention in float32 from now on: its bfloat16 backward pass is several times slower on processors."""
    attention = F.scaled_dot_product_attention

    def wrapped(query: Tensor, key: Tensor, value: Tensor, *rest: object, **options: object) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return attention(query.float(), key.float(), value.float(), *rest, **options).to(query.dtype)

    F.scaled_dot_product_attention = wrapped


def keep_in_float32(layer: nn.Module) -> None:
    """Runs a layer in float32: the residual streams start from it, and the time is cast to its dtype."""
    layer.forward = MethodType(_in_float32, layer)  # a copy of the layer will be its own


def _in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return type(layer).forward(layer, x.float())
