"""Layer outputs of NPNet and of CoRe2's weak network, written out in Python, for the C++ networks to match.

    python tools/golden/released_networks.py [FOLDER]      (default: tests/data/nets)

Small networks with random weights: a component file each, and in vectors.safetensors the inputs and every
layer's value in every case. At the released networks' own sizes a formula gives the weights:
full_size.json has the tensors' shapes, full_size.safetensors a few values of every layer and their norms.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from glint_export.released.checkpoints import layout, settings, with_component, write_component  # noqa: E402
from glint_export.released.core2 import Core2Config, Core2Network  # noqa: E402
from glint_export.released.npnet import Npnet, NpnetConfig  # noqa: E402
from glint_export.released.swin import SwinConfig  # noqa: E402

DATA = Path(__file__).parents[2] / "tests/data/nets"
SMALL = {
    "core2": Core2Config(
        channels=4, width=32, heads=2, hidden=48, blocks=2, tokens=5, token_width=24, pooled=20,
        pool_projection=True, null_first=True, banks=3, rank=2, reader=16, svd_rank=8, table=12, table_base=4,
    ),
    "core2_sd3": Core2Config(
        channels=6, width=16, heads=4, hidden=24, blocks=5, tokens=4, token_width=12, pooled=12,
        pool_projection=False, null_first=False, banks=2, rank=3, reader=8, svd_rank=6, table=10,
        table_base=5,
    ),
    "npnet": NpnetConfig(
        side=8, tokens=3, token_width=6, hidden=12, value_hidden=20,
        swin=SwinConfig(image=32, window=2, width=8, depths=(2, 2, 2), heads=(1, 2, 4)),
    ),
}  # fmt: skip
# Two of the banks; the others have the same shapes.
FULL = {
    "core2": Core2Config(
        channels=4, width=1536, heads=24, hidden=3072, blocks=4, tokens=77, token_width=2048, pooled=2560,
        pool_projection=True, null_first=True, banks=2, rank=48,
    ),
    "npnet": NpnetConfig(),
}  # fmt: skip
Config = Core2Config | NpnetConfig
SAMPLES = 24  # values of a layer that are kept at full size


def formula(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers in [-1,1) that are a function of the name and the place, in 32-bit integer arithmetic."""
    seed = np.uint32(2166136261)
    with np.errstate(over="ignore"):
        for byte in name.encode():
            seed = (seed ^ np.uint32(byte)) * np.uint32(16777619)
        x = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(2654435761) + seed
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    x ^= x >> np.uint32(16)
    unit = (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    return torch.from_numpy(unit).reshape(shape)


def weight(name: str, shape: tuple[int, ...]) -> Tensor:
    """Keeps signals near their size: fan-in scaling, small biases and corrections, norms near one."""
    unit = formula(name, shape)
    if len(shape) == 1:
        return (
            1 + unit * np.float32(0.1)
            if "norm" in name and name.endswith("weight")
            else unit * np.float32(0.1)
        )
    fan_in = shape[1] if len(shape) == 3 else int(np.prod(shape[1:]))
    return unit * np.float32((3.0 / fan_in) ** 0.5 * (0.4 if len(shape) == 3 else 1.0))


def built(config: Config) -> nn.Module:
    network = (
        (Npnet if isinstance(config, NpnetConfig) else Core2Network)(config).eval().requires_grad_(False)
    )
    shapes = {
        name: (len(place), *place[0].shape) if isinstance(place, list) else tuple(place.shape)
        for name, place in layout(network).items()
    }
    return with_component(network, {name: weight(name, shape) for name, shape in shapes.items()})


def inputs_of(config: Config, batch: int, height: int = 8, width: int = 6) -> dict[str, Tensor]:
    if isinstance(config, NpnetConfig):
        shapes = {"latents": (4, config.side, config.side), "tokens": (config.tokens, config.token_width)}
    else:
        text, pooled = (config.tokens, config.token_width), (config.pooled // 2,)
        shapes = {
            "output": (config.channels, height, width), "tokens": text, "pooled": pooled, "null_tokens": text,
            "null_pooled": pooled,
        }  # fmt: skip
    return {
        name: formula(f"input.{name}", (batch, *shape)) * np.float32(3**0.5) for name, shape in shapes.items()
    }


@torch.no_grad()
def traced(network: nn.Module, inputs: dict[str, Tensor], position: float | None = None) -> dict[str, Tensor]:
    layers: dict[str, Tensor] = {}

    def trace(name: str, value: Tensor) -> None:
        layers[name] = value.clone()

    more = {} if position is None else {"position": position}
    layers["result"] = network(**inputs, **more, trace=trace)
    return layers


def small_cases() -> dict[str, dict[str, Tensor]]:
    """By name: the inputs as input.NAME, and the layers."""
    cases: dict[str, dict[str, Tensor]] = {}

    def add(name: str, config: Config, inputs: dict[str, Tensor], position: float | None = None) -> None:
        layers = traced(built(config), inputs, position)
        if position is not None:
            inputs = inputs | {"position": torch.full((len(inputs["output"]),), position)}
        cases[name] = {f"input.{key}": value for key, value in inputs.items()} | layers

    c = SMALL["core2"]
    two = inputs_of(c, 2)
    add("core2.first", c, two, 0.0)
    add("core2.later", c, two, 2 / 3)  # the whole number 2 is just above the float32 quotient times 3
    add("core2.columns", replace(c, legacy_rows=False), two, 0.5)
    # As SDXL's pipelines have it without a negative prompt: half of the text is zeros, so U has a null space.
    add("core2.zero_null", c, two | {"null_tokens": torch.zeros_like(two["null_tokens"])}, 0.5)
    # Both prompts begin with the same vector.
    null = two["null_tokens"].clone()
    null[:, 0] = two["tokens"][:, 0]
    add("core2.same_start", c, two | {"null_tokens": null}, 0.5)
    add("core2_sd3.first", SMALL["core2_sd3"], inputs_of(SMALL["core2_sd3"], 1, 4, 6), 0.6)
    n = SMALL["npnet"]
    add("npnet.released", n, inputs_of(n, 2))
    add("npnet.no_attention", replace(n, attention=False), inputs_of(n, 2))
    nchw = replace(n, channels_first=True)
    add("npnet.nchw", nchw, inputs_of(n, 2))
    cases["npnet.nchw"]["upconv"] = built(nchw).unet_embedding.upconv.weight
    return cases


def sampled(value: Tensor) -> Tensor:
    """Values at equal distances, and the norm."""
    flat = value.flatten()
    place = torch.linspace(0, flat.numel() - 1, SAMPLES, dtype=torch.float64).floor().long()
    return torch.cat([flat[place], flat.double().norm().float()[None]])


def full_cases() -> tuple[dict[str, Tensor], dict[str, object]]:
    values, told = {}, {}
    for name, config in FULL.items():
        network = built(config)
        position = None if name == "npnet" else 0.5
        layers = traced(network, inputs_of(config, 1, 16, 12), position)
        values |= {f"{name}.{layer}": sampled(value) for layer, value in layers.items()}
        shapes = {
            key: [len(place), *place[0].shape] if isinstance(place, list) else list(place.shape)
            for key, place in layout(network).items()
        }
        told[name] = {"settings": settings(network), "shapes": shapes}
    return values, told


MANIFEST = {
    "made_by": "tools/golden/released_networks.py",
    "source": "transcriptions in tools/export/glint_export/released of arXiv:2503.09662 and "
    "arXiv:2411.09502; parts of them are compared with diffusers' and transformers' layers in "
    "tools/export/test_released.py",
    "weights": "a formula of name and place (see `formula`), the same at both sizes",
    "tolerance": "1e-5 of a layer's largest value: float32 sums in another order; "
    "singular vectors come from float64",
}


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in SMALL.items():
        write_component(built(config), folder / f"{name}.safetensors")
    vectors = {f"{name}.{key}": value for name, case in small_cases().items() for key, value in case.items()}
    # A file cannot hold one memory under two names, nor views.
    vectors = {name: value.clone(memory_format=torch.contiguous_format) for name, value in vectors.items()}
    save_file(vectors, str(folder / "vectors.safetensors"))
    values, told = full_cases()
    save_file(values, str(folder / "full_size.safetensors"))
    (folder / "MANIFEST.json").write_text(
        json.dumps(MANIFEST | {"torch": torch.__version__}, indent=1) + "\n"
    )
    (folder / "full_size.json").write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
