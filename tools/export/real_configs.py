"""Denoisers of the real sizes with random weights: exports one, then loads it in a fresh process and takes one step.

    PYTHONPATH=tools/export python tools/export/real_configs.py WORK_DIR [sdxl] [flux] [wan] [--dtype bfloat16] [--keep]

Prints, for each: bytes of weights; the export's peak memory over the weights; the loading process's peak memory over
the weights, its time to load and to take one step. FLUX.1-dev has its real widths but fewer blocks, 2 + 4 of 19 + 38,
unless --flux-blocks says otherwise. Peak memory is the largest resident set of the process less what it had before.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch import nn


def resident_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sdxl() -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=128, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), cross_attention_dim=2048, use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip


def flux(blocks: tuple[int, int]) -> nn.Module:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(num_layers=blocks[0], num_single_layers=blocks[1], guidance_embeds=True)


def wan() -> nn.Module:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=30, qk_norm="rms_norm_across_heads"
    )


def network(name: str, blocks: tuple[int, int], dtype: torch.dtype) -> nn.Module:
    """A network as its constructor draws it, made in the dtype that it has."""
    torch.set_default_dtype(dtype)
    made = {"sdxl": sdxl, "flux": lambda: flux(blocks), "wan": wan}[name]()
    torch.set_default_dtype(torch.float32)
    return made.to(dtype).eval().requires_grad_(False)


def export_one(name: str, options: argparse.Namespace, path: Path) -> dict[str, float]:
    from glint_export import archives, denoiser_parts, parts

    before = resident_peak()
    made = network(name, options.flux_blocks, getattr(torch, options.dtype))
    weights = sum(p.numel() * p.element_size() for p in made.parameters())
    part = {
        "sdxl": denoiser_parts.sdxl_denoiser,
        "flux": denoiser_parts.flux_denoiser,
        "wan": denoiser_parts.wan_denoiser,
    }[name](made)
    start = time.monotonic()
    archives.write(part.module, part.inputs_of(parts.TRACED), part.shapes, path, "torchscript")
    size = parts.Size(1, 8, 8, 1, 16)
    torch.save(part.inputs_of(size), path.with_suffix(".inputs"))
    return {
        "weights": weights,
        "export_seconds": time.monotonic() - start,
        "export_peak": (resident_peak() - before) / weights,
    }


@torch.no_grad()
def load_one(path: Path) -> dict[str, float]:
    inputs, before, start = torch.load(path.with_suffix(".inputs")), resident_peak(), time.monotonic()
    module = torch.jit.load(str(path))
    loaded, peak = time.monotonic() - start, resident_peak() - before
    output = module(*inputs)
    assert output.shape == inputs[0].shape
    return {"load_seconds": loaded, "step_seconds": time.monotonic() - start - loaded,
            "load_peak_bytes": peak, "step_peak_bytes": resident_peak() - before}  # fmt: skip


def in_fresh_process(*arguments: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("names", nargs="*", default=["wan", "flux", "sdxl"])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--flux-blocks", type=lambda text: tuple(map(int, text.split("+"))), default=(2, 4))
    parser.add_argument("--keep", action="store_true", help="leave the files")
    parser.add_argument("--stage", choices=("export", "load"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        path = options.work / f"{options.names[0]}.pt"
        result = export_one(options.names[0], options, path) if options.stage == "export" else load_one(path)
        print(json.dumps(result))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    blocks = "+".join(map(str, options.flux_blocks))
    for name in options.names:
        common = (str(options.work), name, "--dtype", options.dtype, "--flux-blocks", blocks)
        told = in_fresh_process(*common, "--stage", "export")
        told |= in_fresh_process(*common, "--stage", "load")
        weights = told["weights"]
        print(
            f"{name}: weights {weights / 2**30:.2f} GiB; "
            f"export {told['export_seconds']:.1f} s, peak {told['export_peak']:.2f} x; "
            f"load {told['load_seconds']:.1f} s, peak {told['load_peak_bytes'] / weights:.2f} x; "
            f"one step {told['step_seconds']:.1f} s, peak {told['step_peak_bytes'] / weights:.2f} x",
            flush=True,
        )
        if not options.keep:
            for path in options.work.glob(f"{name}.*"):
                path.unlink()


if __name__ == "__main__":
    main()
