"""Writes decoders of the real configurations with random weights, to measure memory with.

    PYTHONPATH=tools/export python tools/bench/vae_networks.py FOLDER [KIND...]      KIND: flux, wan

FLUX.1's is SDXL's and SD3.5's too, but for the number of latent channels (4 and 16). The files are what
glint_export writes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from glint_export import networks, parts


def flux() -> list[parts.Part]:
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=16, use_quant_conv=False,
        use_post_quant_conv=False, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    return networks.image_vae_parts(vae.eval().requires_grad_(False))


def wan() -> list[parts.Part]:
    return networks.video_vae_parts(AutoencoderKLWan().eval().requires_grad_(False))


KINDS = {"flux": flux, "wan": wan}

if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(1)
    for kind in sys.argv[2:] or KINDS:
        folder = Path(sys.argv[1]) / kind
        folder.mkdir(parents=True, exist_ok=True)
        for part in KINDS[kind]():
            if part.name.startswith("vae_decoder"):
                parts.check(parts.write(part, folder, "torchscript"))
