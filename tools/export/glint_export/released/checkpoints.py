"""The authors' checkpoints of CoRe2 and NPNet, and the component files made of them."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import ExportError, require
from .core2 import BLOCKS_PER_HEAD, Banked, Core2Config, Core2Network, position_table
from .npnet import Npnet, NpnetConfig
from .swin import SwinConfig

State = dict[str, Tensor]
NAMED = 6  # of a long list of faults
# In state dicts of NPNet without being weights: recomputed, or never called.
NPNET_UNUSED = re.compile(
    r"unet_svd\.bn\.|unet_embedding\.swin\.(head\.|.*(relative_position_index|attn_mask)$)"
)


def read(path: Path) -> object:
    require(path.is_file(), f"{path}: no such file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ExportError(f"{path}: not a checkpoint of tensors: {str(error).splitlines()[0]}") from error


def tensors_of(value: object, path: Path, what: str) -> State:
    good = isinstance(value, dict) and value and all(isinstance(tensor, Tensor) for tensor in value.values())
    require(good, f"{path}: {what}: expected a state dict of tensors, got {type(value).__name__}")
    return dict(value)


def listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def shape_in(state: State, name: str, path: Path, dimensions: int = 2) -> tuple[int, ...]:
    """The shape of a tensor from which the network's sizes follow."""
    require(name in state, f"{path}: missing key {name}; it has {listed(sorted(state))}")
    shape = tuple(state[name].shape)
    require(len(shape) == dimensions, f"{path}: {name}: expected {dimensions} dimensions, got {list(shape)}")
    return shape


def filled(network: nn.Module, state: State, path: Path) -> nn.Module:
    """The network with the checkpoint's weights, in float32; all that does not fit is told at once."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    faults = {
        "missing keys": sorted(expected.keys() - state.keys()),
        "unknown keys": sorted(state.keys() - expected.keys()),
        "other shapes": [
            f"{name} {list(state[name].shape)} (expected {list(shape)})"
            for name, shape in expected.items()
            if name in state and tuple(state[name].shape) != shape
        ],
        "not finite": [name for name, value in state.items() if not value.isfinite().all()],
    }
    told = "; ".join(f"{what}: {listed(names)}" for what, names in faults.items() if names)
    require(not told, f"{path}: not a checkpoint of {type(network).__name__}; {told}")
    network.load_state_dict(state, assign=True)
    return network.float().eval().requires_grad_(False)


def blocks_in(state: State, pattern: str) -> int:
    return 1 + max((int(match[1]) for name in state if (match := re.match(pattern, name))), default=-1)


def core2_config(state: State, path: Path) -> Core2Config:
    width, channels, patch, _ = shape_in(state, "pos_embed.proj.weight", path, 4)
    token_width = shape_in(state, "skip_connection2.linear.weight", path)[1]
    projection = state.get("pool_prompt_linear.linear.weight")
    places = shape_in(state, "pos_embed.pos_embed", path, 3)[1]
    return Core2Config(
        channels=channels,
        width=width,
        heads=max(width // 64, 1),
        hidden=shape_in(state, "transformer_blocks.0.ff.net.2.linear.weight", path)[1],
        blocks=blocks_in(state, r"transformer_blocks\.(\d+)\."),
        tokens=(shape_in(state, "skip_connection.linear.weight", path)[1] - 1) // 2,
        token_width=token_width,
        pooled=token_width if projection is None else projection.shape[1],
        pool_projection=projection is not None,
        null_first=projection is not None,  # the network for SDXL; that for SD3.5 stacks the other way
        banks=blocks_in(state, r"proj_out\.lora\.(\d+)\."),
        rank=shape_in(state, "proj_out.lora.0.A", path)[1],
        reader=shape_in(state, "last_linear.0.linear.weight", path)[0],
        table=math.isqrt(places),
        patch=patch,
    )


def core2_checkpoint(path: Path) -> Core2Network:
    state = tensors_of(read(path), path, "top level")
    config = core2_config(state, path)
    with torch.device("meta"):
        network = Core2Network(config)
    network = filled(network, state, path)
    # The component does without the table, so it has to be the one that is computed; bfloat16 has 8 bits.
    apart = float(
        (network.pos_embed.pos_embed[0] - position_table(config.table, config.table, config)).abs().max()
    )
    require(apart < 5e-3, f"{path}: pos_embed.pos_embed differs from the sine-cosine table by {apart:.1e}")
    return network


def swin_config(state: State, path: Path) -> SwinConfig:
    prefix = "unet_embedding.swin."
    width, _, patch, _ = shape_in(state, f"{prefix}patch_embed.proj.weight", path, 4)
    stages = range(blocks_in(state, rf"{re.escape(prefix)}layers\.(\d+)\."))
    tables = [
        shape_in(state, f"{prefix}layers.{s}.blocks.0.attn.relative_position_bias_table", path)
        for s in stages
    ]
    depths = tuple(blocks_in(state, rf"{re.escape(prefix)}layers\.{s}\.blocks\.(\d+)\.") for s in stages)
    require(len(tables) > 0, f"{path}: missing keys {prefix}layers.*")
    window = (math.isqrt(tables[0][0]) + 1) // 2
    # As timm's model of that name: the last stage is one window.
    return SwinConfig(
        image=patch * window * 2 ** (len(depths) - 1), patch=patch, window=window, width=width, depths=depths,
        heads=tuple(table[1] for table in tables),
    )  # fmt: skip


def npnet_state(path: Path) -> State:
    whole = read(path)
    require(isinstance(whole, dict), f"{path}: expected a dict, got {type(whole).__name__}")
    # The released trainer writes the name of the third part with a spelling mistake.
    text = "embeeding" if "embeeding" in whole else "embedding"
    parts = {"unet_svd": "unet_svd", "unet_embedding": "unet_embedding", text: "embedding"}
    missing = sorted({*parts, "alpha", "beta"} - whole.keys())
    told = (
        f"{path}: not a checkpoint of Npnet; missing keys: {listed(missing)}; it has {listed(sorted(whole))}"
    )
    require(not missing, told)
    state: State = {}
    for part, name in parts.items():
        state |= {f"{name}.{key}": value for key, value in tensors_of(whole[part], path, part).items()}
    for name in ("alpha", "beta"):
        require(
            isinstance(whole[name], Tensor) and whole[name].numel() == 1,
            f"{path}: {name}: expected one number",
        )
        state[name] = whole[name].detach().reshape(1)
    return {name: value for name, value in state.items() if not NPNET_UNUSED.match(name)}


def npnet_checkpoint(path: Path, tokens: int, attention: bool = True) -> Npnet:
    state = npnet_state(path)
    hidden, width = shape_in(state, "unet_svd.mlp1.0.weight", path)
    numbers = shape_in(state, "embedding.linear.weight", path)[1]
    require(
        numbers % tokens == 0,
        f"{path}: made for prompts of {numbers} numbers, which {tokens} tokens cannot have",
    )
    swin = swin_config(state, path)
    rows = swin.image // swin.patch // 2 ** (len(swin.depths) - 1)
    config = NpnetConfig(
        side=width // 2,
        tokens=tokens,
        token_width=numbers // tokens,
        hidden=hidden,
        value_hidden=shape_in(state, "unet_svd.mlp4.0.weight", path)[0],
        attention=attention,
        channels_first=shape_in(state, "unet_embedding.upconv.weight", path, 4)[1] != rows,
        swin=swin,
    )
    with torch.device("meta"):
        network = Npnet(config)
        network.unet_svd.bn = None
    return filled(network, state, path)


def layout(network: nn.Module) -> dict[str, Tensor | list[Tensor]]:
    """A component file's tensors by name; a list is one tensor, corrections are those of all banks."""
    if isinstance(network, Npnet):
        return {name: value for name, value in network.state_dict().items() if not NPNET_UNUSED.match(name)}
    places: dict[str, Tensor | list[Tensor]] = {}
    for path, module in network.named_modules():
        if path.startswith("pre24_") and network.config.blocks <= BLOCKS_PER_HEAD:
            continue
        if isinstance(module, Banked):
            places[f"{path}.lora_a"] = [pair.A for pair in module.lora]
            places[f"{path}.lora_b"] = [pair.B for pair in module.lora]
            module = module.linear
        elif not isinstance(module, (nn.LayerNorm, nn.Conv2d)):
            continue
        places |= {f"{path}.{name}": value for name, value in module.named_parameters(recurse=False)}
    return places


def settings(network: nn.Module) -> dict[str, str]:
    c = network.config
    if isinstance(network, Npnet):
        return {
            "architecture": "npnet",
            "tokens": str(c.tokens),
            "heads": str(c.heads),
            "attention": "true" if c.attention else "false",
            "features": "nchw" if c.channels_first else "nhwc-as-nchw",
            "image": str(c.swin.image),
        }
    return {
        "architecture": "core2",
        "heads": str(c.heads),
        "text_order": "null-first" if c.null_first else "prompt-first",
        "svd_rank": str(c.svd_rank),
        "text": "legacy-rows" if c.legacy_rows else "columns",
        "table": str(c.table),
        "table_base": str(c.table_base),
    }


def write_component(network: nn.Module, path: Path) -> None:
    tensors = {
        name: torch.stack(place) if isinstance(place, list) else place.contiguous()
        for name, place in layout(network).items()
    }
    save_file(tensors, str(path), metadata=settings(network))


@torch.no_grad()
def with_component(network: nn.Module, tensors: State) -> nn.Module:
    """The network with the weights of a component file."""
    for name, place in layout(network).items():
        pairs = (
            zip(place, tensors[name], strict=True) if isinstance(place, list) else [(place, tensors[name])]
        )
        for one, stored in pairs:
            one.copy_(stored)
    return network
