"""TeaCache's steps for Wan, as a mask for glint's cache `step-mask`.

    $(tools/env) tools/export/step_mask.py FOLDER --threshold T [--steps N] [--size 1.3B|14B]
        [--embedding e0|e] [--shift S]

FOLDER is a pipeline as diffusers saves it; of the transformer only the time embedding is read. TeaCache
decides by the change of that embedding alone, so its steps are the same for every prompt and noise:
  d += p(|E_i - E_{i-1}| / |E_{i-1}|);   the network runs, and d is 0 again, once d >= T
with E the time embedding (e) or its projection to all blocks (e0), |.| the mean absolute value, and p the
published polynomial of the model's size. With e0 the first five steps always run, with e the first and last.

Liu et al., "Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model", CVPR 2025,
arXiv:2411.19108; polynomials and rules of the released code for Wan 2.1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from safetensors import safe_open
from torch import Tensor

# Highest power first, fitted by TeaCache's authors to text-to-video models: by size, then embedding.
POLYNOMIALS = {
    "1.3B": {
        "e": (2.39676752e03, -1.31110545e03, 2.01331979e02, -8.29855975e00, 1.37887774e-01),
        "e0": (-5.21862437e04, 9.23041404e03, -5.28275948e02, 1.36987616e01, -4.99875664e-02),
    },
    "14B": {
        "e": (-5784.54975374, 5449.50911966, -1811.16591783, 256.27178429, -13.02252404),
        "e0": (-3.03318725e05, 4.90537029e04, -2.65530556e03, 5.87365115e01, -3.15583525e-01),
    },
}
BLOCKS = {"1.3B": 30, "14B": 40}
EMBEDDER = "condition_embedder."


def mask(embeddings: Sequence[Tensor], polynomial: Sequence[float], threshold: float, kind: str) -> str:
    """One character a step: 1 where the network runs."""
    first, last = (5, len(embeddings)) if kind == "e0" else (1, len(embeddings) - 1)
    steps, distance = "", 0.0
    for i, now in enumerate(embeddings):
        if not first <= i < last:
            distance, runs = 0.0, True
        else:
            before = embeddings[i - 1]
            change = (now - before).abs().mean() / before.abs().mean()
            distance += float(np.polyval(polynomial, float(change)))
            runs = distance >= threshold
            distance = 0.0 if runs else distance
        steps += "1" if runs else "0"
    return steps


def read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: cannot be read as JSON: {error}") from error


def time_embedder(folder: Path) -> tuple[WanTimeTextImageEmbedding, int]:
    """The transformer's time embedding, and its number of blocks."""
    config = read(folder / "transformer/config.json")
    if config.get("_class_name") != "WanTransformer3DModel":
        raise SystemExit(f"{folder}: expected a Wan transformer, got {config.get('_class_name')}")
    width = config["num_attention_heads"] * config["attention_head_dim"]
    module = WanTimeTextImageEmbedding(
        dim=width, time_freq_dim=config["freq_dim"], time_proj_dim=6 * width,
        text_embed_dim=config["text_dim"],
    )  # fmt: skip
    weights = {}
    for file in sorted((folder / "transformer").glob("*.safetensors")):
        with safe_open(str(file), "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                if name.startswith((EMBEDDER + "time_embedder.", EMBEDDER + "time_proj.")):
                    weights[name.removeprefix(EMBEDDER)] = tensors.get_tensor(name).float()
    missing = [name for name in module.state_dict() if name.startswith("time") and name not in weights]
    if missing:
        raise SystemExit(f"{folder / 'transformer'}: no safetensors file has {EMBEDDER}{missing[0]}")
    module.load_state_dict(weights, strict=False)
    return module.eval(), config["num_layers"]


@torch.no_grad()
def embeddings(folder: Path, steps: int, shift: float | None, kind: str) -> tuple[list[Tensor], int]:
    """The embedding of every step of the pipeline's own grid, and the transformer's number of blocks."""
    module, blocks = time_embedder(folder)
    changes = {"flow_shift": shift} if shift is not None else {}
    scheduler = UniPCMultistepScheduler.from_config(
        read(folder / "scheduler/scheduler_config.json"), **changes
    )
    scheduler.set_timesteps(steps)
    result = []
    for time in scheduler.timesteps:
        embedded = module.time_embedder(module.timesteps_proj(time[None].float()))
        result.append(module.time_proj(module.act_fn(embedded)) if kind == "e0" else embedded)
    return result, blocks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threshold", type=float, required=True, help="published: 0.05 to 0.2 with e0")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", choices=tuple(POLYNOMIALS), help="default: by the number of blocks")
    parser.add_argument("--embedding", choices=("e0", "e"), default="e0")
    parser.add_argument("--shift", type=float, help="default: the scheduler's flow_shift")
    options = parser.parse_args()
    for name, least in (("threshold", 0), ("steps", 2)):
        if not (value := getattr(options, name)) >= least:
            raise SystemExit(f"--{name}: expected at least {least}, got {value}")
    steps, blocks = embeddings(options.folder, options.steps, options.shift, options.embedding)
    size = options.size or next((name for name, count in BLOCKS.items() if count == blocks), None)
    if size is None:
        raise SystemExit(
            f"--size: no polynomial is known for {blocks} blocks; give one of {', '.join(POLYNOMIALS)}"
        )
    found = mask(steps, POLYNOMIALS[size][options.embedding], options.threshold, options.embedding)
    print(f"--steps {options.steps} --with step-mask:mask={found}")
    print(f"the network runs at {found.count('1')} of {options.steps} steps", file=sys.stderr)


if __name__ == "__main__":
    main()
