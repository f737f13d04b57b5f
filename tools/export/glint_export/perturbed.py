"""The denoiser with some of its layers perturbed, which perturbed guidance leads away from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from .errors import require

KINDS = ("skip", "pag", "seg")
BLOCKS = {"sd3": "transformer_blocks", "flux": "transformer_blocks", "wan": "blocks"}


@dataclass(frozen=True)
class Perturbation:
    kind: str
    places: tuple[str, ...]  # numbers of blocks, or beginnings of attention layers' names


def parse(text: str, family: str) -> Perturbation:
    """skip:7,8,9 of a transformer; pag:mid_block or seg:mid_block of a UNet."""
    kind, _, rest = text.partition(":")
    places = tuple(place for place in rest.split(",") if place)
    require(kind in KINDS, f"--perturb {text}: expected {', '.join(KINDS)}, got {kind!r}")
    require(len(places) > 0, f"--perturb {text}: expected layers after '{kind}:'")
    if kind == "skip":
        require(family in BLOCKS, f"--perturb {text}: skips blocks of {', '.join(BLOCKS)}, not of {family}")
        require(all(place.isdigit() for place in places), f"--perturb {text}: expected numbers of blocks")
    else:
        require(family == "sdxl", f"--perturb {text}: changes the self-attention of sdxl, not of {family}")
    return Perturbation(kind, places)


class IdentityAttention:
    """Attention whose map is the identity (PAG): every token keeps its own value."""

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        return attn.to_out[1](attn.to_out[0](attn.to_v(hidden_states)))


class MeanQueryAttention:
    """Attention whose queries are blurred without limit (SEG), so that all of them are their mean."""

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: object, **__: object) -> Tensor:
        batch, tokens, width = hidden_states.shape
        queries = attn.to_q(hidden_states).mean(dim=1, keepdim=True)
        parts = (queries, attn.to_k(hidden_states), attn.to_v(hidden_states))
        query, key, value = (x.view(batch, x.shape[1], attn.heads, -1).transpose(1, 2) for x in parts)
        one = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](one.expand(batch, tokens, width)))


def changed(module: nn.Module, change: Callable[[nn.Module, str], None], path: str = "") -> nn.Module:
    """The same modules with changes; weights are shared with the original."""
    result = copy.copy(module)
    result._modules = {
        name: child if child is None else changed(child, change, f"{path}{name}.")
        for name, child in module._modules.items()
    }
    change(result, path)
    return result


def perturbed(network: nn.Module, perturbation: Perturbation, family: str) -> nn.Module:
    """The network with the perturbation, sharing its weights. Blocks that remain keep their names."""
    found: list[str] = []

    def skip(module: nn.Module, path: str) -> None:
        if path != BLOCKS[family] + ".":
            return
        found.extend(place for place in perturbation.places if place in module._modules)
        module._modules = {n: block for n, block in module._modules.items() if n not in perturbation.places}

    def attend(module: nn.Module, path: str) -> None:
        hits = [place for place in perturbation.places if path.startswith(place)]
        if hits and isinstance(module, Attention) and path.endswith("attn1."):
            found.extend(hits)
            kinds = {"pag": IdentityAttention, "seg": MeanQueryAttention}
            module.processor = kinds[perturbation.kind]()

    result = changed(network, skip if perturbation.kind == "skip" else attend)
    missing = [place for place in perturbation.places if place not in found]
    what = "block" if perturbation.kind == "skip" else "self-attention in"
    require(not missing, f"--perturb: the network has no {what} {', '.join(missing)}")
    return result
