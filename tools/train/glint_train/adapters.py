"""Low-rank adapters in PEFT's form: the way from one set of weights to another, added to a network."""

from __future__ import annotations

import torch
from torch import Tensor

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")


def projections(state: dict[str, Tensor]) -> list[str]:
    """Names of the attention projections' weights in a denoiser's state."""
    return [name for name in state if name.endswith(tuple(f".{end}.weight" for end in ATTENTION))]


def factorise(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The product of up [out, rank] and down [rank, in] closest to a matrix; both get its square roots."""
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    root = values[:rank].sqrt()
    return left[:, :rank] * root, root[:, None] * right[:rank]


def direction(start: dict[str, Tensor], end: dict[str, Tensor], rank: int, scale: float) -> dict[str, Tensor]:
    """An adapter that moves attention projections by `scale` times the change from `start` to `end`."""
    tensors = {}
    for name in projections(end):
        up, down = factorise(scale * (end[name] - start[name]), rank)
        stem = name.removesuffix(".weight")
        tensors |= {f"{stem}.lora_A.weight": down.contiguous(), f"{stem}.lora_B.weight": up.contiguous()}
    return tensors


def add_to(state: dict[str, Tensor], adapter: dict[str, Tensor], weight: float = 1.0) -> None:
    """Adds an adapter to the weights of a network, in place."""
    for key, down in adapter.items():
        if key.endswith(".lora_A.weight"):
            stem = key.removesuffix(".lora_A.weight")
            state[f"{stem}.weight"] += weight * (adapter[f"{stem}.lora_B.weight"].float() @ down.float())
