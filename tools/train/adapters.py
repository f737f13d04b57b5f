"""The adapter pair of emoji-flow, as LoRA files that its model.json names.

    $(tools/env) tools/train/adapters.py --work DIR --out models/emoji-flow [--checkpoint denoiser]
        [--from denoiser_start] [--rank 4] [--strong 1] [--weak -4] [--smoke]

Both point along what the later part of the training changed in the attention projections, cut to a low rank
by a singular value decomposition: `strong.safetensors` further that way, `weak.safetensors` back. Nothing is
trained.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from glint_train.adapters import direction
from glint_train.archive import sha256
from glint_train.bundle import read_manifest
from glint_train.work import earlier_denoiser, load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint", default="denoiser")
    parser.add_argument("--from", dest="start", default="denoiser_start", help="an earlier checkpoint in DIR")
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument(
        "--strong", type=float, default=1.0, help="how far the strong one goes, in units of the change"
    )
    parser.add_argument("--weak", type=float, default=-4.0, help="the same of the weak one")
    parser.add_argument(
        "--smoke", action="store_true", help="accepted for symmetry; the stage is always short"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    manifest = read_manifest(options.out) | {"adapters": {}}
    model = load_model(options.work, "flow", options.checkpoint)
    start = earlier_denoiser(model, options.work, "flow", options.start).state_dict()
    end = model.denoiser.state_dict()
    for name, scale in (("strong", options.strong), ("weak", options.weak)):
        tensors = direction(start, end, options.rank, scale)
        file = options.out / f"{name}.safetensors"
        save_file({key: value.half() for key, value in tensors.items()}, str(file))
        manifest["adapters"][name] = {"file": file.name, "sha256": sha256(file)}
        print(f"{file.name} {file.stat().st_size}")
    (options.out / "model.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
